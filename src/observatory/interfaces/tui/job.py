"""One job: where it stands, its attempts, traceback, values, log lines and events."""

import json
from typing import Any, ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import Screen
from textual.widgets import Footer, Static, TabbedContent, TabPane

from observatory.interfaces.cli.output import attempt_of, ran, seconds
from observatory.interfaces.tui.source import Source
from observatory.interfaces.tui.views import now_of
from observatory.interfaces.tui.words import age, line, lines, state_text

_TABS = ("Summary", "Attempts", "Traceback", "Values", "Logs", "Events")
_NEWEST_LAST = ("Logs", "Events")
_LOG_LINES = 200
"""So many of the newest are shown; a page has as many."""
_EVENTS = 50


class _Newest(Static):
    """A text whose newest stands at its end, which stays in sight as it grows, unless one has
    scrolled up. Not Textual's anchor, which puts what is short at the bottom of the screen."""

    _end = 0

    def on_resize(self) -> None:
        """It has grown, is shown at last, or has other room."""
        scroll = self.parent
        assert isinstance(scroll, VerticalScroll)
        if scroll.scroll_y >= self._end:
            scroll.scroll_end(animate=False, immediate=True)
        self._end = scroll.max_scroll_y


class JobScreen(Screen[None]):
    """A job, read again while it is shown."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "app.leave", "Back"),
        Binding("t", "tab('Traceback')", "Traceback"),
        Binding("r", "app.retry", "Retry"),
        Binding("c", "app.cancel", "Cancel"),
        Binding("y", "app.yank", "Yank id"),
        Binding("o", "app.browse", "Open in browser", show=False),
        # Wherever the focus is, and so that the list of keys tells of them.
        Binding("left", "step(-1)", "Part before", show=False, priority=True),
        Binding("right", "step(1)", "Next part", show=False, priority=True),
    ]

    def __init__(self, job_id: str, tab: str = "Summary", trail: str = "") -> None:
        """`trail`: from where it was opened."""
        super().__init__()
        self.job_id = job_id
        self.state: str | None = None
        """None until it is known."""
        self.has_error = True
        """Whether it has one to show, as far as is known."""
        self.missing = False
        """Whether there is no such job."""
        self._trail = trail
        self._first = tab
        self._told: dict[str, Text] = {}

    def compose(self) -> ComposeResult:
        """A tab for each part."""
        yield Static(id="job-head")
        with TabbedContent(initial=f"tab-{self._first}"):
            for name in _TABS:
                part = _Newest if name in _NEWEST_LAST else Static
                with TabPane(name, id=f"tab-{name}"), VerticalScroll():
                    yield part(id=f"job-{name}")
        yield Static(id="status")
        yield Footer()

    def action_tab(self, name: str) -> None:
        """To a part."""
        self.query_one(TabbedContent).active = f"tab-{name}"

    def action_step(self, by: int) -> None:
        """To the part beside."""
        tabs = self.query_one(TabbedContent)
        at = _TABS.index(tabs.active.removeprefix("tab-"))
        self.action_tab(_TABS[(at + by) % len(_TABS)])

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """A job without an error has no traceback to go to."""
        return action != "tab" or (self.has_error and not self.missing)

    async def refresh_from(self, source: Source) -> None:
        """Read the job and what belongs to it."""
        path = f"/jobs/{self.job_id}"
        job = await source.read(path)
        if not self.is_attached:
            return  # left while it was read
        if not job:
            told = source.absent(path)
            self.missing = told is not None
            self.query_one("#job-head", Static).update(line(f"{self._trail} › {self.job_id}", 80))
            self._tell("Summary", line(told or source.trouble or "reading…"))
            return
        attempts = await source.read(f"{path}/attempts")
        logs = await source.read(f"{path}/logs", {"order": "newest", "limit": str(_LOG_LINES)})
        events = await source.read(f"{path}/events")
        if not self.is_attached:
            return
        self.state, self.has_error, self.missing = job["state"], bool(job["error"]), False
        named = ("  ", line(job["type"], 80), f"  {job['id']}")
        way = line(f"{self._trail} › " if self._trail else "", 60)
        head = Text.assemble(way, state_text(job["state"]), *named)
        self.query_one("#job-head", Static).update(head)
        self._tell("Summary", _summary(job, now_of(attempts or {})))
        if attempts:
            self._tell("Attempts", _attempts(attempts["items"]))
        self._tell("Traceback", _traceback(job))
        self._tell("Values", _values(job))
        if logs:
            self._tell("Logs", _logs(logs, self.job_id))
        if events:
            self._tell("Events", _events(events["items"], path))

    def _tell(self, part: str, text: Text) -> None:
        # A payload of a megabyte is not laid out again because another job has moved.
        if self._told.get(part) != text:
            self._told[part] = text
            self.query_one(f"#job-{part}", Static).update(text)


def _summary(job: dict[str, Any], now: Any) -> Text:
    progress: dict[str, Any] = job["progress"] or {}
    fraction: float | None = progress.get("fraction")
    facts = {
        "queue": f"{job['queue']} ({job['priority']})",
        "attempt": attempt_of(job["attempt"], job["maxAttempts"]),
        "progress": None
        if not progress
        else " ".join(
            filter(None, [None if fraction is None else f"{fraction:.0%}", progress["message"]])
        ),
        "created": f"{job['createdAt']}, {age(job['createdAt'], now)} ago",
        "due": job["scheduledAt"],
        "started": job["startedAt"],
        "finished": job["finishedAt"],
        "worker": job["worker"],
        "failures": job["failures"] or None,
        "lost workers": job["crashes"] or None,
        "cancel asked": job["cancelRequestedAt"],
        "cancel reason": job["cancelReason"],
        "correlation": job["correlationId"],
        "made from": job["parentId"],
        "trace": job.get("traceId"),
    }
    told = Text()
    for name, value in facts.items():
        if value is not None:
            told.append(f"{name:<14}", style="bold")
            told.append(line(value))
            told.append("\n")
    if job["error"]:
        told.append("\n")
        told.append(lines(f"{job['error']['type']}: {job['error']['message']}"))
    return told


def _attempts(attempts: list[dict[str, Any]]) -> Text:
    if not attempts:
        return Text("not started yet")
    told = Text()
    for one in reversed(attempts):
        outcome = one["outcome"] or "running"
        told.append(f"#{one['attempt']:<4}{outcome:<11}", style="bold")
        told.append(f"waited {seconds(one['waitSeconds'])}, ran {ran(one)}")
        told.append(f"  {one['startedAt']}  ")
        told.append(line(one["worker"] or ""))
        told.append("\n")
        if one["error"]:
            told.append("     ")
            told.append(line(f"{one['error']['type']}: {one['error']['message']}"))
            told.append("\n")
    return told


def _traceback(job: dict[str, Any]) -> Text:
    error = job["error"]
    if not error:
        return Text("no error")
    return lines(error.get("traceback") or f"{error['type']}: {error['message']}")


def _values(job: dict[str, Any]) -> Text:
    told = Text("payload\n", style="bold")
    told.append(lines(json.dumps(job["payload"], indent=2, ensure_ascii=False)))
    if job["state"] == "completed":
        told.append("\n\nresult\n", style="bold")
        told.append(lines(json.dumps(job["result"], indent=2, ensure_ascii=False)))
    return told


def _events(items: list[dict[str, Any]], path: str) -> Text:
    told = [json.dumps(one, indent=2, ensure_ascii=False) for one in items[-_EVENTS:]]
    if (above := len(items) - len(told)) > 0:
        told.insert(0, f"{above:,} older above; all: GET {path}/events")
    return lines("\n\n".join(told))


def _logs(newest: dict[str, Any], job_id: str) -> Text:
    if not newest["items"]:
        return Text("its handler has logged nothing")
    told = Text()
    if newest["next"] is not None:
        told.append(f"older ones are not shown; all: observatory jobs logs {job_id}\n", "dim")
    for one in reversed(newest["items"]):
        told.append(f"{one['at']} #{one['attempt']} {one['level']:<7} ", style="dim")
        told.append(line(one["message"], 2000))
        if one["fields"]:
            told.append(" ")
            told.append(line(json.dumps(one["fields"], ensure_ascii=False), 500))
        told.append("\n")
    return told
