"""The terminal view: tabs, the status line, commands, and what may be done."""

import asyncio
import os
import time
from typing import Any, ClassVar, Final
from urllib.parse import urlsplit

from rich.text import Text
from textual import work
from textual.app import App, ComposeResult, ScreenStackError
from textual.binding import Binding, BindingType
from textual.css.query import NoMatches
from textual.events import Key
from textual.screen import ModalScreen
from textual.widget import Widget
from textual.widgets import ContentSwitcher, DataTable, Footer, Input, Static

from observatory.client import AsyncClient, ObservatoryError
from observatory.client.connection import LOOPBACK
from observatory.core.lifecycle import TERMINAL
from observatory.interfaces.cli.output import seconds
from observatory.interfaces.tui.asking import Confirm, Help, Launcher
from observatory.interfaces.tui.commands import COMMANDS, NoCommand, read
from observatory.interfaces.tui.demo import Demo
from observatory.interfaces.tui.job import JobScreen
from observatory.interfaces.tui.source import Source
from observatory.interfaces.tui.views import ALL, Events, Failures, Jobs, Overview, Queues, View
from observatory.interfaces.tui.words import line

_REDRAW_S: Final = 0.5
"""At most so often, however much happens."""
_AGAIN_S: Final = 5.0
"""At least so often, also where nothing is heard."""
_AGE_S: Final = 1.0
"""How often it is told how old what is shown is, while no answer comes."""
_READY_WITHIN_S: Final = 30.0


_DOUBTFUL: Final = {"r": "retry", "c": "cancel", "t": "traceback", "y": "yank", "s": "sort"}
"""Keys that do not always do something, and what."""
_NOT_TYPED: Final = {
    *("view", "filter", "command", "open", "browse", "help", "end", "pause"),
    *_DOUBTFUL.values(),
}
"""What a key does only where it is no letter."""


class Tui(App[int]):
    """The whole of it."""

    TITLE = "Observatory"
    CSS_PATH = "tui.tcss"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        # Those that lead elsewhere come first: what is typed right behind them is meant for there,
        # and a key without priority is acted on only after the next ones have found their way.
        *(
            Binding(view.key, f"view('{view.__name__}')", view.name_, show=False, priority=True)
            for view in ALL
        ),
        Binding("slash", "filter", "Filter", priority=True),
        Binding("colon", "command", "Command", priority=True),
        Binding("enter", "take", "Take what is typed", priority=True),
        Binding("enter", "open", "Open", show=False),
        Binding("t", "traceback", "Traceback"),
        Binding("r", "retry", "Retry"),
        Binding("c", "cancel", "Cancel"),
        Binding("s", "sort", "Sort"),
        Binding("y", "yank", "Yank id", show=False),
        Binding("o", "browse", "Open in browser", show=False),
        Binding("question_mark", "help", "Keys"),
        # Not Textual's own `quit`: Ctrl-Q goes on to work where q is a letter.
        Binding("q", "end", "Quit"),
    ]

    def __init__(self, client: AsyncClient) -> None:
        # To colours of its own Textual gives greys where NO_COLOR forbids them.
        super().__init__(ansi_color=True if "NO_COLOR" in os.environ else None)
        self.source = Source(client)
        self._demo = Demo()
        self._keys: tuple[str | None, dict[str, bool]] = (None, {})

    def compose(self) -> ComposeResult:
        """Tabs, the view, the command line, the status line, the keys."""
        yield Static(id="tabs")
        with ContentSwitcher(initial=Overview.__name__):
            for view in ALL:
                made = view()
                made.id = view.__name__
                yield made
        yield Input(id="command", placeholder=COMMANDS)
        yield Static(id="status")
        yield Footer()

    def on_mount(self) -> None:
        """Begin to read."""
        self.query_one("#command", Input).display = False
        if self.no_color or self.console.color_system in ("standard", "windows"):
            self.theme = "ansi-dark"  # of sixteen colours, those that the terminal's owner chose
        self._show_tabs()
        self._go_to(self.view.rows)
        self._follow()
        self._keep_fresh()
        self.set_interval(_AGE_S, self._show_age)

    # Reading

    @work(exclusive=True, group="follow")
    async def _follow(self) -> None:
        await self.source.follow()

    @work(exclusive=True, group="fresh")
    async def _keep_fresh(self) -> None:
        first = True
        while True:
            self.source.news.clear()
            await self.refresh_now()
            if first and self.source.read_at is None and self.source.unreachable:
                self._offer_start()
            first = False
            try:
                await asyncio.wait_for(self.source.news.wait(), _AGAIN_S)
            except TimeoutError:
                pass
            await asyncio.sleep(_REDRAW_S)

    async def refresh_now(self) -> None:
        """Read what is shown, and show it."""
        # What is shown may be taken down, part by part, while an answer is on its way.
        try:
            shown = self.screen if isinstance(self.screen, JobScreen) else self.view
        except (NoMatches, ScreenStackError):
            return
        try:
            await shown.refresh_from(self.source)
            if self.is_running:
                self._show_status()
                self._show_keys()
        except ScreenStackError:
            return
        except NoMatches:
            if self.is_running and shown.is_running:
                raise

    async def action_look_again(self) -> None:
        """Read what is shown at once, for it is to be something else."""
        self._look()

    @work(exclusive=True, group="look")
    async def _look(self) -> None:
        # A key never waits for an answer: those typed meanwhile would be taken for others.
        await self.refresh_now()

    def _show_age(self) -> None:
        # Who waits for an answer shows nothing new, and would not say so either.
        if self.screen_stack and self.source.trouble:
            self._show_status()

    def _show_status(self) -> None:
        # A narrow terminal cuts off the end: never the state, nor how old what is shown is.
        source = self.source
        told = Text(" ")
        if source.trouble:
            age_s = source.trouble_age_s
            old = "" if age_s is None else f", old {seconds(age_s)}"
            told.append(str(line(f"STALE{old}: {source.trouble}", 160)), style="bold red")
        elif source.old:
            told.append(f"OLD NUMBERS, {source.old}", style="bold red")
        else:
            told.append("live" if source.live else "connecting", style="green")
            if source.latency_s is not None:
                told.append(f"  {source.latency_s * 1000:.0f} ms", style="dim")
        told.append(f"  {source.client.url}", style="dim")
        told.no_wrap, told.overflow = True, "ellipsis"
        for status in self.screen.query("#status").results(Static):
            status.update(told)

    # Moving

    @property
    def view(self) -> View:
        """The view that is shown."""
        name = self.query_one(ContentSwitcher).current or Overview.__name__
        return self.query_one(f"#{name}", View)

    def _show_tabs(self) -> None:
        told = Text()
        for view in ALL:
            style = "reverse bold" if isinstance(self.view, view) else ""
            told.append(f" {view.key} {view.name_} ", style=style)
        self.query_one("#tabs", Static).update(told)

    async def action_view(self, name: str) -> None:
        """To a view."""
        while isinstance(self.screen, JobScreen):
            self.pop_screen()
        self.query_one(ContentSwitcher).current = name
        self.source.looked_away()
        self._show_tabs()
        self._go_to(self.view.rows)
        self._look()

    def _go_to(self, widget: Widget) -> None:
        # Not `Widget.focus`: that comes after the keys that were typed meanwhile.
        self.screen.set_focus(widget)

    async def action_filter(self) -> None:
        """To the filter of what is shown; to that of the jobs where it has none."""
        if isinstance(self.screen, JobScreen) or self.view.filter_box is None:
            await self.action_view(Jobs.name_)
        if box := self.view.filter_box:
            box.display = True
            self._go_to(box)

    def action_command(self) -> None:
        """Type a command."""
        while isinstance(self.screen, JobScreen):
            self.pop_screen()
        box = self.query_one("#command", Input)
        box.display = True
        box.value = ""
        self._go_to(box)

    async def on_input_submitted(self, event: Input.Submitted) -> None:
        """Do what was typed."""
        if event.input.id != "command":
            return
        event.input.display = False
        self._go_to(self.view.rows)
        if event.value.strip():
            await self._command(event.value)

    @property
    def _typing(self) -> bool:
        """Whether a key is a letter, or an answer to a question."""
        return isinstance(self.focused, Input) or isinstance(self.screen, ModalScreen)

    def action_take(self) -> None:
        """Take what is typed, once all of it has arrived; what comes after it is no part of it."""
        box = self.focused
        if isinstance(box, Input):
            self._go_to(self.view.rows)
            box.call_later(box.action_submit)

    def on_key(self, event: Key) -> None:
        """Escape leaves whatever is typed into; a key that does nothing now says why."""
        box = self.focused
        action = None if self._typing else _DOUBTFUL.get(event.key)
        if action is not None and (why := self._why_not(action)) is not None:
            self.notify(why, severity="warning", markup=False)
        if event.key == "escape" and isinstance(box, Input):
            if box.id == "command":
                box.display = False
            self._go_to(self.view.rows)
            event.stop()

    async def _command(self, text: str) -> None:
        views = {view.name_: view for view in ALL}
        try:
            verb, what, text = read(text, views)
        except NoCommand as error:
            self.notify(str(error), severity="warning", markup=False)
            return
        match verb:
            case "view":
                await self._to_rows_of(views[what], text)
            case "job":
                self._open_job(what)
            case "retry" | "cancel":
                self._ask(verb, what)
            case "pause" | "resume":
                self._pause(what, pause=verb == "pause")
            case "help":
                self.action_help()
            case "quit":
                self.exit(0)

    def on_data_table_row_highlighted(self, _: DataTable.RowHighlighted) -> None:
        """What may be done depends on the row."""
        self._show_keys()

    def _show_keys(self) -> None:
        # The footer is made anew each time it is told that its keys changed: a draw of its own,
        # and at two a second for a night more memory than is ever given back.
        if not self.screen_stack:
            return  # it is being closed
        active = self.screen.active_bindings
        keys = (self.screen.id, {key: one.enabled for key, one in active.items()})
        if keys != self._keys:
            self._keys = keys
            for footer in self.screen.query(Footer):
                # It holds every key that it ever showed until `compact` is looked at.
                footer.mutate_reactive(Footer.compact)
            self.refresh_bindings()

    def on_data_table_row_selected(self, _: DataTable.RowSelected) -> None:
        """Enter, or a click, on a row."""
        self.call_later(self.action_open)

    async def action_open(self) -> None:
        """From a row to what is behind it."""
        row = self.view.rows.current
        if row is None or isinstance(self.screen, JobScreen):
            return
        view = self.view
        if view.rows.id == "overview-queues":
            await self._to_rows_of(Jobs, f"queue:{row}")
        elif isinstance(view, Jobs):
            self._open_job(row)
        elif isinstance(view, Overview | Failures):
            self._open_job(row, "Traceback")
        elif isinstance(view, Events):
            event = next((one for one in self.source.events if one["id"] == row), None)
            if event is not None and str(event["type"]).startswith("job."):
                self._open_job(str(event["subject"]))
            else:
                self.notify("that event is not of a job")
        elif isinstance(view, Queues):
            await self._to_rows_of(Jobs, f"queue:{row}")

    def _opens(self) -> bool:
        """Whether there is something behind the row."""
        opens = isinstance(self.view, Overview | Jobs | Failures | Queues | Events)
        here = opens and not isinstance(self.screen, JobScreen)
        return here and self.view.rows.current is not None

    async def _to_rows_of(self, view: type[View], text: str) -> None:
        if text:
            self.query_one(view).filter_by(text)
        await self.action_view(view.__name__)

    def _open_job(self, job_id: str, tab: str = "Summary") -> None:
        self.source.looked_away()
        self.push_screen(JobScreen(job_id, tab, self.view.trail))
        self._look()

    def action_leave(self) -> None:
        """From a job to where it was opened."""
        self.pop_screen()
        self.source.looked_away()
        self._look()  # it may have changed meanwhile

    def action_end(self) -> None:
        """Leave the program."""
        self.exit(0)

    def action_help(self) -> None:
        """Every key."""
        keys: dict[str, str] = {view.key: f"to {view.name_}" for view in ALL}
        if self._opens():
            keys["enter"] = "Open"  # which the table has as a key of its own
        for active in self.screen.active_bindings.values():
            binding = active.binding
            # Textual's own, as how a cursor moves, everybody knows; here is little room.
            own = isinstance(active.node, Tui | View | JobScreen)
            moves = "+" in binding.key or binding.action.startswith("app.focus")
            if binding.description and own and not moves:
                keys.setdefault(self.get_key_display(binding), binding.description)
        self.push_screen(Help(list(keys.items())))

    # Doing

    def _job_meant(self) -> str | None:
        if isinstance(self.screen, JobScreen):
            return self.screen.job_id
        rows = self.view.rows
        if isinstance(self.view, Jobs | Failures | Overview) and rows.id != "overview-queues":
            return rows.current
        return None

    def _state_meant(self) -> str | None:
        if isinstance(self.screen, JobScreen):
            return self.screen.state
        return self.view.states.get(self._job_meant() or "")

    def _why_not(self, action: str) -> str | None:
        """Why something cannot be done here and now; None where it can."""
        if action == "sort":
            sorts = self.view.SORTS and not isinstance(self.screen, JobScreen)
            return None if sorts else "there is nothing to sort here"
        if (job_id := self._job_meant()) is None:
            return "there is no job in the row"
        if isinstance(self.screen, JobScreen) and self.screen.missing:
            return "there is no such job"
        state = self._state_meant()
        if action == "retry" and state is not None and state not in TERMINAL:
            return f"the job is {state}; only one that has ended can run again"
        if action == "cancel" and state in TERMINAL:
            return f"the job is {state} already"
        if action == "traceback" and not self._has_error(job_id):
            return "the job has no error"
        return None

    def _has_error(self, job_id: str) -> bool:
        if isinstance(self.screen, JobScreen):
            return self.screen.has_error
        return job_id not in self.view.faultless

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keys that would do nothing are not shown, and what is typed is no key."""
        if action in _NOT_TYPED and self._typing:
            return False
        if action == "take":
            return isinstance(self.focused, Input)
        if action == "open":
            return self._opens()
        if action == "pause":
            return self.view.rows.current is not None
        if action in _DOUBTFUL.values():
            return self._why_not(action) is None
        return True

    async def action_sort(self) -> None:
        """Sort by the next column."""
        self.view.sort_next()
        self._look()

    def action_traceback(self) -> None:
        """To the traceback of the job in the row."""
        if (job_id := self._job_meant()) and not isinstance(self.screen, JobScreen):
            self._open_job(job_id, "Traceback")

    def action_retry(self) -> None:
        """Run the job again, after a question."""
        self._ask("retry", self._job_meant())

    def action_cancel(self) -> None:
        """Cancel the job, after a question."""
        self._ask("cancel", self._job_meant())

    @work
    async def _ask(self, verb: str, job_id: str | None) -> None:
        if job_id is None:
            self.notify(f"no job to {verb} here", severity="warning")
            return
        if not await self.push_screen_wait(Confirm(Text(f"{verb.capitalize()} job {job_id}?"))):
            return
        client = self.source.client
        try:
            if verb == "retry":
                await client.retry(job_id)
            else:
                await client.cancel(job_id)
        except ObservatoryError as error:
            self.notify(str(line(error)), severity="error", markup=False)
        else:
            self.notify(f"{'queued again' if verb == 'retry' else 'cancelled, or told to stop'}")
        await self.refresh_now()

    def action_pause(self) -> None:
        """Pause or resume the queue in the row, after a question."""
        name = self.view.rows.current
        answer: dict[str, Any] = self.source.values.get("/queues") or {"items": []}
        queues: list[dict[str, Any]] = answer["items"]
        queue = next((one for one in queues if one["name"] == name), None)
        if queue is None:
            return
        self._pause(str(name), pause=not queue["paused"])

    @work
    async def _pause(self, name: str, *, pause: bool) -> None:
        verb = "Pause" if pause else "Resume"
        client = self.source.client
        try:
            # A name that was typed wrong would make a queue, and look like success.
            known = {one["name"] async for one in client.items("/queues")}
            if name not in known:
                names = ", ".join(sorted(known)) or "none"
                told = f"there is no queue {name} (known: {names})"
                self.notify(str(line(told, 300)), severity="warning", markup=False)
                return
            if not await self.push_screen_wait(Confirm(Text(f"{verb} queue {name}?"))):
                return
            await (client.pause_queue if pause else client.resume_queue)(name)
            done = "is paused" if pause else "is no longer paused"
            self.notify(str(line(f"queue {name} {done}", 300)), markup=False)
        except ObservatoryError as error:
            self.notify(str(line(error)), severity="error", markup=False)
        await self.refresh_now()

    def action_yank(self) -> None:
        """Copy the job's id."""
        if job_id := self._job_meant():
            self.copy_to_clipboard(job_id)
            self.notify(f"copied {job_id}")

    def action_browse(self) -> None:
        """Open the page where one is."""
        job_id = self._job_meant()
        self.open_url(
            f"{self.source.client.url}/#/jobs/{job_id}" if job_id else self.source.client.url
        )

    # Where nothing answers

    @work
    async def _offer_start(self, title: str = "", why: str = "") -> None:
        url, port = self.source.client.url, self._port()
        if not title and self.source.by_another:
            title, port = f"Something else answers at {url}", None  # its port is taken
        shown = line(why or self.source.trouble or "", 500).plain
        choice = await self.push_screen_wait(
            Launcher(title or f"Nothing answers at {url}", shown, port)
        )
        if choice == "quit":
            self.exit(1)
        elif choice == "demo":
            self._demo.start(port)
            self.notify("the demo is starting; it takes a few seconds")
            await self._wait_until_there()
        else:
            await self.refresh_now()
            if self.source.read_at is None:
                self._offer_start()

    def _port(self) -> int | None:
        """Where a system that is started here could be seen; None for an address elsewhere."""
        address = urlsplit(self.source.client.url)
        return address.port if address.hostname in LOOPBACK else None

    async def _wait_until_there(self) -> None:
        deadline = time.monotonic() + _READY_WITHIN_S
        while self.source.read_at is None and time.monotonic() < deadline:
            # First, for what answers now would not be the demo that has ended.
            if (why := self._demo.why_it_ended()) is not None:
                self._offer_start("The demo did not start", why)
                return
            await self.refresh_now()
            await asyncio.sleep(0.2)
        if self.source.read_at is None:
            self.notify("the demo does not answer; try: observatory up --demo", severity="error")

    async def on_unmount(self) -> None:
        """End what was started here."""
        await self._demo.stop()
