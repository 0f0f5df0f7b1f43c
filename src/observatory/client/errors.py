"""The client's errors, by who can act on them. Their common root is `ObservatoryError`."""

# ruff: noqa: N818 - named for what happened, as a caller reads it in an except clause

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from observatory.client.records import Job, JobError, Json, Submission
from observatory.core.errors import ObservatoryError


class Unreachable(ObservatoryError):
    """Nothing answers at the address: start the system, or correct the URL."""

    by_another: bool = False
    """Whether something did answer, and not as an observatory does."""
    idempotency_key: str | None = None
    """Of what was being submitted: submitted again under this key (`SubmitOptions.idempotency_key`)
    it cannot become two."""


class Refused(ObservatoryError):
    """The system answered no (RFC 9457): the request must change. Its fields are the problem's."""

    idempotency_key: str | None = None
    """As that of `Unreachable`; where the same may be sent again."""

    def __init__(self, problem: Mapping[str, Any], *, status: int) -> None:
        self.problem = dict(problem)
        self.status = status
        self.type = str(problem.get("type") or "about:blank")
        self.title = str(problem.get("title") or f"HTTP {status}")
        self.detail = str(problem.get("detail") or "")
        self.errors: list[Json] = list(problem.get("errors") or [])
        super().__init__(self._text())

    @property
    def slug(self) -> str:
        """The last part of the problem's type, such as ``validation-failed``."""
        return self.type.rstrip("/").rpartition("/")[2]

    def _text(self) -> str:
        text = f"{self.title}: {self.detail}" if self.detail else self.title
        return "\n".join([text, *filter(None, map(self._fault, self.errors))])

    def _fault(self, error: Json) -> str | None:
        pointer, detail = str(error.get("pointer") or "(root)"), str(error.get("detail"))
        if detail == self.detail:
            return f"  at {pointer}"
        if self.detail == f"{pointer.removeprefix('/')}: {detail}":
            return None  # said already
        return f"  {pointer}: {detail}"


class Unsendable(ObservatoryError, ValueError):
    """What is to be sent cannot be: JSON or the system has no such value. Nothing was sent."""


class Unavailable(Refused):
    """The system could not answer (5xx), and it may not be known whether it did what was asked.
    The request is not at fault: send it again later."""


class Interrupted(Unreachable):
    """Submitting many jobs was cut off: nothing answered, or nothing but that it cannot be done
    now. `answers` holds the ids and refusals that had come, in the
    given order; `rest` gives the jobs after those, with the keys they were or would have been sent
    under, so that `submit_many(error.rest)` makes no job twice."""

    def __init__(
        self, reason: str, answers: Sequence[str | Refused], rest: Iterator[Submission]
    ) -> None:
        told = reason if reason.endswith((".", "?")) else f"{reason}."
        super().__init__(f"{told} {len(answers)} of the jobs had been answered before.")
        self.answers = list(answers)
        self.rest = rest


class NotFound(Refused):
    """There is no such job (404)."""


class Conflict(Refused):
    """The job's state does not allow this (409)."""


class JobFailed(ObservatoryError):
    """The job ended without a result: its handler failed, or it was cancelled."""

    def __init__(self, job: Job) -> None:
        self.job = job
        if job.state == "cancelled":
            # Its last error may be of an attempt long before; what ended it is the cancelling.
            error = JobError("Cancelled", job.cancel_reason or "no reason was given")
            text = f"was cancelled: {error.message}"
        else:
            error = job.error or JobError("Failed", "no error was recorded")
            text = f"failed: {error.type}: {error.message}"
        self.type, self.message, self.traceback = error.type, error.message, error.traceback
        super().__init__(f"job {job.id} {text}")


class WaitTimeout(ObservatoryError):
    """The job was not finished in the time given; it goes on."""


class NotEnded(WaitTimeout):
    """The job has not ended, as far as is known, and so has no result yet: wait for it."""


class PositionLost(ObservatoryError):
    """The event log no longer holds the position: read a snapshot, then follow from now."""
