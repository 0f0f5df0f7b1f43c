"""The page at /, in a real Chromium against the real system."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect
from watching import (
    BIDI,
    CONTROLS,
    HOSTILE,
    JOBS,
    LIVE_MS,
    RECORD_TEXT,
    Watched,
    finished,
    submit,
    tile,
)

from observatory.asgi.keys import new_key
from real import RunningSystem, running_system, until

pytestmark = pytest.mark.browser


def test_the_tiles_follow_the_system_without_a_reload(
    system: RunningSystem, watch: Callable[..., Watched]
) -> None:
    watched = watch(system.url)
    page = watched.open()
    expect(tile(page, "completed")).to_have_text("0")
    expect(page.get_by_text("observatory submit")).to_be_visible()
    page.evaluate("window.neverReloaded = true")

    for n in range(30):
        submit(system, "double", n=n)
    for _ in range(3):
        submit(system, "break", why="no")
    later = system.http.post(
        "/jobs", json={"type": "double", "payload": {"n": 1}, "delaySeconds": 3600}
    )
    assert later.status_code == 202

    expect(tile(page, "completed")).to_have_text("30", timeout=LIVE_MS)
    expect(tile(page, "failed")).to_have_text("3", timeout=LIVE_MS)
    expect(tile(page, "scheduled")).to_have_text("1", timeout=LIVE_MS)
    expect(tile(page, "queued")).to_have_text("0", timeout=LIVE_MS)
    expect(tile(page, "running")).to_have_text("0", timeout=LIVE_MS)
    # What its line is of, which is not how many there are.
    about = page.locator(".tile", has=tile(page, "completed")).locator(".tile-about")
    expect(about).to_have_text("30 completed, 15 min")
    about = page.locator(".tile", has=tile(page, "queued")).locator(".tile-about")
    expect(about).to_have_text("34 accepted, 15 min")
    expect(page).to_have_title("3 failing – Observatory")
    expect(page.locator("table.jobs tbody tr")).to_have_count(25)
    expect(page.locator('[data-queue="default"]')).to_be_visible()
    counts = system.http.get("/stats").json()["states"]
    for state, count in counts.items():
        expect(tile(page, state)).to_have_text(str(count))
    assert page.evaluate("window.neverReloaded")
    watched.assert_clean()


def test_with_keys_the_page_opens_and_asks_for_one(
    tmp_path: Path, watch: Callable[..., Watched]
) -> None:
    secret, entry = new_key("reader", ["read"])
    operator, other = new_key("operator", ["read", "submit", "operate"])
    with running_system(JOBS, tmp_path, OBSERVATORY_API_KEYS=f"{entry},{other}") as system:
        watched = watch(system.url)
        page = watched.page
        page.goto(system.url)
        field = page.get_by_label("The API asks for a key")
        expect(field).to_be_visible(timeout=LIVE_MS)
        expect(tile(page, "completed")).to_have_text("–")
        use = page.get_by_role("button", name="Use it")
        field.fill("ключ")
        use.click()
        expect(page.locator(".key")).to_contain_text("only ASCII letters")
        field.fill(secret)
        use.click()
        expect(tile(page, "completed")).to_have_text("0", timeout=LIVE_MS)
        expect(page.locator(".connection")).to_have_attribute("data-phase", "live")
        expect(field).to_be_hidden()
        job = {"type": "double", "payload": {"n": 1}}
        system.http.post("/jobs", json=job, headers={"Authorization": f"Bearer {operator}"})
        page.goto(f"{system.url}/#/queues")
        pause = page.locator('[data-queue="default"]').get_by_role("button", name="Pause…")
        pause.click()
        page.get_by_role("button", name="Yes, pause it").click()
        page.get_by_label("This API key may not do that. Another").fill(operator)
        use.click()
        pause.click()
        page.get_by_role("button", name="Yes, pause it").click()
        expect(page.get_by_role("button", name="Resume")).to_be_visible()
        expect(page.locator("td .warning")).to_have_count(0)
        page.get_by_role("button", name="Another key").click()
        expect(page.get_by_label("Another API key")).to_be_focused()


def test_two_clicks_from_the_overview_to_the_traceback(
    system: RunningSystem, watch: Callable[..., Watched]
) -> None:
    finished(system, submit(system, "break", why="the mail server said no"))
    watched = watch(system.url)
    page = watched.open()
    page.locator("table.failures tbody a", has_text="ValueError").first.click()
    traceback = page.locator("[data-traceback]").first
    expect(traceback).to_be_visible()
    own = traceback.locator(".own", has_text="in inner")
    expect(own).to_contain_text("raise ValueError(why)")
    expect(traceback).to_contain_text("ValueError: the mail server said no")
    expect(page).to_have_title("failed · break – Observatory")
    watched.assert_clean()


def test_hostile_text_stays_text(system: RunningSystem, watch: Callable[..., Watched]) -> None:
    text = f"{HOSTILE} {BIDI} {CONTROLS}"
    echoed = finished(system, submit(system, "echo", text=text))
    broken = finished(system, submit(system, "break", why=text))
    assert echoed["state"] == "completed"
    assert broken["state"] == "failed"

    watched = watch(system.url)
    page = watched.open()
    for job_id in (echoed["id"], broken["id"]):
        page.goto(f"{system.url}/#/jobs/{job_id}")
        payload = page.locator('pre[aria-label="Payload"]')
        expect(payload).to_contain_text("<img src=x onerror=document.title='owned'>")
        expect(payload).to_contain_text("U+202E")
        for event in page.locator(".events summary").all():
            event.click()
        shown = page.locator("main").inner_text()
        for hidden in ("\u202e", "\u0007", "\u001b", "\u009b", "\u007f", "\u200b"):
            assert hidden not in shown, f"U+{ord(hidden):04X} is on the page as it is"
        expect(page.locator("main img, main script, main iframe")).to_have_count(0)
    page.goto(f"{system.url}/#/")
    expect(page.locator("table.failures")).to_contain_text("<img src=x")
    expect(page.locator("main img, main script")).to_have_count(0)
    expect(page).to_have_title("1 failing – Observatory")
    watched.assert_clean()


def test_rows_do_not_move_under_the_pointer(
    system: RunningSystem, watch: Callable[..., Watched]
) -> None:
    for n in range(3):
        finished(system, submit(system, "double", n=n))
    watched = watch(system.url)
    page = watched.open()
    rows = page.locator("table.jobs tbody tr")
    expect(rows).to_have_count(3)
    rows.first.hover()
    under_the_pointer = rows.first.get_attribute("data-job")
    submit(system, "double", n=4)
    show = page.get_by_role("button", name="1 new – show")
    expect(show).to_be_visible(timeout=LIVE_MS)
    assert rows.first.get_attribute("data-job") == under_the_pointer
    show.click()
    expect(rows).to_have_count(4)
    watched.assert_clean()


def test_a_failed_job_is_retried_and_a_scheduled_one_cancelled(
    system: RunningSystem, watch: Callable[..., Watched]
) -> None:
    failed = finished(system, submit(system, "break", why="once more"))
    later = system.http.post(
        "/jobs", json={"type": "double", "payload": {"n": 1}, "delaySeconds": 3600}
    ).json()["jobId"]
    watched = watch(system.url)
    page = watched.open(f"#/jobs/{failed['id']}")
    page.get_by_role("button", name="Retry", exact=True).click()
    expect(page.locator(".actions")).to_contain_text("Accepted: queued again")
    expect(page.locator("tbody[data-attempt]")).to_have_count(2, timeout=LIVE_MS)
    page.get_by_text("The same from a shell").click()
    expect(page.locator(".by-hand[open]")).to_contain_text(f"observatory jobs retry {failed['id']}")

    page.goto(f"{system.url}/#/jobs/{later}")
    expect(page.get_by_role("button", name="Cancel…")).to_be_enabled()
    page.keyboard.press("c")
    expect(page.get_by_role("button", name="No", exact=True)).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Cancel…")).to_be_focused()
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Yes, cancel it").press("Enter")
    expect(page.locator(".job-head .badge")).to_have_attribute(
        "data-state", "cancelled", timeout=LIVE_MS
    )
    expect(page.locator("main h1")).to_be_focused()
    assert system.http.get(f"/jobs/{later}").json()["state"] == "cancelled"
    watched.assert_clean()


def test_every_attempt_is_told(system: RunningSystem, watch: Callable[..., Watched]) -> None:
    job = finished(system, submit(system, "flaky"))
    watched = watch(system.url)
    page = watched.open(f"#/jobs/{job['id']}")
    attempts = page.locator("tbody[data-attempt]")
    expect(attempts).to_have_count(2)
    expect(attempts.first).to_contain_text("completed")
    expect(attempts.last).to_contain_text("RuntimeError")
    expect(page.locator(".timeline li")).to_have_count(2)
    signs = page.locator(".timeline .key-to-bars")
    expect(signs).to_have_text(["wait", "failed", "completed"])
    fill = "bars => [...new Set(bars.map((bar) => getComputedStyle(bar).fill))].sort()"
    of_signs = signs.locator(".bar").evaluate_all(fill)
    assert len(of_signs) == 3
    assert page.locator(".timeline .lane .bar").evaluate_all(fill) == of_signs
    expect(page.locator('pre[aria-label="Result"]')).to_have_text('"at last"')
    watched.assert_clean()


def test_the_filter_is_in_the_address(system: RunningSystem, watch: Callable[..., Watched]) -> None:
    for n in range(3):
        finished(system, submit(system, "double", n=n))
    finished(system, submit(system, "break", why="no"))
    watched = watch(system.url)
    page = watched.open("#/jobs?state=failed")
    rows = page.locator("table.jobs tbody tr")
    expect(rows).to_have_count(1)
    page.get_by_role("link", name="Clear filter").click()
    expect(rows).to_have_count(4)
    page.locator("input[name=filter]").fill("type:double")
    expect(page).to_have_url(f"{system.url}/#/jobs?type=double")
    expect(rows).to_have_count(3)
    page.reload()
    expect(rows).to_have_count(3)
    known = rows.first.get_attribute("data-job")
    page.locator("input[name=filter]").fill(f" {known}")
    page.get_by_role("link", name="Open the job of this id").click()
    expect(page).to_have_url(f"{system.url}/#/jobs/{known}")
    watched.assert_clean()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone(system: RunningSystem, watch: Callable[..., Watched], scheme: str) -> None:
    job = finished(system, submit(system, "break", why="x" * 500))
    finished(system, submit(system, "echo", text="y" * 5000))
    phone = {"viewport": {"width": 390, "height": 844}, "color_scheme": scheme}
    watched = watch(system.url, **phone)
    page = watched.open()
    for address in ("#/", "#/jobs", f"#/jobs/{job['id']}"):
        page.goto(f"{system.url}/{address}")
        expect(page.locator("main")).to_contain_text("break")
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= 390, f"{address} is {width} wide"
    watched.assert_clean()


def test_a_worker_that_died_and_was_rescued_is_told_as_such(
    system: RunningSystem, watch: Callable[..., Watched]
) -> None:
    system.restart()
    rescued = until(
        lambda: [one for one in system.http.get("/workers").json()["items"] if one["rescued"]]
    )
    assert [one["state"] for one in rescued] == ["stale"]
    watched = watch(system.url)
    page = watched.open()
    name = f"{rescued[0]['host']}:{rescued[0]['pid']}"
    expect(page.locator(".reasons li")).to_have_text(
        [f"Worker {name} has died; what it ran was taken from it."]
    )
    expect(page.locator(".health .line")).to_contain_text("1 worker,")
    watched.assert_clean()


@pytest.mark.parametrize("wait_s", [100.0, 5000.0])
def test_no_label_of_a_plot_is_cut_off(
    system: RunningSystem, watch: Callable[..., Watched], wait_s: float
) -> None:
    def answer(route: Any) -> None:
        body = system.http.get("/stats/series", params={"window": 900}).json()
        for step in body["items"]:
            step["waitSeconds"] = {"p50": wait_s, "p95": wait_s, "p99": wait_s}
        route.fulfill(json=body)

    watched = watch(system.url)
    watched.page.add_init_script(RECORD_TEXT)
    watched.page.route("**/stats/series*", answer)
    page = watched.open()
    finished(system, submit(system, "double", n=1))
    drawn = until(
        lambda: [one for one in page.evaluate("window.drawn") if one["text"][-1].isalpha()]
    )
    assert [one["text"] for one in drawn if one["left"] < 0] == []
    watched.assert_clean()


STROKES = """
async (bytes) => {
    const image = await createImageBitmap(new Blob([new Uint8Array(bytes)]));
    const context = new OffscreenCanvas(image.width, image.height).getContext('2d');
    context.drawImage(image, 0, 0);
    const { data } = context.getImageData(0, Math.floor(image.height / 2), image.width, 1);
    const drawn = Array.from({ length: image.width }, (_, x) => data[4 * x + 1] < 192);
    return drawn.filter((one, x) => one && !drawn[x - 1]).length;
}
"""
"""Of how many pieces a line in a picture is, that has a light ground."""


def test_percentiles_of_one_colour_are_told_apart_in_the_legend(
    system: RunningSystem, watch: Callable[..., Watched]
) -> None:
    finished(system, submit(system, "double", n=1))
    watched = watch(system.url, color_scheme="light")
    page = watched.open()
    for of in ("wait", "run"):
        strokes: dict[str, int] = {}
        for name in ("p50", "p95", "p99"):
            line = page.locator(".u-series", has_text=f"{name} {of}").locator(".u-marker")
            strokes[name] = page.evaluate(STROKES, list(line.screenshot()))
        assert strokes == {"p50": 6, "p95": 1, "p99": 3}
    watched.assert_clean()


def test_the_page_is_served_with_a_strict_policy(system: RunningSystem) -> None:
    answer = system.http.get("/")
    assert answer.status_code == 200
    policy = answer.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    assert "<style" not in answer.text
    assert "<script>" not in answer.text
    for unsafe in ("innerHTML", "dangerouslySetInnerHTML", "eval("):
        sources = (Path(__file__).parents[2] / "web" / "src").glob("*.ts*")
        assert not [path.name for path in sources if unsafe in path.read_text()]


def test_the_page_is_not_live_before_it_has_read_anything(
    system: RunningSystem, watch: Callable[..., Watched]
) -> None:
    watched = watch(system.url)
    held: list[Any] = []
    released: list[bool] = []
    watched.page.route(
        "**/stats?*", lambda route: route.fallback() if released else held.append(route)
    )
    page = watched.open()  # the stream is there
    expect(page.locator(".connection")).to_have_text("Connecting…")
    released.append(True)
    for route in held:
        route.fallback()
    expect(page.locator(".connection")).to_have_text("Live", timeout=LIVE_MS)
    watched.assert_clean()


TALKATIVE = """
import time

from observatory import JobContext, Observatory

app = Observatory()

@app.job("talk", timeout=60)
def talk(ctx: JobContext) -> None:
    for number in range(450):
        ctx.log.info(f"line {number}")
    while not ctx.cancelled:
        time.sleep(0.05)
"""


def test_the_log_of_a_running_job_is_followed_to_its_end(
    tmp_path: Path, watch: Callable[..., Watched]
) -> None:
    with running_system(TALKATIVE, tmp_path) as system:
        job_id = submit(system, "talk")
        watched = watch(system.url)
        page = watched.open(f"#/jobs/{job_id}")
        lines = page.locator("table.logs tbody tr")
        expect(lines).to_have_count(450, timeout=2 * LIVE_MS)
        page.locator("#logs").scroll_into_view_if_needed()
        expect(lines.last).to_contain_text("line 449")
        box = "document.querySelector('table.logs').parentElement"
        rest = f"{box}.scrollHeight - {box}.scrollTop - {box}.clientHeight"
        assert page.evaluate(rest) < 12
        system.http.post(f"/jobs/{job_id}/cancel")
        finished(system, job_id)
        page.reload()
        expect(lines).to_have_count(200)
        page.get_by_role("button", name="Load more").click()
        expect(lines).to_have_count(400)
        page.get_by_role("button", name="To the end").click()
        expect(lines).to_have_count(450)
        watched.assert_clean()
