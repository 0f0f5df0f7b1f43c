"""Events: recognisable repeats, CloudEvents 1.0 as others read it, and as our contracts say."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from cloudevents.core.formats.json import JSONFormat
from hypothesis import given
from hypothesis import strategies as st

from conformance.histories import WORKER, lives
from conformance.making import SOURCE, new_id, worker
from observatory.core.contract_references import CONTRACTS_URI
from observatory.core.contract_tree import validator
from observatory.core.event import (
    Event,
    encode_batch,
    encode_commit,
    event_id,
    events_of,
    is_uuid,
    progress_event,
    worker_event,
)
from observatory.core.instant import MICROSECONDS, from_rfc3339
from observatory.core.job import Commit, ProgressReport, Transition
from observatory.core.lifecycle import TRANSITIONS, ErrorInfo, Move, OutcomeKind, State
from observatory.settings.contract_files import load

TREE = load()
ENVELOPE = validator(TREE, "envelope.v1.json")
NOW = 1_800_000_000_123_456
KEPT_OF_A_LIFE = {
    "correlation_id": "c-1",
    "causation_id": "019363a7-2c1d-7b52-9d3e-6f1c2a3b4c5d",
    "idempotency_key": "key-1",
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "tracestate": "vendor=1",
}


def every_transition() -> Iterator[Transition]:
    """One of each pair of state and move, and of each outcome that ends a run."""
    outcomes = {
        Move.COMPLETE: [OutcomeKind.COMPLETED],
        Move.RELEASE: [OutcomeKind.RELEASED],
        Move.CANCEL: [OutcomeKind.CANCELLED, OutcomeKind.ERROR, OutcomeKind.LOST],
        Move.SCHEDULE_RETRY: [OutcomeKind.ERROR, OutcomeKind.TIMEOUT, OutcomeKind.LOST],
        Move.FAIL: [
            OutcomeKind.ERROR, OutcomeKind.TIMEOUT, OutcomeKind.LOST, OutcomeKind.NOT_RETRYABLE,
            OutcomeKind.UNSERIALISABLE,
        ],
    }  # fmt: skip
    for previous, row in TRANSITIONS.items():
        for move, state in row.items():
            ends = outcomes[move] if previous is State.RUNNING else [None]
            for outcome in ends:
                yield transition(previous, move, state, outcome)


def transition(
    previous: State | None, move: Move, state: State | None, outcome: OutcomeKind | None
) -> Transition:
    reasons = {
        Move.FAIL: "attempts_exhausted", Move.SCHEDULE_RETRY: "error", Move.CANCEL: "requested",
    }  # fmt: skip
    broken = outcome is not None and outcome not in (
        OutcomeKind.COMPLETED, OutcomeKind.RELEASED, OutcomeKind.CANCELLED,
    )  # fmt: skip
    fields: dict[str, Any] = dict(KEPT_OF_A_LIFE)
    if move in (Move.DEFER, Move.SCHEDULE_RETRY):
        fields["scheduled_at"] = NOW + 5 * MICROSECONDS
    if previous is State.RUNNING or move is Move.CLAIM:
        fields |= {"worker": WORKER, "since": NOW - MICROSECONDS}
    return Transition(
        job=new_id(), version=1 if previous is None else 5, move=move, at=NOW, type="email.send",
        queue="mail", priority="high", attempt=0 if previous is None else 2, state=state,
        previous=previous, outcome=outcome, reason=reasons.get(move), max_attempts=3,
        error=ErrorInfo("app.Broken", "it broke\nbadly", "Traceback …") if broken else None,
        **fields,
    )  # fmt: skip


def every_event() -> Iterator[Event]:
    for one in every_transition():
        yield from events_of(one, SOURCE)
    for report in (
        ProgressReport(new_id(), 2, NOW, 0.5, "half"),
        ProgressReport(new_id(), 2, NOW, None, None),
    ):
        yield progress_event(report, "email.send", "mail", SOURCE)
    for kind in ("started", "heartbeat", "stopped", "lost"):
        yield worker_event(kind, worker(), NOW, SOURCE)


EVENTS = list(every_event())


def on_the_wire(event: Event) -> dict[str, Any]:
    (envelope,) = json.loads(encode_batch([event]))
    return envelope


def named(event: Event) -> str:
    return f"{event.type}-{event.data.get('previousState')}-{event.data.get('reason')}"


def assert_meets_its_contracts(envelope: dict[str, Any]) -> None:
    faults = [f"{e.instance_path}: {e.message}" for e in ENVELOPE.iter_errors(envelope)]
    contract = validator(TREE, envelope["dataschema"].removeprefix(CONTRACTS_URI))
    faults += [
        f"data {e.instance_path}: {e.message}" for e in contract.iter_errors(envelope["data"])
    ]
    assert faults == []
    assert envelope["dataschema"] == f"{CONTRACTS_URI}events/{envelope['type']}.v1.json"
    assert len(json.dumps(envelope).encode()) <= TREE["envelope.v1.json"]["x-max-bytes"]


def test_every_event_type_of_a_job_or_a_worker_is_made_here() -> None:
    contracts = {
        p.removeprefix("events/").removesuffix(".v1.json") for p in TREE if p.startswith("events/")
    }

    made = {event.type for event in EVENTS}

    assert {kind for kind in contracts if kind.startswith(("job.", "worker."))} == made


@pytest.mark.parametrize("event", EVENTS, ids=named)
def test_an_event_meets_the_contracts_it_names(event: Event) -> None:
    assert_meets_its_contracts(on_the_wire(event))


@pytest.mark.parametrize("event", EVENTS, ids=named)
def test_the_sdk_of_the_standard_reads_an_event(event: Event) -> None:
    envelope = on_the_wire(event)

    read = JSONFormat().read(None, json.dumps(envelope))

    assert (read.get_id(), read.get_source(), read.get_type()) == (event.id, SOURCE, event.type)
    assert (read.get_specversion(), read.get_subject()) == ("1.0", event.subject)
    assert read.get_data() == envelope["data"]
    time = read.get_time()
    assert time is not None
    assert round(time.timestamp() * MICROSECONDS) == from_rfc3339(event.time) == NOW
    for name in ("sequence", "correlationid", "traceparent", "tracestate", "idempotencykey"):
        assert read.get_extension(name) == envelope.get(name)


@given(lives())
def test_the_events_of_any_history_meet_their_contracts_and_tell_its_versions(
    record: list[list[Transition]],
) -> None:
    for number, batch in enumerate(record, 1):
        envelopes = json.loads(encode_commit(Commit("boot", number, tuple(batch)), SOURCE))
        for envelope in envelopes:
            assert_meets_its_contracts(envelope)
        told = [
            (e["subject"], e["sequence"]) for e in envelopes if e["type"] != "job.attempt_failed"
        ]
        assert told == [(t.job, str(t.version)) for t in batch]


@given(st.uuids(), st.integers(1, 2**40))
def test_whoever_tells_a_transition_again_tells_the_same_id(job: Any, version: int) -> None:
    first, second = event_id(str(job), version), event_id(str(job), version)

    assert first == second
    assert is_uuid(first)
    assert len({first, event_id(str(job), version + 1), event_id(str(job), version, "x")}) == 3


def test_an_id_stays_what_it_was_in_every_release() -> None:
    job = "019363a7-2c1d-7b52-9d3e-6f1c2a3b4c5d"

    assert event_id(job, 1) == "f12f63ee-80f5-5a9a-87de-6643b8e7557a"
    assert event_id(job, 2, "attempt_failed") == "826a119a-f1ec-5c16-a96e-131eadf885d2"


def test_the_ids_of_all_events_of_one_life_differ() -> None:
    events = [event for one in every_transition() for event in events_of(one, SOURCE)]

    assert len({event.id for event in events}) == len(events)


@given(st.text(max_size=6000), st.text(min_size=1, max_size=200))
def test_an_event_stays_small_whatever_an_error_says(message: str, kind: str) -> None:
    failed = transition(State.RUNNING, Move.FAIL, State.FAILED, OutcomeKind.ERROR)
    error = ErrorInfo(kind, message, "x" * 100_000)
    fields = {name: getattr(failed, name) for name in failed.__struct_fields__}

    for event in events_of(Transition(**(fields | {"error": error})), SOURCE):
        assert_meets_its_contracts(on_the_wire(event))
        assert event.data["error"]["message"] == message[:4000]


def test_a_failed_attempt_of_a_job_that_goes_on_is_told_apart_from_the_retry() -> None:
    one = transition(State.RUNNING, Move.SCHEDULE_RETRY, State.RETRYING, OutcomeKind.ERROR)

    failed, retrying = events_of(one, SOURCE)

    assert (failed.type, retrying.type) == ("job.attempt_failed", "job.retrying")
    assert failed.sequence == retrying.sequence == "5"
    assert failed.id != retrying.id
    assert failed.data["runSeconds"] == 1.0
    assert retrying.data["delaySeconds"] == 5.0


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("019363a7-2c1d-7b52-9d3e-6f1c2a3b4c5d", True),
        ("019363A7-2C1D-7B52-9D3E-6F1C2A3B4C5D", True),
        ("019363a72c1d7b529d3e6f1c2a3b4c5d", False),
        ("{019363a7-2c1d-7b52-9d3e-6f1c2a3b4c5d}", False),
        ("019363a7-2c1d-7b52-9d3e-6f1c2a3b4c5g", False),
        ("", False),
    ],
)
def test_a_uuid_is_recognised_in_its_canonical_spelling(text: str, answer: bool) -> None:
    assert is_uuid(text) is answer
