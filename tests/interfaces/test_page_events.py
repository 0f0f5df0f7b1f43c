"""The events of the page: as they come, held still, and looked for in what was before."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import expect
from watching import LIVE_MS, Watched, finished, submit

from real import RunningSystem
from shapes import on_both_shapes

pytestmark = [pytest.mark.browser, on_both_shapes]


def test_events_are_followed_and_held_still(
    system: RunningSystem, watch: Callable[..., Watched]
) -> None:
    finished(system, submit(system, "double", n=1))
    watched = watch(system.url)
    page = watched.open("#/events?type=job.completed")
    lines = page.locator(".tail li")
    expect(lines).to_have_count(1)
    page.keyboard.press(" ")
    expect(page.get_by_role("button", name="Go on")).to_be_visible()
    finished(system, submit(system, "double", n=2))
    expect(page.get_by_text("Held still. 1 came meanwhile.")).to_be_visible(timeout=LIVE_MS)
    expect(lines).to_have_count(1)
    page.keyboard.press(" ")
    expect(lines).to_have_count(2)
    lines.first.locator("summary").click()
    expect(lines.first).to_contain_text('"type": "job.completed"')
    watched.assert_clean()


def test_events_are_found_beyond_the_newest_stretch_of_the_log(
    system: RunningSystem, watch: Callable[..., Watched]
) -> None:
    assert system.http.post("/queues/texts/pause").status_code == 200
    # Each is a message of its own, and a search of the log is bounded by messages.
    jobs = [submit(system, "double", n=n) for n in range(300)]
    for job in jobs:
        finished(system, job)
    first = system.http.get("/events", params={"type": "queue.paused"}).json()
    assert (first["items"], first["next"] is None) == ([], False), "vacuous: found at once"

    watched = watch(system.url)
    page = watched.open("#/events?type=queue.p")
    expect(page.locator(".tail li")).to_have_count(1)
    expect(page.locator(".tail li")).to_contain_text("queue.paused")
    watched.assert_clean()
