"""The series at hand: buckets of one resolution, brought up to date by those that have changed.

A quarter of an hour of a busy system is a hundred thousand numbers. Reading and adding all of them
for every answer would take longer than anyone should wait for a page that asks each second.
"""

import asyncio
import math
import time
from collections.abc import Iterable
from typing import Final

from observatory.core.aggregates import Aggregates, Mark, Measure
from observatory.core.errors import AggregatesUnavailable

Rows = list[tuple[Measure, int]]

_SUMS_MAX: Final = 4
"""Windows whose sums are carried on from answer to answer."""


class _Sum:
    """The sums over all buckets from one on."""

    def __init__(self, first_s: int) -> None:
        self.first_s = first_s
        self.counts: dict[Measure, int] = {}

    def add(self, rows: Iterable[tuple[Measure, int]], sign: int) -> None:
        counts = self.counts
        for measure, amount in rows:
            count = counts.get(measure, 0) + sign * amount
            if count:
                counts[measure] = count
            else:
                del counts[measure]


class Buckets:
    """The buckets of one resolution, as far back as anyone has asked for."""

    def __init__(self, aggregates: Aggregates, width_s: int) -> None:
        self._aggregates = aggregates
        self._width_s = width_s
        self._mark: Mark | None = None
        self._depth_s = 0
        self._rows: dict[int, Rows] = {}
        self._sums: dict[int, _Sum] = {}
        self._reading = asyncio.Lock()
        self._refused_at = -math.inf

    async def refresh(self, now_s: int, window_s: int) -> None:
        """Learn what has changed in a window that ends now.

        Raises:
            AggregatesUnavailable: they do not answer, or have not answered who asked before.
        """
        asked_at = time.monotonic()
        async with self._reading:
            if self._refused_at > asked_at:
                # Whoever waited for that has waited enough; one after another would wait for hours.
                raise AggregatesUnavailable("the aggregates do not answer", retry_after_s=1)
            if window_s > self._depth_s:
                self._depth_s, self._mark = window_s, None
            first_s = self.first(now_s, self._depth_s)
            try:
                changes = await self._aggregates.changes(self._width_s, first_s, self._mark)
            except AggregatesUnavailable:
                self._refused_at = time.monotonic()
                raise
            if changes.anew:
                self._rows.clear()
                self._sums.clear()
            self._mark = changes.mark
            for bucket_s, rows in changes.buckets.items():
                self._put(bucket_s, rows)
            for bucket_s in [one for one in self._rows if one < first_s]:
                self._put(bucket_s, [])
                del self._rows[bucket_s]

    def first(self, now_s: int, window_s: int) -> int:
        """Where the first bucket of a window begins."""
        since_s = now_s - window_s
        return since_s - since_s % self._width_s

    def rows(self, bucket_s: int) -> Rows:
        """What a bucket holds; the same object until that changes."""
        return self._rows.get(bucket_s, _NOTHING)

    def total(self, now_s: int, window_s: int) -> dict[Measure, int]:
        """The sums over a window that was refreshed just now."""
        first_s = self.first(now_s, window_s)
        sums = self._sums.pop(window_s, None)
        if sums is None or sums.first_s > first_s:
            sums = _Sum(first_s)
            for bucket_s, rows in self._rows.items():
                if bucket_s >= first_s:
                    sums.add(rows, 1)
        for bucket_s in range(sums.first_s, first_s, self._width_s):
            sums.add(self.rows(bucket_s), -1)
        sums.first_s = first_s
        self._sums[window_s] = sums
        while len(self._sums) > _SUMS_MAX:
            del self._sums[next(iter(self._sums))]
        return sums.counts

    def _put(self, bucket_s: int, rows: Rows) -> None:
        before = self.rows(bucket_s)
        for sums in self._sums.values():
            if bucket_s >= sums.first_s:
                sums.add(rows, 1)
                sums.add(before, -1)
        self._rows[bucket_s] = rows


_NOTHING: Final[Rows] = []
