"""The metrics of a running system: those that are documented, with labels that stay few."""

import asyncio
from pathlib import Path

import httpx
import pytest

from observatory import NonRetryable, Observatory
from observatory.asgi.durations import Durations
from observatory.core.canary import HEARTBEAT_JOB
from observatory.core.errors import ConfigurationError
from observatory.runtime.dispatch import Dispatcher
from observatory.runtime.metrics import SERIES_MAX
from observatory.services.gateway.accept import Acceptor
from observatory.services.gateway.canary import Canary
from services.embedding import Served, bench, served, until
from services.scraping import Scraped, documented, scrape
from shapes import embedded_only, on_both_shapes

pytestmark = [pytest.mark.anyio, on_both_shapes]

SEEN = "heartbeat_last_seen_timestamp_seconds"
STAGES = {"accepted", "started", "completed", "applied"}
HOSTILE_PATHS = (
    "/jobs/019ab2f4-8f1e-7c54-9a55-2b7a3d6e91c0",
    "/jobs/019ab2f4-8f1e-7c54-9a55-2b7a3d6e91c1/events",
    "/no/such/path",
    "/%22%7D%201%0Aobservatory_workers",
    "/" + "x" * 3000,
    "/contracts/a/b/c/d",
)


def quick() -> Observatory:
    app = Observatory()

    @app.job("good", queue="texts")
    async def good() -> None: ...

    @app.job("bad")
    async def bad() -> None:
        raise NonRetryable("on purpose")

    return app


async def test_what_is_told_is_what_is_documented(tmp_path: Path, empty_database: Path) -> None:
    app = quick()
    async with served(app, tmp_path, empty_database, canary_seconds=0.1) as system:
        await system.reached(await system.submit("good"))
        # Of a queue that nobody takes from yet nothing is taken once it is paused.
        await system.http.post("/queues/idle/pause")
        await system.submit("good", queue="idle")

        async def all_stages() -> Scraped | None:
            found = await scrape(system.http)
            return found if len(found.of(SEEN)) == 4 else None

        found = await until(all_stages, "for a heartbeat job to come through")

    reference = documented()
    assert found.own() == set(reference)
    for name, row in reference.items():
        family = name.removesuffix("_total") if row["type"] == "counter" else name
        assert found.kinds[family] == row["type"], name
        assert family.endswith(("_seconds", "_info")) or row["unit"] not in ("seconds", "Unix time")
        labels = {label.strip("` ") for label in row["labels"].split(",") if label.strip()}
        own = {family, f"{family}_total", f"{family}_bucket"}
        samples = [s for s in found.samples if s.name in own]
        assert samples or name == "observatory_outbox_oldest_timestamp_seconds", name
        assert all(set(s.labels) - {"le"} == labels for s in samples), name


async def numbers(system: Served) -> Scraped:
    """The first scrape that tells of jobs: new aggregates are empty until they are counted."""

    async def told() -> Scraped | None:
        found = await scrape(system.http)
        return found if found.of("jobs_in_state") else None

    return await until(told)


async def test_what_has_not_happened_is_zero(tmp_path: Path, empty_database: Path) -> None:
    async with served(quick(), tmp_path, empty_database) as system:
        found = await numbers(system)

    pair = {"queue": "texts", "job_type": "good"}
    for name in ("jobs_submitted", "job_attempts", "job_retries", "job_attempts_lost"):
        assert found.value(f"{name}_total", **pair) == 0
    outcomes = dict.fromkeys(("completed", "failed", "cancelled"), 0.0)
    assert found.by("jobs_finished_total", "outcome", **pair) == outcomes
    assert len(found.of("jobs_in_state", **pair)) == 7
    for name in ("job_queue_wait", "job_execution", "job_end_to_end"):
        assert found.value(f"{name}_seconds_count", **pair) == 0
    assert found.by("workers", "state") == {"active": 1, "draining": 0, "stale": 0}
    slots = found.by("worker_slots", "state")
    assert (slots["busy"], slots["free"]) == (0, 200)
    assert found.by("events_published_total", "outcome")["failed"] == 0
    assert found.value("sse_dropped_total") == found.value("sse_clients") == 0
    assert found.value("dead_letters") == 0
    assert found.of("build_info")[0][0]["component"] == "embedded"


async def test_jobs_are_counted_by_what_came_of_them(tmp_path: Path, empty_database: Path) -> None:
    async with served(quick(), tmp_path, empty_database) as system:
        for type in ("good", "bad"):
            await system.reached(await system.submit(type))

        async def counted() -> Scraped | None:
            found = await scrape(system.http)
            done = found.of("job_end_to_end_seconds_count")
            return found if sum(count for _, count in done) == 2 else None

        found = await until(counted)

        assert found.value("jobs_finished_total", job_type="good", outcome="completed") == 1
        assert found.value("jobs_finished_total", job_type="bad", outcome="failed") == 1
        waited = found.value("job_queue_wait_seconds_sum", job_type="good")
        whole = found.value("job_end_to_end_seconds_sum", job_type="good")
        assert whole >= waited + found.value("job_execution_seconds_sum", job_type="good") - 1e-6
        assert found.by("events_published_total", "outcome")["confirmed"] >= 7
        assert found.value("projection_lag_messages") >= 0
        assert found.value("projection_last_event_timestamp_seconds") > 1e9


async def test_whatever_types_are_submitted_the_series_are_bounded(
    tmp_path: Path, empty_database: Path
) -> None:
    async with served(quick(), tmp_path, empty_database, allow_unknown_types=True) as system:
        before = (await numbers(system)).series()
        for kind in ("once", "again"):
            batch = [{"type": f"{kind}.{number}"} for number in range(SERIES_MAX)]
            answer = await system.http.post("/jobs/batch", json=batch)
            assert answer.status_code == 202

        async def counted() -> Scraped | None:
            found = await scrape(system.http)
            jobs = sum(value for _, value in found.of("jobs_submitted_total"))
            return found if jobs == 2 * SERIES_MAX else None

        found = await until(counted)

    pairs = found.of("jobs_submitted_total")
    assert len(pairs) == SERIES_MAX + 1
    assert found.value("jobs_submitted_total", job_type="other") == SERIES_MAX + 2
    a_pair = len(found.of("job_execution_seconds_bucket", job_type="other")) * 3 + 20
    assert found.series() <= before + len(pairs) * a_pair


# The heartbeat job


async def test_a_heartbeat_job_is_seen_at_each_stage(tmp_path: Path, empty_database: Path) -> None:
    async with served(quick(), tmp_path, empty_database, canary_seconds=0.2) as system:

        async def seen(after: float = 0.0) -> dict[str, float] | None:
            found = await scrape(system.http)
            stages = found.by(SEEN, "stage")
            return stages if set(stages) == STAGES and min(stages.values()) > after else None

        first = await until(seen)
        await until(lambda: seen(max(first.values())), "for the next to come through")
        listed = (await system.http.get("/jobs", params={"type": HEARTBEAT_JOB})).json()["items"]
        assert {(job["queue"], job["priority"]) for job in listed} == {("default", "high")}
        assert (await system.http.get("/readyz")).status_code == 200
        assert HEARTBEAT_JOB not in {t.name for t in await system.system.store.job_types()}
        assert system.system.gateway.canary.loops[0].running


async def test_a_pipeline_that_is_blocked_is_told_also_after_a_start(
    tmp_path: Path, empty_database: Path
) -> None:
    async with served(quick(), tmp_path, empty_database, canary_seconds=0.2) as system:

        async def completed() -> Scraped | None:
            found = await scrape(system.http)
            return found if found.of(SEEN, stage="completed") else None

        before = (await until(completed)).by(SEEN, "stage")

    # Nobody submits any more.
    async with served(quick(), tmp_path, empty_database) as system:

        async def recalled() -> Scraped | None:
            found = await scrape(system.http)
            return found if found.of(SEEN) else None

        stages = (await until(recalled)).by(SEEN, "stage")

    assert set(stages) >= {"accepted", "started", "completed"}
    assert all(stages[stage] >= before[stage] for stage in ("accepted", "started", "completed"))


async def test_without_the_setting_there_is_no_heartbeat_job_anywhere(
    tmp_path: Path, empty_database: Path
) -> None:
    async with served(quick(), tmp_path, empty_database) as system:
        await system.reached(await system.submit("good"))
        told = [
            (await system.http.get(path)).text
            for path in ("/jobs", "/stats", "/workers", "/contracts", "/metrics", "/queues")
        ]
        refused = await system.http.post("/jobs", json={"type": HEARTBEAT_JOB})

        assert not [text for text in told if HEARTBEAT_JOB in text]
        assert refused.status_code == 422
        assert system.system.gateway.canary.loops == ()


@embedded_only
async def test_several_gateways_make_one_heartbeat_job(
    tmp_path: Path, empty_database: Path
) -> None:
    async with bench(tmp_path, empty_database) as on:
        dispatcher = Dispatcher(on.store, on.spine, "/observatory/test", 100)
        acceptors = [Acceptor(on.store, dispatcher) for _ in range(3)]
        canaries = [Canary(on.store, acceptor, 3600.0) for acceptor in acceptors]
        for _ in range(2):
            await asyncio.gather(*(canary.tick() for canary in canaries))
        assert dispatcher.backlog == 1

        await on.advance(3600)
        await asyncio.gather(*(canary.tick() for canary in canaries))
        assert dispatcher.backlog == 2


def test_the_name_of_the_heartbeat_job_is_taken() -> None:
    app = Observatory()
    with pytest.raises(ConfigurationError, match="built in"):
        app.job(HEARTBEAT_JOB)(lambda: None)


# HTTP


async def test_whatever_paths_and_methods_are_asked_for_the_labels_are_few(
    tmp_path: Path, empty_database: Path
) -> None:
    async with served(quick(), tmp_path, empty_database) as system:
        for path in HOSTILE_PATHS:
            await system.http.get(path)
        for method in ("DELETE", "BREW", 'X"Y'.replace('"', "")):
            await system.http.request(method, "/jobs")
        await system.submit("good")
        await system.http.post("/jobs", content=b"{", headers={"Content-Type": "application/json"})
        found = await scrape(system.http)
        again = await scrape(system.http)

    name = "http_request_duration_seconds_count"
    counted = {
        (labels["method"], labels["route"], labels["status_class"]): value
        for labels, value in found.of(name)
    }
    assert counted == {
        ("GET", "/jobs/{job_id}", "4xx"): 1,
        ("GET", "/jobs/{job_id}/events", "4xx"): 1,
        ("GET", "/contracts/{path}", "4xx"): 1,
        ("GET", "other", "4xx"): 3,
        ("DELETE", "/jobs", "4xx"): 1,
        ("other", "/jobs", "4xx"): 2,
        ("POST", "/jobs", "2xx"): 1,
        ("POST", "/jobs", "4xx"): 1,
    }
    assert again.value(name, route="/metrics", status_class="2xx") == 1
    buckets = found.by(
        "http_request_duration_seconds_bucket", "le", route="/jobs", status_class="2xx"
    )
    assert list(buckets.values()) == sorted(buckets.values())
    assert buckets["+Inf"] == 1


@embedded_only
async def test_a_stream_is_measured_to_its_head_and_a_failure_is_one() -> None:
    ticks = iter(range(1000))
    durations = Durations(lambda: float(next(ticks)))
    heads = {"/stream": [(b"content-type", b"text/event-stream; charset=utf-8")], "/plain": []}

    async def app(scope, receive, send) -> None:  # type: ignore[no-untyped-def]
        scope["observatory.route"] = scope["path"]
        if scope["path"] == "/broken":
            raise ValueError("on purpose")
        await send({"type": "http.response.start", "status": 200, "headers": heads[scope["path"]]})
        next(ticks)
        await send({"type": "http.response.body", "body": b""})

    transport = httpx.ASGITransport(app=durations.measure(app), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
        for path in ("/stream", "/plain", "/broken"):
            await http.get(path)

    (family,) = durations.metrics()
    sums = {
        (s.labels["route"], s.labels["status_class"]): s.value
        for s in family.samples
        if s.name.endswith("_sum")
    }
    assert sums == {("/stream", "2xx"): 1.0, ("/plain", "2xx"): 2.0, ("/broken", "5xx"): 1.0}


async def test_streams_are_counted_and_those_refused(tmp_path: Path, empty_database: Path) -> None:
    async with served(quick(), tmp_path, empty_database, streams_max=1) as system:
        live = system.system.read_model._live
        frames = live.frames(await live.subscribe(None, resumed=False), _wanted())
        reading = asyncio.create_task(anext(frames))
        await until(lambda: live.clients)
        refused = await system.http.get("/events/stream")
        found = await scrape(system.http)
        reading.cancel()
        await asyncio.wait([reading])

    assert refused.status_code == 503
    assert (found.value("sse_clients"), found.value("sse_dropped_total")) == (1, 1)


def _wanted():  # type: ignore[no-untyped-def]
    from observatory.services.read_model.log_events import Wanted

    return Wanted()


@embedded_only
async def test_each_system_of_a_process_tells_of_itself(
    tmp_path: Path, empty_database: Path
) -> None:
    async def told(system: Served) -> float:
        return (await scrape(system.http)).value("jobs_submitted_total", job_type="good")

    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    async with (
        served(quick(), tmp_path / "a", empty_database) as one,
        served(quick(), tmp_path / "b", empty_database) as other,
    ):
        await one.reached(await one.submit("good"))

        async def counted() -> bool:
            return await told(one) == 1

        await until(counted)
        assert await told(other) == 0


@pytest.mark.parametrize(
    ("accepted", "compressed"),
    [
        ("gzip", True),
        ("identity, GZIP;q=0.5", True),
        ("gzip;q=0", False),
        ("gzip; q=0.000", False),
        ("identity", False),
        ("", False),
        ("not-gzip", False),
    ],
)
@embedded_only
async def test_a_scrape_is_compressed_for_those_who_take_it(
    tmp_path: Path, empty_database: Path, accepted: str, compressed: bool
) -> None:
    async with served(quick(), tmp_path, empty_database) as system:
        answer = await system.http.get("/metrics", headers={"Accept-Encoding": accepted})

    assert answer.headers.get("Content-Encoding") == ("gzip" if compressed else None)
    assert "Accept-Encoding" in answer.headers["Vary"]
    assert Scraped(answer.text).value("backend_up", backend="store") == 1
    if compressed:
        assert int(answer.headers["Content-Length"]) < len(answer.content) / 3
