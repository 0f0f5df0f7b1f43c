"""A loop is a thin shell round one tick that a test can call."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import structlog

from observatory.core.errors import ObservatoryError

_log = structlog.get_logger(__name__)

_PAUSE_AFTER_ERROR_S = 1.0


class Loop:
    """Calls a tick again and again until stopped.

    `stop` may come before `start`, during a tick (which is left to end) and twice. A tick that
    raises, whatever it is, is reported and tried again after a second, not sooner when woken.
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

    async def _run(self) -> None:
        while not self._stopping.is_set():
            self._woken.clear()
            until, pause_s = self._woken, self._interval_s
            try:
                if await self._tick():
                    continue
            except Exception as error:
                # What is away is told by its name; only what nobody foresaw needs its frames.
                unforeseen = not isinstance(error, ObservatoryError)
                _log.warning(
                    "loop.tick_failed", loop=self.name, error=repr(error), exc_info=unforeseen
                )
                until, pause_s = self._stopping, max(pause_s, _PAUSE_AFTER_ERROR_S)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await until.wait()
