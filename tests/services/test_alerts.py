"""``GET /alerts``: what the embedded system finds itself, and what Alertmanager says."""

import asyncio
import json
from collections.abc import AsyncIterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from observatory import Observatory
from observatory.backends.alertmanager import Alertmanager
from observatory.core import alert as known
from observatory.core.aggregates import Deltas
from observatory.core.alert import Alert
from observatory.core.errors import SpineUnavailable, StoreUnavailable
from observatory.core.instant import MICROSECONDS
from observatory.services.read_model.alerts import AlertsElsewhere, shown
from observatory.services.read_model.conditions import EVALUATED, NO_CANARY, Canary, Conditions
from observatory.services.read_model.freshness import Clock
from services.embedding import SOON_S, Served, Unreliable, served, until
from shapes import on_both_shapes

pytestmark = [pytest.mark.anyio, on_both_shapes]


class Watch:
    """Conditions over a running system, at a time that the test sets."""

    def __init__(
        self,
        on: Served,
        lease_s: float = 3600.0 * 24,
        canary: Canary = NO_CANARY,
        spine: Any = None,
    ) -> None:
        system = on.system
        self.later_s = 0.0
        clock = Clock(system.store, system.spine, system.aggregates)
        self._on = on
        self._conditions = Conditions(
            system.store,
            spine or system.spine,
            system.aggregates,
            clock,
            int(lease_s * MICROSECONDS),
            lambda: self._at,
            canary,
        )
        self._at = 0

    async def firing(self, later_s: float = 0.0, *, away: str | None = None) -> dict[str, Alert]:
        """The alerts that fire so much later than now, by name; `away`: who did not answer."""
        self._at = await self._on.system.store.now() + int(later_s * MICROSECONDS)
        await self._conditions.look()
        told = self._conditions.known()
        assert told.detail == (None if away is None else f"{away} did not answer")
        return {alert.name: alert for alert in told.alerts}


@pytest.fixture
async def on(tmp_path: Path, empty_database: Path) -> AsyncIterator[Served]:
    app = Observatory()

    @app.job("good")
    async def good() -> None: ...

    @app.job("bad", max_attempts=1)
    async def bad() -> None:
        raise ValueError("no")

    async with served(app, tmp_path, empty_database) as on:
        yield on


async def test_where_all_is_well_nothing_fires(on: Served) -> None:
    watch = Watch(on)
    for _ in range(20):
        await on.reached(await on.submit("good"))
    assert await watch.firing() == {}
    assert await watch.firing(later_s=3000) == {}


async def test_without_a_live_worker_an_alert_fires_after_a_minute(on: Served) -> None:
    watch = Watch(on, lease_s=0)
    assert await watch.firing() == {}
    assert await watch.firing(later_s=59) == {}
    fired = (await watch.firing(later_s=61))[known.NO_PROCESSORS.name]
    since_s = fired.since / MICROSECONDS - await on.system.store.now() / MICROSECONDS
    assert 50 < since_s < 62, "since it fires, as Alertmanager says, and not since it pends"
    assert (await watch.firing(later_s=200))[known.NO_PROCESSORS.name].since == fired.since
    assert fired.severity == "critical"
    assert fired.runbook == "/runbooks/ObservatoryNoProcessors"


async def test_a_queue_that_is_paused_for_long_is_told_of_with_its_name(on: Served) -> None:
    watch = Watch(on)
    assert (await on.http.post("/queues/default/pause")).status_code == 200
    assert known.QUEUE_PAUSED_LONG.name not in await watch.firing(later_s=3500)
    fired = (await watch.firing(later_s=2 * 3600))[known.QUEUE_PAUSED_LONG.name]
    assert fired.labels == {"queue": "default"}
    assert fired.summary.startswith("queue default has been paused for 2h 0m")


async def test_a_backlog_that_grows_fires_and_one_that_stands_does_not(on: Served) -> None:
    watch = Watch(on)
    await on.http.post("/queues/default/pause")
    await asyncio.sleep(1.0)  # within this a pause is heeded
    name = known.BACKLOG_GROWING.name

    async def more() -> None:
        before = await queued()
        await on.submit("good")
        await until(lambda: _is_more(before))

    async def queued() -> int:
        states, _ = await on.system.aggregates.states()
        return sum(count.count for count in states if count.state == "queued")

    async def _is_more(before: int) -> bool:
        return await queued() > before

    await more()
    for later_s in (0, 200, 400, 600):
        assert name not in await watch.firing(later_s)
        await more()
    assert name not in await watch.firing(later_s=660)
    await more()
    assert "has waited 12m" in (await watch.firing(later_s=730))[name].summary
    assert name in await watch.firing(later_s=1200)
    assert name not in await watch.firing(later_s=1500)  # none came within its window


async def test_failures_fire_while_they_go_on(on: Served) -> None:
    watch = Watch(on)
    for _ in range(12):
        await on.reached(await on.submit("bad"))
    await until(lambda: _counted(on, 12))
    assert await watch.firing() == {}
    fired = await watch.firing(later_s=130)
    assert (
        fired[known.FAILURE_RATIO_HIGH.name].summary
        == "100.0% of the jobs that ended within an hour failed"
    )
    # The short window holds none any more.
    assert known.FAILURE_RATIO_HIGH.name not in await watch.firing(later_s=900)


async def test_a_few_failures_of_some_jobs_do_not_fire(on: Served) -> None:
    watch = Watch(on)
    for _ in range(9):
        await on.reached(await on.submit("bad"))
        await on.reached(await on.submit("good"))
    await until(lambda: _counted(on, 9))
    assert await watch.firing() == {}
    assert await watch.firing(later_s=130) == {}


async def _counted(on: Served, failed: int) -> bool:
    states, _ = await on.system.aggregates.states()
    return sum(count.count for count in states if count.state == "failed") == failed


async def test_runs_that_were_lost_and_jobs_that_took_long_are_told_of(on: Served) -> None:
    watch = Watch(on)
    assert await watch.firing() == {}
    aggregates = on.system.aggregates
    position = await until(aggregates.position)
    deltas = Deltas()
    deltas.count_ever("good", "default", "lost", amount=3)
    for _ in range(20):
        deltas.duration_ever("good", "default", "end_to_end", 400 * MICROSECONDS)
    await aggregates.replace(position, deltas)

    fired = await watch.firing(later_s=30)
    assert fired[known.LEASES_EXPIRING.name].summary == "3 runs were lost with their workers"
    assert known.LATENCY_HIGH.name not in fired
    later = await watch.firing(later_s=290)
    assert known.LATENCY_HIGH.name not in later  # it must hold for five minutes


async def test_heartbeat_jobs_that_stop_coming_through_are_told_of_by_their_stage(
    on: Served,
) -> None:
    seen: dict[str, int] = {}
    name = known.HEARTBEAT_STALLED.name
    none, some, rare = (
        Watch(on, canary=Canary(every_s, lambda: seen)) for every_s in (0.0, 15.0, 600.0)
    )
    for watch in (none, some, rare):
        for later_s in (0, 130):
            assert name not in await watch.firing(later_s)
    late = (await some.firing(later_s=191))[name]
    assert late.labels == {"stage": "accepted"}
    assert late.summary.startswith("no heartbeat job has been accepted for 3m 1")
    assert name not in await none.firing(later_s=191)
    assert name not in await rare.firing(later_s=191)

    at = await on.system.store.now() + 195 * MICROSECONDS
    seen |= {"accepted": at, "started": at}
    assert name not in await some.firing(later_s=200), "another stage, which is late since now"
    assert (await some.firing(later_s=265))[name].labels == {"stage": "completed"}
    seen |= {"completed": at, "applied": at}
    assert name not in await some.firing(later_s=270)


async def test_heartbeat_jobs_are_not_missed_by_who_cannot_see_any(on: Served) -> None:
    spine = Unreliable(on.system.spine)
    watch = Watch(on, spine=spine, canary=Canary(15.0, dict))
    name = known.HEARTBEAT_STALLED.name
    for later_s in (0, 130, 195, 260):
        spine.before("check", SpineUnavailable("away"))
        fired = await watch.firing(later_s, away="spine")
        assert name not in fired
    assert known.BACKEND_UNREACHABLE.name in fired
    assert name not in await watch.firing(later_s=270)
    assert name in await watch.firing(later_s=335)


async def test_heartbeat_jobs_that_wait_in_a_paused_queue_are_not_missed(on: Served) -> None:
    at = await on.system.store.now()
    seen = {"accepted": at, "started": at, "completed": at, "applied": at}
    watch = Watch(on, canary=Canary(15.0, lambda: seen))
    name = known.HEARTBEAT_STALLED.name
    assert (await on.http.post("/queues/default/pause")).status_code == 200
    assert name not in await watch.firing(later_s=130)
    assert (await watch.firing(later_s=195))[name].labels == {"stage": "accepted"}
    seen["accepted"] = at + 290 * MICROSECONDS
    assert name not in await watch.firing(later_s=300)
    assert (await on.http.post("/queues/default/resume")).status_code == 200
    for later_s in (310, 375):
        assert name not in await watch.firing(later_s)
    seen["accepted"] = at + 490 * MICROSECONDS
    assert name not in await watch.firing(later_s=430)
    assert (await watch.firing(later_s=495))[name].labels == {"stage": "started"}


async def test_messages_that_nobody_can_read_are_told_of_for_a_while(on: Served) -> None:
    spine = Unreliable(on.system.spine)
    watch = Watch(on, spine=spine)
    name = known.DEAD_LETTERS_GROWING.name
    spine.answer("dead_letters", 2)
    assert name not in await watch.firing()
    spine.answer("dead_letters", 5)
    fired = (await watch.firing(later_s=60))[name]
    assert fired.summary == "3 messages were laid aside as unreadable"
    assert name in await watch.firing(later_s=800)
    assert name not in await watch.firing(later_s=1000)


async def test_a_backend_that_is_away_is_told_of_and_hides_nothing(on: Served) -> None:
    system = on.system
    store: Any = Unreliable(system.store)
    clock = Clock(store, system.spine, system.aggregates)
    at = await system.store.now()
    conditions = Conditions(store, system.spine, system.aggregates, clock, 0, lambda: at)
    await conditions.look()
    at += 61 * MICROSECONDS
    store.before("workforce", StoreUnavailable("away"))
    await conditions.look()
    assert conditions.known().detail == "store did not answer"
    at += 61 * MICROSECONDS
    store.before("workforce", StoreUnavailable("away"))
    await conditions.look()
    fired = {one.name: one for one in conditions.known().alerts}
    # What held when the store was last looked at is not over because nobody can look.
    assert set(fired) == {known.BACKEND_UNREACHABLE.name, known.NO_PROCESSORS.name}
    assert fired[known.BACKEND_UNREACHABLE.name].labels["backend"] == "store"
    await conditions.look()
    assert [one.name for one in conditions.known().alerts] == [known.NO_PROCESSORS.name]


async def test_the_route_tells_who_knows_and_since_when(on: Served) -> None:
    async def looked() -> Any:
        answer = await on.http.get("/alerts")
        assert answer.status_code == 200
        return answer.json() if answer.json()["sourceAsOf"] else None

    body = await until(looked)
    assert body["source"] == "embedded"
    assert body["silenced"] == 0
    assert body["items"] == []
    assert 0 <= body["ageSeconds"] < SOON_S
    runbook = await on.http.get("/runbooks/ObservatoryOutboxStuck")
    assert runbook.text.startswith("# ObservatoryOutboxStuck")
    assert (await on.http.get("/runbooks/..%2Fsecret")).status_code == 404
    assert (await on.http.get("/runbooks/nothing")).status_code == 404


async def test_alerts_are_told_also_while_the_store_is_away(
    on: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away() -> int:
        raise StoreUnavailable("away")

    monkeypatch.setattr(on.system.store, "now", away)
    answer = await on.http.get("/alerts")
    assert answer.status_code == 200
    assert answer.json()["source"] == "embedded"
    assert (await on.http.get("/workers")).status_code == 503, "vacuous: the store is there"


def test_what_is_evaluated_here_are_rules_of_the_catalogue() -> None:
    elsewhere = {known.SERVICE_DOWN, known.NUMBERS_MISSING}
    assert set(EVALUATED) == set(known.RULES) - elsewhere - {known.WATCHDOG}


# Alertmanager. What a real one says is tested with a real one; here is what it would never say.

SAID = {
    "labels": {"alertname": "Disk", "severity": "warning", "queue": "q"},
    "annotations": {"summary": "full", "runbook_url": "javascript:alert(1)"},
    "startsAt": "2026-11-23T21:01:26.401Z",
    "endsAt": "2026-11-23T21:05:26.401Z",
    "fingerprint": "1",
}


@pytest.fixture
def answers() -> Any:
    given: dict[str, Any] = {"status": 200, "body": b"[]"}

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            given["asked"] = self.path
            self.send_response(given["status"])
            self.end_headers()
            self.wfile.write(given["body"])

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    Thread(target=server.serve_forever, daemon=True).start()
    given["url"] = f"http://127.0.0.1:{server.server_port}"
    yield given
    server.shutdown()
    server.server_close()


async def test_alertmanagers_alerts_are_shown_without_its_scripts(answers: Any) -> None:
    answers["body"] = json.dumps([SAID]).encode()
    alertmanager = Alertmanager(answers["url"] + "/")
    (alert,) = (await alertmanager.firing()).alerts
    await alertmanager.close()
    assert answers["asked"].startswith("/api/v2/alerts?active=true&silenced=true")
    assert "filter=alertname%3D~%22Observatory.%2B%22" in answers["asked"]
    assert (alert.name, alert.severity, alert.labels) == ("Disk", "warning", {"queue": "q"})
    assert alert.runbook is None
    assert alert.since == 1_795_467_686_401_000


async def test_alerts_that_are_silenced_are_counted_and_not_shown(answers: Any) -> None:
    silenced: dict[str, Any] = SAID | {"status": {"state": "suppressed", "silencedBy": ["1"]}}
    always = silenced | {"labels": {"alertname": known.WATCHDOG.name, "severity": "info"}}
    answers["body"] = json.dumps([SAID, silenced, always]).encode()
    alertmanager = Alertmanager(answers["url"])
    alerts = AlertsElsewhere(alertmanager, lambda: 5)
    (loop,) = alerts.loops
    assert shown(alerts.known(), 5)["silenced"] == 0, "nobody has answered yet"
    loop.start()
    await until(lambda: alerts.known().alerts)
    await loop.stop()
    await alertmanager.close()
    body = shown(alerts.known(), 5)
    assert [item["name"] for item in body["items"]] == ["Disk"]
    assert body["silenced"] == 1
    assert body["detail"] is None


async def test_where_the_watchdog_is_missing_nobody_knows_that_all_is_well(answers: Any) -> None:
    alertmanager = Alertmanager(answers["url"])
    alerts = AlertsElsewhere(alertmanager, lambda: 5)
    (loop,) = alerts.loops
    loop.start()
    await until(lambda: alerts.known().looked_at)
    unwatched = shown(alerts.known(), 5)
    answers["body"] = json.dumps(
        [SAID | {"labels": {"alertname": known.WATCHDOG.name, "severity": "info"}}]
    ).encode()
    loop.wake()
    await until(lambda: alerts.known().alerts)
    await loop.stop()
    await alertmanager.close()
    assert unwatched["items"] == []
    assert "ObservatoryWatchdog" in unwatched["detail"]
    assert shown(alerts.known(), 5)["detail"] is None


@pytest.mark.parametrize(
    ("status", "body"),
    [(500, b"[]"), (200, b"nonsense"), (200, b'[{"labels": 1}]'), (200, b"[" + b" " * (5 << 20))],
    ids=["an error", "no JSON", "another form", "far too much"],
)
async def test_an_alertmanager_that_answers_nonsense_keeps_what_was_known(
    answers: Any, status: int, body: bytes
) -> None:
    watchdog = SAID | {"labels": {"alertname": known.WATCHDOG.name, "severity": "info"}}
    answers["body"] = json.dumps([SAID, watchdog]).encode()
    alertmanager = Alertmanager(answers["url"])
    alerts = AlertsElsewhere(alertmanager, lambda: 5)
    assert alerts.known().detail == "Alertmanager has not answered yet"
    (loop,) = alerts.loops
    loop.start()
    await until(lambda: alerts.known().alerts)
    answers["status"], answers["body"] = status, body
    loop.wake()
    await until(lambda: alerts.known().detail)
    await loop.stop()
    await alertmanager.close()
    assert [alert.name for alert in alerts.known().alerts] == ["Disk", known.WATCHDOG.name]
    assert alerts.known().looked_at == 5
