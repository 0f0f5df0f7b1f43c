"""The process that serves: what happens when it cannot begin, and what handlers do to it."""

import asyncio
import socket
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from observatory.assembly import serving
from observatory.backends.sqlite.database import FILE_NAME
from observatory.core.errors import ConfigurationError
from real import running_system, until

pytestmark = pytest.mark.anyio


async def _nothing(*_: Any) -> None:
    return None


@pytest.mark.parametrize("fault", [OSError("no more sockets"), None])
async def test_a_server_that_ends_before_it_listens_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, fault: Exception | None
) -> None:
    async def ends(*_: Any, **__: Any) -> None:
        if fault is not None:
            raise fault

    monkeypatch.setattr(uvicorn.Server, "serve", ends)
    server = serving._Server(uvicorn.Config(_nothing))
    task = asyncio.create_task(server.serve())
    with pytest.raises(type(fault) if fault else ConfigurationError):
        await asyncio.wait_for(serving._until_ready(server, task), 5)


WANDERS = """
import os
from observatory import JobContext, Observatory, Retry

app = Observatory()

@app.job("wander", max_attempts=2, retry=Retry(base=0.5, jitter=False))
def wander(ctx: JobContext) -> str:
    os.chdir("/")
    if ctx.attempt == 1:
        raise OSError("again")
    import beside
    return beside.SAID
"""


def test_a_handler_that_changes_the_working_folder_leaves_the_system_at_work(
    tmp_path: Path,
) -> None:
    (tmp_path / "beside.py").write_text("SAID = 'found'")
    with running_system(WANDERS, tmp_path, start=False) as system:
        system.data = Path("data")  # as `--data` and its default are given: from here
        system.start()
        assert f"  data     {tmp_path / 'data'}\n" in system.output
        job = system.http.post("/jobs", json={"type": "wander", "payload": {}}).json()["jobId"]
        until(lambda: system.http.get(f"/jobs/{job}").json()["state"] != "queued")
        paths = ["/jobs", "/jobs?q=again", "/stats", "/queues", "/workers", "/failures", "/"] * 4
        with ThreadPoolExecutor(len(paths)) as threads:  # more than there were connections
            answers = list(threads.map(lambda path: system.http.get(path).status_code, paths))
        assert set(answers) == {200}
        # The retry falls due after it: promoter, dispatch and claim read the file, too.
        read = f"/jobs/{job}"
        ended = until(lambda: (seen := system.http.get(read).json())["finishedAt"] and seen)
        assert (ended["state"], ended["result"]) == ("completed", "found")


SLEEPS = """
import time
from observatory import Observatory

app = Observatory()

@app.job("sleep")
def sleep() -> None:
    time.sleep(60)
"""


def test_a_start_that_cannot_listen_leaves_the_record_alone(tmp_path: Path) -> None:
    with running_system(SLEEPS, tmp_path) as system:
        job = system.http.post("/jobs", json={"type": "sleep", "payload": {}}).json()["jobId"]
        until(lambda: system.http.get(f"/jobs/{job}").json()["state"] == "running")
        system.kill()
        with closing(sqlite3.connect(system.data / FILE_NAME)) as record:
            query = "SELECT state, attempt, version FROM jobs"
            before = record.execute(query).fetchall()
            with socket.create_server(("127.0.0.1", system.port)):
                system.start(wait=False)
                assert system.wait_until_ended() == 2
            assert f"cannot listen on 127.0.0.1:{system.port}" in system.output
            assert record.execute(query).fetchall() == before
            assert before[0][:2] == ("running", 1)


HOARDS = """
import os, resource, time
from observatory import Observatory

app = Observatory()

@app.job("hoard")
def hoard() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    held = []
    try:
        while True:
            held.append(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        time.sleep(3)
    for descriptor in held:
        os.close(descriptor)
"""


def test_a_process_without_descriptors_says_so_once(tmp_path: Path) -> None:
    with running_system(HOARDS, tmp_path) as system:
        job = system.http.post("/jobs", json={"type": "hoard", "payload": {}}).json()["jobId"]
        until(lambda: "process.descriptors_used_up" in system.output)
        until(lambda: system.http.get(f"/jobs/{job}").json().get("state") == "completed")
        assert system.output.count("process.descriptors_used_up") == 1
        assert '"limit": 200' in system.output
