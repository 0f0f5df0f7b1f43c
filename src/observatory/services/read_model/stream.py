"""A live stream as a response that is cut off where its reader is too slow."""

from collections.abc import AsyncIterator, Callable
from typing import Final, cast

import anyio
from sse_starlette import EventSourceResponse
from sse_starlette.sse import SendTimeoutError
from starlette.types import Receive, Scope, Send

_PING_S: Final = 15
_READ_WITHIN_S: Final = 30
"""A reader that takes nothing for so long holds up what it has not read in memory no longer."""


class Stream(EventSourceResponse):
    """Server-sent events to one reader."""

    def __init__(
        self,
        frames: AsyncIterator[bytes],
        ending: anyio.Event,
        on_too_slow: Callable[[], None],
    ) -> None:
        """Answer with a stream.

        Args:
            frames: what is sent.
            ending: set when every stream is to end.
            on_too_slow: called where the reader is cut off.
        """
        self._on_too_slow = on_too_slow
        super().__init__(  # pyright: ignore[reportUnknownMemberType] - the library's own
            frames,
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
            ping=_PING_S,
            send_timeout=_READ_WITHIN_S,
            shutdown_event=ending,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until the reader goes, is cut off, or the stream is ended."""
        try:
            await super().__call__(scope, receive, send)
        except Exception as error:
            if _is_too_slow(error):
                self._on_too_slow()
            raise


def _is_too_slow(error: Exception) -> bool:
    if isinstance(error, ExceptionGroup):
        group = cast("ExceptionGroup[Exception]", error)
        return group.subgroup(SendTimeoutError) is not None
    return isinstance(error, SendTimeoutError)
