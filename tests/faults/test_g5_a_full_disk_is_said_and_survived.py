"""G5 in the embedded shape: when the disk is full, nothing pretends.

A submit is refused with a 503 problem or it is on record, never anything between; reads go on;
running jobs keep their outcome until it can be written; once there is room all goes on by itself.
"""

import contextlib
import os
import resource
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import oracle
import pytest
import records
from oracle import ClientLedger
from workload import CONCURRENCY, JOBS, LEDGER, settings

from real import RunningSystem, running_system, until

Fault = Callable[[RunningSystem, Path], "contextlib.AbstractContextManager[None]"]


@contextlib.contextmanager
def a_full_file_system(system: RunningSystem, data: Path) -> Iterator[None]:
    """A tmpfs of 16 MB under the data folder, filled up with a ballast file."""
    ballast = data / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            if not file.write(b"\0" * 4096):
                break
    try:
        yield
    finally:
        ballast.unlink()


@contextlib.contextmanager
def a_file_size_limit(system: RunningSystem, data: Path) -> Iterator[None]:
    """RLIMIT_FSIZE on the live process: no file of it can grow from here on (EFBIG)."""
    assert system.process is not None, "never started"
    wal = data / "observatory.db-wal"
    limit = wal.stat().st_size if wal.exists() else 0
    _, hard = resource.prlimit(system.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(system.process.pid, resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        if system.alive:
            resource.prlimit(system.process.pid, resource.RLIMIT_FSIZE, (hard, hard))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path | None]:
    """A mounted tmpfs of 16 MB, or None where this user may not mount."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(folder)]
    mounted = os.geteuid() == 0 and subprocess.run(command, check=False).returncode == 0
    try:
        yield folder if mounted else None
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.slow
@pytest.mark.parametrize("fault", [a_full_file_system, a_file_size_limit])
def test_a_full_disk_refuses_keeps_and_resumes(
    tmp_path: Path, small_disk: Path | None, fault: Fault
) -> None:
    if small_disk is None:
        fault = a_file_size_limit  # the other way to the same fault; it needs no rights
    client = ClientLedger()
    with running_system(JOBS, tmp_path, start=False, **settings(tmp_path)) as system:
        if small_disk is not None and fault is a_full_file_system:
            system.data = small_disk
        system.start()
        for n in range(20):
            assert _submit(system, client, "work", n, 0.01) == 202
        oracle.wait_until_quiet(system.http, accepted=20, timeout_s=10)
        # These run into the fault: threads and tasks, with log lines and progress.
        for n in range(20, 32):
            assert _submit(system, client, "work" if n % 2 else "wait", n, 1.0) == 202
        until(lambda: len(oracle.in_flight(oracle.effects(tmp_path / LEDGER))) == 12)

        with fault(system, system.data):
            refused = 0
            deadline = time.monotonic() + 4.0
            number = 32
            while time.monotonic() < deadline:
                refused += _submit(system, client, "work", number, 0.01, padding=20_000) == 503
                number += 1
                time.sleep(0.05)
            assert refused >= 10, f"vacuous: the disk was not full, {refused} of {number - 32}"
            assert system.alive, system.output[-3000:]
            # Reads go on.
            assert system.http.get("/jobs").status_code == 200
            assert system.http.get("/stats").status_code == 200

        until(
            lambda: _submit(system, client, "work", number, 0.01) == 202,
            timeout_s=10,
            why=lambda: f"it does not accept again:\n{system.output[-3000:]}",
        )
        # Every key that was refused can be used again, and is accepted now.
        for submit in list(client.submits.values()):
            if not submit.acknowledged:
                assert _submit(system, client, submit.type, submit.number, 0.01) == 202
        stats = oracle.wait_until_quiet(system.http, accepted=client.acknowledged, timeout_s=30)
        assert system.stop() == 0, system.output[-3000:]
        oracle.judge(
            record=records.embedded(system.data),
            client=client,
            ran=oracle.effects(tmp_path / LEDGER),
            stats=stats,
            kills=0,
            concurrency=CONCURRENCY,
        ).demand()


@pytest.mark.slow
def test_sigterm_with_a_full_disk_ends_it_and_loses_nothing(tmp_path: Path) -> None:
    """The outcome of a run that cannot be written must not keep the process from ending."""
    client = ClientLedger()
    changes = settings(tmp_path) | {"OBSERVATORY_GRACE_SECONDS": "2"}
    with running_system(JOBS, tmp_path, **changes) as system:
        for n in range(4):
            assert _submit(system, client, "wait", n, 1.0) == 202
        until(lambda: len(oracle.in_flight(oracle.effects(tmp_path / LEDGER))) == 4)
        with a_file_size_limit(system, system.data):
            time.sleep(1.5)
            assert _submit(system, client, "wait", 9, 0.01) == 503, "vacuous: the disk is not full"
            system.signal(signal.SIGTERM)
            assert system.wait_until_ended(timeout_s=20) == 0, system.output[-3000:]
            assert "Traceback" not in system.output, system.output[-3000:]
        system.start()
        assert _submit(system, client, "wait", 9, 0.01) == 202
        stats = oracle.wait_until_quiet(system.http, accepted=5, timeout_s=20)
        assert system.stop() == 0
        oracle.judge(
            record=records.embedded(system.data),
            client=client,
            ran=oracle.effects(tmp_path / LEDGER),
            stats=stats,
            kills=1,
            concurrency=CONCURRENCY,
        ).demand()


def _submit(
    system: RunningSystem,
    client: ClientLedger,
    kind: str,
    number: int,
    pause: float,
    padding: int = 0,
) -> int:
    submit = client.want(f"{kind}-{number}", kind, number)
    client.sent([submit])
    body: dict[str, Any] = {"type": kind, "payload": {"n": number, "pause": pause}}
    headers = {"Idempotency-Key": submit.key}
    if padding:
        headers["X-Padding"] = "x" * padding
    try:
        answer = system.http.post("/jobs", json=body, headers=headers, timeout=10)
    except httpx.TransportError:
        client.unknown([submit])
        return 0
    client.answered(submit, answer.status_code, answer.json().get("jobId"))
    if answer.status_code == 503:
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["retry-after"].isdigit()
        problem = answer.json()
        assert problem["type"].endswith("/store-unavailable"), problem
        assert problem["status"] == 503
    return answer.status_code
