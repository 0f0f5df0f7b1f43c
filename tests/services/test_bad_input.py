"""Bad input against a real server: each is answered clearly, early and cheaply, and leaves nothing.

Every test of the first part ends with the same three looks: nothing was recorded, the memory is
what it was, and the next good request is answered (the fixture `server`).
"""

import contextlib
import http.client
import json
import select
import socket
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import jsonschema_rs
import pytest

from observatory.asgi.keys import new_key
from real import RunningSystem, running_system, until

JOBS = """
from observatory import Observatory
app = Observatory()

@app.job("double")
def double(n: int, label: str = "") -> int:
    return 2 * n

@app.job("keep")
def keep(text: str) -> str:
    return text
"""
GOOD = {"type": "double", "payload": {"n": 1}}
CONTRACTS = Path(__file__).parents[2] / "contracts"
PROBLEM = jsonschema_rs.Draft202012Validator(
    json.loads((CONTRACTS / "http/problem.v1.json").read_text()), validate_formats=True
)
MB = 1024 * 1024


class Server:
    """A running system, and what is known of it from outside."""

    def __init__(self, system: RunningSystem) -> None:
        self.system = system
        self.http = system.http
        self.port = system.port

    @property
    def recorded(self) -> int:
        db = sqlite3.connect(f"{(self.system.data / 'observatory.db').as_uri()}?mode=ro", uri=True)
        with contextlib.closing(db):
            return int(db.execute("SELECT count(*) FROM jobs").fetchone()[0])

    @property
    def resident_mb(self) -> float:
        assert self.system.process is not None
        status = Path(f"/proc/{self.system.process.pid}/status").read_text()
        line = next(x for x in status.splitlines() if x.startswith("VmRSS"))
        return int(line.split()[1]) / 1024

    def post(self, body: bytes, path: str = "/jobs", **headers: str) -> httpx.Response:
        given = {"Content-Type": "application/json"}
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        return self.http.post(path, content=body, headers=given)

    @contextlib.contextmanager
    def connection(self) -> Iterator[socket.socket]:
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as raw:
            yield raw

    def raw(self, request: bytes) -> tuple[int, dict[str, str], bytes]:
        """Bytes as they are, and the answer to them."""
        with self.connection() as raw:
            raw.sendall(request)
            return answer_of(raw)


def answer_of(raw: socket.socket) -> tuple[int, dict[str, str], bytes]:
    response = http.client.HTTPResponse(raw)
    response.begin()
    headers = {name.lower(): value for name, value in response.getheaders()}
    return response.status, headers, response.read()


def check_problem(
    status: int, kind: str, body: bytes, expected: int, slug: str, pointer: str | None = None
) -> dict[str, Any]:
    assert status == expected, body[:1000]
    assert kind == "application/problem+json"
    assert len(body) < 16_000, "an answer stays small whatever was sent"
    problem: dict[str, Any] = json.loads(body)
    PROBLEM.validate(problem)
    assert problem["type"] == f"https://observatory.example/problems/{slug}", problem
    assert problem["status"] == expected
    if pointer is not None:
        pointers = [error["pointer"] for error in problem.get("errors", [])]
        assert pointer in pointers, problem
    return problem


def refused(
    response: httpx.Response, expected: int, slug: str, pointer: str | None = None
) -> dict[str, Any]:
    kind = response.headers.get("content-type", "")
    problem = check_problem(response.status_code, kind, response.content, expected, slug, pointer)
    assert problem["requestId"] == response.headers["x-correlation-id"]
    return problem


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running_system(JOBS, tmp_path_factory.mktemp("bad-input")) as system:
        server = Server(system)
        assert server.http.post("/jobs", json=GOOD).status_code == 202
        yield server
        assert system.alive, system.output[-3000:]
        assert "Traceback" not in system.output, system.output[-5000:]
        assert system.stop() == 0


@pytest.fixture
def server(running: Server) -> Iterator[Server]:
    """The server, for input that must leave nothing behind."""
    before, memory_mb = running.recorded, running.resident_mb
    yield running
    assert running.recorded == before, "something was recorded"
    assert running.resident_mb - memory_mb < 40, "it kept the memory"
    assert running.http.get("/jobs", timeout=3).status_code == 200


# Bodies


def job(**members: Any) -> bytes:
    return json.dumps(GOOD | members).encode()


def keep(inner: bytes) -> bytes:
    return b'{"type":"keep","payload":{"text":' + inner + b"}}"


def deep(levels: int, opening: bytes = b"[", closing: bytes = b"]") -> bytes:
    return keep(opening * levels + closing * levels)


MALFORMED: dict[str, tuple[bytes, str | None]] = {
    "nothing": (b"", None),
    "white space": (b" \r\n ", None),
    "words": (b"hello", None),
    "half an object": (b'{"type":"double"', None),
    "more after the end": (b'{"type":"double"} x', None),
    "two documents": (b'{"type":"double"}{"type":"double"}', None),
    "a trailing comma": (b'{"type":"double",}', None),
    "a comment": (b'{"type":"double"} // hi', None),
    "single quotes": (b"{'type':'double'}", None),
    "a leading zero": (keep(b"01"), None),
    "nested 65 deep": (deep(64), None),
    "nested 10,000 deep": (deep(10_000), None),
    "nested 100,000 deep": (deep(100_000), None),
    "nested 10,000 deep, objects": (deep(10_000, b'{"a":', b"}").replace(b":}", b":1}"), None),
    "nested 100,000 deep, unclosed": (b"[" * 100_000, None),
    "NaN": (keep(b"NaN"), None),
    "Infinity": (keep(b"Infinity"), None),
    "-Infinity": (keep(b"-Infinity"), None),
    "1e400": (keep(b"1e400"), None),
    "-1e400": (keep(b"-1e400"), None),
    "1e999999999": (keep(b"1e999999999"), None),
    "a NUL, escaped": (keep(rb'"a\u0000b"'), "/payload/text"),
    "a NUL in a name": (b'{"type":"keep","payload":{"a\\u0000":1}}', None),
    "a NUL, raw": (keep(b'"a\x00b"'), None),
    "a control character, raw": (keep(b'"a\x1bb"'), None),
    "a line feed in a string, raw": (keep(b'"a\nb"'), None),
    "a lone high surrogate": (keep(rb'"\ud800"'), None),
    "a lone low surrogate": (keep(rb'"\udc00"'), None),
    "surrogates the wrong way round": (keep(rb'"\udc00\ud800"'), None),
    "a lone surrogate in a name": (b'{"type":"keep","payload":{"\\ud800":1}}', None),
    "a lone surrogate, raw": (keep(b'"\xed\xa0\x80"'), None),
    "invalid UTF-8": (keep(b'"\xff\xfe"'), None),
    "cut-off UTF-8": (keep(b'"\xe2\x82"'), None),
    "overlong UTF-8": (keep(b'"\xc0\x80"'), None),
    "Latin-1": (keep('"é"'.encode("latin-1")), None),
    "UTF-16": (json.dumps(GOOD).encode("utf-16"), None),
    "a byte order mark": (b"\xef\xbb\xbf" + job(), None),
    "an integer of 300 digits": (job(payload={"n": 0}).replace(b"0}", b"9" * 300 + b"}"), None),
    "an integer of 100,000 digits": (
        job(payload={"n": 0}).replace(b"0}", b"9" * 100_000 + b"}"),
        None,
    ),
    "2**63": (job(payload={"n": 2**63}), "/payload/n"),
    "-2**63 - 1": (job(payload={"n": -(2**63) - 1}), "/payload/n"),
    "a name twice": (b'{"type":"double","type":"keep","payload":{"n":1}}', None),
    "a name twice, the same value": (b'{"type":"double","type":"double","payload":{"n":1}}', None),
    "a name twice, within": (b'{"type":"double","payload":{"n":1,"n":2}}', None),
    "a name twice, once escaped": (
        b'{"type":"double","\\u0074ype":"double","payload":{"n":1}}',
        None,
    ),
    "a name twice, with spaces": (b'{"type" :"double","type": "double","payload":{"n":1}}', None),
    "a name twice, in an array": (b'{"type":"keep","payload":{"text":[{"a":1,"a":1}]}}', None),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_json(server: Server, name: str) -> None:
    body, pointer = MALFORMED[name]
    began = time.monotonic()
    refused(server.post(body), 400, "malformed-json", pointer)
    assert time.monotonic() - began < 1.0
    refused(server.post(body, "/jobs/batch"), 400, "malformed-json")


NO_JOB: dict[str, tuple[bytes, str, str | None]] = {
    "an array": (b"[]", "validation-failed", ""),
    "null": (b"null", "validation-failed", ""),
    "a string": (b'"double"', "validation-failed", ""),
    "a number": (b"1", "validation-failed", ""),
    "no type": (b'{"payload":{"n":1}}', "validation-failed", ""),
    "a type that is no string": (job(type=1), "validation-failed", "/type"),
    "an unknown type": (job(type="triple"), "unknown-job-type", "/type"),
    "a type in another case": (job(type="Double"), "unknown-job-type", "/type"),
    "a module's function as type": (job(type="os.system"), "unknown-job-type", "/type"),
    "a dunder as type": (job(type="__class__"), "validation-failed", "/type"),
    "an import path as type": (job(type="os:system"), "validation-failed", "/type"),
    "a path as type": (job(type="../double"), "validation-failed", "/type"),
    "an empty type": (job(type=""), "validation-failed", "/type"),
    "a long type": (job(type="a" * 129), "validation-failed", "/type"),
    "a huge type": (job(type="a" * 900_000), "validation-failed", "/type"),
    "a type with a line feed": (job(type="double\n"), "validation-failed", "/type"),
    "markup as type": (job(type="<script>"), "validation-failed", "/type"),
    "an unknown member": (job(retries=3), "validation-failed", None),
    "a misspelt member": (job(max_attempts=3), "validation-failed", None),
    "many unknown members": (
        json.dumps(GOOD | {f"x{i}": i for i in range(10_000)}).encode(),
        "validation-failed",
        None,
    ),
    "a member of batch items": (job(idempotencyKey="a"), "validation-failed", None),
    "a payload that is no object": (job(payload=[1]), "validation-failed", "/payload"),
    "a null payload": (job(payload=None), "validation-failed", "/payload"),
    "a payload without its members": (job(payload={}), "validation-failed", "/payload"),
    "a string for an integer": (job(payload={"n": "1"}), "validation-failed", "/payload/n"),
    "a fraction for an integer": (job(payload={"n": 1.5}), "validation-failed", "/payload/n"),
    "true for an integer": (job(payload={"n": True}), "validation-failed", "/payload/n"),
    "null for an integer": (job(payload={"n": None}), "validation-failed", "/payload/n"),
    "an object for a string": (
        job(payload={"n": 1, "label": {}}),
        "validation-failed",
        "/payload/label",
    ),
    "an unknown member of the payload": (
        job(payload={"n": 1, "m": 1}),
        "validation-failed",
        None,
    ),
    "a priority that is not": (job(priority="urgent"), "validation-failed", "/priority"),
    "a negative delay": (job(delaySeconds=-1), "validation-failed", "/delaySeconds"),
    "a delay of centuries": (job(delaySeconds=1e12), "validation-failed", "/delaySeconds"),
    "a delay and a time": (
        job(delaySeconds=1, scheduledAt="2030-01-01T00:00:00Z"),
        "validation-failed",
        None,
    ),
    "a time that is none": (job(scheduledAt="soon"), "validation-failed", "/scheduledAt"),
    "a time without a zone": (
        job(scheduledAt="2030-01-01T00:00:00"),
        "validation-failed",
        "/scheduledAt",
    ),
    "the 30th of February": (
        job(scheduledAt="2030-02-30T00:00:00Z"),
        "validation-failed",
        "/scheduledAt",
    ),
    "the year 0000": (job(scheduledAt="0000-01-01T00:00:00Z"), "validation-failed", "/scheduledAt"),
    "no attempts": (job(maxAttempts=0), "validation-failed", "/maxAttempts"),
    "too many attempts": (job(maxAttempts=101), "validation-failed", "/maxAttempts"),
    "half an attempt": (job(maxAttempts=1.5), "validation-failed", "/maxAttempts"),
    "no time at all": (job(timeoutSeconds=0), "validation-failed", "/timeoutSeconds"),
    "a correlation id with a line feed": (
        job(correlationId="a\nb"),
        "validation-failed",
        "/correlationId",
    ),
    "a long correlation id": (job(correlationId="a" * 129), "validation-failed", "/correlationId"),
    "a parent that is no UUID": (job(parentId="me"), "validation-failed", "/parentId"),
    "another contract version": (job(contractVersion=2), "validation-failed", "/contractVersion"),
    **{
        f"the queue {name!r}"[:60]: (job(queue=name), "validation-failed", "/queue")
        for name in (
            "",
            " ",
            "a b",
            ".hidden",
            "../../etc/passwd",
            "a/b",
            "q\n",
            "q\r\nX-Evil: 1",
            "'; DROP TABLE jobs;--",
            '"><script>alert(1)</script>',
            "amq.\u0131",
            "q\u202e",
            "*",
            "#",
            "a" * 64,
            "\u00e9",
        )
    },
}  # fmt: skip


@pytest.mark.parametrize("name", NO_JOB)
def test_json_that_is_no_job(server: Server, name: str) -> None:
    body, slug, pointer = NO_JOB[name]
    refused(server.post(body), 422, slug, pointer)


def test_json_that_is_no_job_is_refused_item_by_item_in_a_batch(server: Server) -> None:
    bodies = {name: case for name, case in NO_JOB.items() if name != "a member of batch items"}
    for name, (body, slug, pointer) in bodies.items():
        answer = server.post(b"[" + body + b"]", "/jobs/batch")
        assert answer.status_code == 207, name
        (item,) = answer.json()["items"]
        PROBLEM.validate(item["problem"])
        assert item["status"] == 422
        assert item["jobId"] is None
        assert item["problem"]["type"].endswith(f"/{slug}"), (name, item)
        if pointer is not None:
            assert pointer in [error["pointer"] for error in item["problem"]["errors"]], (
                name,
                item,
            )


def test_the_edges_of_what_is_good(running: Server) -> None:
    """What stands just within the limits is accepted, and comes back as it was sent."""
    texts = [
        "",
        "\u0001\x7f",
        "\U0001f600",
        "\ud83d\ude00",
        "a" * 500_000,
        "\\u0000",
        "<b>",
        "\u202e",
    ]
    for text in texts:
        body = {"type": "keep", "payload": {"text": text}}
        answer = running.post(json.dumps(body).encode())
        assert answer.status_code == 202, (text[:20], answer.text)
        url = answer.headers["location"]
        done = running.http.get(url, headers={"Prefer": "wait=10"}).json()
        expected = text.encode("utf-16", "surrogatepass").decode("utf-16")
        assert (done["state"], done["payload"], done["result"]) == (
            "completed",
            {"text": expected},
            expected,
        )
    for number in (2**62, -(2**62), 0, -1):
        answer = running.post(job(payload={"n": number}))
        assert answer.status_code == 202, answer.text
        assert running.http.get(answer.headers["location"]).json()["payload"] == {"n": number}
    whole = running.post(job(payload={"n": 9223372036854775807}))
    assert running.http.get(whole.headers["location"]).json()["payload"]["n"] == 2**63 - 1


def test_whole_numbers_written_as_fractions_are_whole(running: Server) -> None:
    """JSON Schema takes 5.0 for an integer, so whatever reads it later has to, too."""
    body = b'{"type":"double","payload":{"n":2.0},"maxAttempts":5.0,"contractVersion":1.0}'
    answer = running.post(body)
    assert answer.status_code == 202, answer.text
    url = answer.headers["location"]
    done = running.http.get(url, headers={"Prefer": "wait=10"}).json()
    assert (done["state"], done["result"], done["maxAttempts"]) == ("completed", 4, 5), done
    for view in ("/attempts", "/events", "/logs"):
        assert running.http.get(url + view).status_code == 200, view


# Batches


def test_a_batch_that_is_none(server: Server) -> None:
    for body in (b"[]", b"{}", b"null", b"1", b'"x"', b"[" + b",".join([job()] * 1001) + b"]"):
        refused(server.post(body, "/jobs/batch"), 422, "validation-failed")
    for body in (b"", b"\n\n", b" \r\n"):
        answer = server.post(body, "/jobs/batch", Content_Type="application/x-ndjson")
        refused(answer, 422, "validation-failed")


def test_malformed_lines_among_good_ones(running: Server) -> None:
    """NDJSON: each line is judged alone; the good ones are accepted."""
    lines: list[tuple[bytes, int]] = []
    for body, _ in MALFORMED.values():
        if body.strip() and b"\n" not in body and b"\r" not in body:
            lines += [(job(), 202), (body, 400)]
    lines += [(body, 422) for body, *_ in NO_JOB.values() if len(body) < 2000 and b"\n" not in body]
    lines.remove((job(idempotencyKey="a"), 422))
    text = b"\r\n".join(line for line, _ in lines) + b"\n\n"
    before = running.recorded
    answer = running.post(text, "/jobs/batch", Content_Type="application/x-ndjson")
    assert answer.status_code == 207, answer.text[:500]
    outcome = answer.json()
    good = sum(status == 202 for _, status in lines)
    assert (outcome["accepted"], outcome["refused"]) == (good, len(lines) - good)
    assert [item["index"] for item in outcome["items"]] == list(range(len(lines)))
    for (line, status), item in zip(lines, outcome["items"], strict=True):
        assert item["status"] == status, (line[:100], item)
        if status != 202:
            PROBLEM.validate(item["problem"])
    assert running.recorded == before + good


# Headers


@pytest.mark.parametrize(
    "kind",
    [
        "",
        "text/plain",
        "text/plain;application/json",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/jsonx",
        "application/json; charset=latin-1",
        "application/json; charset=utf-16",
        "application/xml",
        "application/x-ndjson",
        "json",
        ";;;",
    ],
)
def test_a_wrong_content_type(server: Server, kind: str) -> None:
    refused(server.post(job(), Content_Type=kind), 415, "unsupported-media-type")


def test_content_types_that_are_right(running: Server) -> None:
    for kind in (
        "application/json",
        "Application/JSON",
        "application/json; charset=utf-8",
        'application/json;charset="UTF-8"',
        "application/json ; Charset=UTF-8",
    ):
        assert running.post(job(), Content_Type=kind).status_code == 202, kind


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "gzip, identity", "x"])
def test_an_encoded_body(server: Server, encoding: str) -> None:
    refused(server.post(job(), Content_Encoding=encoding), 415, "unsupported-media-type")


@pytest.mark.parametrize("key", ["", "a b", "a" * 256, "\u00e9", '""', '"'])
def test_a_bad_idempotency_key(server: Server, key: str) -> None:
    headers = {"Content-Type": "application/json", "Idempotency-Key": key.encode()}
    answer = server.http.post("/jobs", content=job(), headers=headers)  # type: ignore[arg-type]
    refused(answer, 400, "invalid-parameter")


def test_two_idempotency_keys(server: Server) -> None:
    answer = server.http.post(
        "/jobs", json=GOOD, headers=[("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
    )
    refused(answer, 400, "invalid-parameter")


def test_a_bad_correlation_id_is_replaced(running: Server) -> None:
    for bad in (b"", b"a b", b"a" * 129, b"\xe9"):
        answer = running.http.post("/jobs", json=GOOD, headers={"X-Correlation-Id": bad})  # type: ignore[dict-item]
        assert answer.status_code == 202
        given = answer.headers["x-correlation-id"]
        assert given.encode() != bad
        assert running.http.get(answer.headers["location"]).json()["correlationId"] == given


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example",
        "evil.example:80",
        "localhost@evil.example",
        "0.0.0.0",
        "[::2]",
        "",
        "localhost,evil.example",
    ],
)
def test_a_foreign_host(server: Server, host: str) -> None:
    """DNS rebinding: a page of another name reaches nothing, neither reads nor writes."""
    refused(server.http.get("/jobs", headers={"Host": host}), 403, "forbidden")
    refused(server.post(job(), Host=host), 403, "forbidden")


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:1"},
        {"Origin": "http://127.0.0.1.evil.example"},
        {"Origin": ""},
        {"Sec-Fetch-Site": "cross-site"},
    ],
)
def test_a_page_of_another_origin_changes_nothing(server: Server, headers: dict[str, str]) -> None:
    recent = server.http.get("/jobs/recent").json()["items"][0]["id"]
    for path in ("/jobs", "/jobs/batch", f"/jobs/{recent}/cancel", f"/jobs/{recent}/retry"):
        answer = server.http.post(path, json=GOOD, headers=headers)
        refused(answer, 403, "forbidden")


def test_the_page_of_this_origin_may(running: Server) -> None:
    origin = f"http://127.0.0.1:{running.port}"
    headers = {"Origin": origin, "Sec-Fetch-Site": "same-origin"}
    assert running.http.post("/jobs", json=GOOD, headers=headers).status_code == 202


# Routes, methods, parameters

READ_ROUTES = (
    "/jobs",
    "/jobs/recent",
    "/jobs/01a20a84-8c93-7013-b13e-869c8ff945a2",
    "/jobs/01a20a84-8c93-7013-b13e-869c8ff945a2/events",
    "/jobs/01a20a84-8c93-7013-b13e-869c8ff945a2/attempts",
    "/jobs/01a20a84-8c93-7013-b13e-869c8ff945a2/logs",
    "/stats",
    "/stats/series",
    "/failures",
    "/queues",
    "/workers",
    "/events",
    "/events/stream",
    "/contracts",
    "/contracts/job.v1.json",
    "/livez",
    "/readyz",
    "/healthz",
    "/metrics",
    "/openapi.json",
    "/docs",
)
WRITE_ROUTES = (
    "/jobs",
    "/jobs/batch",
    "/jobs/01a20a84-8c93-7013-b13e-869c8ff945a2/cancel",
    "/jobs/01a20a84-8c93-7013-b13e-869c8ff945a2/retry",
)


def test_an_unknown_query_parameter(server: Server) -> None:
    for path in READ_ROUTES:
        problem = refused(server.http.get(f"{path}?stat=failed"), 400, "invalid-parameter")
        assert "stat" in problem["detail"]
    for path in WRITE_ROUTES:
        refused(server.http.post(f"{path}?dryRun=true", json=GOOD), 400, "invalid-parameter")


def test_an_unknown_route(server: Server) -> None:
    for path in ("/nope", "/jobs/x/y", "/%00", "/..%2f..%2fetc/passwd", "/alerts"):
        refused(server.http.get(path), 404, "not-found")
        refused(server.http.post(path, json=GOOD), 404, "not-found")
    for path in ("/jobs/nope", "/jobs/nope/events", "/jobs/' OR 1=1", "/contracts/../../etc"):
        refused(server.http.get(path), 404, "not-found")
    for path in ("/jobs/nope/cancel", f"/jobs/{'9' * 2000}/retry"):
        refused(server.http.post(path), 404, "not-found")
    unknown = "/jobs/01a20a84-8c93-7013-b13e-869c8ff945a2"
    for path in (unknown, f"{unknown}/events", f"{unknown}/attempts", f"{unknown}/logs"):
        refused(server.http.get(path), 404, "not-found")
    for path in (f"{unknown}/cancel", f"{unknown}/retry"):
        refused(server.http.post(path), 404, "not-found")


def test_a_trailing_slash_is_another_route(server: Server) -> None:
    for path in ("/jobs/", "/stats/"):
        refused(server.http.get(path), 404, "not-found")
    refused(server.http.post("/jobs/", json=GOOD), 404, "not-found")


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"])
def test_a_wrong_method(server: Server, method: str) -> None:
    for path in {*READ_ROUTES, *WRITE_ROUTES}:
        answer = server.http.request(method, path)
        if method == "BREW" and answer.status_code == 400:
            continue  # the parser knows only registered methods, and says so
        refused(answer, 405, "method-not-allowed")
        expected = set()
        if path in READ_ROUTES:
            expected |= {"GET", "HEAD"}
        if path in WRITE_ROUTES:
            expected |= {"POST"}
        allowed = {word.strip() for word in answer.headers["allow"].split(",")}
        assert allowed == expected, path


def test_post_where_only_get_is(server: Server) -> None:
    for path in set(READ_ROUTES) - set(WRITE_ROUTES):
        answer = server.http.post(path, json={})
        refused(answer, 405, "method-not-allowed")
        assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD"}, path


def test_get_where_only_post_is(server: Server) -> None:
    for path in WRITE_ROUTES[1:]:
        answer = server.http.get(path)
        refused(answer, 405, "method-not-allowed")
        assert answer.headers["allow"] == "POST"


BAD_PARAMETERS = {
    "/jobs": [
        "state=done",
        "state=",
        "state=queued,done",
        "limit=0",
        "limit=201",
        "limit=-1",
        "limit=1.5",
        "limit=ten",
        "limit=",
        "limit=%D9%A1",
        "limit=1_0",
        "limit=+5",
        "limit=" + "9" * 5000,
        "limit=0000000050" + "0" * 20,
        "limit=5&limit=6",
        "type=",
        "type=" + "a" * 201,
        "type=a%00b",
        "type=a%0Ab",
        "type=a&type=b",
        "q=",
        "q=%00",
        "q=%FF%FE",
        "since=yesterday",
        "since=2026-13-01T00:00:00Z",
        "since=2026-01-01",
        "until=0",
        "since=" + "2" * 5000,
        "parentId=me",
    ],
    "/jobs/recent": ["limit=0", "limit=201", "cursor=x"],
    "/stats": ["window=59", "window=86401", "window=x", "window=0000000600" + "0" * 30],
    "/stats/series": ["step=7", "step=5,60,7", "window=0", "type=%00", "queue="],
    "/failures": ["since=x", "limit=0", "type=%01"],
    "/events": ["type=job", "type=JOB.FAILED", "after=x", "after=1", "after=-1--1", "limit=0",
                "after=" + "9" * 40 + "-0", "after=1-1&after=2-2", "subject="],
    "/events/stream": ["type=*", "after=x", "subject=%00"],
}  # fmt: skip


def test_bad_query_parameters(server: Server) -> None:
    wrong: list[str] = []
    for path, queries in BAD_PARAMETERS.items():
        for query in queries:
            try:
                answer = server.http.get(f"{path}?{query}", timeout=5)
            except httpx.TransportError as error:
                wrong.append(f"{path}?{query[:60]}: {error!r}")
                continue
            if answer.status_code != 400:
                wrong.append(f"{path}?{query[:60]}: {answer.status_code} {answer.text[:100]}")
                continue
            problem = refused(answer, 400, "invalid-parameter")
            name = query.partition("=")[0]
            assert name in problem["detail"], problem
            assert problem["errors"], problem
    assert not wrong, "\n".join(wrong)


def test_a_bad_cursor(server: Server) -> None:
    good = server.http.get("/jobs?limit=2&type=keep").json()["next"]
    assert good, "too few jobs for a second page"
    assert server.http.get("/jobs", params={"type": "keep", "cursor": good}).status_code == 200
    flipped = good[:-2] + ("A" if good[-2] != "A" else "B") + good[-1]
    for cursor in (
        "",
        "x",
        "!!!!",
        "\u00e9",
        "%00",
        "AAAA",
        good[:-3],
        good + "AAAA",
        good[3:],
        good.swapcase(),
        flipped,
        good * 50,
        "W10",
        "WyJhIiwxXQ",
        "eyJhIjoxfQ==",
    ):
        answer = server.http.get("/jobs", params={"type": "keep", "cursor": cursor})
        refused(answer, 400, "invalid-cursor")
    others: list[dict[str, str]] = [{}, {"type": "double"}, {"type": "keep", "state": "failed"}]
    for filters in others:
        answer = server.http.get("/jobs", params={**filters, "cursor": good})
        refused(answer, 400, "invalid-cursor")
    for path in ("/events", "/jobs/01a20a84-8c93-7013-b13e-869c8ff945a2/logs"):
        assert server.http.get(path, params={"cursor": good}).status_code in (400, 404)
        refused(server.http.get(path, params={"cursor": "x"}), 400, "invalid-cursor")


# Injection

INJECTIONS = (
    "' OR '1'='1",
    "' OR 1=1 --",
    '" OR "" = "',
    "'; DROP TABLE jobs; --",
    "x' UNION SELECT * FROM idempotency_keys --",
    "') OR EXISTS(SELECT 1) --",
    "%",
    "_",
    "\\",
    "%_\\",
    "\\%",
    "a%' ESCAPE '",
    "$(id)",
    "{{7*7}}",
    "${jndi:ldap://x}",
    "*",
    "[",
    "NULL",
)
FILTERS = {
    "/jobs": ("state", "type", "queue", "worker", "correlationId", "parentId", "fingerprint",
              "since", "until", "q", "limit", "cursor"),
    "/jobs/recent": ("limit",),
    "/stats": ("window",),
    "/stats/series": ("window", "step", "type", "queue"),
    "/failures": ("type", "queue", "since", "limit"),
    "/events": ("type", "subject", "limit", "cursor", "after"),
}  # fmt: skip


def test_injection_in_every_filter(server: Server) -> None:
    for path, names in FILTERS.items():
        for name in names:
            for text in INJECTIONS:
                answer = server.http.get(path, params={name: text})
                if answer.status_code == 400:
                    kind = "invalid-cursor" if name == "cursor" else "invalid-parameter"
                    refused(answer, 400, kind)
                    continue
                assert answer.status_code == 200, (path, name, text, answer.text[:300])
                items = answer.json()["items"]
                if path == "/stats/series":
                    items = [i for i in items if any(i[k] for k in ("created", "started"))]
                assert items == [] or name == "q", (path, name, text)
    for text in INJECTIONS:
        for path in ("/jobs/{}", "/jobs/{}/logs", "/jobs/{}/events", "/contracts/{}"):
            refused(server.http.get(path.format(quote(text, safe=""))), 404, "not-found")


def test_what_is_searched_for_is_found_as_it_is_written(running: Server) -> None:
    texts = ["100%_\\", "1000x\\", 'say "hi"', "C:\\temp\\new", "caf\u00e9", "a\tb"]
    ids = {}
    for text in texts:
        body = {"type": "keep", "payload": {"text": f"needle {text}"}}
        ids[text] = running.http.post("/jobs", json=body).json()["jobId"]
    for text in texts:
        if not text.isprintable():
            continue
        found = running.http.get("/jobs", params={"q": f"needle {text}"}).json()["items"]
        assert [item["id"] for item in found] == [ids[text]], text
    assert running.http.get("/jobs", params={"q": "needle %"}).json()["items"] == []
    assert running.http.get("/jobs", params={"q": "needle _"}).json()["items"] == []


# Size and time


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


def test_many_members_and_long_strings_cost_little(server: Server) -> None:
    bodies = [
        b'{"type":"keep","payload":{' + b",".join(b'"%d":0' % i for i in range(80_000)) + b"}}",
        b'{"type":"keep","payload":{"text":[' + b",".join([b"0"] * 400_000) + b"]}}",
        b'{"type":"keep","payload":{"text":[' + b",".join([b"[]"] * 250_000) + b"]}}",
        keep(b"9" * 1_000_000),
        keep(b'"' + b"\\ud83d\\ude00" * 80_000 + b'"')[:-1] + b',"x":1}',
    ]
    for body in bodies:
        began = time.monotonic()
        answer = server.post(body)
        assert answer.status_code in (400, 422), answer.text[:300]
        assert len(answer.content) < 16_000
        assert time.monotonic() - began < 2.0, body[:50]


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
    with server.connection() as raw, contextlib.suppress(OSError):
        raw.sendall(b"GET /jobs HTTP/1.1\r\nHost: localhost\r\n" + many + b"\r\n")
        assert answer_of(raw)[0] in (400, 431)


def test_what_is_no_http(server: Server) -> None:
    for garbage in (b"\x16\x03\x01\x02\x00\x01\x00", b"HELLO\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n",
                    b"GET /jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
                    b"POST /jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n"
                    b"Content-Length: 6\r\n\r\nhello!",
                    b"POST /jobs HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n"
                    b"Content-Type: application/json\r\n\r\nZZZ\r\n"):  # fmt: skip
        with server.connection() as raw, contextlib.suppress(ConnectionResetError):
            raw.sendall(garbage)
            raw.shutdown(socket.SHUT_WR)
            data = raw.recv(65536)
            assert not data or data.startswith(b"HTTP/1.1 4"), data[:200]


def test_a_body_that_ends_too_soon(server: Server) -> None:
    with server.connection() as raw:
        raw.sendall(
            b"POST /jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Length: 100\r\n\r\n" + job()
        )
        raw.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionResetError, http.client.HTTPException):
            assert answer_of(raw)[0] in (400, 408)


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
            assert time.monotonic() - began < 1.0
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


# Actions


def test_bad_bodies_of_actions(server: Server) -> None:
    recent = server.http.get("/jobs?state=completed").json()["items"][0]["id"]
    cancel, retry = f"/jobs/{recent}/cancel", f"/jobs/{recent}/retry"
    for path in (cancel, retry):
        refused(server.post(b"{", path), 400, "malformed-json")
        refused(server.post(b"[]", path), 422, "validation-failed", "")
        refused(server.post(b'{"x":1}', path), 422, "validation-failed")
        refused(server.post(b'{"a":1,"a":1}', path), 400, "malformed-json")
        refused(server.post(b"{}", path, Content_Type="text/plain"), 415, "unsupported-media-type")
        refused(server.post(b" " * (MB + 1), path), 413, "payload-too-large")
    refused(server.post(b'{"reason":5}', cancel), 422, "validation-failed", "/reason")
    refused(server.post(b'{"payload":5}', retry), 422, "validation-failed", "/payload")
    of_text = server.http.get("/jobs?type=double&state=completed").json()["items"][0]["id"]
    answer = server.post(b'{"payload":{"n":"x"}}', f"/jobs/{of_text}/retry")
    refused(answer, 422, "validation-failed", "/payload/n")
    refused(server.post(b"", cancel), 409, "illegal-transition")


# Keys


def _expected(operation: dict[str, Any], scopes: set[str] | None) -> set[int] | None:
    """Statuses that this key must get, or None where it must be let in."""
    demands = operation["security"]
    needed = next((set(d["bearer"]) for d in demands if "bearer" in d), None)
    if needed is None:
        return None
    if scopes is None:
        return {401}
    return None if needed & scopes or "admin" in scopes else {403}


def test_every_route_asks_for_its_scope(tmp_path: Path) -> None:
    """Every operation of both OpenAPI documents × every key."""
    kept: list[str] = []
    holders: dict[str, tuple[str | None, set[str] | None]] = {
        "nobody": (None, None),
        "a stranger": (new_key("stranger", ["admin"])[0], None),
    }
    for scopes in (["read"], ["submit"], ["operate"], ["admin"], ["read", "submit", "operate"]):
        secret, entry = new_key("-".join(scopes), scopes)
        kept.append(entry)
        holders["+".join(scopes)] = (secret, set(scopes))
    with running_system(JOBS, tmp_path, OBSERVATORY_API_KEYS=",".join(kept)) as system:
        documents = [
            json.loads((CONTRACTS / "openapi" / name).read_text())
            for name in ("gateway.v1.json", "read-model.v1.json")
        ]
        for path in set(documents[0]["paths"]) & set(documents[1]["paths"]):
            documents[0]["paths"][path].pop("get", None)  # on one origin the read model answers
        wrong: list[str] = []
        tried = 0
        for document in documents:
            for path, methods in document["paths"].items():
                for method, operation in methods.items():
                    if method not in ("get", "post", "put", "delete"):
                        continue
                    if "security" not in operation:
                        operation["security"] = document["security"]
                    url = path.replace("{jobId}", "01a20a84-8c93-7013-b13e-869c8ff945a2")
                    url = url.replace("{path}", "job.v1.json").replace(
                        "{contractPath}", "job.v1.json"
                    )
                    for holder, (secret, scopes) in holders.items():
                        status = _status(system, method, url, secret)
                        expected = _expected(operation, scopes)
                        tried += 1
                        if expected is None and status in (401, 403):
                            wrong.append(f"{holder}: {method} {path}: {status}, must be let in")
                        elif expected is not None and status not in expected:
                            wrong.append(f"{holder}: {method} {path}: {status}, not {expected}")
        assert not wrong, "\n".join(wrong)
        assert tried > 120, "vacuous: the documents name few operations"


def _status(system: RunningSystem, method: str, url: str, secret: str | None) -> int:
    headers = {"Authorization": f"Bearer {secret}"} if secret else {}
    with system.http.stream(method.upper(), url, headers=headers) as answer:
        if answer.status_code in (401, 403):
            answer.read()
            slug = {401: "unauthorized", 403: "forbidden"}[answer.status_code]
            refused(answer, answer.status_code, slug)
            if answer.status_code == 401:
                assert answer.headers["www-authenticate"].startswith("Bearer")
        return answer.status_code


def test_a_key_is_never_kept_shown_or_half_right(tmp_path: Path) -> None:
    secret, entry = new_key("ops", ["admin"])
    with running_system(JOBS, tmp_path, OBSERVATORY_API_KEYS=entry) as system:
        good = {"Authorization": f"Bearer {secret}"}
        assert system.http.get("/jobs", headers=good).status_code == 200
        assert system.http.get("/jobs", headers={"Authorization": f"bearer {secret}"}).is_success
        digest = entry.rpartition(":")[2]
        for header in (
            f"Basic {secret}",
            secret,
            "Bearer",
            f"Bearer {secret[:-1]}",
            f"Bearer {secret}x",
            f"Bearer {secret.upper()}",
            f"Bearer {digest}",
            f"Bearer {entry}",
            "Bearer \u00e9",
        ):
            answer = system.http.get("/jobs", headers={"Authorization": header.encode()})  # type: ignore[dict-item]
            refused(answer, 401, "unauthorized")
            assert secret not in answer.text
        for url in (f"/jobs?key={secret}", f"/jobs?access_token={secret}"):
            assert system.http.get(url).status_code == 401
        # A slash at the end does not lead round an operator's scope.
        submit_only = system.http.post("/jobs/x/cancel/", headers=good)
        assert submit_only.status_code == 404
        job_id = system.http.post("/jobs", json=GOOD, headers=good).json()["jobId"]
        until(lambda: system.http.get(f"/jobs/{job_id}", headers=good).json()["finishedAt"])
        assert system.stop() == 0
        assert secret not in system.output
        for file in system.data.rglob("*"):
            if file.is_file():
                assert secret.encode() not in file.read_bytes(), file


def test_idempotency_keys_of_two_holders_never_meet(tmp_path: Path) -> None:
    (one, first), (two, second) = new_key("one", ["submit"]), new_key("two", ["submit"])
    with running_system(JOBS, tmp_path, OBSERVATORY_API_KEYS=f"{first},{second}") as system:
        ids = set()
        for secret in (one, two, one):
            headers = {"Authorization": f"Bearer {secret}", "Idempotency-Key": "same"}
            answer = system.http.post("/jobs", json=GOOD, headers=headers)
            assert answer.status_code == 202
            ids.add(answer.json()["jobId"])
        assert len(ids) == 2


def test_without_keys_it_listens_on_loopback_only(tmp_path: Path) -> None:
    with running_system(JOBS, tmp_path, arguments=["--host", "0.0.0.0"], start=False) as system:
        system.start(wait=False)
        assert system.wait_until_ended(timeout_s=15) != 0
        assert "without keys" in system.output
        assert "Traceback" not in system.output
