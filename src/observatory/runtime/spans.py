"""The spans of a job's life, named by the semantic conventions for HTTP and messaging (v1.44).

    POST /jobs                    SERVER    the request
    └─ publish <queue>            PRODUCER  the commit; its context is kept with the job
       ├─ queue wait              CONSUMER  from queued to claimed, once an attempt
       └─ process <job type>      CONSUMER  the attempt; the handler's own spans are below it
          └─ finish <queue>       CLIENT    recording the outcome

Imported only where tracing was asked for; see `tracing.py`.
"""

from collections import Counter
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import msgspec
from opentelemetry import context as current
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode, TracerProvider
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from observatory import __version__
from observatory.core.job import ClaimedJob, FinishedAttempt, Submission, Transition
from observatory.core.lifecycle import ErrorInfo, OutcomeKind, State
from observatory.core.store import Accepted, KeyReused
from observatory.core.trace_context import TraceContext

_METHODS: Final = frozenset({"POST", "PUT", "PATCH", "DELETE", "GET", "HEAD", "OPTIONS"})
_NANOSECONDS: Final = 1000
"""Of the microseconds that the store counts in."""

_FAILED: Final = frozenset(
    {
        OutcomeKind.ERROR,
        OutcomeKind.TIMEOUT,
        OutcomeKind.NOT_RETRYABLE,
        OutcomeKind.UNSERIALISABLE,
        OutcomeKind.LOST,
    }
)

_propagator: Final = TraceContextTextMapPropagator()


def _context_of(sent: TraceContext) -> Context:
    headers = {"traceparent": sent.traceparent, "tracestate": sent.tracestate}
    carrier = {name: value for name, value in headers.items() if value}
    # Of an empty context: what happens to be current here has nothing to do with it.
    return _propagator.extract(carrier, Context())


def _sent_from(span: Span) -> TraceContext:
    carrier: dict[str, str] = {}
    _propagator.inject(carrier, trace.set_span_in_context(span, Context()))
    return TraceContext(carrier.get("traceparent"), carrier.get("tracestate"))


def _failed(span: Span, error_type: str) -> None:
    span.set_attribute("error.type", error_type)
    span.set_status(Status(StatusCode.ERROR))


def _messaging(operation: str, type: str, queue: str) -> dict[str, Any]:
    return {
        "messaging.system": "observatory",
        "messaging.operation.name": operation,
        "messaging.operation.type": type,
        "messaging.destination.name": queue,
    }


def _attempt(job: str, type: str, number: int, correlation_id: str | None) -> dict[str, Any]:
    about: dict[str, Any] = {
        "messaging.message.id": job,
        "observatory.job.id": job,
        "observatory.job.type": type,
        "observatory.job.attempt": number,
    }
    if correlation_id is not None:
        about["messaging.message.conversation_id"] = correlation_id
    return about


def _publication(sent: TraceContext) -> tuple[Context, list[Link]]:
    """What an attempt is below, and linked to; empty where nobody traced its job before."""
    parent = _context_of(sent)
    creation = trace.get_current_span(parent).get_span_context()
    return parent, [Link(creation)] if creation.is_valid else []


def _raised(span: Span, error: ErrorInfo, at: int | None = None) -> None:
    about = {
        "exception.type": error.type,
        "exception.message": error.message,
        "exception.stacktrace": error.traceback or "",
    }
    span.add_event("exception", about, at)


class RequestSpan:
    """The span of a request that is being answered."""

    def __init__(self, span: Span, method: str) -> None:
        self._span = span
        self._method = method

    def answered(self, status: int) -> None:
        """The status of the answer is known."""
        self._span.set_attribute("http.response.status_code", status)
        if status >= 500:
            _failed(self._span, str(status))

    def routed(self, route: str | None) -> None:
        """Name the route that answered; a path may be anything, and no name of a span."""
        if route is not None:
            self._span.set_attribute("http.route", route)
            self._span.update_name(f"{self._method} {route}")


class Publishing:
    """Submissions on their way to the record, each with the context of its publication."""

    def __init__(self, submissions: list[Submission], spans: list[Span]) -> None:
        self.submissions = submissions
        self._spans = spans

    def accepted(self, results: Sequence[Accepted | KeyReused]) -> None:
        """They are on record. Of a repeat the job is the one that the first request made."""
        if len(results) == 1:
            (result,), (span,) = results, self._spans
            span.set_attribute("messaging.message.id", result.job_id)
            if isinstance(result, KeyReused):
                _failed(span, "idempotency-key-reused")
            elif result.replayed:
                span.set_attribute("observatory.job.replayed", True)


class AttemptSpans:
    """The spans of one attempt, from its wait in the queue to its recorded outcome."""

    def __init__(self, tracer: trace.Tracer, job: ClaimedJob) -> None:
        """Begin the attempt; the wait that came before it is over."""
        self._tracer = tracer
        self._queue = job.queue
        self._job = _attempt(job.id, job.type, job.attempt, job.correlation_id)
        parent, links = _publication(TraceContext(job.traceparent, job.tracestate))
        self._process = tracer.start_span(
            f"process {job.type}",
            parent,
            SpanKind.CONSUMER,
            {**_messaging("process", "process", job.queue), **self._job},
            links,
        )
        self._below = trace.set_span_in_context(self._process, Context())
        self._finish: Span | None = None
        if self._process.is_recording():
            # Where nobody published it with a span, the wait is below the attempt it led to, so
            # that both are in one trace.
            self._waited(job, parent if links else self._below, links)

    def _waited(self, job: ClaimedJob, parent: Context, links: list[Link]) -> None:
        if job.queued_at is None or job.started_at is None:
            return
        span = self._tracer.start_span(
            "queue wait",
            parent,
            SpanKind.CONSUMER,
            {**_messaging("wait", "receive", job.queue), **self._job},
            links,
            start_time=job.queued_at * _NANOSECONDS,
        )
        span.end(job.started_at * _NANOSECONDS)

    @contextmanager
    def entered(self) -> Generator[None]:
        """Have the attempt's span be the current one: what the block begins is below it."""
        token = current.attach(trace.set_span_in_context(self._process))
        try:
            yield
        finally:
            current.detach(token)

    def ended(self, attempt: FinishedAttempt) -> None:
        """The run is over; its outcome is now to be recorded."""
        span = self._process
        if not span.is_recording():
            return  # its trace is not sampled, and so would the rest of it not be
        span.set_attribute("observatory.job.outcome", attempt.outcome.value)
        if attempt.error is not None:
            _raised(span, attempt.error)
        if attempt.outcome in _FAILED:
            _failed(span, attempt.error.type if attempt.error else attempt.outcome.value)
        span.end()
        self._finish = self._tracer.start_span(
            f"finish {self._queue}",
            self._below,
            SpanKind.CLIENT,
            {**_messaging("finish", "settle", self._queue), **self._job},
        )

    def recorded(self, state: State | None) -> None:
        """The outcome is on record and led to this state; None where it was not taken."""
        if self._finish is None:
            return
        if state is None:
            _failed(self._finish, "stale")
        else:
            self._finish.set_attribute("observatory.job.state", state.value)
        self._finish.end()


class Spans:
    """Makes the spans of a process."""

    def __init__(self, provider: TracerProvider) -> None:
        self._tracer = provider.get_tracer("observatory", __version__)

    @contextmanager
    def request(
        self, method: str, about: Mapping[str, str | int], sent: TraceContext
    ) -> Generator[RequestSpan]:
        """The span of a request, current while it is answered.

        Args:
            method: of HTTP.
            about: attributes known before it is answered.
            sent: the trace that the caller says it belongs to.
        """
        known = method if method in _METHODS else "_OTHER"
        name = method if method in _METHODS else "HTTP"
        span = self._tracer.start_span(
            name, _context_of(sent), SpanKind.SERVER, {"http.request.method": known, **about}
        )
        token = current.attach(trace.set_span_in_context(span))
        try:
            yield RequestSpan(span, name)
        except BaseException as error:
            _failed(span, type(error).__qualname__)
            raise
        finally:
            current.detach(token)
            span.end()

    @contextmanager
    def publishing(self, submissions: Sequence[Submission]) -> Generator[Publishing]:
        """The spans of a publication, one for each queue: a batch of a thousand jobs has few. They
        end when the block does, which is when the jobs are on record."""
        counts = Counter(submission.queue for submission in submissions)
        spans = {queue: self._publish(queue, count) for queue, count in counts.items()}
        if len(submissions) == 1:
            (span,), (one,) = spans.values(), submissions
            span.set_attribute("messaging.message.conversation_id", one.correlation_id)
            span.set_attribute("observatory.job.type", one.type)
        sent = {queue: _sent_from(span) for queue, span in spans.items()}
        traced = [_with_context(one, sent[one.queue]) for one in submissions]
        try:
            yield Publishing(traced, list(spans.values()))
        except BaseException as error:
            for span in spans.values():
                _failed(span, type(error).__qualname__)
            raise
        finally:
            for span in spans.values():
                span.end()

    def _publish(self, queue: str, count: int) -> Span:
        attributes = _messaging("publish", "send", queue)
        if count > 1:
            attributes["messaging.batch.message_count"] = count
        return self._tracer.start_span(
            f"publish {queue}", kind=SpanKind.PRODUCER, attributes=attributes
        )

    def attempt(self, job: ClaimedJob) -> AttemptSpans:
        """The spans of an attempt that begins now."""
        return AttemptSpans(self._tracer, job)

    def lost(self, transitions: Iterable[Transition], seen: Mapping[str, int]) -> None:
        """The attempts that these end as lost: whoever ran them can tell no more of them.

        Args:
            transitions: of what was rescued.
            seen: worker → its last sign of life, which is the last that is known of its runs; they
                may have been taken for dead long after it.
        """
        for t in transitions:
            if t.outcome is not OutcomeKind.LOST or t.since is None:
                continue
            parent, links = _publication(TraceContext(t.traceparent, t.tracestate))
            span = self._tracer.start_span(
                f"process {t.type}",
                parent,
                SpanKind.CONSUMER,
                {
                    **_messaging("process", "process", t.queue),
                    **_attempt(t.job, t.type, t.attempt, t.correlation_id),
                    "observatory.job.outcome": OutcomeKind.LOST.value,
                },
                links,
                start_time=t.since * _NANOSECONDS,
            )
            until = min(t.at, max(t.since, seen.get(t.worker or "", t.since))) * _NANOSECONDS
            if t.error is not None:
                _failed(span, t.error.type)
                _raised(span, t.error, until)
            span.end(until)


def _with_context(submission: Submission, sent: TraceContext) -> Submission:
    if sent.traceparent is None:
        return submission
    return msgspec.structs.replace(
        submission, traceparent=sent.traceparent, tracestate=sent.tracestate
    )
