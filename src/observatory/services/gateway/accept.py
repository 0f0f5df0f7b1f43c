"""Accepting: submissions of concurrent requests are committed together, then dispatched.

A 202 is given only after the commit.
"""

from collections.abc import Sequence
from typing import Final

from observatory.core.errors import IdempotencyKeyReused
from observatory.core.job import Submission
from observatory.core.store import Accepted, KeyReused, StoreWrites
from observatory.runtime.dispatch import Dispatcher
from observatory.runtime.failpoints import reach
from observatory.runtime.gather import Gather
from observatory.runtime.tracing import active

_SUBMISSIONS_MAX: Final = 1000
"""Submissions of one commit at most."""

_WAITING_MAX: Final = 1000
"""Requests that may wait for a commit before more are refused."""


class Acceptor:
    """Records submissions."""

    def __init__(self, store: StoreWrites, dispatcher: Dispatcher) -> None:
        self._store = store
        self._dispatcher = dispatcher
        self._gather = Gather(self._write, _SUBMISSIONS_MAX)

    def admit(self) -> None:
        """Refuse before a body is read what would be refused after it.

        Raises:
            BacklogFull: too much accepted work waits to be dispatched, or to be committed.
        """
        self._dispatcher.admit(self._gather.waiting, _WAITING_MAX)

    async def accept(self, submissions: Sequence[Submission]) -> list[Accepted | KeyReused]:
        """Record submissions, one result each; they are on disk when this returns.

        Raises:
            BacklogFull: too much accepted work waits to be dispatched.
            StoreUnavailable: nothing was recorded.
        """
        self.admit()
        if (spans := active()) is None:
            results = await self._gather.add(submissions)
        else:
            with spans.publishing(submissions) as publishing:
                results = await self._gather.add(publishing.submissions)
                publishing.accepted(results)
        reach("gateway.before_response")
        return results

    async def _write(self, submissions: list[Submission]) -> list[Accepted | KeyReused]:
        reach("gateway.before_commit")
        results, commit = await self._store.accept(submissions)
        reach("gateway.after_commit")
        self._dispatcher.put(commit)
        return results


def refusal(result: KeyReused) -> IdempotencyKeyReused:
    """The problem of a key that was used with another body."""
    return IdempotencyKeyReused(
        f"this Idempotency-Key made job {result.job_id} from another body; use a new key"
    )
