"""What is known of one job; the handles of both clients build on it."""

from typing import Any

from observatory.client.errors import JobFailed, NotEnded
from observatory.client.records import Job
from observatory.core.errors import ObservatoryError


class JobView:
    """What is known of a job, from the last time it was read."""

    def __init__(self, job_id: str, job: Job | None = None) -> None:
        self.id = job_id
        self._job = job

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id} {self._job.state if self._job else 'unread'}>"

    @property
    def job(self) -> Job:
        """All that was read last."""
        if self._job is None:
            raise ObservatoryError(f"job {self.id} was not read yet: call refresh() or wait()")
        return self._job

    @property
    def state(self) -> str:
        """The state as it was read last."""
        return self.job.state

    @property
    def result(self) -> Any:
        """What the handler returned.

        Raises:
            JobFailed: it failed or was cancelled.
            NotEnded: as far as is known it has not finished; `wait()` first.
        """
        job = self.job
        if job.state == "completed":
            return job.result
        if job.finished:
            raise JobFailed(job)
        raise NotEnded(f"job {job.id} is {job.state} and has no result yet: call wait()")
