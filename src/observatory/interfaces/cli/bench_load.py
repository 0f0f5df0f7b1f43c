"""The load of `observatory bench`, and what is measured of it."""

import asyncio
import itertools
import math
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import uuid_utils

from observatory.client import (
    AsyncClient,
    ObservatoryError,
    PositionLost,
    Refused,
    Submission,
    SubmitOptions,
)
from observatory.interfaces.cli.bench_times import Times
from observatory.interfaces.cli.progress import progress

_ENDS: Final = "job.completed,job.failed,job.cancelled"
_FIRST_S: Final = 0.05
"""Until the first request is due, so that every connection is waiting for it."""

_FIRST_EVENT_S: Final = 5.0
"""How long the log may take to have its first event."""


class Plan(NamedTuple):
    """What is to be done."""

    type: str
    payload: dict[str, Any]
    rate: float | None
    """Jobs a second; None for as many as are answered."""
    seconds: float | None
    jobs: int | None
    batch: int
    connections: int
    end: bool
    timeout_s: float

    @property
    def requests(self) -> int | None:
        """How many requests that is; None where only the time ends it."""
        limits: list[float] = []
        if self.jobs is not None:
            limits.append(self.jobs / self.batch)
        if self.rate is not None and self.seconds is not None:
            limits.append(self.rate * self.seconds / self.batch)
        return max(1, math.ceil(min(limits))) if limits else None


@dataclass
class Measured:
    """What came of it, also while it goes on. Times are seconds."""

    began: float = 0.0
    accepted_at: float = 0.0
    ended_at: float = 0.0
    requests: int = 0
    accepted: int = 0
    errors: Counter[str] = field(default_factory=Counter[str])
    """Requests, or jobs of a batch, that were not accepted, by reason."""
    states: Counter[str] = field(default_factory=Counter[str])
    """How jobs ended."""
    submit_s: Times = field(default_factory=Times)
    """Of the requests that were answered with a yes."""
    end_s: Times = field(default_factory=Times)
    late_s: float = 0.0
    """The longest that a request was sent after it was due."""
    lost: str = ""
    """Why ends are missing, where they are."""
    whole: bool = False
    """It came to its end."""

    @property
    def ended(self) -> int:
        """Jobs whose end is known."""
        return sum(self.states.values())

    @property
    def took_s(self) -> float:
        """From the first request to the last answer."""
        return max(1e-9, self.accepted_at - self.began)

    @property
    def accepted_per_s(self) -> float:
        """Jobs."""
        return self.accepted / self.took_s

    @property
    def finished_per_s(self) -> float:
        """Jobs, until the last of them ended."""
        return self.ended / max(1e-9, self.ended_at - self.began)

    @property
    def sound(self) -> bool:
        """Nothing was refused, and what was followed has ended."""
        return self.whole and not self.errors and not self.lost

    def document(self, plan: Plan) -> dict[str, Any]:
        """For programs."""
        return {
            "type": plan.type,
            "rate": plan.rate,
            "batch": plan.batch,
            "connections": plan.connections,
            "seconds": self.took_s,
            "whole": self.whole,
            "requests": self.requests,
            "accepted": self.accepted,
            "acceptedPerSecond": self.accepted_per_s,
            "errors": dict(self.errors),
            "ended": dict(self.states) if plan.end else None,
            "finishedPerSecond": self.finished_per_s if plan.end else None,
            "timesFrom": "sending" if plan.rate is None else "due",
            "submitSeconds": self.submit_s.document(),
            "endSeconds": self.end_s.document() if plan.end else None,
            "lateSeconds": self.late_s,
            "endsMissing": self.lost or None,
        }


async def measure(url: str | None, key: str | None, plan: Plan, measured: Measured) -> None:
    """Submit what is planned and follow it to its end."""
    async with AsyncClient(url, key=key, patience=0.0) as client:
        load = _Load(client, plan, measured)
        following = await load.follow() if plan.end else None
        try:
            await load.submit()
            if following is not None:
                await load.all_ended(following)
        finally:
            if following is not None:
                following.cancel()
                await asyncio.gather(following, return_exceptions=True)
        measured.whole = True


class _Load:
    def __init__(self, client: AsyncClient, plan: Plan, measured: Measured) -> None:
        self._client = client
        self._plan = plan
        self._measured = measured
        self._options = SubmitOptions(correlation_id=f"bench-{uuid_utils.uuid7()}")
        self._numbers = itertools.count()
        self._due: dict[str, float] = {}
        """Since when the end of a job is waited for."""
        self._early: dict[str, float] = {}
        """Ends that were told before the answer to the submit had come."""
        self._news = asyncio.Event()

    async def submit(self) -> None:
        """All requests, over all connections."""
        self._measured.began = time.perf_counter() + _FIRST_S
        requests = self._plan.requests
        with progress("requests", requests) as advance:
            self._advance = advance
            async with asyncio.TaskGroup() as group:
                for _ in range(min(self._plan.connections, requests or self._plan.connections)):
                    group.create_task(self._connection())

    async def _connection(self) -> None:
        plan, measured = self._plan, self._measured
        while True:
            number = next(self._numbers)
            if plan.requests is not None and number >= plan.requests:
                return
            now = time.perf_counter()
            due = measured.began if plan.rate is None else self._when(number)
            if due > now:
                await asyncio.sleep(due - now)
                now = time.perf_counter()
            if plan.rate is None:
                if plan.seconds is not None and now - measured.began >= plan.seconds:
                    return
                due = now
            measured.late_s = max(measured.late_s, now - due)
            left = plan.batch if plan.jobs is None else plan.jobs - number * plan.batch
            await self._request(due, min(plan.batch, left))

    def _when(self, number: int) -> float:
        assert self._plan.rate is not None
        return self._measured.began + number * self._plan.batch / self._plan.rate

    async def _request(self, due: float, batch: int) -> None:
        measured = self._measured
        job = Submission(self._plan.type, self._plan.payload, self._options)
        measured.requests += 1
        operations = self._client.operations
        answers: list[str | Refused] = []
        try:
            if batch == 1:
                answers = [await self._client.run(operations.submit(job))]
            else:
                answers = await self._client.run(operations.submit_many([job] * batch))
        except Refused as refusal:
            measured.errors[f"{refusal.status} {refusal.title}"] += 1
        except ObservatoryError as error:
            measured.errors[_reason(error)] += 1
        now = time.perf_counter()
        measured.accepted_at = now
        ids = [one for one in answers if isinstance(one, str)]
        for refusal in answers:
            if isinstance(refusal, Refused):
                measured.errors[f"{refusal.status} {refusal.title}"] += 1
        if ids:
            measured.submit_s.add(now - due)
            measured.accepted += len(ids)
        self._advance(1)
        if self._plan.end:
            for job_id in ids:
                self._accepted(job_id, due)

    def _accepted(self, job_id: str, due: float) -> None:
        at = self._early.pop(job_id, None)
        if at is None:
            self._due[job_id] = due
        else:
            self._measured.end_s.add(at - due)

    async def follow(self) -> "asyncio.Task[None]":
        """Follow the ends of jobs from now on."""
        position = None
        deadline = time.perf_counter() + _FIRST_EVENT_S
        # Of a log that is still empty no position is known that every spine has: the job that was
        # submitted before all this is about to stand in it.
        while position is None and time.perf_counter() < deadline:
            newest = await self._client.read("/events", {"limit": "1"})
            if newest["items"]:
                position = newest["items"][0]["position"]
            else:
                await asyncio.sleep(0.05)
        return asyncio.create_task(self._ends(position))

    async def _ends(self, after: str | None) -> None:
        measured, ours = self._measured, self._options.correlation_id
        seen: set[str] = set()
        async for record in self._client.events(type=_ENDS, after=after, follow=True):
            event = record.event
            job_id = event["subject"]
            # An event that is published again stands once more in the log.
            if event.get("correlationid") != ours or job_id in seen:
                continue
            seen.add(job_id)
            now = measured.ended_at = time.perf_counter()
            measured.states[event["data"]["state"]] += 1
            due = self._due.pop(job_id, None)
            if due is None:
                self._early[job_id] = now
            else:
                measured.end_s.add(now - due)
            self._news.set()

    async def all_ended(self, following: "asyncio.Task[None]") -> None:
        """Wait until every job that was accepted has ended, or time is up."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._plan.timeout_s):
                while self._due and not following.done():
                    self._news.clear()
                    waiting = asyncio.create_task(self._news.wait())
                    await asyncio.wait([waiting, following], return_when="FIRST_COMPLETED")
                    waiting.cancel()
        if not self._due:
            return
        missing = f"{len(self._due):,} jobs had not ended after {self._plan.timeout_s:g} s"
        if following.done() and (error := following.exception()):
            missing = str(error) if isinstance(error, PositionLost) else _reason(error)
        self._measured.lost = missing


def _reason(error: BaseException) -> str:
    """An error in few words, so that many of the same are counted together."""
    return str(error).split("\n", 1)[0][:200]
