"""The events of the log's messages: told apart only as far as somebody asks.

A message is what was committed together, up to a thousand jobs, so it is never taken apart for
nothing: what an event is about is read first, and bodies only of those that are wanted.
"""

import re
from collections.abc import Iterator
from typing import Final

import msgspec

from observatory.core.spine import LogMessage

_POSITION: Final = re.compile(r"(\d{1,18})-(\d{1,9})\Z")

_PLAIN: Final = re.compile(r"[\w.:-]*\Z", re.ASCII)
"""Text that JSON writes as it is."""

Position = tuple[int, int]
"""A message of the log by its offset, and an event within it."""


class Head(msgspec.Struct):
    """What an event is about."""

    type: str
    subject: str = ""


class LogEvent(msgspec.Struct, frozen=True):
    """One event of the log."""

    offset: int
    index: int
    head: Head
    body: bytes

    @property
    def at(self) -> Position:
        """Where it stands."""
        return self.offset, self.index

    @property
    def position(self) -> str:
        """Where it stands, as text."""
        return f"{self.offset}-{self.index}"


_decode_bodies = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_heads = msgspec.json.Decoder(list[Head]).decode


def parse_position(text: str) -> Position | None:
    """Offset and index, or None where the text is not a position."""
    match = _POSITION.match(text)
    return None if match is None else (int(match[1]), int(match[2]))


class Wanted(msgspec.Struct, frozen=True):
    """Which events a client wants; None is any."""

    types: tuple[str, ...] = ()
    subject: str | None = None

    def takes(self, head: Head) -> bool:
        """Whether the client wants this one."""
        return (not self.types or head.type in self.types) and (
            self.subject is None or head.subject == self.subject
        )

    def may_be_in(self, body: bytes) -> bool:
        """Whether an event of the message might be wanted, by its bytes: far cheaper than to take
        it apart. No where it certainly is not."""
        return self._subject_may_be_in(body) and (
            not self.types or any(kind.encode() in body for kind in self.types)
        )

    def _subject_may_be_in(self, body: bytes) -> bool:
        # Another might be written with escapes.
        plain = self.subject is not None and _PLAIN.match(self.subject)
        return self.subject is None or not plain or self.subject.encode() in body


class Batch:
    """The events of one message of the log."""

    __slots__ = ("_bodies", "_body", "_heads", "offset", "size")

    def __init__(self, message: LogMessage) -> None:
        self.offset = message.offset
        self.size = len(message.body)
        self._body = message.body
        self._heads: list[Head] | None = None
        self._bodies: list[msgspec.Raw] | None = None

    @property
    def heads(self) -> list[Head]:
        """What each event is about."""
        if self._heads is None:
            self._heads = _decode_heads(self._body)
        return self._heads

    @property
    def bodies(self) -> list[msgspec.Raw]:
        """Each event as it was published, within the message."""
        if self._bodies is None:
            self._bodies = _decode_bodies(self._body)
        return self._bodies

    def frames(self, wanted: Wanted, above: Position) -> bytes:
        """Events above a position as server-sent events."""
        return b"".join(
            b"id: %d-%d\ndata: %s\n\n" % (self.offset, index, self.bodies[index])
            for index in self._chosen(wanted)
            if (self.offset, index) > above
        )

    def oldest(self, wanted: Wanted, above: Position, limit: int) -> list[LogEvent]:
        """Up to `limit` events above a position, the oldest first."""
        chosen = [i for i in self._chosen(wanted) if (self.offset, i) > above]
        return self._events(chosen[:limit])

    def newest(self, wanted: Wanted, below: Position | None, limit: int) -> list[LogEvent]:
        """Up to `limit` events below a position, the newest first."""
        chosen = [i for i in self._chosen(wanted) if below is None or (self.offset, i) < below]
        return self._events(chosen[::-1][:limit])

    def newest_jobs(self) -> list[str]:
        """The jobs that the events are about, those of the newest first."""
        return [head.subject for head in reversed(self.heads) if head.type.startswith("job.")]

    def _chosen(self, wanted: Wanted) -> Iterator[int]:
        if not wanted.may_be_in(self._body):
            return iter(())
        return (index for index, head in enumerate(self.heads) if wanted.takes(head))

    def _events(self, chosen: list[int]) -> list[LogEvent]:
        # Copied, so that a few events do not keep whole messages in memory.
        return [
            LogEvent(self.offset, index, self.heads[index], bytes(self.bodies[index]))
            for index in chosen
        ]
