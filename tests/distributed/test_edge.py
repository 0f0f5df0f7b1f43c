"""A real nginx with the edge's configuration in front of real services: one origin for all."""

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import pytest

from development.nginx import NginxServer
from real import running_service, until

pytestmark = pytest.mark.slow

JOBS = """
from observatory import Observatory

app = Observatory()

@app.job("double")
async def double(n: int) -> int:
    return 2 * n
"""


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NginxServer]:
    """The services, each in a process of its own, and nginx before them."""
    from conformance import postgres, rabbitmq, redis_bench

    database = postgres.new_database(postgres.server())
    redis_bench.server().cli("FLUSHALL")
    settings = {
        "OBSERVATORY_SPINE_URL": rabbitmq.new_virtual_host(),
        "OBSERVATORY_STORE_URL": database,
        "OBSERVATORY_AGGREGATES_URL": redis_bench.server().url(),
    }
    folder = tmp_path_factory.mktemp("edge")
    with ExitStack() as stack:
        gateway, reads, _ = (
            stack.enter_context(running_service(name, folder, **settings))
            for name in ("gateway", "read-model", "metrics-engine")
        )
        stack.enter_context(running_service("processor", folder, module_source=JOBS, **settings))
        at = [f"127.0.0.1:{httpx.URL(one.url).port}" for one in (gateway, reads)]
        yield stack.enter_context(NginxServer(folder / "nginx", *at))
    postgres.drop_database(postgres.server(), database)


@pytest.fixture
def http(edge: NginxServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=edge.url(), trust_env=False, timeout=20) as client:
        yield client


def accepted(http: httpx.Client) -> str:
    def submitted() -> str | None:
        answer = http.post("/jobs", json={"type": "double", "payload": {"n": 21}})
        return str(answer.json()["jobId"]) if answer.status_code == 202 else None

    return str(until(submitted))


def test_what_is_written_goes_to_the_gateway_and_what_is_read_to_the_read_model(
    http: httpx.Client,
) -> None:
    job_id = accepted(http)

    job = http.get(f"/jobs/{job_id}", headers={"Prefer": "wait=10"}).json()

    assert (job["state"], job["result"]) == ("completed", 42)
    assert http.head("/jobs").status_code == 200
    assert http.post(f"/jobs/{job_id}/retry").status_code == 202
    assert http.delete("/jobs").status_code == 405


def test_the_page_is_at_the_same_origin(http: httpx.Client) -> None:
    answer = http.get("/")

    assert answer.status_code == 200
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    assert "<title>Observatory</title>" in answer.text


def test_an_event_comes_through_at_once(http: httpx.Client) -> None:
    with http.stream("GET", "/events/stream") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        lines = stream.iter_lines()
        next(lines)
        began = time.monotonic()
        job_id = accepted(http)
        for line in lines:
            if line.startswith("data:") and json.loads(line[5:])["subject"] == job_id:
                break
        # Buffered it would come when 4 kB are together, or never.
        assert time.monotonic() - began < 5


def test_what_is_too_large_is_refused_by_the_service_in_its_own_words(http: httpx.Client) -> None:
    answer = http.post(
        "/jobs",
        content=b'{"type": "double", "payload": {"n": "' + b"1" * 2_000_000 + b'"}}',
        headers={"content-type": "application/json"},
    )

    assert answer.status_code == 413
    assert answer.headers["content-type"] == "application/problem+json"


def test_what_no_service_would_take_is_refused_by_the_edge(http: httpx.Client) -> None:
    answer = http.post(
        "/jobs", content=b"x" * 18_000_000, headers={"content-type": "application/json"}
    )

    assert answer.status_code == 413
    assert "nginx" in answer.text


def test_who_waits_for_a_job_for_a_minute_is_answered(http: httpx.Client) -> None:
    item = {"type": "double", "payload": {"n": 1}, "delaySeconds": 3600}
    job_id = http.post("/jobs", json=item).json()["jobId"]

    answer = http.get(f"/jobs/{job_id}", headers={"Prefer": "wait=60"}, timeout=90)

    assert (answer.status_code, answer.json()["state"]) == (200, "scheduled")
