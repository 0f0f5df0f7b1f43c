"""What handlers note is kept, and whatever becomes of it costs no outcome."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from observatory import JobContext, Observatory
from observatory.backends.sqlite.store import SqliteStore
from observatory.core.lifecycle import OutcomeKind
from observatory.services.processor.notes import NoteWriter
from services.embedding import served

pytestmark = pytest.mark.anyio


class Share(float):
    """A number of a class of its own, as numpy's are."""


async def test_numbers_of_any_class_are_kept_in_log_lines(
    tmp_path: Path, empty_database: Path
) -> None:
    app = Observatory()

    class Count(int):
        pass

    @app.job("numeric")
    async def numeric(ctx: JobContext) -> None:
        fields: dict[str, Any] = {
            "share": Share(0.5),
            "count": Count(3),
            "kind": OutcomeKind.ERROR,
            "none": Share("nan"),
            "endless": float("inf"),
            "vast": 10**30,
            "fraction": Fraction(1, 4),
            "yes": True,
        }
        ctx.log.info("numbers", **fields)
        ctx.progress(Share(0.25))

    async with served(app, tmp_path, empty_database) as system:
        job_id = await system.submit("numeric")
        job = await system.reached(job_id)
        (line,) = (await system.http.get(f"/jobs/{job_id}/logs")).json()["items"]

    assert (job["state"], job["progress"]["fraction"]) == ("completed", 0.25)
    assert line["fields"] == {
        "share": 0.5,
        "count": 3,
        "kind": "error",
        "none": "nan",
        "endless": "inf",
        "vast": "1" + "0" * 30,
        "fraction": 0.25,
        "yes": True,
    }


async def test_a_line_the_store_refuses_as_such_costs_neither_its_job_nor_other_lines(
    tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = Observatory()
    note = SqliteStore.note

    async def refuse(store: SqliteStore, reports: Any, lines: Any, worker: str) -> None:
        if any(line.message == "line 3" for line in lines):
            raise ValueError("line 3 cannot be encoded")
        await note(store, reports, lines, worker)

    @app.job("chatty")
    async def chatty(ctx: JobContext) -> None:
        for number in range(7):
            ctx.log.info(f"line {number}")
        ctx.progress(0.5)

    monkeypatch.setattr(SqliteStore, "note", refuse)
    async with served(app, tmp_path, empty_database) as system:
        job_id = await system.submit("chatty")
        job = await system.reached(job_id)
        lines = (await system.http.get(f"/jobs/{job_id}/logs")).json()["items"]

    assert (job["state"], job["progress"]["fraction"]) == ("completed", 0.5)
    assert [line["message"] for line in lines] == [f"line {n}" for n in (0, 1, 2, 4, 5, 6)]


async def test_no_fault_of_writing_notes_costs_an_outcome(
    tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = Observatory()

    async def break_down(_: NoteWriter) -> None:
        raise RuntimeError("nobody foresaw this")

    @app.job("chatty")
    async def chatty(ctx: JobContext) -> None:
        ctx.log.info("begun")

    monkeypatch.setattr(NoteWriter, "write", break_down)
    async with served(app, tmp_path, empty_database) as system:
        job = await system.reached(await system.submit("chatty"))
        monkeypatch.undo()

    assert job["state"] == "completed"
