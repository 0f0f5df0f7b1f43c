"""A loop is a thin shell round one tick that a test can call."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, TypeVar

import structlog

from observatory.core.errors import ObservatoryError

_log = structlog.get_logger(__name__)

T = TypeVar("T")

_PAUSE_AFTER_ERROR_S = 1.0


class Loop:
    """Calls a tick again and again until stopped.

    `stop` may come before `start`, during a tick (which is left to end) and twice. A tick that
    raises, whatever it is, is reported and tried again after a second, not sooner when woken. Only
    cancelling its task ends a loop otherwise.
    """

    def __init__(self, name: str, tick: Callable[[], Awaitable[object]], interval_s: float) -> None:
        """Set up, without starting.

        Args:
            name: for reports.
            tick: does what there is to do now; returns something true to be called again at once.
            interval_s: the pause between ticks.
        """
        self.name = name
        self._tick = tick
        self._interval_s = interval_s
        self._stopping = asyncio.Event()
        self._woken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def running(self) -> bool:
        """It ticks, or waits to."""
        return self._task is not None and not self._task.done()

    @property
    def ended(self) -> bool:
        """It ticks no more, although nobody stopped it."""
        return self._task is not None and self._task.done() and not self._stopping.is_set()

    def start(self) -> None:
        """Begin to tick in a task of the running event loop."""
        if self._task is None and not self._stopping.is_set():
            self._task = asyncio.create_task(self._run(), name=self.name)

    def wake(self) -> None:
        """Tick without waiting for the interval to pass."""
        self._woken.set()

    async def stop(self) -> None:
        """Let the tick under way end, then stop."""
        self._stopping.set()
        self._woken.set()
        if self._task is not None:
            await asyncio.wait([self._task])

    async def unless_stopped(self, wait: Coroutine[Any, Any, T]) -> T | None:
        """What a tick waits for; None where the loop is to stop before that comes."""
        waited, stopped = asyncio.create_task(wait), asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait((waited, stopped), return_when=asyncio.FIRST_COMPLETED)
            return waited.result() if waited.done() else None
        finally:
            waited.cancel()
            stopped.cancel()
            await asyncio.wait((waited, stopped))

    async def _run(self) -> None:
        while not self._stopping.is_set():
            self._woken.clear()
            until, pause_s = self._woken, self._interval_s
            try:
                if await self._tick():
                    continue
            except asyncio.CancelledError as error:
                # Of something that the tick waited for, unless it was asked of this task.
                if (task := asyncio.current_task()) is None or task.cancelling():
                    raise
                until, pause_s = self._failed(error)
            except Exception as error:
                until, pause_s = self._failed(error)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await until.wait()

    def _failed(self, error: BaseException) -> tuple[asyncio.Event, float]:
        """Report; returns what to wait for, and how long."""
        # What is away is told by its name; only what nobody foresaw needs its frames.
        unforeseen = not isinstance(error, ObservatoryError)
        _log.warning("loop.tick_failed", loop=self.name, error=repr(error), exc_info=unforeseen)
        return self._stopping, max(self._interval_s, _PAUSE_AFTER_ERROR_S)


def check_loops(loops: Iterable[Loop]) -> str:
    """How many turn.

    Raises:
        RuntimeError: some have ended; it names them.
    """
    known = list(loops)
    if ended := [loop.name for loop in known if loop.ended]:
        raise RuntimeError(f"ended: {', '.join(ended)}; the log of this service says why")
    return f"{len(known)} turn"
