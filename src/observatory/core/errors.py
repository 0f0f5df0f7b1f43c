"""The errors of the system, by who can act on them.

Backends translate their drivers' exceptions into these at their own edge, so services know no
driver. Each error that can reach a caller knows its RFC 9457 problem.
"""

from typing import ClassVar, NamedTuple

PROBLEM_BASE = "https://observatory.example/problems/"
"""Base URI of problem types; each has a section in docs/reference/problems.md."""


class Fault(NamedTuple):
    """One thing wrong with an input: where (JSON pointer, RFC 6901) and what."""

    pointer: str
    detail: str


class ObservatoryError(Exception):
    """Root of every error this package raises on purpose."""


class Problem(ObservatoryError):  # noqa: N818 - the field's word, RFC 9457
    """An error that a caller is told about as problem+json (RFC 9457)."""

    slug: ClassVar[str] = "internal-error"
    title: ClassVar[str] = "Internal error"
    status: ClassVar[int] = 500

    def __init__(
        self, detail: str, *, faults: tuple[Fault, ...] = (), retry_after_s: int | None = None
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.faults = faults
        self.retry_after_s = retry_after_s


class MalformedRequest(Problem):
    """What came is not an HTTP request that can be read (RFC 9112); the connection is closed."""

    slug, title, status = "malformed-request", "The request is not acceptable HTTP", 400


class MalformedJson(Problem):
    """The body is not JSON this system accepts (RFC 8259 plus the limits of strict_json)."""

    slug, title, status = "malformed-json", "The body is not acceptable JSON", 400


class InvalidParameter(Problem):
    """A query parameter or header has an unknown name or an impossible value."""

    slug, title, status = "invalid-parameter", "A parameter is not acceptable", 400


class InvalidCursor(Problem):
    """A cursor was not made by this system, or for other filters."""

    slug, title, status = "invalid-cursor", "The cursor is not acceptable", 400


class Unauthorized(Problem):
    """No key, or one that is not known."""

    slug, title, status = "unauthorized", "A valid key is needed", 401


class Forbidden(Problem):
    """The key, host or origin is known and may not do this."""

    slug, title, status = "forbidden", "This is not allowed", 403


class NotFound(Problem):
    """There is no such thing."""

    slug, title, status = "not-found", "There is nothing here", 404


class MethodNotAllowed(Problem):
    """The route exists with other methods."""

    slug, title, status = "method-not-allowed", "The method is not allowed here", 405


class IllegalTransition(Problem):
    """The job's state does not allow what was asked."""

    slug, title, status = "illegal-transition", "The job's state does not allow this", 409


class PayloadTooLarge(Problem):
    """The body is over the limit."""

    slug, title, status = "payload-too-large", "The body is too large", 413


class UnsupportedMediaType(Problem):
    """The body is not of a type this route reads."""

    slug, title, status = "unsupported-media-type", "The content type is not supported", 415


class ValidationFailed(Problem):
    """The input does not meet its contract; `faults` point at each place."""

    slug, title, status = "validation-failed", "The input does not meet its contract", 422


class UnknownJobType(Problem):
    """No processor has registered this job type."""

    slug, title, status = "unknown-job-type", "The job type is not known", 422


class TooManyQueues(Problem):
    """The job would be the first of a queue, and there are as many queues as may be."""

    slug, title, status = "too-many-queues", "There are as many queues as may be", 422


class IdempotencyKeyReused(Problem):
    """The Idempotency-Key was used before with another body."""

    slug, title, status = "idempotency-key-reused", "The key was used with another body", 422


class QueryTooBroad(Problem):
    """The question would read too much of the store."""

    slug, title, status = "query-too-broad", "The query is too broad", 503


class StoreUnavailable(Problem):
    """The store does not answer; nothing was recorded, or it is not known whether it was."""

    slug, title, status = "store-unavailable", "The store is not available", 503


class SpineUnavailable(Problem):
    """The spine does not answer now: events cannot be read, and accepted work is started later."""

    slug, title, status = "spine-unavailable", "The spine is not available", 503


class AggregatesUnavailable(Problem):
    """The aggregates do not answer: no numbers can be shown now. Jobs are not concerned."""

    slug, title, status = "aggregates-unavailable", "The numbers are not available", 503


class BacklogFull(Problem):
    """Accepted work waits to be dispatched up to the stated limit."""

    slug, title, status = "backlog-full", "Too much accepted work waits to be dispatched", 503


class Overloaded(Problem):
    """As much is under way as one process takes on at once."""

    slug, title, status = "overloaded", "Too much is under way at once", 503


class Draining(Problem):
    """This process is told to end: it lets what runs end, and takes no more."""

    slug, title, status = "draining", "The service is about to end", 503


class ConfigurationError(ObservatoryError):
    """The operator can act: a setting, a module or a folder is wrong."""


class RowRefused(ObservatoryError):  # noqa: N818 - says what is so
    """The store cannot hold this row as such; trying again would not help. It takes no other
    write with it: whoever wrote several together writes them apart."""


class WorkerLost(ObservatoryError):  # noqa: N818 - says what is so
    """The worker is not on record as alive (any more): it owns nothing and can take nothing."""


class PositionMismatch(ObservatoryError):  # noqa: N818 - says what is so
    """The aggregates are not where the metrics engine believes them to be."""


class NonRetryable(Exception):  # noqa: N818 - users raise it as a statement, not as an error's name
    """Raised by a handler: this attempt failed, and trying again would not help."""
