"""Bad headers, routes, methods and parameters against a real server: each is answered clearly and
early, and leaves nothing behind (the fixture `server` looks)."""

import json
from urllib.parse import quote

import httpx
import pytest

from services.bad_input import GOOD, Server, check_problem, job, refused
from shapes import on_both_shapes

pytestmark = on_both_shapes

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
    "head",
    [
        b"POST /jobs HTTP/1.1\r\n",
        b"POST /jobs HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n",
        b"POST /jobs HTTP/1.1\r\nHost: localhost\r\nhost: evil.example\r\n",
        b"POST /jobs HTTP/1.0\r\nHost: localhost\r\nHost: localhost\r\n",
    ],
)
def test_a_request_has_one_host(server: Server, head: bytes) -> None:
    """RFC 9112, section 3.2: none or several is no request, whichever of them would be allowed."""
    body = job()
    rest = b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
    status, headers, answer = server.raw(head + rest + body)
    check_problem(status, headers["content-type"], answer, 400, "malformed-request")


def test_an_old_request_needs_no_host(server: Server) -> None:
    status, _, answer = server.raw(b"GET /jobs HTTP/1.0\r\n\r\n")
    assert status == 403, answer


def test_what_clients_can_cause_is_logged_as_json_and_not_again_and_again(server: Server) -> None:
    logged = len(server.system.output)
    for _ in range(30):
        assert server.raw(b"NONSENSE\r\n\r\n")[0] == 400
        upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
        server.http.get(
            "/jobs", headers=upgrade | {"Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA=="}
        )
    lines = server.system.output[logged:].splitlines()
    assert [json.loads(line)["logger"] for line in lines] == ["uvicorn.error"] * len(lines)
    assert len(lines) <= 3, lines


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
    for path in ("/nope", "/jobs/x/y", "/%00", "/..%2f..%2fetc/passwd", "/schedule"):
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


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("/jobs?type=1a", "a letter, then up to 127 letters, digits or . _ -"),
        ("/jobs?queue=a%20b", "a letter or digit, then up to 62 letters, digits or . _ -"),
        ("/jobs?worker=me", "host:pid:bootid"),
        ("/jobs?correlationId=a%20b", "visible ASCII characters"),
        ("/jobs?fingerprint=x", "16 hexadecimal digits"),
        ("/jobs?since=yesterday", "2026-01-31T12:00:00Z"),
        ("/jobs?q=%00", "1 to 200 characters"),
        ("/events?type=job", "job.failed"),
        ("/events?after=x", "such as 42-0"),
    ],
)
def test_what_a_parameter_must_be_is_said_in_words(server: Server, query: str, said: str) -> None:
    problem = refused(server.http.get(query), 400, "invalid-parameter")
    assert said in problem["detail"]
    for sign in ("^", "[", "\\", "{"):
        assert sign not in problem["detail"], "a regular expression"


def test_a_job_id_that_is_none_is_told_so(server: Server) -> None:
    for path in ("/jobs/nope", "/jobs/nope/logs"):
        problem = refused(server.http.get(path), 404, "not-found")
        assert problem["detail"] == f"there is no {path} here; a job id is a UUID"


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


def test_a_batch_has_a_key_an_item_and_none_in_a_header(server: Server) -> None:
    answer = server.http.post("/jobs/batch", json=[GOOD], headers={"Idempotency-Key": "k1"})
    problem = refused(answer, 400, "invalid-parameter")
    assert "put idempotencyKey on each item" in problem["detail"]
