"""One action on every job that a filter leaves, a stretch at a time."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

import msgspec
import structlog

from observatory.core.errors import (
    Fault,
    IllegalTransition,
    NotFound,
    StoreUnavailable,
    ValidationFailed,
)
from observatory.core.instant import from_rfc3339
from observatory.core.job import Job
from observatory.core.lifecycle import Move, State, allows
from observatory.core.store import LIST_MAX, JobFilter, StoreReads
from observatory.services.gateway.actions import Operator

ACTED_ON_MAX: Final = 500
"""Jobs that one call changes: an answer within seconds, and a step of a progress bar."""
COUNTED_MAX: Final = 10_000
"""Jobs that a dry run counts; nobody confirms a number that took a minute to find."""
_STRETCHES_MAX: Final = 20
"""Stretches of a search for a text that one call looks into."""
_AT_ONCE: Final = 50

_log = structlog.get_logger(__name__)


class Action(StrEnum):
    """What is done to each job."""

    CANCEL = "cancel"
    RETRY = "retry"


_MOVE: Final = {Action.CANCEL: Move.CANCEL, Action.RETRY: Move.REQUEUE_BY_OPERATOR}
_ALLOWED: Final = {
    action: tuple(state for state in State if allows(state, move)) for action, move in _MOVE.items()
}
_UNASKED: Final = {
    Action.CANCEL: _ALLOWED[Action.CANCEL],
    # Whoever forgets to say which must not run again what went well.
    Action.RETRY: (State.FAILED,),
}


class Selection(msgspec.Struct, frozen=True):
    """Jobs by their ids, or by a filter and a text."""

    where: JobFilter
    text: str | None = None
    ids: tuple[str, ...] = ()
    as_seen: bool = True
    """A job that has changed since it was found is not meant any more."""


class Done(msgspec.Struct, frozen=True):
    """What came of an action, or would."""

    matched: int
    changed: int
    skipped: int
    complete: bool
    next: str | None
    """Where to go on; of a count, where to begin so that nothing newer is taken along."""


class Bulk:
    """Counts and changes the jobs of a selection, newest first."""

    def __init__(self, store: StoreReads, operator: Operator) -> None:
        self._store = store
        self._operator = operator

    async def count(self, selection: Selection, before: str | None) -> Done:
        """How many jobs there are with ids below `before`, up to `COUNTED_MAX`."""
        found, newest, reached = 0, None, None
        async for jobs, further in self._pages(selection, before, COUNTED_MAX):
            if newest is None and jobs:
                newest = jobs[0].id
            found, reached = found + len(jobs), further
        begin = None if newest is None or selection.ids else _just_above(newest)
        return Done(found, 0, 0, reached is None, begin)

    async def act(
        self, action: Action, selection: Selection, before: str | None, reason: str | None, by: str
    ) -> Done:
        """Change the next `ACTED_ON_MAX` jobs with ids below `before`.

        Raises:
            StoreUnavailable: and nothing was changed. Where something was, that is told, with the
                place to go on from.
        """
        matched, changed, reached = 0, 0, before
        complete = False
        try:
            async for jobs, further in self._pages(selection, before, ACTED_ON_MAX):
                for first in range(0, len(jobs), _AT_ONCE):
                    some = jobs[first : first + _AT_ONCE]
                    done = await asyncio.gather(
                        *(self._change(action, job, selection.as_seen, reason) for job in some)
                    )
                    matched, changed = matched + len(some), changed + sum(done)
                    reached = some[-1].id
                reached, complete = further, further is None
        except StoreUnavailable:
            if not changed:
                raise
        finally:
            _log.info(
                "jobs.acted_on",
                action=action,
                by=by,
                filter=_told(selection),
                matched=matched,
                changed=changed,
            )
        # Those that are named are sent again as they were: what has changed is skipped then.
        return Done(
            matched, changed, matched - changed, complete, None if selection.ids else reached
        )

    async def _change(self, action: Action, job: Job, as_seen: bool, reason: str | None) -> bool:
        version = job.version if as_seen else None
        try:
            if action is Action.CANCEL:
                await self._operator.cancel(job.id, reason, version)
            else:
                await self._operator.retry(job.id, version)
        except (NotFound, IllegalTransition):
            return False
        return True

    async def _pages(
        self, selection: Selection, before: str | None, most: int
    ) -> AsyncGenerator[tuple[list[Job], str | None]]:
        """Jobs by the page and the id to go on from, None with the last: `most` jobs together, and
        of a search for a text no more than `_STRETCHES_MAX` pages."""
        states = selection.where.states
        if selection.ids:
            jobs = await self._store.jobs(selection.ids)
            yield [job for job in jobs if job.state in states], None
            return
        # No state at all would mean every state.
        more, left, pages = bool(states), most, 0
        while more and left > 0 and (selection.text is None or pages < _STRETCHES_MAX):
            size, pages = min(LIST_MAX, left), pages + 1
            if selection.text is None:
                jobs = await self._store.list_jobs(selection.where, before, size)
                before = jobs[-1].id if len(jobs) == size else None
            else:
                found = await self._store.search_jobs(selection.where, selection.text, before, size)
                jobs, before = found.jobs, found.reached
            left -= len(jobs)
            yield jobs, before
            more = before is not None


def _just_above(job_id: str) -> str:
    return str(UUID(int=UUID(job_id).int + 1))


def _told(selection: Selection) -> dict[str, Any]:
    given = msgspec.structs.asdict(selection.where) | {"q": selection.text}
    if selection.ids:
        return {"ids": len(selection.ids)}
    return {name: value for name, value in given.items() if value}


def read_selection(action: Action, body: Mapping[str, Any]) -> Selection:
    """The jobs that a request means which met its contract.

    Raises:
        ValidationFailed: a time is none.
    """
    allowed = _ALLOWED[action]
    if "ids" in body:
        ids = tuple(dict.fromkeys(id.lower() for id in body["ids"]))
        return Selection(JobFilter(states=allowed), ids=ids)
    given: Mapping[str, Any] = body["filter"]
    states = given.get("state", _UNASKED[action])
    # Whoever cancels everything means a job also when it has begun to run meanwhile.
    as_seen = action is Action.RETRY or "state" in given
    where = JobFilter(
        states=tuple(one for one in allowed if one in states),
        type=given.get("type"),
        queue=given.get("queue"),
        worker=given.get("worker"),
        correlation_id=given.get("correlationId"),
        parent_id=given["parentId"].lower() if "parentId" in given else None,
        error_fingerprint=given.get("fingerprint"),
        since=_instant("since", given),
        until=_instant("until", given),
    )
    return Selection(where, given.get("q"), as_seen=as_seen)


def _instant(name: str, given: Mapping[str, Any]) -> int | None:
    if name not in given:
        return None
    try:
        return from_rfc3339(given[name])
    except (ValueError, OverflowError) as error:
        fault = Fault(f"/filter/{name}", str(error))
        raise ValidationFailed("the body has a fault", faults=(fault,)) from None
