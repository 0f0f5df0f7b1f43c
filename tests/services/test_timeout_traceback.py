"""An attempt that took too long tells where its handler was, in frames of the handler alone."""

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from observatory import JobContext, Observatory
from observatory.services.processor import run
from services.embedding import served, until
from shapes import on_both_shapes

pytestmark = [pytest.mark.anyio, on_both_shapes]

OURS = ("processor/run.py", "anyio", "_bootstrap")


async def timed_out(app: Observatory, folder: Path) -> str:
    """The traceback of the job type "slow"."""
    async with served(app, folder) as system:
        job: dict[str, Any] = await system.reached(await system.submit("slow"))
    assert job["error"]["type"] == "TimeoutError"
    return str(job["error"]["traceback"])


def check(traceback: str, *functions: str) -> None:
    """The handler's functions stand there in the order of their calls, and nothing of ours."""
    assert traceback.startswith("Traceback (most recent call last):\n  File")
    first = traceback.splitlines()[1]
    assert first.endswith(f"in {functions[0]}"), traceback
    places = [traceback.index(f", in {function}\n") for function in functions]
    assert places == sorted(places)
    assert traceback.rstrip().endswith("TimeoutError: the attempt took longer than its 0.1 seconds")
    for name in OURS:
        assert name not in traceback, traceback


async def test_a_function_in_a_thread(tmp_path: Path) -> None:
    app, go, gone = Observatory(), threading.Event(), threading.Event()

    def ask_the_archive(ctx: JobContext) -> None:
        while not go.wait(0.01) and not ctx.cancelled:
            pass
        gone.set()

    @app.job("slow", max_attempts=1, timeout=0.1)
    def slow(ctx: JobContext) -> None:
        ask_the_archive(ctx)

    try:
        traceback = await timed_out(app, tmp_path)
    finally:
        go.set()
    check(traceback, "slow", "ask_the_archive")
    await until(gone.is_set)


async def test_a_coroutine(tmp_path: Path) -> None:
    app = Observatory()

    async def ask_the_archive() -> None:
        await asyncio.Event().wait()

    @app.job("slow", max_attempts=1, timeout=0.1)
    async def slow() -> None:
        await ask_the_archive()

    check(await timed_out(app, tmp_path), "slow", "ask_the_archive", "wait")


async def test_a_coroutine_that_does_not_let_itself_be_cancelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "_ABANDON_AFTER_S", 0.2)
    app, go = Observatory(), asyncio.Event()

    async def ask_the_archive() -> None:
        while not go.is_set():
            try:
                await go.wait()
            except asyncio.CancelledError:
                continue

    @app.job("slow", max_attempts=1, timeout=0.1)
    async def slow() -> None:
        await ask_the_archive()

    async with served(app, tmp_path) as system:
        job = await system.reached(await system.submit("slow"))
        go.set()
    check(str(job["error"]["traceback"]), "slow", "ask_the_archive", "wait")
