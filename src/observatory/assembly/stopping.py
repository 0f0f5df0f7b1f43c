"""How a process is told to end, also while a handler holds up its event loop."""

import asyncio
import os
import signal
import sys
import threading
import time
import traceback
from types import FrameType
from typing import Final

import structlog

_log = structlog.get_logger(__name__)

_MARGIN_S: Final = 5.0
"""How much longer than the grace time the event loop may stand still: a run that blocks it for a
while, and ends, is left to end."""

_LOOK_S: Final = 0.5
_SAY_S: Final = 2.0
"""How long the last words may take: nobody may be reading them."""

_SECOND_SIGNAL: Final = 130


class Stopping:
    """The wish that the process end: made by SIGTERM and SIGINT, enforced by a second one.

    The signals are Python's and not the event loop's: an event loop hears of them when it turns,
    and a handler that blocks it keeps it from turning. Python's run in the main thread between two
    steps of whatever runs there. Where the loop does not turn at all after the first signal, a
    thread ends the process. Nothing accepted is lost by that: it is as if the process had died.
    """

    def __init__(self, patience_s: float) -> None:
        """Listen to the signals; call it in the main thread, where an event loop runs.

        Args:
            patience_s: how long a drain may take.
        """
        self._asked = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._patience_s = patience_s + _MARGIN_S
        self._first = True
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    async def asked(self) -> None:
        """Return when the process is to end."""
        await self._asked.wait()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if not self._first:
            os._exit(_SECOND_SIGNAL)
        self._first = False
        threading.Thread(target=self._watch, name="stopping", daemon=True).start()
        try:
            self._loop.call_soon_threadsafe(self._asked.set)
        except RuntimeError:
            os._exit(_SECOND_SIGNAL)  # the loop has ended, and what follows it can wait for ever

    def _watch(self) -> None:
        while True:
            turned = threading.Event()
            try:
                self._loop.call_soon_threadsafe(turned.set)
            except RuntimeError:
                return  # it has ended
            if not turned.wait(self._patience_s):
                # In a thread: the loop may stand still because nobody reads what is written.
                words = threading.Thread(target=self._say, daemon=True)
                words.start()
                words.join(_SAY_S)
                os._exit(1)
            time.sleep(_LOOK_S)

    def _say(self) -> None:
        main = sys._current_frames().get(threading.main_thread().ident or 0)  # pyright: ignore[reportPrivateUsage] - documented
        _log.error(
            "process.ended_blocked",
            reason=(
                f"the event loop did not turn for {self._patience_s:g} s after the process was "
                "told to end: an async handler blocks it; make it a plain def, which runs in a "
                "thread. What ran counts as lost and runs again"
            ),
            stack="".join(traceback.format_stack(main)) if main else None,
        )
