"""The spine: work queues that name jobs to be claimed, and the event log.

Implemented in `backends/sqlite/` and `backends/rabbitmq/`; what every implementation must do is in
`tests/conformance/test_spine.py`.

A work message carries one or more jobs of one queue and priority. Losing or repeating one is
harmless: claiming decides in the store, and the reconciler finds what no queue holds.
"""

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Final, Protocol

import msgspec

from observatory.core.job import Commit, Reference, Transition
from observatory.core.lifecycle import State

MESSAGE_JOBS_MAX: Final = 50
"""Jobs in one work message; beyond this the broker's cost a message no longer falls."""


LOG_READ_BYTES_MAX: Final = 4 * 1024 * 1024
"""What one read of the log holds in memory, unless told otherwise."""


class WorkMessage(msgspec.Struct, frozen=True):
    """Jobs of one queue and priority that were committed together."""

    queue: str
    priority: str
    jobs: tuple[Reference, ...]


class Delivery(msgspec.Struct, frozen=True):
    """A work message on its way to a processor; `tag` settles it."""

    tag: int
    message: WorkMessage


class LogEntry(msgspec.Struct, frozen=True):
    """A batch of events for the log. Publisher and number are None for what is never counted."""

    body: bytes
    publisher: str | None = None
    number: int | None = None


class LogMessage(msgspec.Struct, frozen=True):
    """A batch of events as read from the log."""

    offset: int
    at: int
    """When the spine took it."""
    body: bytes
    publisher: str | None
    number: int | None


class LogRange(msgspec.Struct, frozen=True):
    """Which part of the log is there. `last` is one less than `first` where it is empty."""

    epoch: str
    first: int
    last: int


class WorkConsumer(Protocol):
    """Takes messages from a set of work queues, highest priority first."""

    async def take(self, jobs: int, timeout_s: float) -> list[Delivery]:
        """Messages at hand until they name this many jobs, the last perhaps more; as soon as
        there is one; empty after the timeout."""
        ...

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """These messages are done with. Not waited for: a repeat is harmless."""
        ...

    async def close(self) -> None:
        """Stop taking; what was taken and not acknowledged is delivered again to someone."""
        ...


class Spine(Protocol):
    """What carries work and events. Every method may raise `SpineUnavailable`."""

    @property
    def shared(self) -> bool:
        """True where other processes take from the same work queues, so that what this one
        cannot run at once is better handed on than kept waiting."""
        ...

    @property
    def publishes_at_once(self) -> bool:
        """True where `publish` takes log and work in one step; else work may as well be published
        by itself, after the log has confirmed, while the log takes what came next."""
        ...

    async def open(self) -> None:
        """Begin; parked messages are brought back, as this process may be one that can run
        them. Does not wait for a spine that is not there."""
        ...

    async def publish(self, entries: Sequence[LogEntry], work: Sequence[WorkMessage]) -> None:
        """Append to the log, then to the work queues; returns once both are confirmed.

        After an error it is not known what was published; publishing again is right.
        """
        ...

    def consume(self, queues: Sequence[str]) -> WorkConsumer:
        """Start taking from these queues; they are made where they do not exist."""
        ...

    async def park(self, message: WorkMessage, reason: str) -> None:
        """Put aside a message that this processor cannot run, until a processor starts anew."""
        ...

    async def missing(self, queued: Sequence[Transition]) -> list[Transition]:
        """Which of these queued jobs no work queue holds any more, as far as that is certain."""
        ...

    async def dead_letters(self) -> int:
        """How many work messages were put aside because they cannot be read."""
        ...

    async def read_log(
        self, after: int, limit: int, bytes_max: int = LOG_READ_BYTES_MAX
    ) -> list[LogMessage]:
        """Messages with an offset above `after`, in order: as many as stay within both limits, and
        one where there is one, however large. A message may tell of a thousand jobs."""
        ...

    async def wait_log(self, after: int, timeout_s: float) -> bool:
        """Wait until the log goes beyond `after`; False after the timeout."""
        ...

    async def log_range(self) -> LogRange:
        """What the log holds now."""
        ...

    async def check(self) -> None:
        """See whether the spine is there, without following the log.

        Raises:
            SpineUnavailable: it does not answer.
        """
        ...

    async def trim_log(self, keep_after: int) -> int:
        """Drop log messages whose last event is older than this instant; returns how many."""
        ...

    async def close(self) -> None:
        """Give back what the spine holds."""
        ...


def within(messages: Iterable[LogMessage], limit: int, bytes_max: int) -> list[LogMessage]:
    """As many of the messages as `Spine.read_log` may give; the rest is not asked for."""
    found: list[LogMessage] = []
    size = 0
    for message in messages:
        size += len(message.body)
        if found and size > bytes_max:
            break
        found.append(message)
        if len(found) == limit:
            break
    return found


def work_of(commits: Iterable[Commit]) -> list[WorkMessage]:
    """The work messages of commits: their runnable jobs, those of one queue and priority together.

    A suspect travels alone, so that it never holds up or takes along others.
    """
    groups: dict[tuple[str, str], list[Reference]] = {}
    messages: list[WorkMessage] = []
    for t in chain.from_iterable(commit.transitions for commit in commits):
        if t.state is not State.QUEUED:
            continue
        reference = Reference(t.job, t.attempt, t.type, t.contract_version, t.suspect)
        if t.suspect:
            messages.append(WorkMessage(t.queue, t.priority, (reference,)))
        else:
            groups.setdefault((t.queue, t.priority), []).append(reference)
    for (queue, priority), references in groups.items():
        for start in range(0, len(references), MESSAGE_JOBS_MAX):
            chunk = tuple(references[start : start + MESSAGE_JOBS_MAX])
            messages.append(WorkMessage(queue, priority, chunk))
    return messages
