"""The audit: whether the log told all that the store says was published.

A gap shows a loss as soon as the publisher goes on. Where it never does, as when a broker that died
lost the end of the log, nothing in the log tells: the publishers' last numbers do.
"""

import time
from typing import Final

from observatory.core.aggregates import Position
from observatory.core.store import StoreReads

INTERVAL_S: Final = 30.0
_READ_WITHIN_S: Final = 5.0
"""What is confirmed can be read from the log after so long."""


class Audit:
    """Compares the numbers that were applied with those that the store has on record."""

    def __init__(self, store: StoreReads) -> None:
        self._store = store
        self._due: dict[str, int] = {}
        self._due_at = time.monotonic()

    async def finds(self, position: Position, caught_up_at: float) -> str | None:
        """Why the sums cannot be right, if they cannot.

        Args:
            position: up to where the log has been applied.
            caught_up_at: when, by the monotonic clock, that was the end of the log.
        """
        lost = [
            publisher
            for publisher, number in self._due.items()
            if position.numbers.get(publisher, 0) < number
        ]
        if lost and caught_up_at > self._due_at + _READ_WITHIN_S:
            return f"the log has lost commits of {lost[0]}"
        numbers = await self._store.published_numbers()
        if undone := [p for p, n in numbers.items() if position.numbers.get(p, 0) > n]:
            return f"the store knows nothing of commits of {undone[0]} (any more)"
        # Of these nothing waits to be published, so the log has confirmed them all.
        self._due, self._due_at = numbers, time.monotonic()
        return None
