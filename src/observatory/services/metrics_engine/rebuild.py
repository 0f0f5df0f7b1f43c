"""Rebuilding the aggregates from the store, which is the truth."""

import structlog

from observatory.core.aggregates import Aggregates, Position
from observatory.core.spine import Spine
from observatory.core.store import StoreReads

_log = structlog.get_logger(__name__)


async def rebuild(spine: Spine, store: StoreReads, aggregates: Aggregates, why: str) -> Position:
    """Replace the aggregates by sums over the store; returns where to follow the log from.

    The log's end is read before the snapshot: whatever stands up to there had been committed by
    then, so the snapshot holds it; what the snapshot holds beyond is recognised by its number.
    """
    log = await spine.log_range()
    snapshot = await store.snapshot(await store.now())
    position = Position(log.epoch, log.last, snapshot.numbers)
    await aggregates.replace(position, snapshot.deltas)
    jobs = sum(snapshot.deltas.states.values())
    report = _log.warning if jobs else _log.info  # a new system starts empty
    report("aggregates.rebuilt", why=why, jobs=jobs, offset=log.last)
    return position
