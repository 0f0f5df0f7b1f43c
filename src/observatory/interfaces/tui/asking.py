"""Questions and lists that stand over a view: confirm, help, launcher.

Each has a footer of its own, over that of the view, whose keys do nothing meanwhile.
"""

from itertools import zip_longest
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Footer, Static


class Confirm(ModalScreen[bool]):
    """Asks before something is done that is hard to undo."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "Yes"),
        Binding("n,escape", "answer(False)", "No"),
    ]

    def __init__(self, question: Text) -> None:
        super().__init__()
        self._question = question

    def compose(self) -> ComposeResult:
        """The question."""
        with Vertical(classes="dialog"):
            yield Static(self._question)
            yield Static("[y] yes   [n] no", markup=False, classes="keys")
        yield Footer()

    def action_answer(self, answer: bool) -> None:
        """Close with the answer."""
        self.dismiss(answer)


class Help(ModalScreen[None]):
    """Every key, from where it is declared."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,question_mark,q", "dismiss", "Close"),
    ]

    def __init__(self, keys: list[tuple[str, str]]) -> None:
        super().__init__()
        self._keys = keys

    def compose(self) -> ComposeResult:
        """Key by key."""
        # In two columns, as many terminals have 24 lines and no more.
        half = (len(self._keys) + 1) // 2
        named = [f"{key:>6}  {about}" for key, about in self._keys]
        width = max(map(len, named), default=0) + 2
        pairs = zip_longest(named[:half], named[half:], fillvalue="")
        told = "\n".join(f"{left:<{width}}{right}".rstrip() for left, right in pairs)
        with Vertical(classes="dialog"):
            yield Static("Keys", classes="title")
            yield Static(told, markup=False)
        yield Footer()


class Launcher(ModalScreen[str]):
    """No observatory answers: says so, and offers to start the embedded system."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("d", "choose('demo')", "Start the demo"),
        Binding("r", "choose('again')", "Try again"),
        Binding("q,escape", "choose('quit')", "Quit"),
    ]

    def __init__(self, title: str, why: str, port: int | None) -> None:
        """`port`: where the embedded system would be started; None where it cannot be here."""
        super().__init__()
        self._title = title
        self._why = why
        self._port = port

    def compose(self) -> ComposeResult:
        """What was tried, and what may be done."""
        with Vertical(classes="dialog"):
            yield Static(self._title, markup=False, classes="title")
            yield Static(self._why, markup=False)
            demo = "[d] start the embedded system here, with its demo\n" if self._port else ""
            told = f"\n{demo}[r] try again\n[q] quit\n\nYour own jobs: observatory up MODULE"
            yield Static(told, markup=False, classes="keys")
        yield Footer()

    def action_choose(self, choice: str) -> None:
        """Close with what was chosen."""
        if choice != "demo" or self._port:
            self.dismiss(choice)
