"""What handlers note, progress and log lines: kept until the store has taken it, or refused it."""

import asyncio
import sys
import threading
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any, Final

import structlog

from observatory.core.errors import StoreUnavailable
from observatory.core.job import ClaimedJob, JobLogLine, ProgressReport
from observatory.core.store import StoreWrites

_log = structlog.get_logger(__name__)

LOG_LINES_MAX: Final = 10_000
"""Lines kept of one attempt; what follows is counted, not kept."""
LINES_WAITING_MAX: Final = 10_000
"""Lines of all runs that wait for a store which refused them; the oldest go first."""

_Part = tuple[list[ProgressReport], list[JobLogLine]]
"""What one write takes."""


def clean(text: str, chars_max: int) -> str:
    """Text that every backend can hold: no U+0000, no lone surrogates, bounded in the middle."""
    if len(text) > chars_max:
        half = chars_max // 2
        left_out = len(text) - 2 * half
        text = f"{text[:half]}\n… {left_out} characters left out …\n{text[-half:]}"
    return text.replace("\x00", "\\x00").encode("utf-8", "backslashreplace").decode()


class Notes:
    """Progress and log lines of runs, from any thread, until they are written together."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reports: dict[tuple[str, int], ProgressReport] = {}
        self._lines: list[JobLogLine] = []
        self._counts: dict[tuple[str, int], int] = {}

    def report(self, report: ProgressReport) -> None:
        """Keep the newest report of each run."""
        with self._lock:
            self._reports[report.job, report.attempt] = report

    def add(self, line: JobLogLine) -> None:
        """Keep a line, up to the limit of its run."""
        run = (line.job, line.attempt)
        with self._lock:
            count = self._counts[run] = self._counts.get(run, 0) + 1
            if count <= LOG_LINES_MAX:
                self._lines.append(line)

    def forget(self, job: str, attempt: int, at: int) -> bool:
        """The run has ended, at `at`; True where it left anything."""
        with self._lock:
            count = self._counts.pop((job, attempt), 0)
            if (more := count - LOG_LINES_MAX) > 0:
                text = f"{more} more lines were written; {LOG_LINES_MAX} of an attempt are kept"
                self._lines.append(JobLogLine(job, attempt, at, "warning", text, {}))
            return count > 0 or (job, attempt) in self._reports

    def take(self) -> tuple[list[ProgressReport], list[JobLogLine]]:
        """What has come since the last call."""
        with self._lock:
            reports, self._reports = list(self._reports.values()), {}
            lines, self._lines = self._lines, []
        return reports, lines

    def put_back(self, reports: list[ProgressReport], lines: list[JobLogLine]) -> int:
        """Keep what was taken and not written for the next `take`, before what has come since.

        Returns how many of the oldest lines were dropped to stay within `LINES_WAITING_MAX`.
        """
        with self._lock:
            older = {(report.job, report.attempt): report for report in reports}
            self._reports = older | self._reports
            waiting = lines + self._lines
            self._lines = waiting[-LINES_WAITING_MAX:]
            return len(waiting) - len(self._lines)


class NoteWriter:
    """Has the store keep what was noted. A line it refuses as such is dropped alone."""

    def __init__(self, notes: Notes, store: StoreWrites, worker: str) -> None:
        self._notes = notes
        self._store = store
        self._worker = worker
        self._one_at_a_time = asyncio.Lock()

    async def write(self) -> list[ProgressReport]:
        """Write what has come; all of it has been written when this returns. Gives the reports.

        Raises:
            StoreUnavailable: what was not written is kept for the next time.
        """
        # Whoever comes while another writes may wait for lines which that one has taken.
        async with self._one_at_a_time:
            reports, lines = self._notes.take()
            parts = [(reports, lines)] if reports or lines else []
            refused: list[Exception] = []
            while parts:
                reports_left, lines_left = parts.pop()
                try:
                    await self._store.note(reports_left, lines_left, self._worker)
                except StoreUnavailable:
                    self._put_back([*parts, (reports_left, lines_left)])
                    raise
                except Exception as error:
                    parts += (halves := _halves(reports_left, lines_left))
                    refused += [] if halves else [error]
            if refused:
                _log.error("notes.refused", count=len(refused), error=repr(refused[0]))
            return reports

    def _put_back(self, parts: list[_Part]) -> None:
        # The part to be written first is the last of them.
        reports = [report for part in reversed(parts) for report in part[0]]
        lines = [line for part in reversed(parts) for line in part[1]]
        if dropped := self._notes.put_back(reports, lines):
            _log.warning("notes.dropped", lines=dropped)


def _halves(reports: list[ProgressReport], lines: list[JobLogLine]) -> list[_Part]:
    """Two parts to write instead of one that was refused, the second first; none of a single."""
    if reports and lines:
        return [([], lines), (reports, [])]
    middle = max(len(reports), len(lines)) // 2
    if not middle:
        return []
    return [(reports[middle:], lines[middle:]), (reports[:middle], lines[:middle])]


class JobLog:
    """Lines kept with the job."""

    def __init__(self, job: ClaimedJob, notes: Notes, now: Callable[[], int]) -> None:
        self._job = job
        self._notes = notes
        self._now = now

    def _add(self, level: str, message: str, fields: dict[str, Any]) -> None:
        kept = {clean(name, 100): _plain(value) for name, value in list(fields.items())[:50]}
        line = JobLogLine(
            self._job.id, self._job.attempt, self._now(), level, clean(str(message), 8000), kept
        )
        self._notes.add(line)

    def debug(self, message: str, /, **fields: Any) -> None:
        """Keep a line of this level."""
        self._add("debug", message, fields)

    def info(self, message: str, /, **fields: Any) -> None:
        """Keep a line of this level."""
        self._add("info", message, fields)

    def warning(self, message: str, /, **fields: Any) -> None:
        """Keep a line of this level."""
        self._add("warning", message, fields)

    def error(self, message: str, /, **fields: Any) -> None:
        """Keep a line of this level."""
        self._add("error", message, fields)


def _plain(value: Any) -> Any:
    """A value as JSON has it, for a class of the user's (or numpy's) may stand behind a number."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, Integral | Real):
        number = int(value) if isinstance(value, Integral) else float(value)
        # NaN and infinity are no numbers to JSON, and larger ones not the same everywhere.
        if abs(number) < sys.maxsize:
            return number
    return clean(str(value), 1000)
