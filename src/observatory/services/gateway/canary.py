"""The canary: submits a heartbeat job every so often."""

from typing import Final

import uuid_utils
from prometheus_client.core import Metric

from observatory.core.canary import heartbeat_submission
from observatory.core.instant import MICROSECONDS
from observatory.core.store import StoreReads
from observatory.runtime.loop import Loop
from observatory.runtime.metrics import gauge
from observatory.services.gateway.accept import Acceptor

_SHORTEST_S: Final = 0.05
_INTERVAL: Final = "Time between heartbeat jobs, as this gateway is set; 0 for none."


class Canary:
    """Submits heartbeat jobs as a client would: what refuses those refuses these, too."""

    def __init__(self, store: StoreReads, acceptor: Acceptor, every_s: float) -> None:
        """`every_s`: the time between them, at every gateway the same; 0 for none."""
        self._store = store
        self._acceptor = acceptor
        self._every_s = every_s
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

    def metrics(self) -> list[Metric]:
        """What is set: who watches for heartbeat jobs must know whether there are to be any."""
        return [gauge("heartbeat_interval_seconds", _INTERVAL, self._every_s)]

    async def tick(self) -> None:
        """Submit the heartbeat job of now, if no gateway has."""
        slot = await self._store.now() // self._every_us
        await self._acceptor.accept([heartbeat_submission(str(uuid_utils.uuid7()), slot)])
