"""How the terminal view looks, screen by screen, at two sizes.

A fake stands here for the system: its answers were recorded from the demo, so that times, ages and
ids are the same in every run. That they are what the API answers is checked by their schemas; that
the view works with a real system is in `test_tui.py`.

To write the screens anew: OBSERVATORY_WRITE_SCREENS=1 pytest tests/interfaces/test_tui_looks.py
"""

import asyncio
import json
import os
import re
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Final

import jsonschema
import pytest
from referencing import Registry, Resource
from rich.color import Color
from rich.segment import Segment
from textual.pilot import Pilot
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from observatory.client.records import EventRecord
from observatory.core.errors import ObservatoryError
from observatory.interfaces.tui.app import Tui
from observatory.interfaces.tui.job import JobScreen
from observatory.interfaces.tui.views import ALL, Alerts

pytestmark = pytest.mark.anyio

HERE: Final = Path(__file__).parent / "screens"
RECORDED: Final = json.loads((HERE / "recorded.json").read_text())
SIZES: Final = ((80, 24), (140, 40))
CONTRACTS: Final = Path(__file__).parents[2] / "contracts"


class Recorded:
    """A client that answers as a system once did."""

    url = "http://127.0.0.1:8080"

    async def read(self, path: str, params: dict[str, str] | None = None) -> Any:
        key = path if not params else f"{path}?{sorted(params.items())}"
        if path == "/events" and params is not None and "subject" not in params:
            return {"items": list(reversed(RECORDED["events"]))}
        if key not in RECORDED["answers"]:
            raise ObservatoryError(f"nothing was recorded of {key}")
        return RECORDED["answers"][key]

    async def events(self, **_: Any) -> AsyncIterator[EventRecord]:
        for one in RECORDED["events"]:
            yield EventRecord(one["position"], one["event"])
        await asyncio.Event().wait()


@pytest.fixture(autouse=True)
def same_clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.setenv("LANG", "C.UTF-8")
    monkeypatch.delenv("LC_ALL", raising=False)
    monkeypatch.delenv("NO_COLOR", raising=False)
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def screen(pilot: Pilot[Any]) -> str:
    """What stands on the screen, without what depends on this machine's speed."""
    strips = pilot.app.screen._compositor.render_strips()
    lines = ["".join(segment.text for segment in strip).rstrip() for strip in strips]
    return re.sub(r"(live|connecting)  \d+ ms", "live  1 ms", "\n".join(lines)) + "\n"


async def settled(pilot: Pilot[Any], shown: Callable[[], Any] = lambda: True) -> None:
    """Wait until it is shown, and nothing changes any more."""
    before = ""
    for _ in range(100):
        await pilot.pause(0.2)
        now = screen(pilot)
        if now == before and "live  1 ms" in now and shown():
            return
        before = now
    raise AssertionError(f"it does not come to rest\n{before}")


def assert_as_kept(name: str, found: str) -> None:
    file = HERE / f"{name}.txt"
    if os.environ.get("OBSERVATORY_WRITE_SCREENS"):
        file.write_text(found)
    assert found == file.read_text()


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("view", ALL, ids=lambda view: view.name_.lower())
async def test_each_view(view: Any, size: tuple[int, int]) -> None:
    app = Tui(Recorded())  # type: ignore[arg-type]
    async with app.run_test(size=size) as pilot:
        await pilot.press(view.key)

        def there() -> bool:
            return isinstance(app.view, view) and (app.view.rows.row_count > 0 or view is Alerts)

        await settled(pilot, there)
        assert_as_kept(f"{view.name_.lower()}-{size[0]}x{size[1]}", screen(pilot))


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("tab", ["Summary", "Attempts", "Traceback", "Values", "Logs", "Events"])
async def test_each_part_of_a_job(tab: str, size: tuple[int, int]) -> None:
    app = Tui(Recorded())  # type: ignore[arg-type]
    async with app.run_test(size=size) as pilot:
        await pilot.pause()
        app.push_screen(JobScreen(RECORDED["job"], tab, "Failures"))
        app.source.news.set()

        def there() -> bool:
            return app.screen.query_one(f"#job-{tab}", Static).render() != ""

        await settled(pilot, there)
        assert_as_kept(f"job-{tab.lower()}-{size[0]}x{size[1]}", screen(pilot))


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
async def test_a_view_of_which_some_rows_are_asked_for(size: tuple[int, int]) -> None:
    app = Tui(Recorded())  # type: ignore[arg-type]
    async with app.run_test(size=size) as pilot:
        await pilot.press("6", "slash", *"queued analyze", "enter")
        await settled(pilot, lambda: app.view.rows.has_focus)
        assert_as_kept(f"filtered-{size[0]}x{size[1]}", screen(pilot))


@pytest.mark.parametrize("keys", [("question_mark",), ("3", "r")], ids=["help", "confirm"])
async def test_what_stands_over_a_view(keys: tuple[str, ...], request: Any) -> None:
    app = Tui(Recorded())  # type: ignore[arg-type]
    async with app.run_test(size=SIZES[0]) as pilot:
        await settled(pilot)
        await pilot.press(*keys)
        await settled(pilot, lambda: isinstance(app.screen, ModalScreen))
        assert_as_kept(f"{request.node.callspec.id}-80x24", screen(pilot))


def pieces(pilot: Pilot[Any]) -> list[Segment]:
    return [one for strip in pilot.app.screen._compositor.render_strips() for one in strip]


def styled(pilot: Pilot[Any], attribute: str) -> str:
    """What stands there reversed, underlined, …."""
    found = (one for one in pieces(pilot) if one.style and getattr(one.style, attribute))
    return "".join(one.text for one in found)


async def test_without_colours_there_is_none_and_the_focus_is_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    app = Tui(Recorded())  # type: ignore[arg-type]

    def colours() -> set[Any]:
        styles = [one.style for one in pieces(pilot) if one.style]
        return {color for style in styles for color in (style.color, style.bgcolor)}

    def assert_none() -> None:
        assert colours() <= {None, Color.default()}

    async with app.run_test(size=SIZES[0]) as pilot:
        for view in ALL:
            await pilot.press(view.key)
            await settled(pilot, lambda view=view: isinstance(app.view, view))
            assert_none()
            assert f" {view.key} {view.name_} " in styled(pilot, "reverse")
            if current := app.view.rows.current:
                assert app.view.rows.has_focus
                first = app.view.rows.get_row(current)[0]
                assert str(first) in styled(pilot, "reverse")
        await pilot.press("slash")
        app.query_one("#filter", Input).cursor_blink = False
        await settled(pilot, lambda: "s" in styled(pilot, "reverse"))
        assert_none()
        await pilot.press("escape", "question_mark")
        await settled(pilot, lambda: isinstance(app.screen, ModalScreen))
        assert_none()
        await pilot.press("escape")
        app.push_screen(JobScreen(RECORDED["job"], "Logs", "Failures"))
        await settled(pilot, lambda: app.screen.query_one("#job-Logs", Static).render() != "")
        assert_none()
        assert "Logs" in styled(pilot, "reverse") + styled(pilot, "underline")
        app.notify("told")
        await settled(pilot)
        assert_none()


SCHEMAS: Final = {
    r"/stats": "http/stats.v1",
    r"/stats/series": "http/stats-series.v1",
    r"/queues": "http/queues.v1",
    r"/failures\?.*": "http/failures.v1",
    r"/workers": "http/workers.v1",
    r"/alerts": "http/alerts.v1",
    r"/jobs\?.*": "http/job-page.v1",
    r"/jobs/[^/]*": "job.v1",
    r"/jobs/.*/attempts": "http/job-attempts.v1",
    r"/jobs/.*/events": "http/job-events.v1",
    r"/jobs/.*/logs\?.*": "http/job-logs.v1",
}


@pytest.mark.parametrize("route", sorted(RECORDED["answers"]))
def test_what_was_recorded_is_what_the_api_answers(route: str) -> None:
    (name,) = (schema for pattern, schema in SCHEMAS.items() if re.fullmatch(pattern, route))
    documents = [json.loads(path.read_text()) for path in CONTRACTS.rglob("*.json")]
    registry: Registry[Any] = Registry().with_resources(
        (one["$id"], Resource.from_contents(one)) for one in documents if "$id" in one
    )
    schema = json.loads((CONTRACTS / f"{name}.json").read_text())
    jsonschema.Draft202012Validator(schema, registry=registry).validate(RECORDED["answers"][route])


async def test_an_answer_that_comes_while_the_screen_is_taken_down_is_no_error() -> None:
    client = Recorded()
    app = Tui(client)  # type: ignore[arg-type]
    async with app.run_test(size=SIZES[0]) as pilot:
        await settled(pilot)
        shown = app.view
        assert shown is not None
        read = client.read

        async def late(path: str, params: dict[str, str] | None = None) -> Any:
            if path == "/stats/series":
                await app._shutdown()
            return await read(path, params)

        client.read = late  # type: ignore[method-assign]
        await app.refresh_now()

        assert not app.is_running
        assert not shown.query("#throughput"), "vacuous: nothing was taken down"
