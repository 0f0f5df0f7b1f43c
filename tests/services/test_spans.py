"""What becomes of the spans of an attempt and of a publication, without a system around them."""

import msgspec
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from conformance.making import ended, submission
from observatory.core.job import ClaimedJob, Transition
from observatory.core.lifecycle import ErrorInfo, Move, OutcomeKind, State
from observatory.core.store import Accepted
from observatory.runtime.spans import Spans

JOB = ClaimedJob(
    id="j", type="t", queue="q", attempt=1, payload="{}", failures=0, crashes=0, max_attempts=3,
    timeout_s=None, contract_version=1, correlation_id="c",
    traceparent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", tracestate="v=1",
    queued_at=1_000_000, started_at=3_500_000,
)  # fmt: skip


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def spans(exporter: InMemorySpanExporter) -> Spans:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return Spans(provider)


def names(exporter: InMemorySpanExporter) -> list[str]:
    return [span.name for span in exporter.get_finished_spans()]


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        (OutcomeKind.COMPLETED, StatusCode.UNSET),
        (OutcomeKind.CANCELLED, StatusCode.UNSET),
        (OutcomeKind.RELEASED, StatusCode.UNSET),
        (OutcomeKind.TIMEOUT, StatusCode.ERROR),
        (OutcomeKind.UNSERIALISABLE, StatusCode.ERROR),
    ],
)
def test_only_what_failed_is_an_error(
    spans: Spans, exporter: InMemorySpanExporter, outcome: OutcomeKind, status: StatusCode
) -> None:
    attempt = spans.attempt(JOB)
    attempt.ended(ended("j", outcome=outcome))
    attempt.recorded(State.QUEUED)

    wait, process, finish = exporter.get_finished_spans()
    assert (process.status.status_code, finish.status.status_code) == (status, StatusCode.UNSET)
    assert (process.attributes or {})["observatory.job.outcome"] == outcome.value
    assert (wait.start_time, wait.end_time) == (1_000_000_000, 3_500_000_000)
    assert wait.get_span_context().trace_state.to_header() == "v=1"


def test_an_outcome_that_came_too_late_is_told_as_stale(
    spans: Spans, exporter: InMemorySpanExporter
) -> None:
    attempt = spans.attempt(JOB)
    attempt.ended(ended("j"))
    attempt.recorded(None)

    finish = exporter.get_finished_spans()[-1]
    assert finish.name == "finish q"
    assert (finish.attributes or {})["error.type"] == "stale"


def test_an_attempt_of_a_trace_that_is_not_sampled_leaves_nothing(
    spans: Spans, exporter: InMemorySpanExporter
) -> None:
    assert JOB.traceparent is not None
    attempt = spans.attempt(
        msgspec.structs.replace(JOB, traceparent=JOB.traceparent.removesuffix("01") + "00")
    )
    with attempt.entered():
        pass
    attempt.ended(ended("j"))
    attempt.recorded(State.COMPLETED)

    assert names(exporter) == []


def test_a_publication_that_failed_says_so(spans: Spans, exporter: InMemorySpanExporter) -> None:
    with pytest.raises(TimeoutError), spans.publishing([submission(queue="q")]):
        raise TimeoutError

    (publish,) = exporter.get_finished_spans()
    assert (publish.name, publish.status.status_code) == ("publish q", StatusCode.ERROR)
    assert (publish.attributes or {})["error.type"] == "TimeoutError"


def test_the_jobs_of_a_batch_share_the_context_of_their_queue(
    spans: Spans, exporter: InMemorySpanExporter
) -> None:
    given = [submission(queue=queue) for queue in "aabab"]
    with spans.publishing(given) as publishing:
        sent = publishing.submissions
        publishing.accepted([Accepted(one.id) for one in sent])

    assert [one.id for one in sent] == [one.id for one in given]
    assert len({one.traceparent for one in sent}) == 2
    assert len({one.traceparent for one in sent if one.queue == "a"}) == 1
    assert sorted(names(exporter)) == ["publish a", "publish b"]


@pytest.mark.parametrize(
    ("seen", "until"),
    [
        ({"h:1:b": 8_000_000}, 8_000_000),
        ({"h:1:b": 2_000_000}, 3_500_000),
        ({"h:1:b": 600_000_000}, 520_000_000),
        ({}, 3_500_000),
    ],
    ids=["seen while it ran", "not seen since it began", "seen after it was rescued", "unknown"],
)
def test_a_lost_run_ends_at_the_last_sign_of_life_of_its_worker(
    spans: Spans, exporter: InMemorySpanExporter, seen: dict[str, int], until: int
) -> None:
    rescued = Transition(
        job="j", version=3, move=Move.SCHEDULE_RETRY, at=520_000_000, type="t", queue="q",
        priority="normal", attempt=1, state=State.RETRYING, previous=State.RUNNING,
        since=3_500_000, outcome=OutcomeKind.LOST, worker="h:1:b", error=ErrorInfo("WorkerLost", "x"),
    )  # fmt: skip
    spans.lost([rescued], seen)

    (process,) = exporter.get_finished_spans()
    assert (process.start_time, process.end_time) == (3_500_000_000, until * 1000)
    assert [event.timestamp for event in process.events] == [until * 1000]
    assert (process.attributes or {})["observatory.job.outcome"] == "lost"
