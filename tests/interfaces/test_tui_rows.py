"""What a table keeps while its rows change."""

import gc

import pytest
from rich.segment import Segment
from textual.app import App, ComposeResult

from observatory.interfaces.tui.rows import Rows


class OneTable(App[None]):
    """A table by itself."""

    def compose(self) -> ComposeResult:
        yield Rows("name", "count")


@pytest.mark.anyio
async def test_rows_that_change_leave_nothing_behind() -> None:
    async with OneTable().run_test(size=(80, 24)) as pilot:
        rows = pilot.app.query_one(Rows)

        async def segments_after(changes: range) -> int:
            for change in changes:
                rows.show([(str(row), (f"row {row}", str(change * row))) for row in range(15)])
                await pilot.pause()
            gc.collect()
            return sum(type(one) is Segment for one in gc.get_objects())

        few = await segments_after(range(5))
        assert few > 15, "vacuous: nothing was drawn"
        assert await segments_after(range(5, 40)) < 2 * few
