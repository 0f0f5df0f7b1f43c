"""The server is killed and started again under every view of the page at once."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, Page, expect
from watching import RECOVERY_MS, Watched, finished, submit, tile

from real import RunningSystem
from shapes import on_both_shapes

pytestmark = [pytest.mark.browser, on_both_shapes]

TOLD_MS = 10_000
"""The page promises to say so within 3 s, on a machine that does nothing else."""


def wait_in_texts(page: Page) -> Locator:
    """How long jobs of that queue waited: a dash until it has had one."""
    return page.locator('tr[data-queue="texts"] td').nth(8)


def test_every_view_says_that_the_server_is_gone_and_is_right_again_when_it_is_back(
    system: RunningSystem, watch: Callable[..., Watched]
) -> None:
    finished(system, submit(system, "double", n=1))
    finished(system, submit(system, "break", why="the first"))
    answer = system.http.post(
        "/jobs", json={"type": "double", "payload": {"n": 2}, "delaySeconds": 3600}
    )
    waiting = answer.json()["jobId"]
    first_worker = system.http.get("/workers").json()["items"][0]["id"]

    # What each view shows, and what it is to show of what happened after the restart.
    before: dict[str, Callable[[Page], None]] = {
        "#/": lambda page: expect(tile(page, "completed")).to_have_text("1"),
        "#/jobs": lambda page: expect(page.locator("tr[data-job]")).to_have_count(3),
        f"#/jobs/{waiting}": lambda page: expect(page.locator("main")).to_contain_text("scheduled"),
        "#/failures": lambda page: expect(page.locator("main")).to_contain_text("the first"),
        "#/queues": lambda page: expect(wait_in_texts(page)).to_have_text("–"),
        "#/workers": lambda page: expect(
            page.locator(f'tr[data-worker="{first_worker}"]')
        ).to_be_visible(),
        "#/events?type=job.completed": lambda page: expect(
            page.locator(".tail li")
        ).to_have_count(1),
        "#/contracts": lambda page: expect(page.locator("main")).to_contain_text("job-submission"),
        "#/system": lambda page: expect(page.locator(".health-facts").first).to_contain_text("Store"),
    }  # fmt: skip
    watched = {address: watch(system.url) for address in before}
    for address, one in watched.items():
        before[address](one.open(address))
        # A view that has not yet read how the system is has nothing that could become stale.
        expect(one.page.locator(".health .data-age")).to_be_visible(timeout=RECOVERY_MS)
        one.assert_clean()

    system.kill()
    for address, one in watched.items():
        health = one.page.locator(".health")
        expect(health, address).to_contain_text("Reconnecting in", timeout=TOLD_MS)
        expect(health, address).to_contain_text("stale since", timeout=TOLD_MS)
        expect(one.page.locator("main"), address).to_have_attribute("data-stale", "yes")
        assert one.page.title().startswith("stale"), address
        # What was read is kept and marked; a failed request is no zero.
        before[address](one.page)
    expect(watched["#/"].page.locator(".tile .stale").first).to_be_visible()

    system.start()
    finished(system, submit(system, "echo", text="after"))
    finished(system, submit(system, "break", why="the second"))
    again = finished(system, submit(system, "double", n=3))["id"]
    assert system.http.post(f"/jobs/{waiting}/cancel").status_code == 202
    (second_worker,) = (
        one["id"]
        for one in system.http.get("/workers").json()["items"]
        if one["id"] != first_worker
    )

    def workers_changed(page: Page) -> None:
        expect(page.locator(f'tr[data-worker="{second_worker}"]')).to_have_attribute(
            "data-standing", "idle", timeout=RECOVERY_MS
        )
        # The one that was killed is no longer at work.
        dead = page.locator(f'tr[data-worker="{first_worker}"]')
        expect(dead).not_to_have_attribute("data-standing", "idle", timeout=RECOVERY_MS)

    after: dict[str, Callable[[Page], None]] = {
        "#/": lambda page: expect(tile(page, "completed")).to_have_text("3", timeout=RECOVERY_MS),
        "#/jobs": lambda page: expect(
            page.locator(f'tr[data-job="{again}"]')
        ).to_be_visible(timeout=RECOVERY_MS),
        f"#/jobs/{waiting}": lambda page: expect(page.locator("main")).to_contain_text(
            "cancelled", timeout=RECOVERY_MS
        ),
        "#/failures": lambda page: expect(page.locator("main")).to_contain_text(
            "the second", timeout=RECOVERY_MS
        ),
        "#/queues": lambda page: expect(wait_in_texts(page)).not_to_have_text(
            "–", timeout=RECOVERY_MS
        ),
        "#/workers": workers_changed,
        # Nothing is missing and nothing is told twice.
        "#/events?type=job.completed": lambda page: expect(page.locator(".tail li")).to_have_count(
            3, timeout=RECOVERY_MS
        ),
        "#/contracts": before["#/contracts"],
        "#/system": before["#/system"],
    }  # fmt: skip
    assert after.keys() == before.keys()
    for address, one in watched.items():
        connection = one.page.locator(".connection")
        expect(connection, address).to_have_attribute("data-phase", "live", timeout=RECOVERY_MS)
        after[address](one.page)
        expect(one.page.locator(".health"), address).not_to_contain_text("stale")
        expect(one.page.locator("main"), address).not_to_have_attribute("data-stale", "yes")
        # Chromium itself reports each refused connection; nothing else may have gone wrong.
        one.faults = [fault for fault in one.faults if "Failed to load resource" not in fault]
        one.assert_clean()
