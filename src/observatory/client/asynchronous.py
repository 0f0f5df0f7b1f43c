"""The client for asyncio and trio: the same operations, awaited."""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Any, TypeVar, Unpack

import anyio
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


class AsyncJobHandle(JobView):
    """A job that was submitted; `await refresh()` or `wait()` before asking about it."""

    def __init__(self, client: "AsyncClient", job_id: str, job: Job | None = None) -> None:
        super().__init__(job_id, job)
        self._client = client

    async def refresh(self) -> "AsyncJobHandle":
        """Read the job again."""
        self._job = await self._client.run(self._client.operations.job(self.id))
        return self

    async def wait(self, timeout: float | None = None) -> "AsyncJobHandle":  # noqa: ASYNC109 - also bounds what the server is asked to wait
        """Return once the job is completed, failed or cancelled; else raise WaitTimeout."""
        self._job = await self._client.run(self._client.operations.wait(self.id, timeout))
        return self

    async def cancel(self, reason: str | None = None) -> Json:
        """Ask for the job to be cancelled; a running one is told and may take a moment."""
        return await self._client.cancel(self.id, reason=reason)

    async def retry(self, payload: Mapping[str, Any] | None = None) -> "AsyncJobHandle":
        """Run it again; with another payload that is a new job."""
        return await self._client.retry(self.id, payload=payload)


class AsyncClient:
    """Talks to an observatory from asyncio or trio; see `Client`, whose operations it shares."""

    def __init__(
        self,
        url: str | None = None,
        *,
        key: str | None = None,
        patience: float = DEFAULT_PATIENCE_S,
        reads_within: float | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._http = httpx.AsyncClient(**connection(url, key), transport=transport)
        self._patience_s = patience
        self.operations = Operations(patience, reads_within)

    @property
    def url(self) -> str:
        """Where the observatory is."""
        return str(self._http.base_url).rstrip("/")

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def run(self, steps: Steps[T]) -> T:
        """Carry an operation's requests until it is done."""
        try:
            request = next(steps)
            while True:
                request = steps.send(await self._answer(request))
        except StopIteration as end:
            return end.value

    async def _answer(self, request: Request) -> Answer:
        if request.pause_s:
            await anyio.sleep(request.pause_s)
        try:
            return await self._http.request(**arguments(request))
        except httpx.TransportError as error:
            return error

    async def submit(
        self,
        type: str,
        payload: Mapping[str, Any] | None = None,
        /,
        *,
        options: SubmitOptions | None = None,
        **fields: Any,
    ) -> AsyncJobHandle:
        """Submit one job; see `Client.submit`."""
        job = submission(type, payload, options, fields)
        return AsyncJobHandle(self, await self.run(self.operations.submit(job)))

    async def submit_many(self, jobs: Iterable[Submission]) -> list[AsyncJobHandle | Refused]:
        """Submit many jobs in few requests; each item's handle or refusal, in the given order.

        Raises:
            Interrupted: nothing answered, or no longer, or the system could not (5xx); it holds
                the ids that had come, and the jobs to submit again.
        """
        accepted = await self.run(self.operations.submit_many(jobs))
        return [one if isinstance(one, Refused) else AsyncJobHandle(self, one) for one in accepted]

    async def job(self, job_id: str) -> AsyncJobHandle:
        """Read one job; NotFound if there is none."""
        return await AsyncJobHandle(self, job_id).refresh()

    async def jobs(self, *, limit: int = 200, **filters: Unpack[JobFilter]) -> AsyncIterator[Job]:
        """All jobs that match, newest first, read `limit` at a time."""
        async for item in self.items("/jobs", job_params(limit, filters)):
            yield msgspec.convert(item, Job)

    async def items(
        self, path: str, params: Mapping[str, str] | None = None
    ) -> AsyncIterator[Json]:
        """The items of any list of the read API, page after page."""
        params = dict(params or {})
        while True:
            page, cursor = await self.run(self.operations.page(path, params))
            for item in page:
                yield item
            if cursor is None:
                return
            params["cursor"] = cursor

    async def cancel(self, job_id: str, *, reason: str | None = None) -> Json:
        """Cancel a job; Conflict if it has ended already."""
        return await self.run(self.operations.command(job_id, "cancel", cancel_body(reason)))

    async def retry(
        self, job_id: str, *, payload: Mapping[str, Any] | None = None
    ) -> AsyncJobHandle:
        """Run a job again; Conflict while it is waiting or running."""
        answer = await self.run(self.operations.command(job_id, "retry", retry_body(payload)))
        return AsyncJobHandle(self, answer["jobId"])

    async def act_on_jobs(
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
        return await self.run(self.operations.act_on_jobs(body))

    async def pause_queue(self, queue: str) -> Json:
        """Have every processor leave a queue alone; its jobs wait, those running go on."""
        return await self.run(self.operations.set_paused(queue, True))

    async def resume_queue(self, queue: str) -> Json:
        """Have processors take a paused queue up again."""
        return await self.run(self.operations.set_paused(queue, False))

    async def read(self, path: str, params: Mapping[str, str] | None = None) -> Any:
        """What the read API answers at a path, as decoded JSON."""
        return await self.run(self.operations.read(path, params))

    async def stats(self, *, window: int = 900) -> Json:
        """Exact counts, and rates and percentiles over the last `window` seconds."""
        return await self.read("/stats", {"window": str(window)})

    async def events(
        self,
        *,
        type: str | None = None,
        subject: str | None = None,
        after: str | None = None,
        follow: bool = False,
        on_lost: Callable[[str], None] | None = None,
    ) -> AsyncIterator[EventRecord]:
        """Events of the log; see `Client.events`."""
        params = event_params(type, subject, after)
        if follow:
            async for record in self._follow(Follower(params, self._patience_s, on_lost)):
                yield record
        else:
            async for item in self.items("/events", params):
                yield msgspec.convert(item, EventRecord)

    async def _follow(self, follower: Follower) -> AsyncIterator[EventRecord]:
        while True:
            failure: httpx.TransportError | None = None
            try:
                async with httpx_sse.aconnect_sse(
                    self._http, "GET", "/events/stream", **follower.connection()
                ) as source:
                    if source.response.status_code >= 400:
                        await source.response.aread()
                        checked(source.response)
                    follower.opened()
                    async for frame in source.aiter_sse():
                        if record := follower.record(frame):
                            yield record
            except httpx.TransportError as error:
                failure = error
            await anyio.sleep(follower.pause_after(failure))
