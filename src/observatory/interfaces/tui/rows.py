"""A table whose rows change in place: the cursor stays on its row, whatever comes above it; and the
box in which one says which of them are to be seen."""

from collections.abc import Sequence
from typing import Any

from rich.text import Text
from textual.coordinate import Coordinate
from textual.widgets import DataTable, Input

Cell = str | Text


class Rows(DataTable[Cell]):
    """A table of rows with keys."""

    def __init__(self, *columns: str, **options: Any) -> None:
        super().__init__(cursor_type="row", zebra_stripes=False, **options)
        self._names = columns
        self._given: dict[str, tuple[Cell, ...]] = {}
        self._words: list[str] = []
        self._shown: dict[str, tuple[Cell, ...]] = {}
        self.follow = False
        """The cursor stays on the first row, whichever that is."""

    def on_mount(self) -> None:
        """Make the columns."""
        for name in self._names:
            self.add_column(name, key=name)

    def show(self, rows: Sequence[tuple[str, tuple[Cell, ...]]]) -> None:
        """Show these rows: key and cells; of them those that hold the words of the filter."""
        self._given = dict(rows)
        self._show()

    def filter_by(self, text: str) -> None:
        """Show only rows in which every word stands, until another text is given."""
        self._words = text.casefold().split()
        self._show()

    def _show(self) -> None:
        wanted = {key: cells for key, cells in self._given.items() if self._holds(cells)}
        if list(wanted) == list(self._shown):
            for key, cells in wanted.items():
                self._change(key, cells)
        else:
            self._replace(wanted)
        if wanted != self._shown:
            # What was drawn is never asked for again, and kept by thousands of cells.
            self.notify_style_update()
        self._shown = wanted

    def _holds(self, cells: tuple[Cell, ...]) -> bool:
        text = " ".join(map(str, cells)).casefold()
        return all(word in text for word in self._words)

    def mark(self, column: str | None) -> None:
        """Show by which column the rows are sorted."""
        for key, shown in self.columns.items():
            name = str(key.value)
            shown.label = Text(f"{name} ▾" if name == column else name)
        self.notify_style_update()

    def _change(self, key: str, cells: tuple[Cell, ...]) -> None:
        for name, before, after in zip(self._names, self._shown[key], cells, strict=True):
            if before != after:
                self.update_cell(key, name, after, update_width=True)

    def _replace(self, wanted: dict[str, tuple[Cell, ...]]) -> None:
        here = self.current
        at = self.cursor_row
        offset = self.scroll_y
        self.clear()
        for key, cells in wanted.items():
            self.add_row(*cells, key=key)
        keys = list(wanted)
        if self.follow:
            at = offset = 0
        elif here in wanted:
            at = keys.index(here)
        if keys:
            self.cursor_coordinate = Coordinate(min(at, len(keys) - 1), 0)
        self.scroll_to(y=offset, animate=False)

    @property
    def current(self) -> str | None:
        """The key of the row with the cursor."""
        if not self.row_count:
            return None
        return self.coordinate_to_cell_key(Coordinate(self.cursor_row, 0)).row_key.value


class RowFilter(Input):
    """Where one types what the rows beside it are to hold. It is there while it says something."""

    def __init__(self) -> None:
        super().__init__(placeholder="words that stand in a row", classes="filter")
        self.display = False

    def on_input_changed(self, event: Input.Changed) -> None:
        """What is typed holds at once."""
        if self.parent is not None:
            self.parent.query_one(Rows).filter_by(event.value)

    def on_blur(self) -> None:
        """It takes no room where it says nothing."""
        self.display = bool(self.value)
