"""The canary: submits a heartbeat job every so often."""

from typing import Final

import uuid_utils

from observatory.core.canary import heartbeat_submission
from observatory.core.instant import MICROSECONDS
from observatory.core.store import StoreReads
from observatory.runtime.loop import Loop
from observatory.services.gateway.accept import Acceptor

_SHORTEST_S: Final = 0.05


class Canary:
    """Submits heartbeat jobs as a client would: what refuses those refuses these, too."""

    def __init__(self, store: StoreReads, acceptor: Acceptor, every_s: float) -> None:
        """`every_s`: the time between them, at every gateway the same; 0 for none."""
        self._store = store
        self._acceptor = acceptor
        self._every_us = round(every_s * MICROSECONDS)
        loop = Loop("heartbeat job", self.tick, max(every_s, _SHORTEST_S))
        self.loops = (loop,) if every_s > 0 else ()

    def start(self) -> None:
        """Begin to submit."""
        for loop in self.loops:
            loop.start()

    async def stop(self) -> None:
        """Submit no more."""
        for loop in self.loops:
            await loop.stop()

    async def tick(self) -> None:
        """Submit the heartbeat job of now, if no gateway has."""
        slot = await self._store.now() // self._every_us
        await self._acceptor.accept([heartbeat_submission(str(uuid_utils.uuid7()), slot)])
