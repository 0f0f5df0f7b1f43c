"""Leadership: which processor does maintenance, and the loops it then runs."""

from collections.abc import Awaitable, Callable
from typing import Final

from observatory.core.instant import MICROSECONDS
from observatory.core.spine import Spine
from observatory.core.store import Store
from observatory.runtime.dispatch import Dispatcher
from observatory.runtime.loop import Loop
from observatory.services.processor.maintenance.promoter import Promoter
from observatory.services.processor.maintenance.pruner import Pruner
from observatory.services.processor.maintenance.reconciler import Reconciler
from observatory.services.processor.maintenance.relay import Relay
from observatory.services.processor.maintenance.rescuer import Rescuer
from observatory.settings import Settings

_LEAD_INTERVAL_S: Final = 2.0
_LEAD_LEASE_US: Final = 6 * MICROSECONDS
"""A leader that has not renewed for this long is replaced."""


class Maintenance:
    """The caretakers, at work while this worker leads."""

    def __init__(
        self,
        store: Store,
        spine: Spine,
        dispatcher: Dispatcher,
        worker: str,
        settings: Settings,
    ) -> None:
        self.leads = False
        self._store = store
        self._worker = worker
        self._promoter = Promoter(store, dispatcher)
        self._rescuer = Rescuer(store, dispatcher, worker, settings.lease_seconds)
        self._relay = Relay(store, dispatcher)
        self._reconciler = Reconciler(store, spine)
        self._pruner = Pruner(
            store, spine, dispatcher, settings.retention_days, settings.event_retention_days
        )
        self.loops = [
            Loop("leadership", self._lead, _LEAD_INTERVAL_S),
            Loop("promoter", self._while_leading(self._promoter.tick), 0.2),
            Loop("rescuer", self._while_leading(self._rescuer.tick), 2.0),
            Loop("relay", self._while_leading(self._relay.tick), 1.0),
            Loop("reconciler", self._while_leading(self._reconciler.tick), 5.0),
            Loop("pruner", self._while_leading(self._pruner.tick), 60.0),
        ]

    async def start(self) -> None:
        """Take over what a process before this one left, then begin."""
        await self._lead()
        if self._store.sole_process:
            # Any other worker or publisher on record is dead: nothing needs to be waited for. What
            # it left in the outbox goes first, since the log keeps each job's events in order.
            while await self._relay.tick(older_than_s=0):
                pass
            while await self._rescuer.tick(lease_s=0):
                pass
            while await self._reconciler.tick(older_than_s=0):
                pass
        for loop in self.loops:
            loop.start()

    async def stop(self) -> None:
        """Stop every caretaker."""
        for loop in self.loops:
            await loop.stop()

    async def _lead(self) -> None:
        self.leads = await self._store.lead(self._worker, _LEAD_LEASE_US)

    def _while_leading(self, tick: Callable[[], Awaitable[bool]]) -> Callable[[], Awaitable[bool]]:
        async def guarded() -> bool:
            return self.leads and await tick()

        return guarded
