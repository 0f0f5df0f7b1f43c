"""The read model's HTTP interface; its contract is contracts/openapi/read-model.v1.json."""

import asyncio
import contextlib
import re
from collections.abc import Mapping
from typing import Any, Final

import anyio
import msgspec
from prometheus_client.core import Metric
from starlette.requests import Request
from starlette.responses import Response

from observatory.asgi.keys import OPEN
from observatory.asgi.parameters import Parameters
from observatory.asgi.paths import JOB_PATH
from observatory.asgi.routes import ScopedRoute
from observatory.core.aggregates import Aggregates
from observatory.core.errors import InvalidParameter, NotFound
from observatory.core.form import JOB_TYPE, QUEUE
from observatory.core.instant import MICROSECONDS, to_rfc3339
from observatory.core.job import Job
from observatory.core.lifecycle import TERMINAL, State
from observatory.core.spine import Spine
from observatory.core.store import LIST_MAX, LOG_POSITION_MAX, JobFilter, Store
from observatory.core.trace_context import trace_id_of
from observatory.runtime.metrics import counter, gauge
from observatory.services.read_model.alerts import AlertSource, shown
from observatory.services.read_model.catalogue import Catalogue
from observatory.services.read_model.failures import failure
from observatory.services.read_model.forms import (
    EVENT_TYPES,
    FINGERPRINT,
    POSITION,
    SEARCH,
    VISIBLE,
    WORKER,
)
from observatory.services.read_model.freshness import Clock, Freshness
from observatory.services.read_model.jobs import attempts, detail, job_events, log_line, summary
from observatory.services.read_model.live import Live
from observatory.services.read_model.log_events import Wanted, parse_position
from observatory.services.read_model.stats import Statistics
from observatory.services.read_model.stream import Stream
from observatory.services.read_model.system import SystemHealth
from observatory.services.read_model.workers import worker
from observatory.settings import Settings, runbooks

_PREFER_WAIT: Final = re.compile(r"(?:^|[,;\s])wait=(\d{1,4})(?:$|[,;\s])")
_WAIT_MAX_S: Final = 60
_LOOK_AGAIN_S: Final = 2.0
"""A long poll looks this often without being told; the log may be out of reach."""
_WINDOW_S: Final = 900
_STATES: Final = tuple(State)


class ReadModel:
    """The routes of the read interface."""

    def __init__(
        self,
        store: Store,
        spine: Spine,
        aggregates: Aggregates,
        clock: Clock,
        alerts: AlertSource,
        documents: Mapping[str, Any],
        settings: Settings,
    ) -> None:
        self._store = store
        self._statistics = Statistics(aggregates, store)
        self._settings = settings
        self._catalogue = Catalogue(documents)
        self._clock = clock
        self._alerts = alerts
        self._health = SystemHealth(store, spine, aggregates, clock, settings.canary_seconds)
        self._live = Live(spine, settings.streams_max)
        self.loops = (*self._live.loops, *alerts.loops)
        self._ending = anyio.Event()
        self._source = f"/observatory/read-model/{store.publisher}"

    def routes(self) -> list[ScopedRoute]:
        """The routes, without health and metrics."""
        paths = {
            "/jobs": self.list_jobs,
            "/jobs/recent": self.recent_jobs,
            JOB_PATH: self.job,
            f"{JOB_PATH}/events": self.job_events,
            f"{JOB_PATH}/attempts": self.job_attempts,
            f"{JOB_PATH}/logs": self.job_logs,
            "/stats": self.stats,
            "/stats/series": self.series,
            "/failures": self.failures,
            "/queues": self.queues,
            "/workers": self.workers,
            "/alerts": self.alerts,
            "/system": self.system,
            "/events": self.events,
            "/events/stream": self.stream,
            "/contracts": self.contracts,
            "/contracts/{path:path}": self.contract,
        }
        return [
            ScopedRoute("/runbooks/{name}", self.runbook, method="GET", scopes=(OPEN,)),
            *(
                ScopedRoute(path, endpoint, method="GET", scopes=("read",))
                for path, endpoint in paths.items()
            ),
        ]

    def metrics(self) -> list[Metric]:
        """What this process tells of its streams."""
        dropped = "Live streams that were refused, or cut off because their readers were too slow."
        return [
            gauge("sse_clients", "Live streams that are open.", self._live.clients),
            counter("sse_dropped", dropped, self._live.dropped),
        ]

    def start(self) -> None:
        """Begin to follow the log for live clients."""
        self._live.start()
        for loop in self._alerts.loops:
            loop.start()

    async def stop(self) -> None:
        """End the live streams."""
        self._ending.set()
        for loop in self._alerts.loops:
            await loop.stop()
        await self._live.stop()

    # Jobs

    async def list_jobs(self, request: Request) -> Response:
        """``GET /jobs``."""
        query = Parameters(
            request,
            ("state", "type", "queue", "worker", "correlationId", "parentId", "fingerprint",
             "since", "until", "q", "limit", "cursor"),
        )  # fmt: skip
        limit = query.integer("limit", 50, 1, LIST_MAX)
        where = JobFilter(
            states=tuple(State(name) for name in query.choices("state", _STATES)),
            type=query.text("type", JOB_TYPE),
            queue=query.text("queue", QUEUE),
            worker=query.text("worker", WORKER),
            correlation_id=query.text("correlationId", VISIBLE),
            parent_id=query.uuid("parentId"),
            error_fingerprint=query.text("fingerprint", FINGERPRINT),
            since=query.instant("since"),
            until=query.instant("until"),
        )
        text = query.text("q", SEARCH)
        before = query.cursor()
        if before is not None and not isinstance(before, str):
            raise InvalidParameter("cursor: start from the first page")
        if text is None:
            jobs = await self._store.list_jobs(where, before, limit + 1)
            reached = jobs[limit - 1].id if len(jobs) > limit else None
            jobs = jobs[:limit]
        else:
            found = await self._store.search_jobs(where, text, before, limit)
            jobs, reached = found.jobs, found.reached
        cursor = None if reached is None else query.next_cursor(reached)
        return await self._list([summary(job) for job in jobs], cursor)

    async def recent_jobs(self, request: Request) -> Response:
        """``GET /jobs/recent``: found by the newest events, shown as they are now."""
        limit = Parameters(request, ("limit",)).integer("limit", 50, 1, LIST_MAX)
        jobs = await self._store.jobs(await self._live.newest_jobs(limit))
        if len(jobs) < limit:
            known = {job.id for job in jobs}
            older = await self._store.list_jobs(JobFilter(), None, limit)
            jobs += [job for job in older if job.id not in known][: limit - len(jobs)]
        return await self._list([summary(job) for job in jobs], None)

    async def job(self, request: Request) -> Response:
        """``GET /jobs/{id}``, waiting for a terminal state where that is preferred."""
        Parameters(request, ())
        job_id = request.path_params["job_id"]
        match = _PREFER_WAIT.search(request.headers.get("prefer", ""))
        job = await self._find(job_id)
        if match is None:
            return await self._answer(detail(job))
        wait_s = min(int(match[1]), _WAIT_MAX_S)
        if job.state not in TERMINAL:
            job = await self._wait(job, wait_s)
        return await self._answer(detail(job), {"Preference-Applied": f"wait={wait_s}"})

    async def _wait(self, job: Job, wait_s: int) -> Job:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait_s
        async with self._live.watching(job.id) as told:
            while job.state not in TERMINAL and not self._ending.is_set():
                told.clear()
                job = await self._find(job.id)
                left_s = deadline - loop.time()
                if job.state in TERMINAL or left_s <= 0:
                    break
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(min(left_s, _LOOK_AGAIN_S)):
                        await told.wait()
        return job

    async def _find(self, job_id: str) -> Job:
        job = await self._store.job(job_id)
        if job is None:
            raise NotFound(f"there is no job {job_id}")
        return job

    async def job_events(self, request: Request) -> Response:
        """``GET /jobs/{id}/events``."""
        Parameters(request, ())
        history = await self._history(request.path_params["job_id"])
        return await self._list(job_events(history, self._source), None)

    async def job_attempts(self, request: Request) -> Response:
        """``GET /jobs/{id}/attempts``."""
        Parameters(request, ())
        return await self._list(attempts(await self._history(request.path_params["job_id"])), None)

    async def _history(self, job_id: str) -> Any:
        history = await self._store.history(job_id)
        if not history:
            raise NotFound(f"there is no job {job_id}")
        return history

    async def job_logs(self, request: Request) -> Response:
        """``GET /jobs/{id}/logs``."""
        query = Parameters(request, ("limit", "cursor", "order"))
        limit = query.integer("limit", 100, 1, LIST_MAX)
        newest_first = query.choice("order", ("oldest", "newest"), "oldest") == "newest"
        after = query.cursor()
        if after is not None and not (isinstance(after, int) and 0 <= after <= LOG_POSITION_MAX):
            raise InvalidParameter("cursor: start from the first page")
        job_id = request.path_params["job_id"]
        lines = await self._store.job_logs(job_id, after, limit + 1, newest_first=newest_first)
        jobs = await self._store.jobs([job_id])
        if not jobs:
            raise NotFound(f"there is no job {job_id}")
        trace_id = trace_id_of(jobs[0].traceparent)
        more = len(lines) > limit
        shown = lines[:limit]
        cursor = query.next_cursor(shown[-1][0]) if more else None
        return await self._list([log_line(line, trace_id) for _, line in shown], cursor)

    # Numbers

    async def stats(self, request: Request) -> Response:
        """``GET /stats``."""
        window_s = Parameters(request, ("window",)).integer("window", _WINDOW_S, 60, 86_400)
        freshness = await self._clock.freshness()
        return _json(await self._statistics.stats(freshness, window_s), freshness)

    async def series(self, request: Request) -> Response:
        """``GET /stats/series``."""
        query = Parameters(request, ("window", "step", "type", "queue"))
        window_s = query.integer("window", _WINDOW_S, 60, 86_400)
        default = "5" if window_s <= 3600 else "60"
        step = query.choice("step", ("5", "60"), default)
        freshness = await self._clock.freshness()
        shown = await self._statistics.series(
            freshness,
            window_s,
            int(step),
            query.text("type", JOB_TYPE),
            query.text("queue", QUEUE),
        )
        return _json(shown, freshness)

    async def failures(self, request: Request) -> Response:
        """``GET /failures``."""
        query = Parameters(request, ("type", "queue", "since", "limit"))
        groups = await self._store.failures(
            query.text("type", JOB_TYPE),
            query.text("queue", QUEUE),
            query.instant("since"),
            query.integer("limit", 50, 1, LIST_MAX),
        )
        return await self._list([failure(group) for group in groups], None)

    async def queues(self, request: Request) -> Response:
        """``GET /queues``."""
        Parameters(request, ())
        freshness = await self._clock.freshness()
        return _json(await self._statistics.queues(freshness, _WINDOW_S), freshness)

    async def workers(self, request: Request) -> Response:
        """``GET /workers``."""
        Parameters(request, ())
        stale_before = await self._store.now() - int(self._settings.lease_seconds * MICROSECONDS)
        found = await self._store.workers()
        return await self._list([worker(one, stale_before) for one in found], None)

    async def alerts(self, request: Request) -> Response:
        """``GET /alerts``."""
        Parameters(request, ())
        # Not least where the store is away, which is one of them.
        now = await self._clock.now()
        freshness = await self._clock.freshness(now)
        return _json(shown(self._alerts.known(), now), freshness)

    async def system(self, request: Request) -> Response:
        """``GET /system``."""
        Parameters(request, ())
        return _json(*await self._health.look())

    async def runbook(self, request: Request) -> Response:
        """``GET /runbooks/{name}``."""
        Parameters(request, ())
        name = request.path_params["name"]
        text = runbooks.text(name)
        if text is None:
            raise NotFound(f"there is no runbook {name}")
        headers = {"X-Content-Type-Options": "nosniff"}
        return Response(text, 200, headers, "text/markdown; charset=utf-8")

    # Events and contracts

    async def events(self, request: Request) -> Response:
        """``GET /events``: newest first, or oldest first with ``after``."""
        query = Parameters(request, ("type", "subject", "limit", "cursor", "after"))
        limit = query.integer("limit", 50, 1, LIST_MAX)
        wanted = _wanted(query)
        after = _after(query)
        at = _position(query.cursor())
        if after is not None:
            found, rest = await self._live.oldest(wanted, at or after, limit)
        else:
            found, rest = await self._live.newest(wanted, at, limit)
        cursor = None if rest is None else query.next_cursor(f"{rest[0]}-{rest[1]}")
        items = [{"position": e.position, "event": msgspec.Raw(e.body)} for e in found]
        return await self._list(items, cursor)

    async def stream(self, request: Request) -> Response:
        """``GET /events/stream``: server-sent events."""
        query = Parameters(request, ("type", "subject", "after"))
        wanted = _wanted(query)
        position = _after(query)
        last_id = request.headers.get("last-event-id")
        resumed = position is not None or bool(last_id)
        if last_id:
            position = parse_position(last_id)
        subscription = await self._live.subscribe(position, resumed)
        frames = self._live.frames(subscription, wanted)
        return Stream(frames, self._ending, self._live.cut_off)

    async def contracts(self, request: Request) -> Response:
        """``GET /contracts``."""
        Parameters(request, ())
        return await self._list(self._catalogue.items(await self._store.job_types()), None)

    async def contract(self, request: Request) -> Response:
        """``GET /contracts/{path}``."""
        Parameters(request, ())
        found = self._catalogue.find(request.path_params["path"], await self._store.job_types())
        freshness = await self._clock.freshness()
        return Response(
            msgspec.json.encode(found), 200, freshness.headers(), "application/schema+json"
        )

    async def _list(self, items: list[Any], cursor: str | None) -> Response:
        now = await self._store.now()
        freshness = await self._clock.freshness(now)
        return _json({"items": items, "next": cursor, "asOf": to_rfc3339(now)}, freshness)

    async def _answer(self, body: Any, headers: dict[str, str] | None = None) -> Response:
        return _json(body, await self._clock.freshness(), headers)


def _json(body: Any, freshness: Freshness, more: dict[str, str] | None = None) -> Response:
    headers = freshness.headers() | (more or {})
    return Response(msgspec.json.encode(body), 200, headers, "application/json")


def _wanted(query: Parameters) -> Wanted:
    kinds = query.text("type", EVENT_TYPES)
    types = tuple(kinds.split(",")) if kinds else ()
    return Wanted(types, query.text("subject", VISIBLE))


def _after(query: Parameters) -> tuple[int, int] | None:
    text = query.text("after", POSITION)
    if text is None:
        return None
    return parse_position(text)


def _position(cursor: Any) -> tuple[int, int] | None:
    if cursor is None:
        return None
    position = parse_position(cursor) if isinstance(cursor, str) else None
    if position is None:
        raise InvalidParameter("cursor: start from the first page")
    return position
