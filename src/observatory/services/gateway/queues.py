"""How many queues there may be: each has work queues of its own in the spine and numbers of its own
for as long as the numbers are kept, and whoever may submit could make any number of them."""

import time
from typing import Final

from observatory.core.errors import Fault, TooManyQueues
from observatory.core.job_type import DEFAULT_QUEUE
from observatory.core.store import StoreReads

_KNOWN_FOR_S: Final = 1.0
"""How long what was read is believed where it would refuse; other gateways submit as well."""

_ON_THE_WAY_S: Final = 60.0
"""A job that was let in is on record within this, or was refused for something else."""


class Queues:
    """The queues that jobs on record and registered job types are of."""

    def __init__(self, store: StoreReads, most: int) -> None:
        self._store = store
        self._most = most
        self._known: set[str] = set()
        self._let_in: dict[str, float] = {}
        self._read_at = float("-inf")

    async def admit(self, queue: str) -> None:
        """Let a job into a queue.

        Raises:
            TooManyQueues: it would be one queue more than may be.
        """
        if queue in self._known:
            return
        if time.monotonic() - self._read_at > _KNOWN_FOR_S:
            await self._refresh()
            if queue in self._known:
                return
        if len(self._known) >= self._most:
            raise TooManyQueues(
                f"there are {len(self._known)} queues, and no more than {self._most} may be; use "
                "one of them, or raise OBSERVATORY_QUEUES_MAX",
                faults=(Fault("/queue", "would be one queue too many"),),
            )
        self._known.add(queue)
        self._let_in[queue] = time.monotonic()

    async def _refresh(self) -> None:
        registered = {job_type.queue for job_type in await self._store.job_types()}
        on_record = await self._store.queues(self._most)
        since = time.monotonic() - _ON_THE_WAY_S
        self._let_in = {queue: at for queue, at in self._let_in.items() if at > since}
        self._known = {DEFAULT_QUEUE, *registered, *on_record, *self._let_in}
        self._read_at = time.monotonic()
