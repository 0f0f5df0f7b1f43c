"""The integration gate: passes on a system that is well, and names the part that is broken."""

from __future__ import annotations

import json
import math
import re
import signal
import subprocess
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from command_line import CLI, cli

from observatory.client import Client
from observatory.interfaces.cli.gate import CHECKS, Visit, _made
from real import RunningSystem, environment, running_system, until
from shapes import embedded_only, on_both_shapes

pytestmark = on_both_shapes

JOBS = """
import asyncio
from observatory import JobContext, Observatory, Retry

app = Observatory()

@app.job("broken", max_attempts=1)
def broken(n: int) -> None:
    raise ValueError("no")

@app.job("flaky", max_attempts=3, retry=Retry(base=0.05, jitter=False))
def flaky(ctx: JobContext) -> None:
    ctx.progress(0.5)
    if ctx.attempt < 3:
        raise ValueError("not yet")

@app.job("endless")
async def endless() -> None:
    await asyncio.sleep(600)

@app.job("nothing")
async def nothing() -> None: ...
"""


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory, shape: str) -> Iterator[RunningSystem]:
    with running_system(JOBS, tmp_path_factory.mktemp("gate")) as running:
        yield running


def test_a_system_that_is_well_passes(system: RunningSystem) -> None:
    told = cli("gate", "--type", "nothing", "--json", url=system.url)

    found = json.loads(told.stdout)
    assert [one for one in found["checks"] if one["verdict"] != "PASS"] == []
    assert (told.returncode, found["ok"]) == (0, True)
    assert [one["check"] for one in found["checks"]] == [name for name, _ in CHECKS]


def test_jobs_that_were_retried_and_completed_have_their_events_whole(
    system: RunningSystem,
) -> None:
    told = cli("gate", "--type", "flaky", "--jobs", "3", "--json", url=system.url)

    found = {one["check"]: one for one in json.loads(told.stdout)["checks"]}
    assert [one for one in found.values() if one["verdict"] != "PASS"] == []
    # Created; started, retrying and queued twice; started and completed.
    assert found["events"]["detail"] == "27 events, each job's in order"


def test_jobs_that_fail_are_told_by_their_own_line(system: RunningSystem) -> None:
    told = cli("gate", "--type", "broken", "--payload", '{"n": 1}', url=system.url)

    assert told.returncode == 1
    failing = [line for line in told.stdout.splitlines() if line.startswith("FAIL")]
    assert any("end" in line and "20 failed" in line for line in failing)


@pytest.mark.parametrize("form", [(), ("--json",)], ids=["text", "json"])
def test_what_was_proven_is_told_when_it_is_stopped(
    form: tuple[str, ...], system: RunningSystem
) -> None:
    command = [*CLI, "gate", "--type", "endless", "--jobs", "2", *form]
    with subprocess.Popen(
        command,
        env=environment(OBSERVATORY_URL=system.url),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell starts what it puts in the background with SIGINT ignored, tests included.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        assert process.stdout is not None
        said = ""
        if not form:
            # Before its end: the check behind it waits for a job that does not end.
            while "seen at once" not in said:
                line = process.stdout.readline()
                assert line, said
                said += line
        else:
            until(lambda: len(running(system)) == 2)
        process.send_signal(signal.SIGINT)
        rest, told = process.communicate(timeout=20)

    goes_on = running(system)
    for job in goes_on:
        system.http.post(f"/jobs/{job}/cancel")
    until(lambda: not running(system))
    assert len(goes_on) == 2
    assert process.returncode == 130
    assert re.search(r"stopped at [a-z ]+: \d+ of 17 checks passed", told)
    assert "Traceback" not in told
    if form:
        found = json.loads(rest)
        assert found["ok"] is False
        checks = [(one["verdict"], one["check"]) for one in found["checks"]]
        assert len(checks) >= 3, "what was known before it submitted"
    else:
        assert "; its 2 jobs go on" in told
        lines = (said + rest).splitlines()[1:]
        checks = [(line[:4], line[6:22].rstrip()) for line in lines]
        assert len(checks) == 5
    assert checks == [("PASS", name) for name, _ in CHECKS[: len(checks)]]


def running(system: RunningSystem) -> list[str]:
    """The jobs that would never end."""
    asked = {"type": "endless", "state": "queued,running"}
    return [one["id"] for one in system.http.get("/jobs", params=asked).json()["items"]]


def test_nobody_there_is_one_failure_and_not_the_system_s() -> None:
    told = cli("gate", "--type", "nothing", "--json", url="http://127.0.0.1:1")

    found = json.loads(told.stdout)
    assert told.returncode == 5
    assert [(one["verdict"], one["check"]) for one in found["checks"]] == [("FAIL", "ready")]


Answer = Callable[[httpx.Request, httpx.Response], httpx.Response]


@contextmanager
def altered(
    url: str, path: str, change: Callable[[Any], Any], method: str = "GET"
) -> Iterator[Client]:
    """A client of a system of which one answer is other than it should be; `path`: its end."""
    with httpx.Client(base_url=url, trust_env=False, timeout=30) as real:

        def handle(request: httpx.Request) -> httpx.Response:
            meant = request.url.path == path or (
                method != "GET" and request.url.path.endswith(path)
            )
            if request.method == method and meant and change is swallowed:
                return httpx.Response(202, json={})
            answer = real.send(
                real.build_request(
                    request.method,
                    request.url.raw_path.decode(),
                    content=request.read(),
                    headers={
                        name: value
                        for name, value in request.headers.items()
                        if name in ("content-type", "idempotency-key", "prefer", "accept")
                    },
                )
            )
            headers = {"content-type": answer.headers.get("content-type", "")}
            if "preference-applied" in answer.headers:
                headers["preference-applied"] = answer.headers["preference-applied"]
            content = answer.content
            if request.method == method and meant and answer.is_success:
                kind = headers["content-type"]
                read = answer.json() if "json" in kind else answer.text
                made = change(read)
                content = (json.dumps(made) if "json" in kind else made).encode()
            return httpx.Response(answer.status_code, headers=headers, content=content)

        with Client(url, transport=httpx.MockTransport(handle)) as client:
            yield client


def swallowed(read: Any) -> Any:
    """What is asked for does not come to the system, and is answered as if it had been done."""
    raise AssertionError("it was never answered")


def newest_gone(read: Any) -> Any:
    return read | {"items": read["items"][1:]}


def no_start(read: Any) -> Any:
    kept = [one for one in read["items"] if one["event"]["type"] != "job.started"]
    return read | {"items": kept}


BROKEN: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "ready": ("/readyz", lambda read: read | {"status": "failing"}),
    "contracts": ("/openapi.json", lambda read: read | {"openapi": "2.0"}),
    "events": ("/events", no_start),
    "numbers": ("/stats", lambda read: read | {"types": {}}),
    "lists": ("/jobs", newest_gone),
    "workers": ("/workers", lambda read: read | {"items": []}),
    "alerts": ("/alerts", lambda read: read | {"items": [{"name": "A", "severity": "critical"}]}),
    "health": ("/system", lambda read: read | {"deadLetters": 3}),
    "metrics": ("/metrics", lambda read: read.replace("observatory_", "other_")),
    "page": ("/", lambda read: "<title>Welcome to nginx!</title>"),
}


@embedded_only
def test_an_alertmanager_that_is_told_nothing_is_waited_for_and_then_named(
    system: RunningSystem,
) -> None:
    """A Prometheus that finds nothing to scrape has no alert that fires, either."""
    asked = 0

    def unwatched(read: Any, until: float = math.inf) -> Any:
        nonlocal asked
        asked += 1
        detail = None if asked > until else "Alertmanager knows no Watchdog"
        return read | {"source": "alertmanager", "detail": detail}

    with altered(system.url, "/alerts", unwatched) as client:
        found = _made("alerts", dict(CHECKS)["alerts"], Visit(client, "nothing", {}, 3, 1.0))
    assert (found.verdict, found.detail) == ("FAIL", "Alertmanager knows no Watchdog")
    assert asked > 1

    asked = 0
    with altered(system.url, "/alerts", lambda read: unwatched(read, until=2)) as client:
        found = _made("alerts", dict(CHECKS)["alerts"], Visit(client, "nothing", {}, 3, 30.0))
    assert (found.verdict, asked) == ("PASS", 3)


@embedded_only
@pytest.mark.parametrize("check", BROKEN)
def test_each_part_that_is_broken_is_named(
    check: str, tmp_path: Path, system: RunningSystem
) -> None:
    path, change = BROKEN[check]
    with altered(system.url, path, change) as client:
        visit = Visit(client, "nothing", {}, 3, 2.0)
        failed = [name for name, made in CHECKS if _made(name, made, visit).verdict == "FAIL"]

    assert check in failed
    # Numbers are what the starting point is made of, too; nothing else may be taken along.
    assert set(failed) <= {check, "numbers"}


def none_accepted(read: Any) -> Any:
    refused = {"status": 503, "title": "full", "detail": "come again"}
    return read | {"items": [{"index": n} | refused for n, _ in enumerate(read["items"])]}


BROKEN_WRITES: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "submit": ("/jobs/batch", none_accepted),
    "one key, one job": ("/jobs", lambda read: read | {"jobId": str(uuid.uuid4())}),
    "cancel": ("/cancel", swallowed),
}


@embedded_only
@pytest.mark.parametrize("check", BROKEN_WRITES)
def test_what_is_asked_for_and_not_done_is_named(check: str, system: RunningSystem) -> None:
    path, change = BROKEN_WRITES[check]
    with altered(system.url, path, change, "POST") as client:
        visit = Visit(client, "nothing", {}, 3, 2.0)
        failed = [name for name, made in CHECKS if _made(name, made, visit).verdict == "FAIL"]

    assert check in failed
    assert not {"ready", "contracts", "workers", "health", "metrics", "page"} & {*failed}
