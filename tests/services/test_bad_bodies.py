"""Bad bodies, of jobs, batches and actions, against a real server: each is answered clearly and
early, and leaves nothing behind (the fixture `server` looks)."""

import json

import pytest

from services.bad_input import GOOD, MB, PROBLEM, Server, deep, job, keep, refused
from shapes import on_both_shapes

pytestmark = on_both_shapes

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
    "1e-400, which a double holds as zero": (
        job(payload={"n": 0}).replace(b"0}", b"1e-400}"),
        "/payload/n",
    ),
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


NOT_ONE_ITEM = {
    "nothing",
    "white space",
    "words",
    "half an object",
    "more after the end",
    "two documents",
    "a trailing comma",
    "a comment",
    "single quotes",
    "a leading zero",
    "nested 10,000 deep",
    "nested 100,000 deep",
    "nested 10,000 deep, objects",
    "nested 100,000 deep, unclosed",
    "UTF-16",
    "a byte order mark",
}
"""Those after which it cannot be told where the next item begins."""


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_json(server: Server, name: str) -> None:
    body, pointer = MALFORMED[name]
    before_s = server.cpu_s
    refused(server.post(body), 400, "malformed-json", pointer)
    assert server.cpu_s - before_s < 1.0
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
    problem = refused(server.post(body), 422, slug, pointer)
    details = [error["detail"] for error in problem["errors"]]
    assert not any("does not match" in detail for detail in details), "words, no pattern"


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


def test_malformed_items_among_good_ones(running: Server) -> None:
    """A JSON array: what can be told apart is judged alone."""
    for name, (body, pointer) in MALFORMED.items():
        before = running.recorded
        answer = running.post(b"[" + b",".join([job(), body, job()]) + b"]", "/jobs/batch")
        if name in NOT_ONE_ITEM:
            refused(answer, 400, "malformed-json")
            assert running.recorded == before
            continue
        assert answer.status_code == 207, (name, answer.text[:500])
        items = answer.json()["items"]
        assert [item["status"] for item in items] == [202, 400, 202], name
        PROBLEM.validate(items[1]["problem"])
        if pointer is not None:
            assert items[1]["problem"]["errors"][0]["pointer"] == pointer, name
        assert running.recorded == before + 2


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


def test_a_job_that_waits_cannot_be_run_again(running: Server) -> None:
    job_id = running.post(job(delaySeconds=3600)).json()["jobId"]
    for body in (b"", b'{"payload":{"n":2}}'):
        problem = refused(running.post(body, f"/jobs/{job_id}/retry"), 409, "illegal-transition")
        assert "the job is scheduled; only a retrying, completed," in problem["detail"]
