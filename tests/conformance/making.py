"""Making what the protocols take: submissions, references, outcomes, workers, whole lives."""

from collections.abc import Iterable
from typing import Any, Final

import uuid_utils

from observatory.core.aggregates import Deltas, fold_batch
from observatory.core.event import encode_commit
from observatory.core.job import (
    ClaimedJob,
    Commit,
    FinishedAttempt,
    Reference,
    Submission,
    WorkerRecord,
)
from observatory.core.job_type import Retry
from observatory.core.lifecycle import ErrorInfo, OutcomeKind
from observatory.core.store import Accepted, Store

WORKER: Final = "alpha.example:101:boot-a"
OTHER_WORKER: Final = "beta.example:202:boot-b"
SOURCE: Final = "/observatory/test/boot-a"

AT_ONCE: Final = Retry(base=0, jitter=False)
"""A retry that is due the moment it is decided."""


def new_id() -> str:
    """A job id, above all made before."""
    return str(uuid_utils.uuid7())


def submission(type: str = "work", **changes: Any) -> Submission:
    """A submission like most."""
    fields: dict[str, Any] = {
        "id": new_id(),
        "queue": "default",
        "priority": "normal",
        "payload": '{"n":1}',
        "max_attempts": 3,
        "timeout_s": None,
        "contract_version": 1,
        "correlation_id": "correlation",
    }
    return Submission(type=type, **(fields | changes))


def keyed(key: str, body: str, **changes: Any) -> Submission:
    """A submission under an Idempotency-Key."""
    return submission(idempotency_key=key, fingerprint=body, **changes)


def named(job: str, attempt: int = 0, **changes: Any) -> Reference:
    """A work message's reference to a job that has been started `attempt` times."""
    fields: dict[str, Any] = {"type": "work", "contract_version": 1, "suspect": False}
    return Reference(job, attempt, **(fields | changes))


def ended(
    job: str, attempt: int = 1, outcome: OutcomeKind = OutcomeKind.COMPLETED, **changes: Any
) -> FinishedAttempt:
    """How an attempt ended, with an error where the outcome has one."""
    fields: dict[str, Any] = {"retry": AT_ONCE, "jitter": 0.5}
    if outcome is OutcomeKind.COMPLETED:
        fields["result"] = '{"ok":true}'
    elif outcome not in (OutcomeKind.CANCELLED, OutcomeKind.RELEASED):
        fields["error"] = ErrorInfo("ValueError", "it broke", "Traceback …")
    return FinishedAttempt(job=job, attempt=attempt, outcome=outcome, **(fields | changes))


def worker(id: str = WORKER, **changes: Any) -> WorkerRecord:
    """A worker on record."""
    host, pid, _ = id.split(":")
    fields: dict[str, Any] = {
        "host": host,
        "pid": int(pid),
        "started_at": 1,
        "seen_at": 1,
        "state": "active",
        "concurrency": 4,
        "running": 0,
        "queues": ("default",),
        "job_types": ("work",),
    }
    return WorkerRecord(id=id, **(fields | changes))


async def accept(store: Store, *submissions: Submission) -> list[str]:
    """Submissions that are all accepted; their ids."""
    results, _ = await store.accept(submissions or [submission()])
    assert all(isinstance(result, Accepted) for result in results)
    return [result.job_id for result in results]


async def claim(store: Store, job: str, attempt: int = 0, by: str = WORKER) -> ClaimedJob:
    """A job that its worker owns from now on."""
    (claimed,), _ = await store.claim([named(job, attempt)], by)
    return claimed


async def running(store: Store, by: str = WORKER, **changes: Any) -> str:
    """The id of a job whose first attempt is under way."""
    (job,) = await accept(store, submission(**changes))
    await claim(store, job, by=by)
    return job


async def finish(store: Store, *attempts: FinishedAttempt, by: str = WORKER) -> Commit:
    """Outcomes that are all recorded."""
    recorded, commit = await store.finish(attempts, by)
    assert all(recorded)
    assert commit is not None
    return commit


async def failed(store: Store, **changes: Any) -> str:
    """The id of a job that failed for good at its first attempt."""
    job = await running(store, **changes)
    await finish(store, ended(job, outcome=OutcomeKind.NOT_RETRYABLE))
    return job


async def completed(store: Store, **changes: Any) -> str:
    """The id of a job that went well at its first attempt."""
    job = await running(store, **changes)
    await finish(store, ended(job))
    return job


async def all_published(store: Store) -> None:
    """As if the log had been told of everything."""
    for commit in await store.unpublished(0, 10_000):
        await store.published([commit.number], commit.publisher)


def folded(commits: Iterable[Commit]) -> Deltas:
    """The aggregates that the events of these commits amount to."""
    deltas = Deltas()
    for commit in commits:
        fold_batch(encode_commit(commit, SOURCE), deltas)
    return deltas


def without_zeros(sums: dict[Any, int]) -> dict[Any, int]:
    """Sums as they compare: a key that came and went is no key."""
    return {key: value for key, value in sums.items() if value}
