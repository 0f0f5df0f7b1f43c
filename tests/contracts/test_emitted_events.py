"""What the code emits meets the contracts it names: every move, every outcome."""

import json
from typing import Any

import msgspec
import pytest

from observatory.core.contract_references import CONTRACTS_URI
from observatory.core.contract_tree import validator
from observatory.core.event import Event, events_of, progress_event, queue_event, worker_event
from observatory.core.instant import MICROSECONDS
from observatory.core.job import ProgressReport, Transition, WorkerRecord
from observatory.core.lifecycle import TRANSITIONS, ErrorInfo, Move, OutcomeKind, State
from observatory.settings.contract_files import load

TREE = load()
JOB = "019363a7-2c1d-7b52-9d3e-6f1c2a3b4c5d"
WORKER = "host-1:4711:b3f0c2"
SOURCE = "/observatory/processor/b3f0c2"
NOW = 1_800_000_000 * MICROSECONDS
ENDINGS: dict[Move, list[OutcomeKind]] = {
    Move.COMPLETE: [OutcomeKind.COMPLETED],
    Move.SCHEDULE_RETRY: [OutcomeKind.ERROR, OutcomeKind.TIMEOUT, OutcomeKind.LOST],
    Move.FAIL: [OutcomeKind.ERROR, OutcomeKind.NOT_RETRYABLE, OutcomeKind.LOST],
}
REASONS = {Move.FAIL: "attempts_exhausted", Move.SCHEDULE_RETRY: "error", Move.CANCEL: "requested"}
MOVES = [
    (previous, move, state, outcome)
    for previous, moves in TRANSITIONS.items()
    for move, state in moves.items()
    for outcome in ENDINGS.get(move, [None])
]


def assert_meets_its_contract(event: Event) -> None:
    envelope: Any = json.loads(msgspec.json.encode(event))
    path = envelope["dataschema"].removeprefix(CONTRACTS_URI)

    faults = [
        f"{error.instance_path}: {error.message}"
        for where, value in (("envelope.v1.json", envelope), (path, envelope["data"]))
        for error in validator(TREE, where).iter_errors(value)
    ]
    assert faults == []


@pytest.mark.parametrize(("previous", "move", "state", "outcome"), MOVES)
def test_every_transition_is_told_as_its_contract_says(
    previous: State | None, move: Move, state: State | None, outcome: OutcomeKind | None
) -> None:
    transition = Transition(
        job=JOB,
        version=4,
        move=move,
        at=NOW,
        type="email.send",
        queue="mail",
        priority="normal",
        attempt=1,
        state=state,
        previous=previous,
        reason=REASONS.get(move),
        outcome=outcome,
        worker=WORKER,
        scheduled_at=NOW + MICROSECONDS,
        since=NOW - MICROSECONDS,
        error=ErrorInfo("ConnectionError", "refused " * 2000),
        max_attempts=3,
        correlation_id="order-4711",
        idempotency_key="order-4711",
    )

    for event in events_of(transition, SOURCE):
        assert_meets_its_contract(event)


@pytest.mark.parametrize("kind", ["started", "stopped", "lost", "heartbeat"])
def test_every_word_of_a_worker_is_told_as_its_contract_says(kind: str) -> None:
    worker = WorkerRecord(
        id=WORKER,
        host="host-1",
        pid=4711,
        started_at=NOW,
        seen_at=NOW,
        state="active",
        concurrency=10,
        running=2,
        queues=("mail",),
        job_types=("email.send",),
    )

    assert_meets_its_contract(worker_event(kind, worker, NOW, SOURCE))


def test_progress_is_told_as_its_contract_says() -> None:
    report = ProgressReport(job=JOB, attempt=1, at=NOW, fraction=0.5, message=None)

    assert_meets_its_contract(progress_event(report, "email.send", "mail", SOURCE))


@pytest.mark.parametrize("kind", ["paused", "resumed"])
@pytest.mark.parametrize("by", ["operator", None])
def test_a_paused_queue_is_told_as_its_contract_says(kind: str, by: str | None) -> None:
    assert_meets_its_contract(queue_event(kind, "mail", by, NOW, SOURCE))
