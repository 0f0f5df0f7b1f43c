"""The blocking client."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar, Unpack

import httpx
import httpx_sse
import msgspec

from observatory.client.connection import DEFAULT_PATIENCE_S, arguments, connection
from observatory.client.errors import Refused
from observatory.client.job_view import JobView
from observatory.client.live import Follower, event_params
from observatory.client.operations import (
    Action,
    Operations,
    action_body,
    cancel_body,
    job_params,
    retry_body,
    submission,
)
from observatory.client.records import EventRecord, Job, JobFilter, Json, Submission, SubmitOptions
from observatory.client.requests import Answer, Request, Steps, checked

T = TypeVar("T")


class JobHandle(JobView):
    """A job that was submitted; reads it when it is first asked about."""

    def __init__(self, client: "Client", job_id: str, job: Job | None = None) -> None:
        super().__init__(job_id, job)
        self._client = client

    @property
    def job(self) -> Job:
        """All that was read last; read now if it never was."""
        return self._job or self.refresh().job

    def refresh(self) -> "JobHandle":
        """Read the job again."""
        self._job = self._client.run(self._client.operations.job(self.id))
        return self

    def wait(self, timeout: float | None = None) -> "JobHandle":
        """Return once the job is completed, failed or cancelled.

        Raises:
            WaitTimeout: it was none of these after `timeout` seconds.
        """
        self._job = self._client.run(self._client.operations.wait(self.id, timeout))
        return self

    def cancel(self, reason: str | None = None) -> Json:
        """Ask for the job to be cancelled; a running one is told and may take a moment."""
        return self._client.cancel(self.id, reason=reason)

    def retry(self, payload: Mapping[str, Any] | None = None) -> "JobHandle":
        """Run it again; with another payload that is a new job."""
        return self._client.retry(self.id, payload=payload)


class Client:
    """Talks to an observatory, blocking.

    Args:
        url: where it is; else OBSERVATORY_URL, else http://127.0.0.1:8080.
        key: sent as bearer key; else OBSERVATORY_API_KEY, else none.
        patience: seconds to go on trying, where that is safe, while nothing answers.
        reads_within: seconds after which a read that nobody answers is given up at once; else after
            30 s it is tried again.
        transport: another way to carry requests, for tests.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        key: str | None = None,
        patience: float = DEFAULT_PATIENCE_S,
        reads_within: float | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._http = httpx.Client(**connection(url, key), transport=transport)
        self._patience_s = patience
        self.operations = Operations(patience, reads_within)

    @property
    def url(self) -> str:
        """Where the observatory is."""
        return str(self._http.base_url).rstrip("/")

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def run(self, steps: Steps[T]) -> T:
        """Carry an operation's requests until it is done."""
        try:
            request = next(steps)
            while True:
                request = steps.send(self._answer(request))
        except StopIteration as end:
            return end.value

    def _answer(self, request: Request) -> Answer:
        if request.pause_s:
            time.sleep(request.pause_s)
        try:
            return self._http.request(**arguments(request))
        except httpx.TransportError as error:
            return error

    def submit(
        self,
        type: str,
        payload: Mapping[str, Any] | None = None,
        /,
        *,
        options: SubmitOptions | None = None,
        **fields: Any,
    ) -> JobHandle:
        """Submit one job; its payload is `payload` with the keyword `fields` laid over it. A
        payload with a member named `options` is passed as a dict.

        Raises:
            Refused: unknown type, a payload that breaks its contract, …
            Unreachable, Unavailable: nothing answered, or the system could not (5xx). Sent again
                under the error's `idempotency_key` it cannot become two jobs.
        """
        job = submission(type, payload, options, fields)
        return JobHandle(self, self.run(self.operations.submit(job)))

    def submit_many(self, jobs: Iterable[Submission]) -> list[JobHandle | Refused]:
        """Submit many jobs in few requests; each item's handle or refusal, in the given order.

        Raises:
            Interrupted: nothing answered, or no longer, or the system could not (5xx); it holds
                the ids that had come, and the jobs to submit again.
        """
        accepted = self.run(self.operations.submit_many(jobs))
        return [one if isinstance(one, Refused) else JobHandle(self, one) for one in accepted]

    def job(self, job_id: str) -> JobHandle:
        """Read one job; NotFound if there is none."""
        return JobHandle(self, job_id).refresh()

    def jobs(self, *, limit: int = 200, **filters: Unpack[JobFilter]) -> Iterator[Job]:
        """All jobs that match, newest first, read `limit` at a time."""
        for item in self.items("/jobs", job_params(limit, filters)):
            yield msgspec.convert(item, Job)

    def items(self, path: str, params: Mapping[str, str] | None = None) -> Iterator[Json]:
        """The items of any list of the read API, page after page."""
        params = dict(params or {})
        while True:
            page, cursor = self.run(self.operations.page(path, params))
            yield from page
            if cursor is None:
                return
            params["cursor"] = cursor

    def cancel(self, job_id: str, *, reason: str | None = None) -> Json:
        """Cancel a job; Conflict if it has ended already."""
        return self.run(self.operations.command(job_id, "cancel", cancel_body(reason)))

    def retry(self, job_id: str, *, payload: Mapping[str, Any] | None = None) -> JobHandle:
        """Run a job again; Conflict while it is waiting or running."""
        answer = self.run(self.operations.command(job_id, "retry", retry_body(payload)))
        return JobHandle(self, answer["jobId"])

    def act_on_jobs(
        self,
        action: Action,
        *,
        dry_run: bool = False,
        cursor: str | None = None,
        reason: str | None = None,
        **filters: Unpack[JobFilter],
    ) -> Json:
        """Cancel, or run again, the jobs that match, 500 a call, newest first; with `dry_run`
        count them. While `next` of the answer is not None, there are more: give it as `cursor`.
        Without states, running again means the failed ones alone.
        """
        body = action_body(action, filters, dry_run=dry_run, cursor=cursor, reason=reason)
        return self.run(self.operations.act_on_jobs(body))

    def pause_queue(self, queue: str) -> Json:
        """Have every processor leave a queue alone; its jobs wait, those running go on."""
        return self.run(self.operations.set_paused(queue, True))

    def resume_queue(self, queue: str) -> Json:
        """Have processors take a paused queue up again."""
        return self.run(self.operations.set_paused(queue, False))

    def read(self, path: str, params: Mapping[str, str] | None = None) -> Any:
        """What the read API answers at a path, as decoded JSON."""
        return self.run(self.operations.read(path, params))

    def stats(self, *, window: int = 900) -> Json:
        """Exact counts, and rates and percentiles over the last `window` seconds."""
        return self.read("/stats", {"window": str(window)})

    def events(
        self,
        *,
        type: str | None = None,
        subject: str | None = None,
        after: str | None = None,
        follow: bool = False,
        on_lost: Callable[[str], None] | None = None,
    ) -> Iterator[EventRecord]:
        """Events of the log: newest first; with `after` oldest first; with `follow` live.

        Following goes on over restarts of the server without losing an event. An event whose
        server died at the wrong moment may be in the log twice, with the same id. `on_lost` is
        called with the reason when nothing answers, once until something does again.

        Raises:
            PositionLost: the log no longer holds what comes after `after`.
        """
        params = event_params(type, subject, after)
        if follow:
            yield from self._follow(Follower(params, self._patience_s, on_lost))
        else:
            for item in self.items("/events", params):
                yield msgspec.convert(item, EventRecord)

    def _follow(self, follower: Follower) -> Iterator[EventRecord]:
        while True:
            failure: httpx.TransportError | None = None
            try:
                with httpx_sse.connect_sse(
                    self._http, "GET", "/events/stream", **follower.connection()
                ) as source:
                    if source.response.status_code >= 400:
                        source.response.read()
                        checked(source.response)
                    follower.opened()
                    for frame in source.iter_sse():
                        if record := follower.record(frame):
                            yield record
            except httpx.TransportError as error:
                failure = error
            time.sleep(follower.pause_after(failure))
