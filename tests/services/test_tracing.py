"""The spans of a job's life, told to an exporter that keeps them: on both shapes."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from observatory import JobContext, Observatory, Retry
from observatory.client import AsyncClient
from observatory.runtime.spans import Spans
from observatory.runtime.tracing import using
from services.embedding import Served, served, until
from shapes import on_both_shapes

pytestmark = [pytest.mark.anyio, on_both_shapes]

SKEW_NS = 50_000_000
"""Between the clock of the store and that of this process."""


class Traces:
    """What was traced so far."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracer = self.provider.get_tracer("user")

    @property
    def spans(self) -> list[ReadableSpan]:
        return sorted(self.exporter.get_finished_spans(), key=lambda span: span.start_time or 0)

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.spans if span.name == name]

    def one(self, name: str) -> ReadableSpan:
        (span,) = self.named(name)
        return span

    def of_attempt(self, name: str, attempt: int) -> ReadableSpan:
        (span,) = [
            s for s in self.named(name) if attribute(s, "observatory.job.attempt") == attempt
        ]
        return span

    async def finished(self, count: int) -> None:
        def recorded() -> bool:
            return sum(span.name.startswith("finish ") for span in self.spans) >= count

        await until(recorded, f"for {count} outcomes in {[span.name for span in self.spans]}")


def attribute(span: ReadableSpan, name: str) -> Any:
    return (span.attributes or {}).get(name)


def id_of(span: ReadableSpan) -> int:
    return span.get_span_context().span_id


def parent_of(span: ReadableSpan) -> int | None:
    return None if span.parent is None else span.parent.span_id


def nanoseconds(time: str) -> int:
    when = datetime.fromisoformat(time)
    return int(when.timestamp()) * 1_000_000_000 + when.microsecond * 1000


@pytest.fixture
def traces() -> Iterator[Traces]:
    made = Traces()
    with using(Spans(made.provider)):
        yield made


@pytest.fixture
def app() -> Observatory:
    return Observatory()


def client_of(system: Served) -> AsyncClient:
    return AsyncClient("http://127.0.0.1", transport=httpx.ASGITransport(app=system.system.app))


async def test_a_job_that_failed_twice_and_then_succeeded_is_one_trace_of_every_step(
    app: Observatory, tmp_path: Path, traces: Traces
) -> None:
    @app.job("flaky", max_attempts=5, retry=Retry(base=0.05, jitter=False))
    async def flaky(ctx: JobContext) -> str:
        with traces.tracer.start_as_current_span("step"):
            await asyncio.sleep(0.02)
        if ctx.attempt < 3:
            raise ValueError(f"not at attempt {ctx.attempt}")
        return "done"

    async with served(app, tmp_path) as system:
        async with client_of(system) as client:
            with traces.tracer.start_as_current_span("caller"):
                job = await client.submit("flaky")
        shown = await system.reached(job.id)
        await traces.finished(3)
        attempts = (await system.http.get(f"/jobs/{job.id}/attempts")).json()["items"]

    assert shown["state"] == "completed"
    assert Counter(span.name for span in traces.spans) == {
        "caller": 1,
        "POST /jobs": 1,
        "publish default": 1,
        "queue wait": 3,
        "process flaky": 3,
        "step": 3,
        "finish default": 3,
    }
    (trace_id,) = {span.get_span_context().trace_id for span in traces.spans}
    assert shown["traceId"] == f"{trace_id:032x}"

    request, publish = traces.one("POST /jobs"), traces.one("publish default")
    assert parent_of(request) == id_of(traces.one("caller"))
    assert parent_of(publish) == id_of(request)
    assert (request.kind, publish.kind) == (SpanKind.SERVER, SpanKind.PRODUCER)
    assert attribute(publish, "messaging.message.id") == job.id

    for number, attempt in enumerate(attempts, 1):
        wait = traces.of_attempt("queue wait", number)
        process = traces.of_attempt("process flaky", number)
        finish = traces.of_attempt("finish default", number)
        for span in (wait, process):
            assert span.kind is SpanKind.CONSUMER
            assert parent_of(span) == id_of(publish)
            assert [link.context.span_id for link in span.links] == [id_of(publish)]
            assert attribute(span, "messaging.message.id") == job.id
        assert finish.kind is SpanKind.CLIENT
        assert parent_of(finish) == id_of(process)
        step = traces.named("step")[number - 1]
        assert parent_of(step) == id_of(process)

        assert wait.start_time == nanoseconds(attempt["queuedAt"])
        assert wait.end_time == nanoseconds(attempt["startedAt"])
        assert process.start_time is not None
        assert process.end_time is not None
        assert wait.end_time <= process.start_time + SKEW_NS
        assert process.end_time - process.start_time >= 20_000_000

    outcomes = [attribute(s, "observatory.job.outcome") for s in traces.named("process flaky")]
    assert outcomes == ["error", "error", "completed"]
    states = [attribute(s, "observatory.job.state") for s in traces.named("finish default")]
    assert states == ["retrying", "retrying", "completed"]


async def test_a_failed_attempt_says_with_what(
    app: Observatory, tmp_path: Path, traces: Traces
) -> None:
    @app.job("break", max_attempts=1)
    async def break_it() -> None:
        raise ValueError("no such\naddress")

    async with served(app, tmp_path) as system:
        await system.reached(await system.submit("break"))
        await traces.finished(1)

    process = traces.one("process break")
    assert process.status.status_code is StatusCode.ERROR
    assert attribute(process, "error.type") == "ValueError"
    (event,) = process.events
    assert event.name == "exception"
    about = event.attributes or {}
    assert about["exception.message"] == "no such\naddress"
    assert "raise ValueError" in str(about["exception.stacktrace"])
    assert traces.one("finish default").status.status_code is StatusCode.UNSET


async def test_spans_of_a_handler_in_a_thread_are_below_its_attempt(
    app: Observatory, tmp_path: Path, traces: Traces
) -> None:
    @app.job("threaded")
    def threaded() -> None:
        with traces.tracer.start_as_current_span("in a thread"):
            pass

    async with served(app, tmp_path) as system:
        await system.reached(await system.submit("threaded"))
        await traces.finished(1)

    assert parent_of(traces.one("in a thread")) == id_of(traces.one("process threaded"))


async def test_what_is_recorded_together_belongs_to_no_run(
    app: Observatory, tmp_path: Path, traces: Traces, monkeypatch: pytest.MonkeyPatch
) -> None:
    @app.job("quick")
    async def quick() -> None: ...

    current: list[bool] = []

    async with served(app, tmp_path) as system:
        finish, accept = system.system.store.finish, system.system.store.accept

        async def watched_finish(*given: Any) -> Any:
            current.append(trace.get_current_span().get_span_context().is_valid)
            return await finish(*given)

        async def watched_accept(*given: Any) -> Any:
            current.append(trace.get_current_span().get_span_context().is_valid)
            return await accept(*given)

        monkeypatch.setattr(system.system.store, "finish", watched_finish)
        monkeypatch.setattr(system.system.store, "accept", watched_accept)
        await system.reached(await system.submit("quick"))
        await traces.finished(1)

    assert current == [False, False]


async def test_a_batch_has_a_span_for_each_queue_and_not_for_each_job(
    app: Observatory, tmp_path: Path, traces: Traces
) -> None:
    @app.job("later")
    async def later() -> None: ...

    async with served(app, tmp_path) as system:
        batch = [
            {"type": "later", "delaySeconds": 3600, "queue": queue}
            for queue in ["left"] * 300 + ["right"] * 200
        ]
        answer = await system.http.post("/jobs/batch", json=batch)
        assert answer.json()["accepted"] == 500
        shown = await system.job(answer.json()["items"][-1]["jobId"])

    assert sorted(span.name for span in traces.spans) == [
        "POST /jobs/batch",
        "publish left",
        "publish right",
    ]
    right = traces.one("publish right")
    assert attribute(right, "messaging.batch.message_count") == 200
    assert shown["traceId"] == f"{right.get_span_context().trace_id:032x}"


async def test_a_trace_that_is_not_sampled_leaves_no_span_and_keeps_its_id(
    app: Observatory, tmp_path: Path, traces: Traces
) -> None:
    @app.job("quick")
    async def quick() -> None: ...

    context = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"
    async with served(app, tmp_path) as system:
        answer = await system.http.post(
            "/jobs", json={"type": "quick"}, headers={"traceparent": context, "tracestate": "v=1"}
        )
        job = await system.reached(answer.json()["jobId"])
        (first, *_) = await system.history(job["id"])

    assert traces.spans == []
    assert job["traceId"] == "4bf92f3577b34da6a3ce929d0e0e4736"
    assert (first.traceparent or "").endswith("-00")
    assert first.tracestate == "v=1"


@pytest.mark.parametrize("sent", ["00-" + "f" * 4000, "00-" + "0" * 32 + "-" + "0" * 16 + "-01"])
async def test_a_hostile_context_begins_a_trace_of_its_own(
    app: Observatory, tmp_path: Path, traces: Traces, sent: str
) -> None:
    @app.job("quick")
    async def quick() -> None: ...

    async with served(app, tmp_path) as system:
        answer = await system.http.post(
            "/jobs",
            json={"type": "quick"},
            headers={"traceparent": sent, "tracestate": "x" * 9000, "user-agent": "u" * 5000},
        )
        assert answer.status_code == 202
        await system.reached(answer.json()["jobId"])

    request = traces.one("POST /jobs")
    assert request.parent is None
    assert all(len(str(value)) <= 200 for value in (request.attributes or {}).values())


async def test_a_job_that_nobody_traced_before_has_wait_and_run_in_one_trace(
    app: Observatory, tmp_path: Path, traces: Traces
) -> None:
    @app.job("quick")
    async def quick() -> None: ...

    async with served(app, tmp_path) as system:
        with using(None):
            job = await system.submit("quick", delaySeconds=0.3)
        shown = await system.reached(job)
        await traces.finished(1)

    process = traces.one("process quick")
    assert process.parent is None
    assert parent_of(traces.one("queue wait")) == id_of(process)
    assert shown["traceId"] is None


async def test_refusals_and_repeats_are_told_by_the_request(
    app: Observatory, tmp_path: Path, traces: Traces
) -> None:
    @app.job("quick")
    async def quick(n: int) -> None: ...

    async with served(app, tmp_path) as system:
        for n in (1, 1, 2):
            await system.http.post(
                "/jobs",
                json={"type": "quick", "payload": {"n": n}},
                headers={"Idempotency-Key": "one"},
            )
        await system.http.post("/nowhere/%1B%5B2J", json={})
        await system.http.get("/jobs")

    statuses = [attribute(span, "http.response.status_code") for span in traces.named("POST /jobs")]
    assert statuses == [202, 202, 422]
    _, repeat, reused = traces.named("publish default")
    assert attribute(repeat, "observatory.job.replayed") is True
    assert attribute(reused, "error.type") == "idempotency-key-reused"
    assert len(traces.named("POST")) == 1, "no path is the name of a span"
    assert not [span for span in traces.spans if span.name.startswith("GET")]
