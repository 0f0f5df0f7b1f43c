"""The views of the terminal: each reads its routes and shows them. Keys are declared here once."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.widgets import Input, Sparkline, Static

from observatory.interfaces.cli.output import rate, seconds
from observatory.interfaces.tui.cells import (
    alert_rows,
    brief_queue_cells,
    event_cells,
    failure_cells,
    job_cells,
    queue_cells,
    sampled_states,
    worker_cells,
)
from observatory.interfaces.tui.filter import parse
from observatory.interfaces.tui.rows import RowFilter, Rows
from observatory.interfaces.tui.source import Source
from observatory.interfaces.tui.words import in_lines, line, number, span, state_text

_ROWS_MAX = 200
_WIDE = 110
"""From so many columns on there is room for what is cut short below."""
_PAGE = 100


def now_of(answer: dict[str, Any]) -> datetime:
    """The server's time, when it answered."""
    return datetime.fromisoformat(answer["asOf"]) if "asOf" in answer else datetime.now(UTC)


class View(Vertical):
    """One view. `name_` stands in the tabs, `key` opens it."""

    name_: ClassVar[str]
    key: ClassVar[str]
    SORTS: ClassVar[dict[str, Callable[[dict[str, Any]], float | str]]] = {}
    """By column: what its rows are sorted by, the greatest first."""

    def __init__(self) -> None:
        super().__init__()
        self.sorted_by: str | None = None
        """None as the server sorts them."""
        self.states: dict[str, str] = {}
        """Of the jobs in the rows."""
        self.faultless: set[str] = set()
        """Those of them that have no error to show."""

    async def refresh_from(self, source: Source) -> None:
        """Read what it shows, and show it."""
        raise NotImplementedError

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """What is typed into the filter is no key."""
        return not isinstance(self.screen.focused, Input)

    @property
    def rows(self) -> Rows:
        """The table that has the cursor."""
        return self.query_one(Rows)

    @property
    def filter_box(self) -> Input | None:
        """Where its filter is typed; None where there is nothing to filter."""
        return next(iter(self.query(Input)), None)

    def filter_by(self, text: str) -> None:
        """Show what a filter leaves from now on."""
        if box := self.filter_box:
            box.display = True
            box.value = text

    @property
    def trail(self) -> str:
        """Where one is, for the way back: the view and its filter."""
        return f"{self.name_} {self.filter_box.value if self.filter_box else ''}".strip()

    def sort_next(self) -> None:
        """Sort by the next column; after the last as the server does."""
        orders = [None, *self.SORTS]
        self.sorted_by = orders[(orders.index(self.sorted_by) + 1) % len(orders)]
        self.rows.mark(self.sorted_by)

    def ordered(self, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The items in the order that was chosen."""
        if self.sorted_by is None:
            return items
        return sorted(items, key=self.SORTS[self.sorted_by], reverse=True)


def _ended(step: dict[str, Any]) -> int:
    return step["completed"] + step["failed"] + step["cancelled"]


def _last_minute(series: dict[str, Any] | None) -> str:
    """Jobs that ended a second, of the steps that are over."""
    if not series:
        return "-"
    steps = series["items"][-1 - 60 // series["stepSeconds"] : -1]
    return rate(sum(map(_ended, steps)) / 60)


class Overview(View):
    """Is it healthy, is it keeping up, what is failing."""

    name_, key = "Overview", "1"

    def compose(self) -> ComposeResult:
        """Tiles, throughput, queues, failing groups."""
        yield Static(id="tiles")
        yield Static(id="span", classes="note")
        yield Sparkline([], id="throughput")
        yield Static(id="figures", classes="note")
        with Horizontal():
            with Vertical(id="of-queues"):
                yield Static("Queues", classes="title")
                names = ("queue", "", "queued", "running", "oldest", "out/s")
                yield Rows(*names, id="overview-queues")
            with Vertical():
                yield Static("Failing", classes="title")
                yield Rows("jobs", "error", id="overview-failing")

    @property
    def rows(self) -> Rows:
        """The table with the focus; the failing groups where none has it."""
        queues = self.query_one("#overview-queues", Rows)
        return queues if queues.has_focus else self.query_one("#overview-failing", Rows)

    async def refresh_from(self, source: Source) -> None:
        """Read the figures."""
        answers = await asyncio.gather(
            source.read("/stats"),
            source.read("/stats/series"),
            source.read("/queues"),
            source.read("/failures", {"limit": "20"}),
        )
        # Otherwise each part would be a draw of its own.
        with self.app.batch_update():  # pyright: ignore[reportUnknownMemberType]
            self._show(*answers)

    def _show(self, stats: Any, series: Any, queues: Any, failures: Any) -> None:
        if stats:
            tiles = [
                Text.assemble(state_text(state), f" {number(count)}")
                for state, count in stats["states"].items()
            ]
            shown = self.query_one("#tiles", Static)
            # The first answer may be here before the layout is.
            width = shown.content_size.width or self.screen.size.width - shown.gutter.width
            shown.update(in_lines(tiles, width))
            overall = stats["overall"]
            wait: dict[str, float] = overall["waitSeconds"] or {}
            run: dict[str, float] = overall["runSeconds"] or {}
            self.query_one("#figures", Static).update(
                Text(
                    f"finished {_last_minute(series)}/s (1 min)   "
                    f"p95 wait {seconds(wait.get('p95'))}, run {seconds(run.get('p95'))} (15 min)"
                )
            )
        if series:
            finished = [_ended(one) for one in series["items"]]
            self.query_one("#throughput", Sparkline).data = finished
            step_s = series["stepSeconds"]
            told = f"finished each {span(step_s)}, last {span(len(finished) * step_s)}"
            most = f"; most {number(max(finished))}" if finished else ""
            self.query_one("#span", Static).update(told + most)
        if queues:
            items, narrow = queues["items"][:_ROWS_MAX], self.screen.size.width < _WIDE
            self.query_one("#overview-queues", Rows).show(
                [(one["name"], brief_queue_cells(one, narrow=narrow)) for one in items]
            )
        if failures:
            self.states = sampled_states(failures["items"])
            self.query_one("#overview-failing", Rows).show(
                [
                    (
                        group["sampleJobId"],
                        (number(group["count"]), line(f"{group['errorType']}: {group['message']}")),
                    )
                    for group in failures["items"]
                ]
            )


class Jobs(View):
    """The jobs of a filter."""

    name_, key = "Jobs", "2"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("n", "older", "Older"),
        Binding("b", "newer", "Newer"),
        Binding("f", "follow", "Follow"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._text = ""
        self._listed = ""
        """The filter whose jobs are in the rows."""
        self._cursors: list[str] = []
        """Of the pages gone through, this one's last."""
        self._next: str | None = None

    def filter_by(self, text: str) -> None:
        """Show the jobs of a filter from now on."""
        self._text = text
        self._cursors = []
        super().filter_by(text)

    def compose(self) -> ComposeResult:
        """The filter, what is wrong with it, the list."""
        yield Input(placeholder="state:failed queue:mail since:2h connection refused", id="filter")
        yield Static(id="faults", classes="bad")
        yield Static(id="page", classes="note")
        yield Rows("state", "type", "queue", "attempt", "age", "error", id="jobs")

    def on_input_changed(self, event: Input.Changed) -> None:
        """What is typed holds at once where it can be understood."""
        _, faults, notes = parse(event.value)
        told = self.query_one("#faults", Static)
        told.update(Text("; ".join((*faults, *notes))))
        told.set_class(bool(faults), "bad").set_class(not faults, "note")
        if not faults and event.value != self._text:
            self._text, self._cursors = event.value, []

    async def on_input_submitted(self, _: Input.Submitted) -> None:
        """Back to the list, as it is now to be."""
        if self._listed != self._text:
            # What another filter had found must not be taken for what this one finds.
            self.rows.show([])
            self.query_one("#page", Static).update("reading…")
        self.screen.set_focus(self.rows)
        await self.run_action("app.look_again")

    async def refresh_from(self, source: Source) -> None:
        """Read the first page."""
        text, page = self._text, self._cursors[-1:]
        # Spans back from now move on, so it is read anew each time.
        params = {**parse(text).params, "limit": str(_PAGE)}
        if page:
            params["cursor"] = page[0]
        answer = await source.read("/jobs", params)
        if answer and (text, page) == (self._text, self._cursors[-1:]):
            now = now_of(answer)
            self._next, self._listed = answer["next"], text
            self.states = {job["id"]: job["state"] for job in answer["items"]}
            self.faultless = {job["id"] for job in answer["items"] if not job["error"]}
            self.rows.show([(job["id"], job_cells(job, now)) for job in answer["items"]])
            self._say_page()

    def _say_page(self) -> None:
        told: list[str] = []
        if self._cursors:
            told.append(f"page {len(self._cursors) + 1}, b for newer")
        if self._next:
            told.append("n for older")
        if self.rows.follow:
            told.append("the cursor follows the newest; f lets it go")
        if not self.rows.row_count:
            told.append("no such jobs" if self._text else "no jobs yet")
        self.query_one("#page", Static).update("; ".join(told))

    @property
    def trail(self) -> str:
        """The view and the filter that holds, which may not be what is being typed."""
        return f"{self.name_} {self._text}".strip()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """There is not always a page to go to."""
        if not super().check_action(action, parameters):
            return False
        if action == "older":
            return self._next is not None
        return action != "newer" or bool(self._cursors)

    async def action_older(self) -> None:
        """The next page, of older jobs."""
        if self._next:
            self._cursors.append(self._next)
            self.rows.follow = False
            self.rows.move_cursor(row=0)
            await self.run_action("app.look_again")

    async def action_newer(self) -> None:
        """The page before, of newer jobs."""
        if self._cursors:
            self._cursors.pop()
            await self.run_action("app.look_again")

    async def action_follow(self) -> None:
        """Keep the cursor on the newest job, or let it go."""
        self.rows.follow = not self.rows.follow
        if self.rows.follow:
            self._cursors = []
            self.rows.move_cursor(row=0)
        await self.run_action("app.look_again")


class Failures(View):
    """What fails, grouped by error."""

    name_, key = "Failures", "3"
    SORTS: ClassVar = {
        "failed": lambda one: one["states"]["failed"],
        "retrying": lambda one: one["states"]["retrying"],
        "last hour": lambda one: one["recent"]["lastHour"],
    }

    def compose(self) -> ComposeResult:
        """The groups."""
        yield RowFilter()
        yield Rows("failed", "retrying", "last hour", "last", "type", "error", id="failures")

    async def refresh_from(self, source: Source) -> None:
        """Read the groups."""
        if answer := await source.read("/failures", {"limit": str(_ROWS_MAX)}):
            now = now_of(answer)
            self.states = sampled_states(answer["items"])
            items = self.ordered(answer["items"])
            self.rows.show([(one["sampleJobId"], failure_cells(one, now)) for one in items])


class Queues(View):
    """Every queue."""

    name_, key = "Queues", "4"
    SORTS: ClassVar = {
        "queued": lambda one: one["states"]["queued"],
        "running": lambda one: one["states"]["running"],
        "oldest": lambda one: one["oldestAgeSeconds"] or 0.0,
        "in/s": lambda one: one["createdPerSecond"] or 0.0,
        "out/s": lambda one: one["finishedPerSecond"] or 0.0,
        "p95 wait": lambda one: one["waitSeconds"]["p95"] if one["waitSeconds"] else 0.0,
    }
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("p", "app.pause", "Pause/resume"),
    ]

    def compose(self) -> ComposeResult:
        """The queues."""
        yield RowFilter()
        yield Rows(
            "queue", "", "queued", "running", "oldest", "in/s", "out/s", "p95 wait", id="queues"
        )

    async def refresh_from(self, source: Source) -> None:
        """Read the queues."""
        if answer := await source.read("/queues"):
            self.rows.show([queue_cells(one) for one in self.ordered(answer["items"])[:_ROWS_MAX]])


class Workers(View):
    """Who runs the jobs."""

    name_, key = "Workers", "5"
    SORTS: ClassVar = {
        "busy": lambda one: one["running"],
        "started": lambda one: one["startedAt"],
        "seen": lambda one: one["lastSeenAt"],
    }

    def compose(self) -> ComposeResult:
        """The workers."""
        yield RowFilter()
        yield Rows("state", "worker", "busy", "queues", "started", "seen", id="workers")

    async def refresh_from(self, source: Source) -> None:
        """Read the workers."""
        if answer := await source.read("/workers"):
            now = now_of(answer)
            items = self.ordered(answer["items"])
            self.rows.show([(one["id"], worker_cells(one, now)) for one in items])


class Events(View):
    """The events as they happen."""

    name_, key = "Events", "6"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "freeze", "Freeze"),
        Binding("f", "follow", "Follow"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.frozen = False

    def compose(self) -> ComposeResult:
        """The tail."""
        yield RowFilter()
        yield Static(id="frozen", classes="note")
        yield Rows("at", "event", "about", "told", id="events")

    def action_freeze(self) -> None:
        """Hold the events still, or let them go on."""
        self.frozen = not self.frozen
        told = "held still; space lets them go on" if self.frozen else ""
        self.query_one("#frozen", Static).update(told)

    def action_follow(self) -> None:
        """Keep the cursor on the newest event, or let it go."""
        self.rows.follow = not self.rows.follow
        told = "the cursor follows the newest; f lets it go" if self.rows.follow else ""
        self.query_one("#frozen", Static).update(told)
        if self.rows.follow:
            self.rows.move_cursor(row=0)

    async def refresh_from(self, source: Source) -> None:
        """Show the newest."""
        if not self.frozen:
            self.rows.show([(one["id"], event_cells(one)) for one in source.events[:_ROWS_MAX]])


class Alerts(View):
    """Alerts that fire."""

    name_, key = "Alerts", "7"

    def compose(self) -> ComposeResult:
        """Who knows, and the alerts."""
        yield RowFilter()
        yield Static(id="known", classes="note")
        yield Rows("severity", "alert", "since", "what", id="alerts")

    async def refresh_from(self, source: Source) -> None:
        """Read the alerts."""
        if answer := await source.read("/alerts"):
            now = now_of(answer)
            told = {
                "none": "nobody here knows of alerts",
                "embedded": "as the system finds them itself",
                "alertmanager": "as Alertmanager tells them",
            }[answer["source"]]
            none = "" if answer["items"] else "No alert fires. "
            count = answer.get("silenced", 0)
            silenced = f"; {count} {'is' if count == 1 else 'are'} silenced" if count else ""
            note = f"{none}{told[:1].upper()}{told[1:]}{silenced}. {answer['detail'] or ''}"
            self.query_one("#known", Static).update(Text(note))
            self.rows.show(list(alert_rows(answer["items"], now)))


ALL: tuple[type[View], ...] = (Overview, Jobs, Failures, Queues, Workers, Events, Alerts)
