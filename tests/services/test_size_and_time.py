"""Too much, or too slow, against a real server: it is refused early and held by nobody."""

import contextlib
import select
import socket
import time

import pytest

from services.bad_input import MB, PROBLEM, Server, answer_of, check_problem, job, keep, refused


def test_a_body_of_100_mb_is_refused_by_its_length(server: Server) -> None:
    for path in (b"/jobs", b"/jobs/batch"):
        with server.connection() as raw:
            head = b"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            raw.sendall(head % path + b"Content-Length: 104857600\r\n\r\n" + b" " * 65536)
            status, headers, body = answer_of(raw)  # the rest was never sent
        check_problem(status, headers["content-type"], body, 413, "payload-too-large")


def test_a_body_of_100_mb_is_refused_before_it_is_invited(server: Server) -> None:
    with server.connection() as raw:
        raw.sendall(
            b"POST /jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Length: 104857600\r\nExpect: 100-continue\r\n\r\n"
        )
        status, headers, body = answer_of(raw)
    check_problem(status, headers["content-type"], body, 413, "payload-too-large")


@pytest.mark.parametrize(("path", "limit_mb"), [("/jobs", 1), ("/jobs/batch", 16)])
def test_100_mb_in_chunks_are_refused_early_and_never_held(
    server: Server, path: str, limit_mb: int
) -> None:
    before_mb, highest_mb = server.resident_mb, 0.0
    chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
    sent = 0
    with server.connection() as raw:
        raw.sendall(
            f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            "Transfer-Encoding: chunked\r\n\r\n".encode()
        )
        answered_at = None
        try:
            while sent < 100 * MB:
                raw.sendall(chunk)
                sent += 65536
                if answered_at is None and select.select([raw], [], [], 0)[0]:
                    answered_at = sent
                if sent % (4 * MB) == 0:
                    highest_mb = max(highest_mb, server.resident_mb)
        except OSError:
            pass  # it hung up, which is its right
        assert answered_at is not None, f"{sent} bytes were sent without an answer"
        assert answered_at < (limit_mb + 16) * MB, "it read on although it had seen enough"
        with contextlib.suppress(ConnectionResetError):
            status, headers, body = answer_of(raw)
            check_problem(status, headers["content-type"], body, 413, "payload-too-large")
    assert max(highest_mb, server.resident_mb) - before_mb < 2 * limit_mb + 24


def test_a_body_just_over_and_just_under_the_limit(server: Server) -> None:
    over = job() + b" " * (MB - len(job()) + 1)
    refused(server.post(over), 413, "payload-too-large")
    padded = b"{" + b" " * (MB - 2) + b"}"
    refused(server.post(padded), 422, "validation-failed")


def test_an_item_of_a_batch_is_held_to_the_limit_of_one_job(running: Server) -> None:
    over = keep(b'"' + b"a" * MB + b'"')
    for body, kind in (
        (b"[" + b",".join([job(), over, job()]) + b"]", "application/json"),
        (b"\n".join([job(), over, job()]), "application/x-ndjson"),
    ):
        answer = running.post(body, "/jobs/batch", Content_Type=kind)
        assert answer.status_code == 207
        items = answer.json()["items"]
        assert [item["status"] for item in items] == [202, 413, 202]
        PROBLEM.validate(items[1]["problem"])
        assert items[1]["problem"]["type"].endswith("/payload-too-large")


def test_many_members_and_long_strings_cost_little(server: Server) -> None:
    bodies = [
        b'{"type":"keep","payload":{' + b",".join(b'"%d":0' % i for i in range(80_000)) + b"}}",
        b'{"type":"keep","payload":{"text":[' + b",".join([b"0"] * 400_000) + b"]}}",
        b'{"type":"keep","payload":{"text":[' + b",".join([b"[]"] * 250_000) + b"]}}",
        keep(b"9" * 1_000_000),
        keep(b'"' + b"\\ud83d\\ude00" * 80_000 + b'"')[:-1] + b',"x":1}',
    ]
    for body in bodies:
        before_s = server.cpu_s
        answer = server.post(body)
        assert answer.status_code in (400, 422), answer.text[:300]
        assert len(answer.content) < 16_000
        assert server.cpu_s - before_s < 2.0, body[:50]


def test_a_huge_head_is_refused(server: Server) -> None:
    """Neither a header nor the path may grow without end, whether or not they ever end."""
    for start in (b"GET /jobs HTTP/1.1\r\nHost: localhost\r\nX-A: ", b"GET /jobs?q="):
        sent = 0
        with server.connection() as raw:
            raw.sendall(start)
            with contextlib.suppress(OSError):
                while sent < 64 * MB:
                    raw.sendall(b"a" * 65536)
                    sent += 65536
                    if select.select([raw], [], [], 0)[0]:
                        break
            assert sent < 8 * MB, f"{sent} bytes of one head were taken"
            with contextlib.suppress(ConnectionResetError):
                assert answer_of(raw)[0] in (400, 414, 431)
    many = b"".join(b"X-%d: a\r\n" % i for i in range(20_000))
    with server.connection() as raw:
        # It may hang up while the rest is still being sent; what it said before is lost with that.
        with contextlib.suppress(OSError):
            raw.sendall(b"GET /jobs HTTP/1.1\r\nHost: localhost\r\n" + many + b"\r\n")
        assert status_or_hung_up(raw) in (400, 431, None)
    assert server.http.get("/jobs").status_code == 200


def status_or_hung_up(raw: socket.socket) -> int | None:
    """The status that was answered; None where the connection was closed without one. A server
    that keeps the connection open and says nothing fails the test by the socket's timeout."""
    try:
        data = raw.recv(65536)
    except ConnectionResetError:
        return None
    if not data:
        return None
    assert data.startswith(b"HTTP/1.1 "), data[:200]
    return int(data[9:12])


GARBAGE = {
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00",
    "no request line": b"HELLO\r\n\r\n",
    "a version of the future": b"GET / HTTP/9.9\r\n\r\n",
    "a negative length": b"GET /jobs HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
    "two lengths": b"POST /jobs HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n"
    b"Content-Length: 6\r\n\r\nhello!",
    "a chunk without a size": b"POST /jobs HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n"
    b"Content-Type: application/json\r\n\r\nZZZ\r\n",
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
def test_what_is_no_http(server: Server, garbage: bytes) -> None:
    with server.connection() as raw:
        raw.sendall(garbage)
        assert status_or_hung_up(raw) in (400, 505)
        assert raw.recv(65536) == b"", "the connection is closed, as nobody knows where it stands"
    assert server.http.get("/jobs").status_code == 200


def test_a_body_that_ends_too_soon(server: Server) -> None:
    """What came is a whole job; that nothing of it is recorded is what `server` sees to."""
    with server.connection() as raw:
        raw.sendall(
            b"POST /jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Length: 100000\r\n\r\n" + job()
        )
        raw.shutdown(socket.SHUT_WR)
        assert status_or_hung_up(raw) in (400, 408, None)
    assert server.http.get("/jobs").status_code == 200


def test_two_hundred_slow_clients_keep_nobody_waiting(server: Server) -> None:
    """Slowloris: heads and bodies that trickle in hold a socket each, and nothing else."""
    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(server.connection()) for _ in range(200)]
        for number, raw in enumerate(slow):
            raw.sendall(b"POST /jobs HTTP/1.1\r\nHost: localhost\r\n")
            if number % 2:
                raw.sendall(b"Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{")
        for _ in range(5):
            began = time.monotonic()
            assert server.http.get("/jobs").status_code == 200
            assert time.monotonic() - began < 10, "longer than any of them is waited for"
            for number, raw in enumerate(slow):
                raw.sendall(b" " if number % 2 else b"X-A: b\r\n")


@pytest.mark.slow
def test_a_client_that_stops_in_the_middle_is_shown_out(server: Server) -> None:
    parts = (
        b"POST /jobs HTTP/1.1\r\nHost: loc",
        b"POST /jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Content-Length: 1000\r\n\r\n{",
    )
    with contextlib.ExitStack() as stack:
        stopped = [stack.enter_context(server.connection()) for _ in parts]
        for raw, part in zip(stopped, parts, strict=True):
            raw.sendall(part)
            raw.settimeout(30)
        for raw in stopped:
            with contextlib.suppress(ConnectionResetError):
                data = raw.recv(65536)
                assert not data or data.startswith(b"HTTP/1.1 4"), data[:200]


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"BREW /pot HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /jobs HTTP/1.1\r\nHost: localhost\r\nX-A: a\x00b\r\n\r\n",
        b"GET /jobs HTTP/9.9\r\nHost: localhost\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    ],
    ids=["unknown method", "NUL in a header", "unknown version", "TLS"],
)
def test_what_is_no_request_is_answered_with_a_problem(
    server: Server, request_bytes: bytes
) -> None:
    status, headers, body = server.raw(request_bytes)
    check_problem(status, headers["content-type"], body, 400, "malformed-request")
    assert headers["connection"] == "close"
