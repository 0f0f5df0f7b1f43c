"""What is served equals what is written: both OpenAPI documents against a running system.

schemathesis plays every phase (examples, coverage, fuzzing, stateful) with all of its checks on
both documents at once, as one origin serves them. The live stream, which never ends, and a whole
session of real jobs are looked at apart.
"""

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import jsonschema_rs
import pytest
from httpx_sse import ServerSentEvent, connect_sse

from observatory.asgi.keys import new_key
from real import RunningSystem, running_system, until

CONTRACTS = Path(__file__).parents[2] / "contracts"
BASE = "https://observatory.example/contracts/"
SCHEMAS = {
    document["$id"]: document
    for file in CONTRACTS.rglob("*.v*.json")
    if "examples" not in file.parts and "openapi" not in file.parts
    for document in [json.loads(file.read_text())]
}
REGISTRY = jsonschema_rs.Registry(list(SCHEMAS.items()), draft=jsonschema_rs.Draft202012)

JOBS = """
import asyncio
from observatory import JobContext, NonRetryable, Observatory, Retry
app = Observatory()

@app.job("email.send", queue="mail")
async def send(to: str = "", ctx: JobContext = None) -> dict:
    ctx.progress(0.5, "half")
    ctx.log.warning("sent", to=to, times=2, nothing=None)
    return {"to": to}

@app.job("flaky", max_attempts=2, retry=Retry(base=0.01, jitter=False))
def flaky(fail: int = 1, ctx: JobContext = None) -> None:
    if ctx.attempt <= fail:
        raise ValueError(f"attempt {ctx.attempt} \\x1b[31m\\x00 of {ctx.job_id}")

@app.job("doomed")
def doomed() -> None:
    raise NonRetryable("never")

@app.job("slow", timeout=0.2, max_attempts=1)
async def slow() -> None:
    await asyncio.sleep(30)

@app.job("long")
async def long() -> None:
    await asyncio.sleep(30)

@app.job("unserialisable", max_attempts=1)
def unserialisable() -> object:
    return object()
"""

ANY_PAYLOAD = """
from observatory import Observatory
app = Observatory()

@app.job("email.send", queue="mail", payload_schema={"type": "object"})
async def send(**payload: object) -> dict:
    return {"members": len(payload)}
"""

SERVER = """
import asyncio, sys
from pathlib import Path
import uvicorn
from observatory.assembly.system import running
from observatory.settings import Settings
from jobs import app

async def main(data, *ports):
    async with running(app, Settings(data=Path(data))) as system:
        faces = (system.app, system.gateway_app, system.read_model_app)
        servers = [
            uvicorn.Server(uvicorn.Config(f, port=int(p), lifespan="off", log_level="error"))
            for f, p in zip(faces, ports, strict=True)
        ]
        await asyncio.gather(*(server.serve() for server in servers))

asyncio.run(main(*sys.argv[1:]))
"""

HOOKS = '''
"""What a JSON Schema cannot say, and the messages it does not know how to write."""

import uuid
import schemathesis


def fits(value):
    if isinstance(value, bool):
        return True
    if isinstance(value, int):
        return -(2**63) <= value < 2**63
    if isinstance(value, float) and value.is_integer():
        return -(2**63) <= value < 2**63  # written without a fraction, it is an integer
    if isinstance(value, dict):
        return all(map(fits, value.values()))
    if isinstance(value, list):
        return all(map(fits, value))
    return True


@schemathesis.hook
def filter_body(context, body):
    """Integers beyond 64 bits are refused wherever they stand."""
    return fits(body)


@schemathesis.hook
def filter_case(context, case):
    """What is no text cannot be written as lines."""
    return case.media_type != "application/x-ndjson" or isinstance(case.body, str)


@schemathesis.hook
def before_call(context, case, kwargs):
    """A key is for one body, a contract version for one job type: make them so. A link may take
    the end of /jobs/batch for a job's id, which is then another path."""
    if (case.path_parameters or {}).get("jobId") == "batch":
        case.path_parameters["jobId"] = str(uuid.uuid4())
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    headers = case.headers or {}
    for name in list(headers):
        if name.lower() == "idempotency-key":
            key = headers[name]
            quote = '"' if key.startswith('"') else ""
            bare = key.strip('"') if quote else key
            headers[name] = quote + (uuid.uuid4().hex + bare)[: max(33, len(bare))] + quote
    bodies = case.body if isinstance(case.body, list) else [case.body]
    for number, body in enumerate(bodies):
        if isinstance(body, dict):
            if "contractVersion" in body:
                body["contractVersion"] = 1
            if "idempotencyKey" in body:
                body["idempotencyKey"] = uuid.uuid4().hex


@schemathesis.serializer("application/x-ndjson")
def ndjson(context, value):
    return value.encode() if isinstance(value, str) else str(value).encode()
'''


# schemathesis


class Faces:
    """The origin and, beside it, each interface alone; all of one embedded system."""

    def __init__(self, folder: Path, ports: list[int], key: str) -> None:
        self.folder = folder
        self.origin, self.gateway, self.read_model = (f"http://127.0.0.1:{p}" for p in ports)
        self.headers = {"Authorization": f"Bearer {key}"}

    def document(self, url: str) -> dict[str, Any]:
        answer = httpx.get(f"{url}/openapi.json", headers=self.headers, trust_env=False)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Faces]:
    folder = tmp_path_factory.mktemp("faces")
    (folder / "jobs.py").write_text(ANY_PAYLOAD)
    (folder / "server.py").write_text(SERVER)
    (folder / "hooks.py").write_text(HOOKS)
    key, entry = new_key("tester", ["admin"])
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    kept = {k: v for k, v in os.environ.items() if not k.startswith("OBSERVATORY_")}
    # A schema cannot list the job types of one installation, so any type is let in here.
    changes = {"OBSERVATORY_API_KEYS": entry, "OBSERVATORY_ALLOW_UNKNOWN_TYPES": "1"}
    with (folder / "output.txt").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "server.py", str(folder / "data"), *map(str, ports)],
            cwd=folder,
            env={**kept, **changes},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    made = Faces(folder, ports, key)

    def ready() -> bool:
        assert process.poll() is None, (folder / "output.txt").read_text()
        try:
            return httpx.get(f"{made.read_model}/readyz", trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    try:
        until(ready, timeout_s=20)
        yield made
        assert process.poll() is None, (folder / "output.txt").read_text()[-3000:]
    finally:
        process.kill()
        process.wait(10)


def one_document(gateway: dict[str, Any], read_model: dict[str, Any]) -> dict[str, Any]:
    """Both documents as the one origin serves them: GET by the read model, all else by the gateway.

    Added are links from a submitted job to its views, so that they are followed; left out is the
    cursor, which only an answer can give (tests/services/test_bad_requests.py tries others).
    """

    def renamed(node: Any) -> Any:
        if isinstance(node, dict):
            made = {key: renamed(value) for key, value in node.items()}
            if isinstance(reference := made.get("$ref"), str):
                made["$ref"] = re.sub(r"^(#/components/\w+/)", r"\1gateway_", reference)
            return made
        return [renamed(item) for item in node] if isinstance(node, list) else node

    other = renamed(gateway)
    whole = json.loads(json.dumps(read_model))
    for kind, entries in other["components"].items():
        into = whole["components"].setdefault(kind, {})
        if kind == "securitySchemes":
            into.update(entries)
        else:
            into.update({f"gateway_{name}": entry for name, entry in entries.items()})
    for path, item in other["paths"].items():
        operations = {m: operation for m, operation in item.items() if m != "get"}
        if path not in whole["paths"]:
            whole["paths"][path] = operations
            continue
        shared = operations.pop("parameters", [])
        for method, operation in operations.items():
            operation["parameters"] = [*shared, *operation.get("parameters", [])]
            whole["paths"][path][method] = operation
    job_id = {"jobId": "$response.body#/jobId"}
    views = ("", "/events", "/attempts", "/logs")
    links = whole["paths"]["/jobs"]["post"]["responses"]["202"].setdefault("links", {})
    for view in views:
        operation = whole["paths"][f"/jobs/{{jobId}}{view}"]["get"]["operationId"]
        links[operation] = {"operationId": operation, "parameters": job_id}
    for item in whole["paths"].values():
        for method, operation in item.items():
            if method == "parameters":
                continue
            # Keys are set here, so a request without one is not as good as one with.
            operation["security"] = [s for s in operation.get("security", []) if s]
            operation["parameters"] = [
                parameter
                for parameter in operation.get("parameters", [])
                if not parameter.get("$ref", "").endswith("/Cursor")
            ]
    return dict(whole)


@pytest.mark.slow
def test_schemathesis_finds_nothing(faces: Faces) -> None:
    document = one_document(faces.document(faces.gateway), faces.document(faces.read_model))
    path = faces.folder / "openapi.json"
    path.write_text(json.dumps(document))
    report = faces.folder / "report.txt"
    command = [sys.executable, "-m", "schemathesis.cli", "run", str(path), "--url", faces.origin]
    command += ["--header", f"Authorization: {faces.headers['Authorization']}"]
    command += ["--checks", "all", "--max-examples", "25", "--generation-deterministic"]
    command += [
        "--generation-allow-x00",
        "false",
    ]
    command += ["--request-timeout", "10", "--continue-on-failure", "--no-color"]
    command += ["--exclude-path", "/events/stream", "--warnings", "off"]
    with report.open("wb") as output:
        code = subprocess.run(
            command,
            cwd=faces.folder,
            env={**os.environ, "SCHEMATHESIS_HOOKS": "hooks", "PYTHONPATH": str(faces.folder)},
            stdout=output,
            stderr=subprocess.STDOUT,
            timeout=240,
            check=False,
        ).returncode
    text = report.read_text(errors="replace")
    cases = re.search(r"(\d+) generated", text)
    assert cases, text[-5000:]
    assert code == 0, text[-20_000:]
    assert int(cases[1]) > 1000, f"vacuous: {cases[0]}"
    assert "Internal error" not in (faces.folder / "output.txt").read_text()


def test_each_interface_serves_its_own_document(faces: Faces) -> None:
    gateway, read_model = faces.document(faces.gateway), faces.document(faces.read_model)
    assert "/jobs/batch" in gateway["paths"]
    assert "/jobs/batch" not in read_model["paths"]
    assert faces.document(faces.origin) == read_model
    for document in (gateway, read_model):
        text = json.dumps(document)
        assert set(re.findall(r'"\$ref": "([^#])', text)) == set(), "it does not stand alone"


def test_every_route_is_in_a_document(faces: Faces) -> None:
    """And every parameter that a route reads is in it, so that no door is left out of the tests."""
    read_model = faces.document(faces.read_model)
    for path, item in read_model["paths"].items():
        names = {
            parameter["name"]
            for given in [*item.get("parameters", []), *item["get"].get("parameters", [])]
            for parameter in [_followed(read_model, given)]
            if parameter["in"] == "query"
        }
        url = path.replace("{jobId}", "019363a7-2c1d-7b52-9d3e-6f1c2a3b4c5d")
        url = url.replace("{path}", "job.v1.json") + "?surely-unknown=1"
        answer = httpx.get(faces.read_model + url, headers=faces.headers, trust_env=False)
        assert answer.status_code == 400, path
        known = re.search(r"known here: (.*)", answer.json()["detail"])
        told = set(known[1].split(", ")) if known else set()
        assert told == names, path


def _followed(document: Any, node: Any) -> Any:
    while "$ref" in node:
        found = document
        for token in node["$ref"].removeprefix("#/").split("/"):
            found = found[token.replace("~1", "/").replace("~0", "~")]
        node = found
    return node


# The live stream


def _events(frames: Iterator[ServerSentEvent], count: int) -> list[Any]:
    found: list[Any] = []
    for event in frames:
        if event.data:  # not the first frame, which only says when to come back
            found.append(event)
        if len(found) >= count:
            break
    return found


def _log(http: httpx.Client) -> list[tuple[str, dict[str, Any]]]:
    """Every event of the log with its position, oldest first."""
    after, found = "0-0", []
    while items := http.get("/events", params={"after": after, "limit": 200}).json()["items"]:
        found += [(item["position"], item["event"]) for item in items]
        after = items[-1]["position"]
    return found


def test_the_live_stream_misses_and_repeats_nothing(tmp_path: Path) -> None:
    with running_system(JOBS, tmp_path) as system:
        with connect_sse(system.http, "GET", "/events/stream?after=0-0") as source:
            assert source.response.status_code == 200
            assert source.response.headers["content-type"].startswith("text/event-stream")
            assert source.response.headers["cache-control"] == "no-store"
            for _ in range(5):
                httpx.post(f"{system.url}/jobs", json={"type": "email.send"}, trust_env=False)
                time.sleep(0.05)
            seen = _events(source.iter_sse(), 15)
        # Resumed again and again from wherever it was cut, also in the middle of a message.
        batch = [{"type": "flaky", "payload": {"fail": n % 3}} for n in range(40)]
        assert system.http.post("/jobs/batch", json=batch).status_code == 202
        until(lambda: not _busy(system))
        chance = iter([1, 2, 3, 5, 8, 13, 21, 34, 55, 4, 7, 11] * 10)
        total = len(_log(system.http))
        while len(seen) < total:
            headers = {"Last-Event-ID": seen[-1].id}
            with connect_sse(system.http, "GET", "/events/stream", headers=headers) as source:
                seen += _events(source.iter_sse(), min(next(chance), total - len(seen)))
        log = _log(system.http)[: len(seen)]
        assert [event.id for event in seen] == [position for position, _ in log]
        assert [event.json() for event in seen] == [event for _, event in log]
        assert {event.event for event in seen} == {"message"}
        envelope = _validator("envelope.v1.json")
        for event in seen:
            envelope.validate(event.json())
            _validator(f"events/{event.json()['type']}.v1.json").validate(event.json()["data"])
        # Across a restart: the position still holds.
        system.restart()
        system.http.post("/jobs", json={"type": "email.send"})
        headers = {"Last-Event-ID": seen[-1].id}
        with connect_sse(system.http, "GET", "/events/stream", headers=headers) as source:
            (following,) = _events(source.iter_sse(), 1)
        log = _log(system.http)
        assert following.id == log[len(seen)][0]


def test_the_live_stream_filters(tmp_path: Path) -> None:
    with running_system(JOBS, tmp_path) as system:
        ids = [
            system.http.post("/jobs", json={"type": "email.send"}).json()["jobId"] for _ in range(3)
        ]
        query = f"after=0-0&type=job.created,job.completed&subject={ids[1]}"
        with connect_sse(system.http, "GET", f"/events/stream?{query}") as source:
            found = [event.json() for event in _events(source.iter_sse(), 2)]
        assert [event["type"] for event in found] == ["job.created", "job.completed"]
        assert {event["subject"] for event in found} == {ids[1]}


@pytest.mark.parametrize(
    "position", ["999999999999-0", "x", "1", "-1--1", "1-1; DROP", "9" * 400 + "-0"]
)
def test_an_impossible_position_resets(
    tmp_path_factory: Any, live: RunningSystem, position: str
) -> None:
    with connect_sse(
        live.http, "GET", "/events/stream", headers={"Last-Event-ID": position}
    ) as source:
        frames = source.iter_sse()
        (first,) = _events(frames, 1)
        assert first.event == "reset"
        _validator("http/stream-reset.v1.json").validate(first.json())
        httpx.post(f"{live.url}/jobs", json={"type": "email.send"}, trust_env=False)
        (following,) = _events(frames, 1)
        assert following.event == "message"
        assert following.json()["specversion"] == "1.0"


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSystem]:
    with running_system(JOBS, tmp_path_factory.mktemp("live")) as system:
        yield system


def test_a_client_that_never_reads_holds_nobody_up(live: RunningSystem) -> None:
    with socket.create_connection(("127.0.0.1", live.port)) as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.sendall(b"GET /events/stream?after=0-0 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        batch = [{"type": "email.send"} for _ in range(500)]
        for _ in range(4):
            began = time.monotonic()
            assert live.http.post("/jobs/batch", json=batch).status_code == 202
            assert time.monotonic() - began < 5
        until(lambda: not _busy(live), timeout_s=30)


# A session of real jobs


def _validator(path: str) -> jsonschema_rs.Draft202012Validator:
    return jsonschema_rs.Draft202012Validator(
        SCHEMAS[BASE + path], registry=REGISTRY, validate_formats=True, offline=True
    )


def _busy(system: RunningSystem) -> int:
    stats = system.http.get("/stats").json()
    waiting = ("scheduled", "queued", "running", "retrying")
    return sum(stats["states"][s] for s in waiting) or int(stats["lagSeconds"] > 0)


def test_every_answer_of_a_session_meets_its_contract(tmp_path: Path) -> None:
    asked = 0

    def get(url: str, contract: str, **headers: str) -> Any:
        nonlocal asked
        asked += 1
        answer = system.http.get(url, headers=headers)
        assert answer.status_code == 200, (url, answer.text)
        body = answer.json()
        problems = [
            f"{e.instance_path}: {e.message}" for e in _validator(contract).iter_errors(body)
        ]
        assert not problems, (url, problems[:5])
        for name in ("as-of", "log-offset", "lag-seconds"):
            assert f"observatory-{name}" in answer.headers, url
        return body

    with running_system(JOBS, tmp_path) as system:
        empty = get("/jobs", "http/job-page.v1.json")
        assert empty["items"] == []
        get("/stats", "http/stats.v1.json")
        get("/failures", "http/failures.v1.json")
        accepted = _validator("http/job-accepted.v1.json")
        ids: dict[str, str] = {}
        for kind in ("email.send", "flaky", "doomed", "slow", "long", "unserialisable"):
            answer = system.http.post(
                "/jobs", json={"type": kind}, headers={"Idempotency-Key": kind}
            )
            accepted.validate(answer.json())
            ids[kind] = answer.json()["jobId"]
        batch = system.http.post(
            "/jobs/batch",
            json=[
                {"type": "email.send", "payload": {"to": "x"}, "priority": "high"},
                {"type": "email.send", "delaySeconds": 300, "correlationId": "c-1"},
                {"type": "flaky", "payload": {"fail": 5}},
                {"type": "nope"},
                {"type": "email.send", "payload": {"to": 1}},
            ],
        )
        _validator("http/batch-outcome.v1.json").validate(batch.json())
        later = batch.json()["items"][1]["jobId"]
        until(lambda: system.http.get(f"/jobs/{ids['long']}").json()["state"] == "running")
        for job_id in (later, ids["long"]):
            cancelled = system.http.post(f"/jobs/{job_id}/cancel", json={"reason": "no more"})
            assert cancelled.status_code == 202
            _validator("http/cancellation.v1.json").validate(cancelled.json())
        until(lambda: not _busy(system), timeout_s=20)
        again = system.http.post(f"/jobs/{ids['doomed']}/retry")
        accepted.validate(again.json())
        edited = system.http.post(f"/jobs/{ids['flaky']}/retry", json={"payload": {"fail": 0}})
        accepted.validate(edited.json())
        assert edited.json()["jobId"] != ids["flaky"]
        # Asked of the store: the aggregates may not have counted the retries yet.
        waiting = "/jobs?state=scheduled,queued,running,retrying"
        until(lambda: not system.http.get(waiting).json()["items"], timeout_s=20)
        until(lambda: not _busy(system), timeout_s=20)

        page, listed = "/jobs?limit=3", []
        while True:
            body = get(page, "http/job-page.v1.json")
            listed += body["items"]
            if body["next"] is None:
                break
            page = f"/jobs?limit=3&cursor={quote(body['next'])}"
        assert len({job["id"] for job in listed}) == len(listed) == 10
        assert {job["state"] for job in listed} == {"completed", "failed", "cancelled"}
        summary, event = _validator("job-summary.v1.json"), _validator("envelope.v1.json")
        for job in listed:
            summary.validate(job)
            url = f"/jobs/{job['id']}"
            get(url, "job.v1.json", Prefer="wait=1")
            attempts = get(f"{url}/attempts", "http/job-attempts.v1.json")["items"]
            assert [a["attempt"] for a in attempts] == list(range(1, job["attempt"] + 1))
            logs = get(f"{url}/logs?limit=1", "http/job-logs.v1.json")["items"]
            assert bool(logs) == (job["type"] == "email.send" and job["attempt"] > 0)
            for item in get(f"{url}/events", "http/job-events.v1.json")["items"]:
                event.validate(item)
                _validator(f"events/{item['type']}.v1.json").validate(item["data"])
        get("/jobs/recent?limit=4", "http/job-page.v1.json")
        filters = {
            "state=failed,cancelled": 6,
            "state=failed&state=cancelled": 6,
            "type=flaky": 3,
            "queue=mail": 3,
            "correlationId=c-1": 1,
            f"parentId={ids['flaky']}": 1,
            "since=2000-01-01T00:00:00Z&until=2001-01-01T00:00:00Z": 0,
            "q=never": 1,
        }
        for query, count in filters.items():
            found = get(f"/jobs?{query}", "http/job-page.v1.json")["items"]
            assert len(found) == count, query
        for window in (60, 900, 86_400):
            stats = get(f"/stats?window={window}", "http/stats.v1.json")
            assert sum(stats["states"].values()) == 10
        for query in ("", "?window=60&step=5", "?window=86400&step=60&type=flaky&queue=default"):
            series = get(f"/stats/series{query}", "http/stats-series.v1.json")["items"]
            assert series == sorted(series, key=lambda item: item["at"])
        failures = get("/failures", "http/failures.v1.json")["items"]
        assert {f["type"] for f in failures} == {"doomed", "flaky", "slow", "unserialisable"}
        for group in failures:
            same = get(f"/jobs?fingerprint={group['fingerprint']}", "http/job-page.v1.json")[
                "items"
            ]
            assert group["sampleJobId"] in [job["id"] for job in same]
            assert len(same) == group["count"]
        get("/queues", "http/queues.v1.json")
        workers = get("/workers", "http/workers.v1.json")["items"]
        assert [w["state"] for w in workers] == ["active"]
        page, events = "/events?limit=7", []
        while True:
            body = get(page, "http/event-page.v1.json")
            events += body["items"]
            if body["next"] is None:
                break
            page = f"/events?limit=7&cursor={quote(body['next'])}"
        forward = _log(system.http)
        assert [e["position"] for e in reversed(events)] == [p for p, _ in forward[: len(events)]]
        rare = get("/events?after=0-0&type=job.cancelled", "http/event-page.v1.json")["items"]
        assert len(rare) == 2
        catalogue = get("/contracts", "http/contract-list.v1.json")["items"]
        assert {i["name"] for i in catalogue if i["kind"] == "jobType"} >= {"email.send", "flaky"}
        for item in catalogue:
            schema = system.http.get(item["href"])
            assert schema.status_code == 200, item
            assert schema.headers["content-type"] == "application/schema+json"
            assert "observatory-as-of" in schema.headers, item
            jsonschema_rs.meta.validate(schema.json())
        for path in ("/livez", "/readyz", "/healthz"):
            health = system.http.get(path)
            _validator("http/health.v1.json").validate(health.json())
        metrics = system.http.get("/metrics")
        assert metrics.headers["content-type"].startswith("text/plain; version=0.0.4")
        assert asked > 60, "vacuous: little was asked"


def test_a_rare_event_is_found_far_behind(tmp_path: Path) -> None:
    """`after` pages on through events of other types until there is nothing more."""
    with running_system(JOBS, tmp_path) as system:
        for _ in range(3):
            batch = [{"type": "email.send"}] * 100
            system.http.post("/jobs/batch", json=batch)
            until(lambda: not _busy(system), timeout_s=20)
        for _ in range(120):
            system.http.post("/jobs", json={"type": "email.send"})
        system.http.post("/jobs", json={"type": "doomed"})
        until(lambda: not _busy(system), timeout_s=20)
        wanted = {"type": "job.failed"}
        newest = _all_pages(system.http, wanted)
        assert [e["event"]["type"] for e in newest] == ["job.failed"]
        oldest = _all_pages(system.http, wanted | {"after": "0-0"})
        assert oldest == newest


def _all_pages(http: httpx.Client, query: dict[str, str]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    given = dict(query)
    for _ in range(1000):
        body = http.get("/events", params=given).json()
        found += body["items"]
        if body["next"] is None:
            return found
        given = query | {"cursor": body["next"]}
    raise AssertionError("the pages never end")
