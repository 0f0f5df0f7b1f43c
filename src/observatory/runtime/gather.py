"""Many callers, one write: what arrives while a write is under way goes into the next."""

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from observatory.core.errors import Problem

T = TypeVar("T")
R = TypeVar("R")


class Gather(Generic[T, R]):
    """Collects groups of items and flushes them together.

    No timer is involved: when nothing is under way the first group goes at once, and under load
    the groups grow by themselves. A caller that goes away does not take its items back.
    """

    def __init__(
        self, flush: Callable[[list[T]], Awaitable[list[R]]], items_max: int, at_once: int = 1
    ) -> None:
        """Set up.

        Args:
            flush: writes items, returns one result each, in order; all or nothing.
            items_max: most items of one flush (a larger group goes alone).
            at_once: how many flushes may be under way together.
        """
        self._flush = flush
        self._items_max = items_max
        self._free = at_once
        self._waiting: list[tuple[Sequence[T], asyncio.Future[list[R]]]] = []
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def waiting(self) -> int:
        """Groups that are not written yet."""
        return len(self._waiting) + len(self._tasks)

    async def add(self, items: Sequence[T]) -> list[R]:
        """Have items written; returns their results, or raises what the write raised."""
        future: asyncio.Future[list[R]] = asyncio.get_running_loop().create_future()
        self._waiting.append((items, future))
        if self._free:
            self._start()
        return await asyncio.shield(future)

    def _start(self) -> None:
        self._free -= 1
        # It works for many: neither the trace nor the log context of whoever came first is its own.
        task = asyncio.create_task(self._run(), context=contextvars.Context())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self) -> None:
        # One turn of the event loop lets callers that arrived together go together.
        await asyncio.sleep(0)
        try:
            while self._waiting:
                await self._flush_groups(self._take())
        finally:
            self._free += 1

    def _take(self) -> list[tuple[Sequence[T], asyncio.Future[list[R]]]]:
        count = taken = 0
        for items, _ in self._waiting:
            if taken and count + len(items) > self._items_max:
                break
            count += len(items)
            taken += 1
        groups, self._waiting = self._waiting[:taken], self._waiting[taken:]
        return groups

    async def _flush_groups(
        self, groups: list[tuple[Sequence[T], asyncio.Future[list[R]]]]
    ) -> None:
        try:
            results = await self._flush([item for items, _ in groups for item in items])
        except Exception as error:
            if len(groups) > 1 and not isinstance(error, Problem):
                # Something in one group is refused: single it out, so it takes no other with it.
                middle = len(groups) // 2
                await self._flush_groups(groups[:middle])
                await self._flush_groups(groups[middle:])
                return
            for _, future in groups:
                if not future.cancelled():
                    future.set_exception(error)
                    future.exception()  # a caller that went away is no reason to complain
            return
        start = 0
        for items, future in groups:
            if not future.cancelled():
                future.set_result(results[start : start + len(items)])
            start += len(items)
