"""`observatory jobs export`: every job of a filter into a file, page after page."""

import csv
import io
import json
import os
import sys
from collections.abc import Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any, Final, Literal

from cyclopts import Parameter

from observatory.interfaces.cli.address import Address
from observatory.interfaces.cli.exit_codes import ExitCode
from observatory.interfaces.cli.job_filter import Filter
from observatory.interfaces.cli.listing import PAGE_MAX, going_on
from observatory.interfaces.cli.output import (
    TABLE,
    Clash,
    Mistake,
    Output,
    at_least_one,
    jobs_of,
    safe,
)
from observatory.interfaces.cli.progress import progress

if TYPE_CHECKING:
    from collections.abc import Generator

    from observatory.client import Client
    from observatory.client.operations import Operations

_PATIENCE_S: Final = 30.0
"""An export of an hour must not end by a restart of the server."""

_COLUMNS: Final = (
    "id", "type", "queue", "priority", "state", "attempt", "maxAttempts", "failures", "crashes",
    "createdAt", "scheduledAt", "queuedAt", "startedAt", "finishedAt", "worker", "correlationId",
    "parentId", "errorType", "errorMessage",
)  # fmt: skip
"""Of a CSV file; they do not change, new ones come behind them."""

_DOCUMENTS: Final = ("payload", "result")
"""What `--full` adds, as JSON."""

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet would run, if a text began with it."""


def export(
    *,
    which: Filter | None = None,
    format: Literal["ndjson", "csv"] = "ndjson",
    to: Path | None = None,
    full: Annotated[bool, Parameter(negative="")] = False,
    limit: int | None = None,
    cursor: str | None = None,
    address: Address | None = None,
    output: Output = TABLE,
) -> int:
    """Write every job of a filter, newest first, as NDJSON or CSV.

    A page of 200 is read and written at a time, so any number fits. What is cut off
    tells a cursor, with which the rest is written behind it. Jobs that are accepted
    meanwhile are not among them, and one that meanwhile leaves a state that was
    asked for may be missing. In CSV, characters that a terminal or a spreadsheet
    would obey are shown instead. How many were written is told on stderr, with --to
    and --json as an object on standard output.

    For example:
      observatory jobs export --state failed --since 7d --to failed.ndjson
      observatory jobs export --type email.send --format csv > jobs.csv

    Args:
        format: One JSON object a line, or a table with a head.
        to: The file, new unless with --cursor; standard output if left out.
        full: Also payload and result, for which each job is read by itself.
        limit: How many at most, from 1 up; all of them if left out.
        cursor: Go on where an earlier export with the same filters was cut.
    """
    from observatory.client.operations import job_params

    if output.form == "yaml" and to is None:
        raise Mistake("jobs are exported as --format ndjson or csv, not as YAML")
    left = None if limit is None else at_least_one(limit)
    filters: Any = (which or Filter()).given()
    params = job_params(PAGE_MAX, filters)
    columns = (*_COLUMNS, *(_DOCUMENTS if full else ())) if format == "csv" else None
    with (address or Address()).client() as client, _opened(to, resume=cursor is not None) as file:
        head = _csv_row(columns) if columns and cursor is None else ""
        done = Export(client, params, file, columns, full=full, next=cursor, head=head)
        with done.telling_where_it_was_cut():
            done.run(left)
    if output.structured and to is not None:
        output.print({"jobs": done.written, "file": str(to), "next": done.next})
    elif not output.structured:
        where = "" if to is None else f" to {to}"
        print(f"{jobs_of(done.written)} written{where}", file=sys.stderr)
    if done.next is not None:
        print(f"there are more: {going_on(params, done.next)} goes on", file=sys.stderr)
    return ExitCode.OK


@dataclass
class Export:
    """An export under way."""

    client: "Client"
    params: dict[str, str]
    file: "IO[str] | _Pages"
    columns: tuple[str, ...] | None
    """Of CSV; None for NDJSON."""
    full: bool
    next: str | None
    """The cursor of the first page that is not written; None where there is none."""
    head: str = ""
    """What is written before the first page."""
    written: int = 0

    def run(self, left: int | None) -> None:
        """Write page after page, `left` jobs at most."""
        from observatory.client.operations import Operations

        # Whoever mistyped the address is told so soon; once something answered, it is waited for.
        operations = self.client.operations
        with progress("jobs", left) as advance:
            while True:
                if self.next is not None:
                    self.params["cursor"] = self.next
                self.params["limit"] = str(PAGE_MAX if left is None else min(PAGE_MAX, left))
                items, following = self.client.run(operations.page("/jobs", self.params))
                operations = Operations(_PATIENCE_S)
                if self.full:
                    items = [self._whole(operations, one) for one in items]
                # In one piece, so that what is cut off ends with a page.
                self.file.write(self.head + "".join(map(self._line, items)))
                self.file.flush()
                self.head = ""
                self.next = following
                self.written += len(items)
                advance(len(items))
                left = None if left is None else left - len(items)
                if following is None or left == 0:
                    return

    def _whole(self, operations: "Operations", job: dict[str, Any]) -> dict[str, Any]:
        from observatory.client import NotFound
        from observatory.client.operations import job_path

        try:
            return self.client.run(operations.read(job_path(job["id"])))
        except NotFound:  # it was pruned meanwhile
            return job

    def _line(self, job: dict[str, Any]) -> str:
        if self.columns is None:
            return json.dumps(job, separators=(",", ":")) + "\n"
        error: dict[str, str] = job["error"] or {}
        told: dict[str, Any] = {f"error{name.title()}": text for name, text in error.items()}
        for name in _DOCUMENTS:
            told[name] = json.dumps(job.get(name))
        return _csv_row([told.get(name, job.get(name)) for name in self.columns])

    @contextmanager
    def telling_where_it_was_cut(self) -> "Generator[None]":
        """Say on stderr, where something ends it before its time, how to go on."""
        from observatory.client import ObservatoryError

        try:
            yield
        except BrokenPipeError:
            raise  # whoever read it wanted no more
        except (ObservatoryError, Mistake, KeyboardInterrupt, OSError) as error:
            cut = f"observatory: cut off after {jobs_of(self.written)}; "
            # Of a page that went to standard output a part may have been written.
            part = "remove what stands behind them; " if isinstance(error, OSError) else ""
            if self.next is not None:
                more = f"{part}{going_on(self.params, self.next)}"
                print(f"{cut}{more} writes the rest behind them", file=sys.stderr)
            elif part:
                print(f"{cut}begin anew", file=sys.stderr)
            raise


class _Pages:
    """A file that ends with a whole page, also where the disk is full in the middle of one."""

    def __init__(self, path: Path, *, resume: bool) -> None:
        self._path = path
        try:
            self._file = path.open("ab" if resume else "xb", buffering=0)
        except FileExistsError as error:
            clash = f"{path} is there already; move it away, or go on with --cursor"
            raise Clash(clash) from error
        except OSError as error:
            raise Mistake(f"{path} cannot be written: {error.strerror}") from error

    def write(self, page: str) -> None:
        before = os.fstat(self._file.fileno()).st_size
        left = memoryview(page.encode())
        try:
            while left:
                left = left[self._file.write(left) :]
        except OSError as error:
            with suppress(OSError):
                self._file.truncate(before)
            raise Mistake(f"{self._path} cannot be written: {error.strerror}") from error

    def flush(self) -> None:
        """Nothing waits."""

    def close(self, *, kept: bool) -> None:
        """Close it; without `kept` it is not left behind where nothing was written into it."""
        empty = os.fstat(self._file.fileno()).st_size == 0
        self._file.close()
        if empty and not kept and self._path.is_file():
            self._path.unlink()


@contextmanager
def _opened(path: Path | None, *, resume: bool) -> "Generator[IO[str] | _Pages]":
    if path is None:
        yield sys.stdout
        return
    file = _Pages(path, resume=resume)
    kept = False
    try:
        yield file
        kept = True
    finally:
        file.close(kept=kept)


def _csv_row(cells: Sequence[object]) -> str:
    row = io.StringIO()
    csv.writer(row, lineterminator="\n").writerow([_cell(cell) for cell in cells])
    return row.getvalue()


def _cell(value: object) -> object:
    if not isinstance(value, str):
        return value
    text = safe(value, lines=True)
    return f"'{text}" if text.startswith(_FORMULA) else text
