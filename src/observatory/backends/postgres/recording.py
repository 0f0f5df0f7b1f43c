"""What every change ends with: rows, history and the commit in the outbox, in one statement.

The log has each job's events in order. Whoever claims a job was told of it by a message that is
sent after the log has what came before, and ends it under the same publisher, whose commits go out
in order. Everything else may change a job whose last change another process has on record and not
published yet, perhaps because it died: `record_in_order` leaves such a change to the relay, which
publishes in the order of the record.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

from observatory.backends.postgres.rows import document, ended_row
from observatory.backends.postgres.sql import statement
from observatory.backends.postgres.transaction import Transaction
from observatory.core.change import Current, ending
from observatory.core.job import Commit, FinishedAttempt, Transition

_NUMBER: Final = statement("number_commit")
_RECORD: Final = statement("record_changes") + _NUMBER
ACCEPT: Final = statement("accept_jobs") + _RECORD
CLAIM: Final = statement("claim_jobs") + _RECORD
FINISH: Final = statement("finish_jobs") + _RECORD
QUEUE: Final = statement("queue_jobs") + _RECORD
PRUNE: Final = statement("prune_jobs") + _NUMBER
_UNPUBLISHED_BEFORE: Final = statement("select_unpublished_before")

_RELAYED: Final = ".relayed"
"""Added to a publisher's id."""


def record(
    db: Transaction,
    query: bytes,
    rows: Sequence[Any],
    transitions: list[Transition],
    publisher: str,
) -> Commit:
    """Run one of these statements, and number the transitions as the publisher's next commit."""
    ((number,),) = db.execute(query, (document(rows), publisher, db.now))
    db.numbered = (publisher, number)
    return Commit(publisher, number, tuple(transitions))


def record_in_order(
    db: Transaction,
    query: bytes,
    rows: Sequence[Any],
    transitions: list[Transition],
    publisher: str,
    *,
    patience_us: int = 0,
) -> Commit | None:
    """Like `record`. What the log must wait for goes on record under a publisher of its own, whose
    commits nobody but the relay publishes, and is not in the commit that is returned.

    Where the wait has lasted for less than `patience_us`, nothing is changed: it is about to end,
    and the caller will come again.
    """
    before = [{"job": t.job, "version": t.version - 1} for t in transitions]
    found = db.execute(_UNPUBLISHED_BEFORE, (document(before), publisher))
    since = dict(found)
    both = list(zip(rows, transitions, strict=True))
    late = [(r, t) for r, t in both if t.job in since and t.at - since[t.job] >= patience_us]
    if late:
        record(db, query, [r for r, _ in late], [t for _, t in late], publisher + _RELAYED)
    if not (ready := [(r, t) for r, t in both if t.job not in since]):
        return None
    return record(db, query, [r for r, _ in ready], [t for _, t in ready], publisher)


def end_runs(
    db: Transaction, ended: Sequence[tuple[Current, FinishedAttempt]], publisher: str
) -> Commit | None:
    """Record the outcomes of runs by whoever ran them; None where there are none."""
    return _end(db, ended, publisher, record)


def end_lost_runs(
    db: Transaction, ended: Sequence[tuple[Current, FinishedAttempt]], publisher: str
) -> Commit | None:
    """Record the outcomes of runs whose workers died; what is returned is to be published."""
    return _end(db, ended, publisher, record_in_order)


def _end(
    db: Transaction,
    ended: Sequence[tuple[Current, FinishedAttempt]],
    publisher: str,
    recorded: Callable[..., Commit | None],
) -> Commit | None:
    if not ended:
        return None
    made = [ending(row, attempt, db.now) for row, attempt in ended]
    rows = [
        ended_row(row, t, attempt.result)
        for (row, t), (_, attempt) in zip(made, ended, strict=True)
    ]
    return recorded(db, FINISH, rows, [t for _, t in made], publisher)
