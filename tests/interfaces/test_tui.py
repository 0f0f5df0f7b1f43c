"""The terminal view, driven by keys in Textual's pilot against a real system."""

from __future__ import annotations

import asyncio
import gc
import re
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from http.server import BaseHTTPRequestHandler
from typing import Any
from uuid import UUID

import pytest
import recorded
from stand_in import served_by
from textual.css.query import NoMatches
from textual.events import Key
from textual.pilot import Pilot
from textual.widgets import ContentSwitcher, Input, Static, TabbedContent
from watching import JOBS, finished, submit

from observatory.client import AsyncClient, Unreachable
from observatory.interfaces.tui.app import Tui
from observatory.interfaces.tui.asking import Confirm, Help, Launcher
from observatory.interfaces.tui.commands import Command, NoCommand, read
from observatory.interfaces.tui.filter import parse
from observatory.interfaces.tui.job import JobScreen
from observatory.interfaces.tui.rows import Rows
from observatory.interfaces.tui.views import ALL, Jobs, Queues
from real import RunningSystem, running_system

pytestmark = pytest.mark.anyio

TALK = """
@app.job("talk")
def talk(lines: int, ctx: JobContext) -> None:
    for number in range(lines):
        ctx.log.info(f"line {number}")
"""


@pytest.fixture
def system(tmp_path: Any) -> Iterator[RunningSystem]:
    with running_system(JOBS + TALK, tmp_path) as running:
        yield running


@asynccontextmanager
async def opened(url: str, size: tuple[int, int] = (120, 40)) -> AsyncIterator[Pilot[Any]]:
    async with AsyncClient(url, patience=0.5) as client:
        app = Tui(client)
        async with app.run_test(size=size) as pilot:
            await pilot.pause()
            yield pilot


def text(pilot: Pilot[Any], selector: str) -> str:
    return str(pilot.app.screen.query_one(selector, Static).render())


async def seen(pilot: Pilot[Any], condition: Any) -> None:
    """Wait until something is on the screen."""
    for _ in range(200):
        if condition():
            return
        await pilot.pause(0.05)
    raise AssertionError("it did not come")


def rows(pilot: Pilot[Any], name: str) -> Rows:
    return pilot.app.query_one(f"#{name}", Rows)


async def test_the_overview_tells_counts_and_what_fails(system: RunningSystem) -> None:
    finished(system, submit(system, "double", n=1))
    finished(system, submit(system, "break", why="the mail server said no"))
    async with opened(system.url) as pilot:
        await seen(pilot, lambda: "1" in text(pilot, "#tiles"))
        await seen(pilot, lambda: rows(pilot, "overview-failing").row_count == 1)
        assert "✔ completed 1" in text(pilot, "#tiles")


async def test_from_the_failing_group_to_its_traceback_with_one_key(system: RunningSystem) -> None:
    finished(system, submit(system, "break", why="the mail server said no"))
    async with opened(system.url) as pilot:
        await seen(pilot, lambda: rows(pilot, "overview-failing").row_count == 1)
        await pilot.press("enter")
        await seen(pilot, lambda: isinstance(pilot.app.screen, JobScreen))
        await seen(pilot, lambda: "the mail server said no" in text(pilot, "#job-Traceback"))
        await pilot.press("escape")
        assert not isinstance(pilot.app.screen, JobScreen)


async def test_every_view_opens_by_its_key(system: RunningSystem) -> None:
    finished(system, submit(system, "double", n=1))
    async with opened(system.url) as pilot:
        for view in ALL:
            await pilot.press(view.key)
            await seen(pilot, lambda view=view: isinstance(pilot.app.view, view))
        await pilot.press("2")
        await seen(pilot, lambda: rows(pilot, "jobs").row_count == 1)
        await pilot.press("5")
        await seen(pilot, lambda: rows(pilot, "workers").row_count == 1)


async def test_a_filter_is_typed_and_a_job_retried(system: RunningSystem) -> None:
    finished(system, submit(system, "double", n=1))
    job = finished(system, submit(system, "break", why="no"))
    async with opened(system.url) as pilot:
        await pilot.press("2", "slash")
        await pilot.press(*"state:failed")
        await pilot.press("enter")
        await seen(pilot, lambda: rows(pilot, "jobs").row_count == 1)
        await pilot.press("r")
        await seen(pilot, lambda: isinstance(pilot.app.screen, Confirm))
        await pilot.press("y")
        path = f"/jobs/{job['id']}/attempts"
        await seen(pilot, lambda: len(system.http.get(path).json()["items"]) == 2)


async def test_nothing_is_done_without_a_yes(system: RunningSystem) -> None:
    job = finished(system, submit(system, "break", why="no"))
    async with opened(system.url) as pilot:
        await pilot.press("2")
        await seen(pilot, lambda: rows(pilot, "jobs").row_count == 1)
        await pilot.press("r")
        await seen(pilot, lambda: isinstance(pilot.app.screen, Confirm))
        await pilot.press("escape")
        await pilot.pause(0.3)
        assert len(system.http.get(f"/jobs/{job['id']}/attempts").json()["items"]) == 1


async def test_a_queue_is_paused(system: RunningSystem) -> None:
    finished(system, submit(system, "echo", text="x"))
    async with opened(system.url) as pilot:
        await pilot.press("4")
        await seen(pilot, lambda: rows(pilot, "queues").row_count >= 1)
        await pilot.press("p")
        await seen(pilot, lambda: isinstance(pilot.app.screen, Confirm))
        await pilot.press("y")

        def paused() -> bool:
            return any(one["paused"] for one in system.http.get("/queues").json()["items"])

        await seen(pilot, paused)
        await seen(pilot, lambda: any(one.endswith("is paused") for one in notices(pilot)))


@pytest.mark.parametrize("size", [(80, 24), (140, 40)])
async def test_the_overview_shows_all_of_its_queues_and_which_are_paused(
    system: RunningSystem, size: tuple[int, int]
) -> None:
    finished(system, submit(system, "echo", text="x"))
    assert system.http.post("/queues/texts/pause").is_success
    async with opened(system.url, size) as pilot:
        await seen(pilot, lambda: rows(pilot, "overview-queues").row_count >= 1)
        await seen(pilot, lambda: "‖" in screen(pilot))

        def heading() -> str:
            return next(one for one in screen(pilot).splitlines() if "queued  running" in one)

        # The columns are laid out after what they hold is there.
        await seen(pilot, lambda: "out/s" in heading())
        (queue,) = (one for one in screen(pilot).splitlines() if "texts" in one)
        assert "‖" in queue
        assert "finished each 5 s, last 15 min; most 1" in screen(pilot)


def screen(pilot: Pilot[Any]) -> str:
    strips = pilot.app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in strip) for strip in strips)


async def test_a_queue_that_nobody_knows_is_not_made_by_pausing_it(system: RunningSystem) -> None:
    finished(system, submit(system, "echo", text="x"))
    async with opened(system.url) as pilot:
        await pilot.press("colon", *"pause text", "enter")
        await seen(pilot, lambda: any("there is no queue text (" in one for one in notices(pilot)))
        assert not isinstance(pilot.app.screen, Confirm)


def notices(pilot: Pilot[int]) -> list[str]:
    return [one.message for one in pilot.app._notifications]


async def test_an_answer_that_comes_when_the_views_are_taken_down_is_no_error(
    system: RunningSystem,
) -> None:
    async with opened(system.url) as pilot:
        await seen(pilot, lambda: pilot.app.source.read_at)
        app = pilot.app
        app.exit(0)
        await app.query_one(ContentSwitcher).remove_children()
        with pytest.raises(NoMatches):
            _ = app.view
        await app.refresh_now()


async def test_events_come_and_are_held_still(system: RunningSystem) -> None:
    async with opened(system.url) as pilot:
        await pilot.press("6")
        await seen(pilot, lambda: pilot.app.source.live)
        finished(system, submit(system, "double", n=1))
        await seen(pilot, lambda: rows(pilot, "events").row_count >= 3)
        await pilot.press("space")
        before = rows(pilot, "events").row_count
        finished(system, submit(system, "double", n=2))
        await pilot.pause(1.5)
        assert rows(pilot, "events").row_count == before


async def test_commands_and_help(system: RunningSystem) -> None:
    job = finished(system, submit(system, "double", n=1))
    async with opened(system.url) as pilot:
        await pilot.press("colon")
        await pilot.press(*"queues")
        await pilot.press("enter")
        await seen(pilot, lambda: pilot.app.view.name_ == "Queues")
        await pilot.press("question_mark")
        await seen(pilot, lambda: isinstance(pilot.app.screen, Help))
        await pilot.press("escape")
        await pilot.press("colon")
        pilot.app.query_one("#command", Input).value = f"job {job['id']}"
        await pilot.press("enter")
        await seen(pilot, lambda: isinstance(pilot.app.screen, JobScreen))
        await seen(pilot, lambda: "double" in text(pilot, "#job-head"))


async def test_it_survives_a_restart_and_says_so_meanwhile(system: RunningSystem) -> None:
    finished(system, submit(system, "double", n=1))
    async with opened(system.url) as pilot:
        await seen(pilot, lambda: "✔ completed 1" in text(pilot, "#tiles"))
        system.kill()
        await seen(pilot, lambda: "STALE" in text(pilot, "#status"))
        assert "✔ completed 1" in text(pilot, "#tiles")
        system.start()
        await seen(pilot, lambda: "STALE" not in text(pilot, "#status"))


async def test_a_system_that_takes_questions_and_answers_none_is_told_of_while_it_is_waited_for(
    system: RunningSystem,
) -> None:
    # As patient as the program is.
    async with AsyncClient(system.url) as client, Tui(client).run_test() as pilot:
        await seen(pilot, lambda: "live" in status(pilot))
        system.freeze()
        await seen(pilot, lambda: "does not answer" in status(pilot))
        told = status(pilot)
        assert told.startswith(" STALE, old ")
        await seen(pilot, lambda: "STALE" in status(pilot) and status(pilot) != told)
        system.signal(signal.SIGCONT)
        await seen(pilot, lambda: status(pilot).startswith(" live"))


async def test_numbers_that_are_old_are_said_to_be_while_their_view_is_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    behind = {"lagSeconds": 45.0}

    def read(path: str, query: dict[str, list[str]]) -> tuple[int, Any]:
        status, answer = answered(path, query)
        return status, {**answer, **behind} if path in ("/stats", "/queues") else answer

    answered = recorded.read
    monkeypatch.setattr(recorded, "read", read)
    with recorded.recorded_system() as url:
        async with opened(url, (80, 24)) as pilot:
            await seen(
                pilot, lambda: status(pilot).startswith(" OLD NUMBERS, 45.0 s behind the log")
            )
            await pilot.press("5")
            await seen(pilot, lambda: "OLD" not in status(pilot))
            behind["rebuilding"] = True
            await pilot.press("4")
            await seen(pilot, lambda: "REBUILDING" in status(pilot))
            behind.clear()
            await seen(pilot, lambda: "OLD" not in status(pilot))


async def test_the_state_is_seen_however_long_the_address_and_what_is_wrong(
    system: RunningSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(AsyncClient, "url", f"http://{'long.' * 20}example")
    async with opened(system.url, (80, 24)) as pilot:
        await seen(pilot, lambda: re.match(r" (live|connecting)  \d+ ms ", status(pilot)))
        system.kill()
        await seen(pilot, lambda: re.match(r" STALE, old [\d.]+ m?s: ", status(pilot)))


def status(pilot: Pilot[Any]) -> str:
    return screen(pilot).splitlines()[-2]


async def test_where_nothing_answers_it_offers_to_start_something() -> None:
    async with opened("http://127.0.0.1:1") as pilot:
        await seen(pilot, lambda: isinstance(pilot.app.screen, Launcher))
        await pilot.press("q")
        await pilot.pause(0.2)
        assert pilot.app.return_code in (0, 1)


async def test_a_demo_is_offered_only_where_it_could_be_seen() -> None:
    async with opened("http://nowhere.invalid:1") as pilot:
        await seen(pilot, lambda: isinstance(pilot.app.screen, Launcher))
        await pilot.press("d")
        await pilot.pause(0.2)
        assert isinstance(pilot.app.screen, Launcher)
        assert pilot.app._demo.process is None


class Other(BaseHTTPRequestHandler):
    """Something else that listens."""

    def do_GET(self) -> None:
        self.send_error(404)

    def log_message(self, *_: Any) -> None: ...


async def test_something_else_that_answers_is_not_called_nothing() -> None:
    with served_by(Other) as url:
        async with opened(url) as pilot:
            await seen(pilot, lambda: isinstance(pilot.app.screen, Launcher))
            told = dialog(pilot)
    assert "Something else answers at" in told
    assert "404" in told
    assert "[d]" not in told, "the port is taken"


async def test_a_demo_that_cannot_start_says_why_and_is_offered_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        app = Tui(Silent(f"http://127.0.0.1:{taken.getsockname()[1]}"))  # type: ignore[arg-type]
        async with app.run_test(size=(80, 24)) as pilot:
            await seen(pilot, lambda: isinstance(pilot.app.screen, Launcher))
            assert "Nothing answers at" in dialog(pilot)
            await pilot.press("d")
            await seen(pilot, lambda: "The demo did not start" in dialog(pilot))
            assert "Address already in use" in dialog(pilot)
            assert "[d]" in dialog(pilot)


class Silent:
    """A client that nothing answers, at once."""

    def __init__(self, url: str) -> None:
        self.url = url

    async def read(self, *_: Any) -> Any:
        raise Unreachable("nobody answers")


def dialog(pilot: Pilot[Any]) -> str:
    return "\n".join(str(one.render()) for one in pilot.app.screen.query(".dialog Static"))


@pytest.mark.parametrize("size", [(80, 24), (140, 40)])
async def test_hostile_text_stays_text(system: RunningSystem, size: tuple[int, int]) -> None:
    hostile = "\x1b[2J\x9b31m\u202egnp [bold]x[/bold] [link=http://a]"
    job = finished(system, submit(system, "break", why=hostile))
    async with opened(system.url, size) as pilot:
        await pilot.press("2")
        await seen(pilot, lambda: rows(pilot, "jobs").row_count == 1)
        await pilot.press("enter")
        await seen(pilot, lambda: "ValueError" in text(pilot, "#job-Traceback"))
        shown = text(pilot, "#job-Traceback") + text(pilot, "#job-Values")
        assert "\x1b" not in shown
        assert "\x9b" not in shown
        assert "\u202e" not in shown
        assert "[bold]x[/bold]" in shown
        assert job["id"] in text(pilot, "#job-head")


def test_the_filter_is_the_pages_own() -> None:
    read = parse("state:failed,queued queue:mail  connection refused worker:a:1:x")
    assert read.params == {
        "state": "queued,failed",
        "queue": "mail",
        "worker": "a:1:x",
        "q": "connection refused",
    }
    assert parse("state:broken").faults[0].startswith("broken is no state")
    assert "is no time" in parse("since:yesterday").faults[0]
    assert parse("state:,").faults[0].startswith("state: says nothing")
    assert parse("queue:").faults == ("queue: says nothing; write a value behind it",)
    assert parse("queue:mail queue:billing").faults == (
        "queue: stands there twice; one is possible",
    )
    assert parse("http://host/path").params == {"q": "http://host/path"}
    misspelt = parse("sate:failed queue:mail")
    assert misspelt.params == {"q": "sate:failed", "queue": "mail"}
    assert misspelt.notes == (
        "sate is no field, so sate:failed is looked for as text; fields are state, type, queue, worker, "
        "error, correlation, parent, since, until",
    )
    for text in ("http://host/path", "KeyError: 'x'", "10:30", "a.b:c", "queue:mail", "word"):
        assert parse(text).notes == ()


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("queues", Command("view", "Queues")),
        (" Jobs  state:failed type:a ", Command("view", "Jobs", "state:failed type:a")),
        (f"retry {UUID(int=1)}", Command("retry", str(UUID(int=1)))),
        ("pause mail", Command("pause", "mail")),
        ("Q", Command("quit")),
        ("job 7", "job takes the id of a job, a UUID; y copies that of a row"),
        ("resume", "resume takes the name of a queue"),
        ("nonsense here", "no such command: nonsense; there are overview, jobs FILTER, …"),
    ],
)
def test_what_is_typed_behind_a_colon(typed: str, meant: Command | str) -> None:
    views = [view.name_ for view in ALL]
    if isinstance(meant, str):
        with pytest.raises(NoCommand, match=re.escape(meant)):
            read(typed, views)
    else:
        assert read(typed, views) == meant


async def test_a_key_that_does_nothing_here_is_not_shown_and_says_why(
    system: RunningSystem,
) -> None:
    finished(system, submit(system, "double", n=1))
    finished(system, submit(system, "break", why="the mail server said no"))

    def keys() -> set[str]:
        return {key for key, one in pilot.app.screen.active_bindings.items() if one.enabled}

    async with opened(system.url) as pilot:
        await pilot.press("2")
        await seen(pilot, lambda: rows(pilot, "jobs").row_count == 2)
        await seen(pilot, lambda: {"r", "t"} <= keys())
        assert not {"c", "s", "n", "b"} & keys()
        await pilot.press("c")
        await seen(pilot, lambda: len(pilot.app._notifications) == 1)
        (told,) = pilot.app._notifications
        assert told.message == "the job is failed already"
        await pilot.press("t")
        await seen(pilot, lambda: isinstance(pilot.app.screen, JobScreen))
        await seen(pilot, lambda: "the mail server said no" in text(pilot, "#job-Traceback"))
        await seen(pilot, lambda: text(pilot, "#job-head").startswith("Jobs › "))


def footer(pilot: Pilot[Any]) -> str:
    return screen(pilot).splitlines()[-1]


async def test_the_footer_shows_only_what_works(system: RunningSystem) -> None:
    finished(system, submit(system, "double", n=1))
    async with opened(system.url) as pilot:
        await pilot.press("2")
        await seen(pilot, lambda: rows(pilot, "jobs").row_count == 1)
        await pilot.press("enter")
        await seen(pilot, lambda: "completed" in text(pilot, "#job-head"))
        await seen(pilot, lambda: "Retry" in footer(pilot) and "Traceback" not in footer(pilot))
        await pilot.press("t")
        await seen(pilot, lambda: notices(pilot) == ["the job has no error"])
        await pilot.press("escape", "4", "s")
        await pilot.press("colon", *"jobs", "enter", "enter")
        await seen(pilot, lambda: "Yank" in footer(pilot))
        await pilot.press("escape", "slash")
        await seen(pilot, lambda: "Take what is typed" in footer(pilot))
        assert not re.search("Retry|Follow|Quit|Keys|Command", footer(pilot)), footer(pilot)
        await pilot.press("q")
        assert pilot.app.query_one("#filter", Input).value == "q"


async def test_a_job_s_parts_are_gone_through_and_told_of(system: RunningSystem) -> None:
    finished(system, submit(system, "double", n=1))
    async with opened(system.url) as pilot:
        await pilot.press("2")
        await seen(pilot, lambda: rows(pilot, "jobs").row_count == 1)
        await pilot.press("question_mark")
        await seen(pilot, lambda: "enter  Open" in dialog(pilot))
        await pilot.press("escape", "enter")
        await seen(pilot, lambda: isinstance(pilot.app.screen, JobScreen))
        tabs = pilot.app.screen.query_one(TabbedContent)
        await pilot.press("right")
        await seen(pilot, lambda: tabs.active == "tab-Attempts")
        await pilot.press("left", "left")
        await seen(pilot, lambda: tabs.active == "tab-Events")
        await pilot.press("question_mark")
        await seen(pilot, lambda: "Next part" in dialog(pilot) and "Part before" in dialog(pilot))
        assert "enter" not in dialog(pilot)
        await pilot.press("escape", "escape", "5", "question_mark")
        await seen(pilot, lambda: isinstance(pilot.app.screen, Help))
        assert "enter" not in dialog(pilot), "nothing opens from a worker"


async def test_of_many_log_lines_and_events_the_newest_are_seen(system: RunningSystem) -> None:
    job = finished(system, submit(system, "talk", lines=450))
    async with opened(system.url, (80, 24)) as pilot:
        await pilot.press("colon", *f"job {job['id']}", "enter")
        await seen(pilot, lambda: "line 449" in text(pilot, "#job-Logs"))
        assert text(pilot, "#job-Logs").startswith("older ones are not shown; all: observatory ")
        assert "line 250" in text(pilot, "#job-Logs")
        assert "line 249" not in text(pilot, "#job-Logs")
        await pilot.press("left", "left")
        await seen(pilot, lambda: "line 449" in screen(pilot))
        await pilot.press("right")
        await seen(pilot, lambda: '"completed"' in screen(pilot))


async def test_the_rows_of_a_view_are_filtered_where_they_are(system: RunningSystem) -> None:
    finished(system, submit(system, "break", why="the mail server said no"))
    finished(system, submit(system, "flaky"))
    finished(system, submit(system, "echo", text="x"))
    async with opened(system.url) as pilot:
        await pilot.press("4")
        queues = rows(pilot, "queues")
        await seen(pilot, lambda: queues.row_count == 2)
        assert pilot.app.view.filter_box is not None
        assert not pilot.app.view.filter_box.display
        await pilot.press("slash", *"TEX", "enter")
        await seen(pilot, lambda: queues.row_count == 1 and queues.has_focus)
        assert queues.current == "texts"
        await pilot.app.refresh_now()
        assert queues.row_count == 1, "the next answer brings none back"
        assert pilot.app.view.filter_box.display, "it says why there is but one"
        await pilot.press("slash", *["backspace"] * 3, "escape")
        await seen(pilot, lambda: queues.row_count == 2 and not pilot.app.view.filter_box.display)
        await pilot.press("colon", *"failures mail", "enter")
        await seen(pilot, lambda: rows(pilot, "failures").row_count == 1)
        await pilot.press("enter")
        await seen(pilot, lambda: text(pilot, "#job-head").startswith("Failures mail › "))


async def test_from_where_nothing_can_be_filtered_the_key_leads_to_the_jobs(
    system: RunningSystem,
) -> None:
    failed = finished(system, submit(system, "break", why="the mail server said no"))["id"]
    finished(system, submit(system, "double", n=1))
    async with opened(system.url) as pilot:
        await pilot.press("slash", *"state:failed", "enter")
        await seen(pilot, lambda: rows(pilot, "jobs").row_count == 1)
        assert rows(pilot, "jobs").current == failed
        await pilot.press("enter")
        await seen(pilot, lambda: isinstance(pilot.app.screen, JobScreen))
        await pilot.press("slash")
        await seen(pilot, lambda: isinstance(pilot.app.view, Jobs))
        await seen(pilot, lambda: pilot.app.focused is pilot.app.view.filter_box)


async def test_queues_are_sorted_by_a_column_and_as_the_server_does(system: RunningSystem) -> None:
    finished(system, submit(system, "double", n=1))
    finished(system, submit(system, "echo", text="x"))
    async with opened(system.url) as pilot:
        await pilot.press("4")
        await seen(pilot, lambda: rows(pilot, "queues").row_count == 2)
        await pilot.press("s")
        labels = [str(one.label) for one in rows(pilot, "queues").columns.values()]
        assert "queued ▾" in labels
        for _ in range(6):
            await pilot.press("s")
        assert pilot.app.view.sorted_by is None


async def test_what_is_typed_right_behind_a_key_goes_where_the_key_leads(
    system: RunningSystem,
) -> None:
    async with opened(system.url) as pilot:
        app = pilot.app
        typed = {"slash": "/", "colon": ":", "enter": "\r"}
        for key in ("2", "slash", *"type", "colon", *"echo", "enter", "4"):
            # As a terminal sends what is typed in one go: all of it before any of it is acted on.
            app.post_message(Key(key, typed.get(key, key)))
        await seen(pilot, lambda: isinstance(app.view, Queues))  # type: ignore[attr-defined]
        assert app.query_one("#filter", Input).value == "type:echo"


async def test_what_another_filter_found_is_not_shown_under_this_one(
    system: RunningSystem,
) -> None:
    finished(system, submit(system, "double", n=1))
    async with opened(system.url) as pilot:
        await pilot.press("2")
        jobs = rows(pilot, "jobs")
        await seen(pilot, lambda: jobs.row_count == 1)
        held = asyncio.Event()
        read = pilot.app.source.read  # type: ignore[attr-defined]

        async def late(path: str, params: dict[str, str] | None = None) -> Any:
            if path == "/jobs":
                await held.wait()
            return await read(path, params)

        pilot.app.source.read = late  # type: ignore[attr-defined]
        await pilot.press("slash", *"state:failed", "enter")
        await seen(pilot, lambda: jobs.row_count == 0)
        assert text(pilot, "#page") == "reading…"
        held.set()
        await seen(pilot, lambda: text(pilot, "#page") == "no such jobs")


async def test_a_job_that_is_not_there_is_no_outage(system: RunningSystem) -> None:
    async with opened(system.url) as pilot:
        for absent in ("bogus", str(UUID(int=1))):
            await pilot.press("colon")
            pilot.app.query_one("#command", Input).value = f"job {absent}"
            await pilot.press("enter")
            await pilot.pause()
        await seen(pilot, lambda: isinstance(pilot.app.screen, JobScreen))
        await seen(pilot, lambda: str(UUID(int=1)) in text(pilot, "#job-Summary"))
        assert "STALE" not in text(pilot, "#status")
        assert "retry" not in {
            one.binding.action.removeprefix("app.")
            for one in pilot.app.screen.active_bindings.values()
        }


async def test_the_footer_is_made_anew_only_when_its_keys_change(system: RunningSystem) -> None:
    finished(system, submit(system, "double", n=1))
    async with opened(system.url) as pilot:
        await pilot.press("2")
        await seen(pilot, lambda: rows(pilot, "jobs").row_count == 1)
        await pilot.pause(1)
        before = list(pilot.app.screen.query("FooterKey"))
        for _ in range(3):
            await pilot.app.refresh_now()  # type: ignore[attr-defined]
            await pilot.pause(0.2)
        assert before
        assert list(pilot.app.screen.query("FooterKey")) == before

        def held() -> int:
            gc.collect()
            return sum(type(one).__name__ == "FooterKey" for one in gc.get_objects())

        for key in "1234567" * 3:
            await pilot.press(key)
            await pilot.pause(0.1)
        assert held() < 60, "keys that were shown are kept for ever"
