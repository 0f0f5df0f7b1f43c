"""One action on every job that a filter leaves, a stretch at a time."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from enum import StrEnum
from typing import Any, Final

import msgspec
import structlog

from observatory.core.errors import (
    Fault,
    IllegalTransition,
    InvalidCursor,
    NotFound,
    ValidationFailed,
)
from observatory.core.event import is_uuid
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


class Done(msgspec.Struct, frozen=True):
    """What came of an action, or would."""

    matched: int
    changed: int
    skipped: int
    reached: str | None
    """The id down to which it went; None where nothing is left."""
    complete: bool


class Bulk:
    """Counts and changes the jobs of a selection, newest first."""

    def __init__(self, store: StoreReads, operator: Operator) -> None:
        self._store = store
        self._operator = operator

    async def count(self, selection: Selection) -> Done:
        """How many jobs there are, up to `COUNTED_MAX`."""
        found, pages, reached = 0, 0, None
        async for jobs, further in self._pages(selection, None):
            found, pages, reached = found + len(jobs), pages + 1, further
            if found >= COUNTED_MAX or (selection.text is not None and pages >= _STRETCHES_MAX):
                break
        return Done(min(found, COUNTED_MAX), 0, 0, None, reached is None)

    async def act(
        self, action: Action, selection: Selection, before: str | None, reason: str | None, by: str
    ) -> Done:
        """Change the next `ACTED_ON_MAX` jobs with ids below `before`.

        A job that has changed its state before its turn comes is skipped.

        Raises:
            StoreUnavailable: some may have been changed; the same call goes on with the rest.
        """
        matched, changed, pages, reached = 0, 0, 0, None
        async for jobs, further in self._pages(selection, before):
            matched, pages, reached = matched + len(jobs), pages + 1, further
            for first in range(0, len(jobs), _AT_ONCE):
                some = jobs[first : first + _AT_ONCE]
                changed += sum(
                    await asyncio.gather(*(self._change(action, one.id, reason) for one in some))
                )
            if matched >= ACTED_ON_MAX or pages >= _STRETCHES_MAX:
                break
        _log.info("jobs.acted_on", action=action, by=by, matched=matched, changed=changed)
        return Done(matched, changed, matched - changed, reached, reached is None)

    async def _change(self, action: Action, job_id: str, reason: str | None) -> bool:
        try:
            if action is Action.CANCEL:
                await self._operator.cancel(job_id, reason)
            else:
                await self._operator.retry(job_id)
        except (NotFound, IllegalTransition):
            return False
        return True

    async def _pages(
        self, selection: Selection, before: str | None
    ) -> AsyncGenerator[tuple[list[Job], str | None]]:
        """Jobs by the page, and the id to go on from; None with the last."""
        states = selection.where.states
        if selection.ids:
            jobs = await self._store.jobs(selection.ids)
            yield [job for job in jobs if job.state in states], None
        # No state at all would mean every state.
        more = bool(states) and not selection.ids
        while more:
            if selection.text is None:
                # A divisor of the most that one call may change.
                size = min(LIST_MAX, ACTED_ON_MAX // 5)
                jobs = await self._store.list_jobs(selection.where, before, size)
                before = jobs[-1].id if len(jobs) == size else None
            else:
                found = await self._store.search_jobs(
                    selection.where, selection.text, before, LIST_MAX
                )
                jobs, before = found.jobs, found.reached
            yield jobs, before
            more = before is not None


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
    return Selection(where, given.get("q"))


def read_cursor(cursor: str | None) -> str | None:
    """Where to go on.

    Raises:
        InvalidCursor: not one of ours.
    """
    if cursor is not None and not is_uuid(cursor):
        raise InvalidCursor("this is not a cursor of this service; start without one")
    return cursor


def _instant(name: str, given: Mapping[str, Any]) -> int | None:
    if name not in given:
        return None
    try:
        return from_rfc3339(given[name])
    except (ValueError, OverflowError) as error:
        fault = Fault(f"/filter/{name}", str(error))
        raise ValidationFailed("the body has a fault", faults=(fault,)) from None
