"""Many windows of the page in one browser, which keeps six connections to an address at most."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect
from watching import LIVE_MS, RECOVERY_MS, Watched, finished, submit

from real import RunningSystem, until
from shapes import on_both_shapes

pytestmark = [pytest.mark.browser, on_both_shapes]

WINDOWS = 8
"""More than there are connections."""


def assert_each_shows_all(
    system: RunningSystem, windows: list[Page], ended: int, within_ms: int
) -> None:
    """The ends of so many jobs as the log has them, the latest first, none missing and none told
    twice."""

    def all_logged() -> list[str]:
        # A job has ended before the log tells of it.
        answer = system.http.get("/events", params={"type": "job.completed", "limit": "100"})
        ids = [item["event"]["id"] for item in answer.json()["items"]]
        return ids if len(ids) == ended else []

    logged = until(all_logged)
    for page in windows:
        ends = page.locator(".tail li")
        expect(ends).to_have_count(len(logged), timeout=within_ms)
        shown = [row.get_attribute("data-event") for row in ends.all()]
        assert shown == logged


def test_windows_share_one_stream_and_none_misses_or_repeats_an_event(
    system: RunningSystem, watch: Callable[..., Watched]
) -> None:
    def end_some() -> None:
        for n in range(3):
            finished(system, submit(system, "double", n=n))

    first = watch(system.url)
    streams: list[str] = []
    first.page.context.on(
        "request",
        lambda request: streams.append(request.url) if "/events/stream" in request.url else None,
    )
    address = "#/events?type=job.completed"
    windows = [first.open(address)]
    for _ in range(WINDOWS - 1):
        page = first.page.context.new_page()
        page.on("pageerror", lambda error: first.faults.append(f"uncaught: {error}"))
        page.goto(f"{system.url}/{address}")
        windows.append(page)
    for page in windows:
        expect(page.locator(".connection")).to_have_attribute("data-phase", "live")
    # One, but where a machine is so busy that a window was not answered in time.
    assert len(streams) < WINDOWS

    end_some()
    assert_each_shows_all(system, windows, 3, LIVE_MS)

    # The window that read for all is closed: the others are told nothing of it, and lack nothing.
    windows.pop(0).close()
    end_some()
    assert_each_shows_all(system, windows, 6, LIVE_MS)
    for page in windows:
        expect(page.locator(".connection")).to_have_attribute("data-phase", "live")

    system.kill()
    for page in windows:
        expect(page.locator(".health")).to_contain_text("stale since", timeout=RECOVERY_MS)
    system.start()
    end_some()
    assert_each_shows_all(system, windows, 9, RECOVERY_MS)
    for page in windows:
        expect(page.locator(".health")).not_to_contain_text("stale")
        assert page.evaluate("window.violations") == []
    assert not [fault for fault in first.faults if fault.startswith("uncaught")]
