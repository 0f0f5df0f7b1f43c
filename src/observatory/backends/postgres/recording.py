"""What every change ends with: rows, history and the commit in the outbox, in one statement."""

from collections.abc import Sequence
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


def end_runs(
    db: Transaction, ended: Sequence[tuple[Current, FinishedAttempt]], publisher: str
) -> Commit | None:
    """Record the outcomes of runs; None where there are none."""
    if not ended:
        return None
    made = [ending(row, attempt, db.now) for row, attempt in ended]
    rows = [
        ended_row(row, t, attempt.result)
        for (row, t), (_, attempt) in zip(made, ended, strict=True)
    ]
    return record(db, FINISH, rows, [t for _, t in made], publisher)
