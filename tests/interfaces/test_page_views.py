"""Every view of the page, in a real Chromium, on both shapes of the system."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect
from watching import BIDI, CONTROLS, HOSTILE, LIVE_MS, RECOVERY_MS, Watched, finished, submit

from real import RunningSystem, until
from shapes import on_both_shapes

pytestmark = [pytest.mark.browser, on_both_shapes]

AXE = Path(__file__).parents[2] / "web" / "node_modules" / "axe-core" / "axe.min.js"
VIEWS = ("", "jobs", "failures", "queues", "workers", "events", "contracts", "system")
WIDTHS = (1440, 1024, 390)


def fail(system: RunningSystem, *whys: str) -> list[str]:
    return [finished(system, submit(system, "break", why=why))["id"] for why in whys]


def state_of(system: RunningSystem, job_id: str) -> str:
    return str(system.http.get(f"/jobs/{job_id}").json()["state"])


def test_two_clicks_from_the_health_line_to_the_traceback(
    system: RunningSystem, watch: Callable[..., Watched]
) -> None:
    fail(system, "the mail server said no")
    watched = watch(system.url)
    page = watched.open("#/workers")
    page.get_by_role("link", name="1 failing").click()
    page.locator("table.failures tbody a", has_text="ValueError").first.click()
    expect(page.locator("[data-traceback]").first).to_contain_text("ValueError: the mail server")
    watched.assert_clean()


def test_that_all_is_well_can_be_seen(system: RunningSystem, watch: Callable[..., Watched]) -> None:
    watched = watch(system.url)
    alerts = system.http.get("/alerts").json() | {"items": [], "detail": None}
    watched.page.route("**/alerts", lambda route: route.fulfill(json=alerts))
    page = watched.open("#/jobs")
    verdict = page.locator(".health .well")
    expect(verdict).to_have_text("✔ All is well")
    expect(verdict).to_be_in_viewport()
    size = verdict.bounding_box()
    assert size is not None
    assert size["height"] > 10, "vacuous: it is not to be seen"
    fail(system, "no")
    expect(verdict).to_have_text("✔ The system is well", timeout=LIVE_MS)
    alerts["source"] = "none"
    expect(verdict).to_contain_text("nobody tells of alerts", timeout=2 * LIVE_MS)
    system.http.post("/queues/default/pause")
    expect(page.locator("details.verdict summary")).to_have_text("! Degraded: 1 reason")
    system.http.post("/queues/default/resume")
    expect(verdict).to_be_visible(timeout=LIVE_MS)
    fail(system, *(f"reason {n}" for n in range(9)))
    told = "100 % of the jobs that ended within the last 15 min failed: 10 of 10."
    expect(page.locator(".verdict .reasons li")).to_have_text([told], timeout=LIVE_MS)
    expect(verdict).to_have_count(0)
    watched.assert_clean()


def test_alerts_that_are_silenced_are_told(
    system: RunningSystem, watch: Callable[..., Watched]
) -> None:
    watched = watch(system.url)
    answer = system.http.get("/alerts").json() | {"source": "alertmanager", "silenced": 1}
    watched.page.route("**/alerts", lambda route: route.fulfill(json=answer))
    page = watched.open()
    expect(page.locator(".verdict")).to_have_text("1 alert fires and is silenced.")
    watched.assert_clean()


def test_the_filter_box_completes_and_says_what_it_does_not_understand(
    system: RunningSystem, watch: Callable[..., Watched]
) -> None:
    finished(system, submit(system, "double", n=1))
    fail(system, "no")
    watched = watch(system.url)
    page = watched.open("#/jobs")
    rows = page.locator("table.jobs tbody tr")
    expect(rows).to_have_count(2)
    page.keyboard.press("/")
    page.keyboard.type("st")
    expect(page.get_by_role("option")).to_have_count(1)
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.keyboard.type("fai")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Tab")
    box = page.locator("input[name=filter]")
    expect(box).to_have_value("state:failed ")
    expect(page).to_have_url(f"{system.url}/#/jobs?state=failed")
    expect(rows).to_have_count(1)
    box.fill("state:broken")
    expect(page.get_by_role("alert")).to_contain_text("broken is no state")
    expect(page.get_by_role("button", name="Retry all of this filter…")).to_be_disabled()
    expect(page).to_have_url(f"{system.url}/#/jobs?state=failed")
    box.fill("type:doub*")
    expect(page.get_by_role("alert")).to_contain_text("a type is written whole")
    expect(page).to_have_url(f"{system.url}/#/jobs?state=failed")
    box.fill('type:"double"')
    expect(page).to_have_url(f"{system.url}/#/jobs?type=double")
    expect(rows).to_have_count(1)
    box.fill("sate:failed")
    expect(page.locator(".filter-box .note")).to_contain_text("sate is no field, so sate:failed is")
    expect(page).to_have_url(f"{system.url}/#/jobs?q=sate:failed")
    expect(rows).to_have_count(0)
    box.fill("type:double since:1h")
    expect(page.locator(".filter-box .note")).to_be_empty()
    expect(page).to_have_url(f"{system.url}/#/jobs?type=double&since=1h")
    expect(rows).to_have_count(1)
    page.goto(f"{system.url}/#/jobs?state=nonsense")
    expect(page.get_by_role("alert")).to_contain_text("nonsense is no state")
    expect(rows).to_have_count(0)
    watched.assert_clean()


def test_back_leads_from_filter_to_filter_and_not_from_letter_to_letter(
    system: RunningSystem, watch: Callable[..., Watched]
) -> None:
    finished(system, submit(system, "double", n=1))
    fail(system, "no")
    watched = watch(system.url)
    page = watched.open("#/workers")
    jobs = f"{system.url}/#/jobs"
    page.get_by_role("link", name="Jobs", exact=True).click()
    box = page.locator("input[name=filter]")
    for typed in ("dou", "double"):
        box.press_sequentially(typed.removeprefix(box.input_value()))
        expect(page).to_have_url(f"{jobs}?q={typed}")
    box.press("Enter")
    box.press_sequentially(" ty")
    expect(page).to_have_url(f"{jobs}?q=double+ty")
    box.press("ArrowDown")
    box.press("Enter")
    box.press_sequentially("dou")
    page.get_by_role("option", name="double").click()
    expect(page).to_have_url(f"{jobs}?type=double&q=double")
    page.get_by_role("checkbox", name=re.compile("^completed")).check()
    last = f"{jobs}?state=completed&type=double&q=double"
    expect(page).to_have_url(last)
    expect(page.locator("table.jobs tbody tr")).to_have_count(1)
    for before in (f"{jobs}?type=double&q=double", f"{jobs}?q=double", jobs):
        page.go_back()
        expect(page).to_have_url(before)
    expect(box).to_have_value("")
    expect(page.locator("table.jobs tbody tr")).to_have_count(2)
    page.go_back()
    expect(page).to_have_url(f"{system.url}/#/workers")
    watched.assert_clean()


def test_all_jobs_of_a_filter_are_counted_and_run_again(
    system: RunningSystem, watch: Callable[..., Watched]
) -> None:
    ids = fail(system, "one", "two", "three")
    done = finished(system, submit(system, "double", n=1))["id"]
    watched = watch(system.url)
    page = watched.open("#/jobs?state=failed,completed")
    page.get_by_role("button", name="Retry all of this filter…").click()
    expect(page.locator(".bulk-panel")).to_contain_text("4 jobs will run again")
    expect(page.locator(".bulk-panel .meant")).to_have_text("state:completed,failed")
    expect(page.get_by_role("button", name="No", exact=True)).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator(".bulk-panel")).to_have_count(0)
    expect(page.get_by_role("button", name="Retry all of this filter…")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator(".bulk-panel .meant")).to_be_visible()
    page.goto(f"{system.url}/#/jobs?state=failed")
    expect(page.locator(".bulk-panel")).to_have_count(0)
    page.get_by_role("button", name="Retry all of this filter…").click()
    page.get_by_role("button", name="Run again 3 jobs").click()
    expect(page.locator(".bulk-panel [role=status]")).to_contain_text("Queued again: 3 jobs")
    for job_id in ids:
        attempts = until(
            lambda job_id=job_id: (
                len(system.http.get(f"/jobs/{job_id}/attempts").json()["items"]) == 2
            )
        )
        assert attempts
    page.goto(f"{system.url}/#/queues")
    expect(page.locator(".bulk-panel")).to_have_count(0)
    assert len(system.http.get(f"/jobs/{done}/attempts").json()["items"]) == 1
    watched.assert_clean()


def test_selected_jobs_are_cancelled_and_no_others(
    system: RunningSystem, watch: Callable[..., Watched]
) -> None:
    later = [
        system.http.post(
            "/jobs", json={"type": "double", "payload": {"n": n}, "delaySeconds": 3600}
        ).json()["jobId"]
        for n in range(3)
    ]
    watched = watch(system.url)
    page = watched.open("#/jobs")
    for job_id in later[:2]:
        page.get_by_label(f"Select job {job_id}").check()
    page.get_by_role("button", name="Cancel 2 selected…").click()
    page.get_by_role("button", name="Cancel 2 jobs").click()
    expect(page.locator(".bulk-panel [role=status]")).to_contain_text("told to stop: 2 jobs")
    assert [state_of(system, one) for one in later[:2]] == ["cancelled", "cancelled"]
    assert state_of(system, later[2]) == "scheduled"
    watched.assert_clean()


def test_a_group_of_failures_is_run_again(
    system: RunningSystem, watch: Callable[..., Watched]
) -> None:
    ids = fail(system, "no", "no")
    watched = watch(system.url)
    page = watched.open("#/failures")
    group = page.locator("tr[data-fingerprint]")
    expect(group).to_have_count(1)
    expect(group.locator(".trend")).to_contain_text("2")
    group.get_by_role("button", name="Retry them…").click()
    page.get_by_role("button", name="Run again 2 jobs").click()
    for job_id in ids:
        until(
            lambda job_id=job_id: (
                len(system.http.get(f"/jobs/{job_id}/attempts").json()["items"]) == 2
            )
        )
    # They count by their new failure, which is no news: the page says so.
    again = min(finished(system, job_id)["finishedAt"] for job_id in ids)
    shown = until(
        lambda: [
            one
            for one in system.http.get("/failures").json()["items"]
            if (one["count"], one["firstSeenAt"]) == (2, again)
        ]
    )
    assert shown[0]["recent"]["lastHour"] == 2
    heads = page.locator("table.failures thead th")
    expect(heads.filter(has_text="Oldest")).to_have_attribute("title", re.compile("may be older"))
    expect(page.locator("main .note")).to_contain_text("counts anew")
    watched.assert_clean()


def test_a_queue_is_paused_and_resumed(
    system: RunningSystem, watch: Callable[..., Watched]
) -> None:
    finished(system, submit(system, "echo", text="hello"))
    watched = watch(system.url)
    page = watched.open("#/queues")
    row = page.locator('tr[data-queue="texts"]')
    expect(page.locator("th", has_text="Action")).to_be_visible()
    page.get_by_text("The same from a shell").click()
    page.locator("select[name=queue]").select_option("texts")
    expect(page.locator(".command code")).to_have_text(
        [
            f"observatory queues pause texts --url {system.url}",
            f"curl -sS -X POST {system.url}/queues/texts/pause",
        ]
    )
    pause = row.get_by_role("button", name="Pause…")
    pause.press("Enter")
    expect(row.get_by_role("button", name="No", exact=True)).to_be_focused()
    page.keyboard.press("Escape")
    expect(pause).to_be_focused()
    expect(page).to_have_url(f"{system.url}/#/queues")
    pause.click()
    row.get_by_role("button", name="Yes, pause it").click()
    expect(row.locator(".paused")).to_be_visible(timeout=LIVE_MS)
    expect(page.locator(".verdict")).to_contain_text("Paused: texts")
    expect(row.get_by_role("button", name="Resume")).to_be_focused()
    row.get_by_role("button", name="Resume").click()
    expect(row.locator(".paused")).to_have_count(0, timeout=LIVE_MS)
    expect(page.locator(".verdict .reasons")).to_have_count(0)
    watched.assert_clean()


def test_a_job_that_waits_in_a_paused_queue_says_so_and_leads_to_it(
    system: RunningSystem, watch: Callable[..., Watched]
) -> None:
    finished(system, submit(system, "double", n=1))
    assert system.http.post("/queues/texts/pause").status_code == 200

    def held() -> str | None:
        # Processors look at what is paused now and then.
        job_id = submit(system, "echo", text="hello")
        time.sleep(0.2)
        return job_id if state_of(system, job_id) == "queued" else None

    job_id = until(held)
    assert job_id is not None
    watched = watch(system.url)
    page = watched.open(f"#/jobs/{job_id}")
    told = page.locator(".standing", has_text="is paused since")
    expect(told).to_contain_text("‖ waits queue texts is paused since 20")
    told.get_by_role("link", name="Resume it").click()
    row = page.locator('tr[data-queue="texts"]')
    expect(row).to_have_attribute("data-pointed", "yes")
    expect(row.locator("a").first).to_be_focused()
    row.get_by_role("button", name="Resume").click()
    finished(system, job_id)
    page.go_back()
    expect(page.locator(".job-head .badge")).to_have_attribute("data-state", "completed")
    expect(told).to_have_count(0)
    watched.assert_clean()


def test_a_job_is_run_again_with_another_payload_to_the_digit(
    system: RunningSystem, watch: Callable[..., Watched]
) -> None:
    done = finished(system, submit(system, "double", n=1))
    watched = watch(system.url)
    page = watched.open(f"#/jobs/{done['id']}")
    page.get_by_text("Retry with another payload").click()
    for typed in ('{"n": ', '{"n": 9007199254740993'):
        page.get_by_label("Payload, as JSON").fill(typed)
        expect(page.locator(".editor .warning")).to_have_count(0)
        page.get_by_role("button", name="Submit as a new job").click()
        expect(page.locator(".editor .warning")).to_contain_text("This is no JSON")
    page.get_by_label("Payload, as JSON").press("Escape")
    page.keyboard.press("Escape")
    expect(page.locator(".editor")).to_have_count(0)
    page.get_by_text("Retry with another payload").press("Enter")
    expect(page.get_by_label("Payload, as JSON")).to_have_value('{"n": 9007199254740993')
    page.get_by_label("Payload, as JSON").fill('{"n": 9007199254740993}')
    page.get_by_role("button", name="Submit as a new job").click()
    page.locator(".editor .answer a").click()
    expect(page.locator('pre[aria-label="Payload"]')).to_contain_text("9007199254740993")
    expect(page.locator(".facts")).to_contain_text(done["id"])
    page.go_back()
    page.get_by_role("link", name="its descendants").click()
    expect(page.locator("table.jobs tbody tr")).to_have_count(1)
    watched.assert_clean()


def test_workers_are_told_by_what_they_do(
    system: RunningSystem, watch: Callable[..., Watched]
) -> None:
    watched = watch(system.url)
    page = watched.open("#/workers")
    row = page.locator("tr[data-worker]")
    expect(row).to_have_count(1)
    expect(row).to_have_attribute("data-standing", "idle")
    expect(row).to_contain_text("double")
    watched.assert_clean()


def test_every_contract_can_be_read(system: RunningSystem, watch: Callable[..., Watched]) -> None:
    watched = watch(system.url)
    page = watched.open("#/contracts")
    names = [item["name"] for item in system.http.get("/contracts").json()["items"]]
    assert len(names) > 30, "vacuous: hardly a contract"
    expect(page.locator("table.contracts tbody tr")).to_have_count(len(names))
    page.get_by_role("link", name="double", exact=True).click()
    expect(page.locator("article.contract table")).to_contain_text("integer")
    page.goto(f"{system.url}/#/contracts/http/job-submission.v1.json")
    expect(page.locator("article.contract h1")).to_have_text("Job submission")
    expect(page.locator("article.contract table")).to_contain_text("payload")
    watched.assert_clean()


def test_a_contract_that_does_not_exist_is_told_as_such(
    system: RunningSystem, watch: Callable[..., Watched]
) -> None:
    watched = watch(system.url)
    page = watched.open("#/contracts/http/nowhere.v1.json")
    expect(page.locator("article.contract h1")).to_have_text("http/nowhere.v1.json")
    expect(page.locator("article.contract .empty")).to_contain_text(
        "There is no contract of this name"
    )
    page.get_by_role("link", name="All contracts").click()
    expect(page).to_have_url(f"{system.url}/#/contracts")
    # Chromium itself reports each answer of 404.
    watched.faults = [fault for fault in watched.faults if "404" not in fault]
    watched.assert_clean()


def test_a_contract_that_could_not_be_read_once_is_read_again(
    system: RunningSystem, watch: Callable[..., Watched]
) -> None:
    watched = watch(system.url)
    watched.page.route("**/contracts/job.v1.json", lambda route: route.fulfill(status=503))
    page = watched.open("#/contracts/job.v1.json")
    expect(page.locator("article.contract")).to_contain_text("Not read yet")
    page.unroute("**/contracts/job.v1.json")
    expect(page.locator("article.contract table")).to_be_visible(timeout=RECOVERY_MS)
    # Chromium itself reports each answer of 503.
    watched.faults = [fault for fault in watched.faults if "503" not in fault]
    watched.assert_clean()


def test_what_would_be_done_to_selected_jobs_is_in_sight_deep_in_the_list(
    system: RunningSystem, watch: Callable[..., Watched]
) -> None:
    items = [{"type": "double", "payload": {"n": n}} for n in range(200)]
    assert system.http.post("/jobs/batch", json=items).status_code == 202
    watched = watch(system.url)
    page = watched.open("#/jobs")
    rows = page.locator("tr[data-job]")
    page.get_by_role("button", name="Load more").click()
    expect(rows).to_have_count(200)
    rows.nth(150).locator("input[type=checkbox]").check()
    expect(page.get_by_role("button", name="Retry 1 selected")).to_be_in_viewport()
    expect(rows.nth(150)).to_be_in_viewport()
    watched.assert_clean()


def test_the_system_tells_of_its_own_health(
    system: RunningSystem, watch: Callable[..., Watched]
) -> None:
    watched = watch(system.url)
    page = watched.open("#/system")
    facts = page.locator(".health-facts > div")
    expect(facts.filter(has_text="Store, the record of jobs")).to_have_attribute(
        "data-tone", "good"
    )
    expect(facts.filter(has_text="Outbox")).to_contain_text("empty")
    expect(facts.filter(has_text="Views")).to_contain_text("behind the event log")
    watched.assert_clean()


def test_everything_can_be_done_by_keyboard_alone(
    system: RunningSystem, watch: Callable[..., Watched]
) -> None:
    (job_id,) = fail(system, "by keys")
    watched = watch(system.url)
    page = watched.open()
    for keys, heading in (
        ("gj", "Jobs"),
        ("gf", "Failures"),
        ("gq", "Queues"),
        ("gw", "Workers"),
        ("ge", "Events"),
        ("gc", "Contracts"),
        ("gs", "System"),
    ):
        for one in keys:
            page.keyboard.press(one)
        expect(page.locator("main h1").first).to_have_text(heading)
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_contain_text("to Failures")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.keyboard.press("g")
    page.keyboard.press("j")
    expect(page.locator("tr[data-job]")).to_have_count(1)
    page.keyboard.press("j")
    page.keyboard.press("x")
    expect(page.get_by_label(f"Select job {job_id}")).to_be_checked()
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{system.url}/#/jobs/{job_id}")
    expect(page.get_by_role("button", name="Retry", exact=True)).to_be_enabled()
    page.keyboard.press("r")
    expect(page.locator("tbody[data-attempt]")).to_have_count(2, timeout=LIVE_MS)
    page.keyboard.press("Escape")
    expect(page).to_have_url(f"{system.url}/#/jobs")
    watched.assert_clean()


def test_the_help_tells_the_keys_of_all_views_on_each_of_them(
    system: RunningSystem, watch: Callable[..., Watched]
) -> None:
    (job_id,) = fail(system, "no")
    watched = watch(system.url)
    page = watched.open()
    told = page.locator(".help dl > div")
    works: dict[str, set[str]] = {}
    names: dict[str, list[str]] = {}
    for view in (*VIEWS, f"jobs/{job_id}"):
        settled(page, f"{system.url}/#/{view}")
        if view.startswith("jobs/"):
            expect(page.get_by_role("button", name="Retry", exact=True)).to_be_enabled()
        page.keyboard.press("?")
        expect(page.get_by_role("dialog")).to_be_visible()
        names[view] = told.locator("dt").all_inner_texts()
        works[view] = set(page.locator(".help dl > div:not([data-off]) dt").all_inner_texts())
        assert not violations(page)
        page.keyboard.press("Escape")
    assert {tuple(one) for one in names.values()} == {tuple(names[""])}
    assert {"?", "gj", "esc", "t", "j", "k", "enter", "/", "x", "r", "c", "space"} <= {
        "".join(one.split()) for one in names[""]
    }
    assert "r" in works[f"jobs/{job_id}"]
    assert "r" not in works["jobs"]
    assert {"/", "x"} <= works["jobs"]
    assert "space" in works["events"]
    watched.assert_clean()


def test_the_theme_is_chosen_and_kept(system: RunningSystem, watch: Callable[..., Watched]) -> None:
    watched = watch(system.url, color_scheme="light")
    page = watched.open()
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    page.get_by_role("button", name="Dark", exact=True).click()
    dark = page.evaluate(ground)
    assert dark != light
    page.reload()
    expect(page.get_by_role("button", name="Light", exact=True)).to_be_visible()
    assert page.evaluate(ground) == dark
    watched.assert_clean()


def every_address(system: RunningSystem) -> list[str]:
    (failed,) = fail(system, BIDI + CONTROLS + "x" * 300)
    finished(system, submit(system, "echo", text="y" * 3000))
    contract = "#/contracts/http/job-submission.v1.json"
    return [*(f"#/{view}" for view in VIEWS), f"#/jobs/{failed}", contract, "#/nowhere"]


def settled(page: Page, url: str) -> None:
    page.goto(url)
    expect(page.locator("main h1").first).to_be_attached()
    expect(page.locator("main")).not_to_contain_text("Reading…")


def violations(page: Page) -> list[str]:
    """What axe-core finds on the page as it is."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE.read_text())
    found: list[dict[str, Any]] = page.evaluate("axe.run().then((r) => r.violations)")
    return [
        f"{one['id']}: {node['html'][:200]} {node['failureSummary'][:300]}"
        for one in found
        for node in one["nodes"]
    ]


@pytest.mark.parametrize("width", [1440, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_keeps_anybody_out(
    system: RunningSystem, watch: Callable[..., Watched], scheme: str, width: int
) -> None:
    addresses = every_address(system)
    watched = watch(system.url, color_scheme=scheme, viewport={"width": width, "height": 844})
    page = watched.open()
    found: list[str] = []
    for address in addresses:
        settled(page, f"{system.url}/{address}")
        found += [f"{address}: {one}" for one in violations(page)]
    assert not found, "\n".join(found)
    watched.assert_clean()


@pytest.mark.parametrize("width", WIDTHS)
def test_every_view_fits(system: RunningSystem, watch: Callable[..., Watched], width: int) -> None:
    addresses = every_address(system)
    watched = watch(system.url, viewport={"width": width, "height": 844})
    page = watched.open()
    for address in addresses:
        settled(page, f"{system.url}/{address}")
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= width, f"{address} is {wide} wide"
    watched.assert_clean()


SCROLLS_SIDEWAYS = """
boxes => boxes.filter((box) => box.scrollWidth > box.clientWidth)
    .map((box) => box.querySelector('caption')?.textContent ?? box.className)
"""
LINES = """
(row) => [...row.querySelectorAll('a, button, .badge, td.number')]
    .filter((one) => one.checkVisibility() && one.textContent.trim())
    .map((one) => {
        const words = document.createTreeWalker(one, NodeFilter.SHOW_TEXT).nextNode();
        const range = document.createRange();
        range.selectNodeContents(words);
        return range.getClientRects()[0].bottom;
    })
"""
"""Where the first line of each text of a row ends; all are of one size."""


def test_on_a_phone_no_table_is_cut_and_what_stands_in_a_line_is_in_line(
    system: RunningSystem, watch: Callable[..., Watched]
) -> None:
    addresses = every_address(system)
    fail(system, "the mail server said no")
    system.http.post("/queues/a.queue-with-a-long-name/pause")
    watched = watch(system.url, viewport={"width": 390, "height": 844})
    page = watched.open()
    for address in addresses:
        settled(page, f"{system.url}/{address}")
        boxes = page.locator(".table-box:not(.short)")
        assert boxes.evaluate_all(SCROLLS_SIDEWAYS) == [], address
    for address, row in (
        ("#/queues", 'tr[data-queue="texts"]'),
        ("#/failures", "tr[data-fingerprint]"),
        ("#/jobs", "tr[data-job]"),
    ):
        settled(page, f"{system.url}/{address}")
        lines = page.locator(row).first.evaluate(LINES)
        assert len(lines) >= 3, f"{address}: vacuous"
        assert max(lines) - min(lines) <= 1, f"{address}: {lines}"
    watched.assert_clean()


CUT_OFF = """
cells => cells.filter((cell) => {
    const range = document.createRange();
    range.selectNodeContents(cell);
    return range.getBoundingClientRect().right > cell.getBoundingClientRect().right;
}).map((cell) => cell.textContent)
"""
LINES_HIGH = """
cells => cells.map((cell) => {
    const range = document.createRange();
    range.selectNodeContents(cell);
    return new Set([...range.getClientRects()].map((rect) => rect.top)).size;
})
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone_no_time_of_a_job_is_cut_off(
    system: RunningSystem, watch: Callable[..., Watched], scheme: str
) -> None:
    for n in range(3):
        finished(system, submit(system, "double", n=n))

    def answer(route: Any) -> None:
        body = route.fetch().json()
        ended = ("10:00:00.441Z", "10:59:59Z", "23:59:00Z")
        for job, end in zip(body["items"], ended, strict=True):
            job["startedAt"] = "2026-11-28T10:00:00Z"
            job["finishedAt"] = f"2026-11-28T{end}"
        route.fulfill(json=body)

    phone = {"viewport": {"width": 390, "height": 844}, "color_scheme": scheme}
    watched = watch(system.url, **phone)
    watched.page.route("**/jobs?*", answer)
    page = watched.open()
    for address in ("#/", "#/jobs"):
        settled(page, f"{system.url}/{address}")
        times = page.locator("tr[data-job] td.number:last-child")
        expect(times).to_have_text(["441 ms", "59 min 59 s", "13 h 59 min"])
        assert times.evaluate_all(CUT_OFF) == [], address
        heights = times.evaluate_all(LINES_HIGH)
        assert heights == [1, 2, 2], f"{address}: number and unit stand together"
    watched.assert_clean()


def test_it_is_small(system: RunningSystem) -> None:
    import gzip

    index = system.http.get("/").text
    assets = re.findall(r'(?:src|href)="\./([^"]+\.(?:js|css))"', index)
    assert len(assets) >= 3, "vacuous: no assets"
    size = sum(len(gzip.compress(system.http.get(f"/{name}").content, 9)) for name in assets)
    assert size < 150_000


def test_a_zoo_of_hostile_text_stays_text_on_every_view(
    system: RunningSystem, watch: Callable[..., Watched]
) -> None:
    zoo = [
        HOSTILE,
        BIDI,
        CONTROLS,
        "</script><svg onload=alert(1)>",
        "{{7*7}}",
        "💣" * 200,
        "a\n" * 50,
    ]
    ids = [finished(system, submit(system, "echo", text=text))["id"] for text in zoo]
    ids += [fail(system, text)[0] for text in zoo]
    ids.append(finished(system, submit(system, "echo", text="z" * 900_000))["id"])
    payload = {"text": "many", "more": {f"{HOSTILE} {n}": n for n in range(10_000)}}
    answer = system.http.post(
        "/jobs",
        json={"type": "keep", "payload": payload},
        headers={"X-Correlation-Id": "<img/src=x/onerror=alert(1)>", "Idempotency-Key": "<b>k</b>"},
    )
    assert answer.status_code == 202, answer.text
    ids.append(finished(system, answer.json()["jobId"])["id"])
    watched = watch(system.url)
    page = watched.open()
    page.evaluate("() => { window.alert = () => window.violations.push('a script ran'); }")
    for address in [*(f"#/{view}" for view in VIEWS), *(f"#/jobs/{job_id}" for job_id in ids)]:
        settled(page, f"{system.url}/{address}")
        assert page.locator("main :is(img, script, iframe, svg[onload])").count() == 0, address
    assert page.title().endswith("Observatory")
    watched.assert_clean()


FIRST_FRAME = """
addEventListener('hashchange', () => requestAnimationFrame(() => {
    const row = document.activeElement.closest('tr');
    window.firstFrame = {
        job: row?.dataset.job,
        top: row?.getBoundingClientRect().top,
        rows: document.querySelectorAll('main tr[data-row]').length,
    };
}));
"""
"""What is seen first of a view that is gone to."""


def test_back_from_a_job_a_long_list_is_as_it_was_left_and_live(
    system: RunningSystem, watch: Callable[..., Watched]
) -> None:
    later = {"type": "double", "payload": {"n": 1}, "delaySeconds": 3600}
    opened = system.http.post("/jobs", json=later).json()["jobId"]
    jobs = [{"type": "double", "payload": {"n": n}} for n in range(250)]
    assert system.http.post("/jobs/batch", json=jobs).status_code == 202
    until(lambda: system.http.get("/stats").json()["states"]["completed"] == 250)
    watched = watch(system.url)
    watched.page.add_init_script(FIRST_FRAME)
    page = watched.open("#/jobs?type=double")
    rows = page.locator("table.jobs tbody tr")
    for shown in (100, 200):
        expect(rows).to_have_count(shown)
        page.get_by_role("button", name="Load more").click()
    expect(rows).to_have_count(251)
    row = page.locator(f'tr[data-job="{opened}"]')
    seen = rows.evaluate_all("rows => rows.map((row) => row.dataset.job)")
    top = "row => row.getBoundingClientRect().top"

    row.scroll_into_view_if_needed()
    page.wait_for_timeout(300)
    before = row.evaluate(top)
    row.locator("a").click()
    expect(page.locator("main h1")).to_have_text("double")
    # While it is not in view: one more job, and what was opened comes to its end.
    new = submit(system, "double", n=251)
    assert system.http.post(f"/jobs/{opened}/cancel").status_code == 202
    finished(system, new)
    for back in (page.go_back, lambda: page.keyboard.press("Escape")):
        back()
        expect(row.locator("a")).to_be_focused()
        first = page.evaluate("window.firstFrame")
        assert (first["job"], first["top"]) == (opened, pytest.approx(before, abs=1))
        assert first["rows"] < 251, "what is out of sight can wait"
        expect(rows).to_have_count(251)
        expect(row).to_have_attribute("data-state", "cancelled")
        expect(page.get_by_role("button", name="1 new – show")).to_be_visible(timeout=LIVE_MS)
        assert rows.evaluate_all("rows => rows.map((row) => row.dataset.job)") == seen
        assert row.evaluate(top) == pytest.approx(before, abs=1)
        page.keyboard.press("Enter")
        expect(page.locator("main h1")).to_have_text("double")
    page.go_back()
    page.get_by_role("button", name="1 new – show").click()
    expect(rows).to_have_count(252)
    # Gone to anew it begins anew.
    page.get_by_role("link", name="Workers").click()
    page.get_by_role("link", name="Jobs", exact=True).click()
    expect(rows).to_have_count(100)
    expect(page.locator("main")).to_be_focused()
    assert page.evaluate("scrollY") == 0
    watched.assert_clean()


def test_back_from_a_job_the_failures_are_where_they_were(
    system: RunningSystem, watch: Callable[..., Watched]
) -> None:
    fail(system, *(f"reason {word}" for word in "abcdefghijklmnopqrstuvwxyz"))
    watched = watch(system.url, viewport={"width": 1024, "height": 500})
    watched.page.add_init_script(FIRST_FRAME)
    page = watched.open("#/failures")
    rows = page.locator("tr[data-fingerprint]")
    expect(rows).to_have_count(26)
    row = rows.nth(20)
    row.scroll_into_view_if_needed()
    before = row.evaluate("row => row.getBoundingClientRect().top")
    row.locator("a").first.click()
    expect(page.locator("[data-traceback]").first).to_be_visible()
    page.keyboard.press("Escape")
    expect(page).to_have_url(f"{system.url}/#/failures")
    expect(row.locator("a").first).to_be_focused()
    assert page.evaluate("window.firstFrame.top") == pytest.approx(before, abs=1)
    watched.assert_clean()


COVERED = """
(() => {
    const row = document.activeElement.closest('tr');
    return [...row.cells].filter((cell) => {
        const { left, right, top, bottom } = cell.getBoundingClientRect();
        const seen = document.elementFromPoint((left + right) / 2, (top + bottom) / 2);
        return !row.contains(seen);
    }).map((cell) => cell.textContent);
})()
"""
HEADS_IN_SIGHT = """
[...document.querySelectorAll('table.jobs th.state')].some((head) => {
    const { left, right, top, bottom } = head.getBoundingClientRect();
    return document.elementFromPoint((left + right) / 2, (top + bottom) / 2) === head;
})
"""


def test_a_long_list_is_one_list_to_keys_and_boxes_and_what_is_out_of_view_stands_still(
    system: RunningSystem, watch: Callable[..., Watched]
) -> None:
    jobs = [{"type": "double", "payload": {"n": n}} for n in range(250)]
    assert system.http.post("/jobs/batch", json=jobs).status_code == 202
    until(lambda: system.http.get("/stats").json()["states"]["completed"] == 250)
    watched = watch(system.url)
    page = watched.open("#/jobs")
    rows = page.locator("table.jobs tbody tr")
    more = page.get_by_role("button", name="Load more")
    while rows.count() < 250:
        before = rows.count()
        more.click()
        expect(rows).not_to_have_count(before)
    assert page.locator("table.jobs").count() == 3, "vacuous: it is one table"

    seen = rows.evaluate_all("rows => rows.map((row) => row.dataset.job)")
    assert seen == sorted(set(seen), reverse=True), "newest first, each once"
    widths = "cells => [...new Set(cells.map((cell) => cell.getBoundingClientRect().left))].length"
    names = page.locator("table.jobs tbody td:has(.name)")
    assert names.evaluate_all(widths) == 1, "the columns of all stretches are one column"

    rows.nth(99).locator("a").focus()
    page.keyboard.press("j")
    assert page.evaluate("document.activeElement.closest('tr').dataset.job") == seen[100]
    for key, presses in (("j", 60), ("k", 50)):
        for _ in range(presses):
            page.keyboard.press(key)
        assert page.evaluate(COVERED) == [], f"the row that {key} leads to is in sight"
        assert page.evaluate(HEADS_IN_SIGHT), "what the columns are is in sight"
    page.get_by_label("Select every job shown").check()
    expect(page.locator("table.jobs tbody input:checked")).to_have_count(250)

    last = rows.nth(249).locator("time")
    page.evaluate("scrollTo(0, 0)")
    page.wait_for_timeout(1500)
    before = last.text_content()
    page.wait_for_timeout(2500)
    assert last.text_content() == before
    rows.nth(249).scroll_into_view_if_needed()
    expect(last).not_to_have_text(str(before))
    submit(system, "double", n=250)
    show = page.get_by_role("button", name="1 new – show")
    expect(show).to_be_in_viewport(timeout=LIVE_MS)
    show.click()
    expect(rows).to_have_count(251)
    expect(rows.first).to_be_in_viewport()
    assert not violations(page)
    watched.assert_clean()
