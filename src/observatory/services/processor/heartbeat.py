"""The heartbeat: a thread of its own keeps the worker's row fresh and brings cancellations.

It is a thread so that a handler that blocks the event loop does not make a live worker look dead;
it watches the event loop from outside for the same reason.
"""

import asyncio
import math
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import Final

import structlog

from observatory.core.store import Pulse, StoreLiveness

_log = structlog.get_logger(__name__)

_BLOCKED_AFTER_S: Final = 5.0
"""An event loop that does not turn for this long is reported with what it is doing."""


class Heartbeat:
    """Beats until stopped."""

    def __init__(
        self,
        store: StoreLiveness,
        worker: str,
        interval_s: float,
        lease_s: float | None,
        status: Callable[[], tuple[int, str]],
        on_pulse: Callable[[Pulse], None],
        on_fenced: Callable[[], None],
    ) -> None:
        """Set up, without starting.

        Args:
            store: where the row is.
            worker: whose row it is.
            interval_s: seconds between beats.
            lease_s: seconds after which others take this worker for dead; None where there are no
                others, so that silence takes nothing away from it.
            status: running attempts and state, asked from the thread.
            on_pulse: called in the event loop with each answer.
            on_fenced: called in the event loop once the lease is nearly over: whatever runs must
                end before another worker may start it.
        """
        self._store = store
        self._worker = worker
        self._interval_s = interval_s
        self._renew_within_s = math.inf if lease_s is None else lease_s * 2 / 3
        self._status = status
        self._on_pulse = on_pulse
        self._on_fenced = on_fenced
        self._stopping = threading.Event()
        self._turned_at = time.monotonic()
        self._thread: threading.Thread | None = None
        self._lease_timer: asyncio.TimerHandle | None = None
        self._seen_at = time.monotonic()

    def start(self) -> None:
        """Begin to beat for the running event loop."""
        loop = asyncio.get_running_loop()
        self._seen_at = time.monotonic()
        self._watch_lease(loop, fenced=False)
        self._thread = threading.Thread(
            target=self._run, args=(loop, threading.get_ident()), name="heartbeat", daemon=True
        )
        self._thread.start()

    async def stop(self) -> None:
        """Stop beating."""
        self._stopping.set()
        if self._lease_timer is not None:
            self._lease_timer.cancel()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)

    @property
    def overdue(self) -> bool:
        """No beat has succeeded for two thirds of the lease."""
        return time.monotonic() - self._seen_at > self._renew_within_s

    def _watch_lease(self, loop: asyncio.AbstractEventLoop, fenced: bool) -> None:
        # By a clock of its own: the thread may be waiting for a store that does not answer.
        if self._renew_within_s == math.inf:
            return
        overdue = self.overdue
        if overdue and not fenced:
            self._on_fenced()
        left_s = self._seen_at + self._renew_within_s - time.monotonic()
        wait_s = max(left_s, self._interval_s if overdue else 0.0)
        self._lease_timer = loop.call_later(wait_s, self._watch_lease, loop, overdue)

    def _run(self, loop: asyncio.AbstractEventLoop, loop_thread: int) -> None:
        reported = False
        while not self._stopping.wait(self._interval_s):
            loop.call_soon_threadsafe(self._turn)
            reported = self._watch_loop(loop_thread, reported)
            asked_at = time.monotonic()
            try:
                pulse = self._store.heartbeat(self._worker, *self._status())
            except Exception as error:
                _log.warning("heartbeat.failed", error=str(error))
                continue
            # The store counts the lease from when it was told, which is no sooner than this.
            self._seen_at = asked_at
            loop.call_soon_threadsafe(self._on_pulse, pulse)

    def _turn(self) -> None:
        self._turned_at = time.monotonic()

    def _watch_loop(self, loop_thread: int, reported: bool) -> bool:
        blocked_s = time.monotonic() - self._turned_at - self._interval_s
        if blocked_s < _BLOCKED_AFTER_S:
            return False
        if not reported:
            stack = _stack_of(loop_thread)
            _log.warning("event_loop.blocked", seconds=round(blocked_s, 1), stack=stack)
        return True


def _stack_of(thread: int) -> str:
    frame = sys._current_frames().get(thread)  # pyright: ignore[reportPrivateUsage]
    return "".join(traceback.format_stack(frame)[-8:]) if frame else ""
