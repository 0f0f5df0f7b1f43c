"""What the floor writes: the three transactions, by the system's own statements."""

import asyncio
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, NamedTuple

import msgspec
import psycopg
from psycopg import RawCursor

from observatory.backends.postgres.recording import ACCEPT, CLAIM, FINISH
from observatory.backends.postgres.sql import statement

_BEGIN: Final = statement("begin_write")
_SELECT_CLAIMABLE: Final = statement("lock_jobs") + statement("select_claimable")
_SELECT_CURRENT: Final = statement("lock_jobs") + statement("select_current")
_FORGET: Final = b"DELETE FROM outbox WHERE publisher = $1 AND number = ANY ($2::bigint[])"
_FORGET_AFTER_S: Final = 0.02

encode: Final = msgspec.json.Encoder().encode

Rows = list[dict[str, Any]]
Change = Callable[[RawCursor, int], tuple[bytes, Rows]]
"""Asked within a transaction, with the time: the statement to run and its rows."""


class Item(msgspec.Struct):
    """A job as it is submitted."""

    type: str
    payload: msgspec.Raw


class Job(msgspec.Struct):
    """A job that a worker runs."""

    id: str
    attempt: int
    payload: str
    result: int | None = None


class Commit(NamedTuple):
    """What a transaction recorded."""

    number: int
    at: int
    rows: Rows


class Writer:
    """A connection with a thread of its own, and its sequence of commits."""

    def __init__(self, name: str) -> None:
        self._publisher = f"floor-{os.getpid()}-{name}"
        url = os.environ["OBSERVATORY_STORE_URL"]
        self._connection = psycopg.connect(url, autocommit=True, cursor_factory=RawCursor)
        self._thread = ThreadPoolExecutor(1)
        self._sent: list[int] = []

    async def commit(self, change: Change) -> Commit:
        """Commit a change; outbox rows of what was sent go along."""
        sent, self._sent = self._sent, []
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._commit, change, sent)

    def forget(self, number: int) -> None:
        """Delete a commit's outbox row with the next commit, or soon."""
        self._sent.append(number)
        asyncio.get_running_loop().call_later(_FORGET_AFTER_S, self._forget_now)

    def _forget_now(self) -> None:
        if self._sent:
            sent, self._sent = self._sent, []
            self._thread.submit(self._connection.execute, _FORGET, (self._publisher, sent))

    def _commit(self, change: Change, sent: list[int]) -> Commit:
        # psycopg would prepare what is run often, and these are two statements.
        begun = self._connection.execute(_BEGIN, prepare=False)
        begun.nextset()
        ((_, now, *_),) = begun.fetchall()
        cursor = self._connection.cursor()
        query, rows = change(cursor, now)
        number = 0
        if rows:
            cursor.execute(query, (encode(rows).decode(), self._publisher, now))
            ((number,),) = cursor.fetchall()
        if sent:
            cursor.execute(_FORGET, (self._publisher, sent))
        cursor.execute(b"COMMIT")
        return Commit(number, now, rows)


# The three changes. A row has what its statement wants, and the move for the event.


def _row(id: str, version: int, move: str, now: int, attempt: int, **columns: Any) -> dict:
    body = encode(
        {"job": id, "version": version, "move": move, "at": now, "type": "bench"}
        | {"queue": "floor", "attempt": attempt}
    )
    return {"id": id, "version": version, "move": move, "body": body.decode()} | columns


def accept(jobs: Sequence[tuple[str, Item]]) -> Change:
    """Record jobs with their ids."""

    def change(_: RawCursor, now: int) -> tuple[bytes, Rows]:
        fixed = {"queue": "floor", "priority": "normal", "state": "queued", "max_attempts": 1}
        fixed |= {"contract_version": 1, "skewed": False, "created_at": now, "queued_at": now}
        fixed |= {"ready_at": now}
        return ACCEPT, [
            _row(id, 1, "accept", now, 0, type=item.type, correlation_id=id)
            | {"document": bytes(item.payload).decode()}
            | fixed
            for id, item in jobs
        ]

    return change


def claim(references: Sequence[tuple[str, int]], claimed: list[Job]) -> Change:
    """Take those that are queued and as often tried as the message says."""
    wanted, worker = dict(references), f"floor:{os.getpid()}"

    def change(cursor: RawCursor, now: int) -> tuple[bytes, Rows]:
        rows: Rows = []
        for found in cursor.execute(_SELECT_CLAIMABLE, (",".join(wanted), worker)).fetchall():
            id, state, attempt, version = found[0], found[4], found[5], found[8]
            if state == "queued" and attempt == wanted[id]:
                claimed.append(Job(id, attempt + 1, found[-2]))
                own = {"attempt": attempt + 1, "started_at": now, "worker": worker}
                rows.append(_row(id, version + 1, "claim", now, attempt + 1) | own)
        return CLAIM, rows

    return change


def finish(jobs: Sequence[Job]) -> Change:
    """Record the outcomes of attempts that are under way."""
    ended = {job.id: job for job in jobs}

    def change(cursor: RawCursor, now: int) -> tuple[bytes, Rows]:
        rows: Rows = []
        for found in cursor.execute(_SELECT_CURRENT, (",".join(ended),)).fetchall():
            id, state, attempt, version = found[0], found[4], found[5], found[8]
            if state == "running" and attempt == ended[id].attempt:
                own = {"state": "completed", "failures": 0, "crashes": 0, "queued_at": found[11]}
                own |= {"finished_at": now, "document": str(ended[id].result)}
                rows.append(_row(id, version + 1, "complete", now, attempt) | own)
        return FINISH, rows

    return change
