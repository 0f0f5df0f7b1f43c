"""A browser for the tests of the page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, sync_playwright
from watching import CHROMIUM, CHROMIUM_FLAGS, JOBS, RECORD_VIOLATIONS, Watched

from observatory.interfaces import web
from real import RunningSystem, running_system


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=list(CHROMIUM_FLAGS), headless=True
        )
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def built_page() -> None:
    index = Path(web.__file__).parent / "dist" / "index.html"
    assert index.exists(), "the page is not built: cd web && npm ci && npm run build"


@pytest.fixture
def system(tmp_path: Path) -> Iterator[RunningSystem]:
    with running_system(JOBS, tmp_path) as running:
        yield running


@pytest.fixture
def watch(browser: Browser, built_page: None) -> Iterator[Callable[..., Watched]]:
    """Opens pages; at the end none of them may have done anything it should not."""
    opened: list[Watched] = []

    def open_page(origin: str, **options: Any) -> Watched:
        context = browser.new_context(**{"viewport": {"width": 1440, "height": 900}, **options})
        context.add_init_script(RECORD_VIOLATIONS)
        watched = Watched(context.new_page(), origin)
        watched.page.on("console", watched.on_console)
        watched.page.on("pageerror", lambda error: watched.faults.append(f"uncaught: {error}"))
        watched.page.on("request", watched.on_request)
        opened.append(watched)
        return watched

    yield open_page
    for watched in opened:
        watched.page.context.close()
