"""The raw floor: the durable writes of a measured round once more, and nothing else.

The round's database says which jobs each commit accepted, claimed and finished. The same rows go
into the same tables with the same indexes, in the same batches and in as many transactions, from
tuples made beforehand, by one thread that does nothing else: no HTTP, no validation, no event loop,
no handlers, no encoding, no aggregates.
"""

import itertools
import json
import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from observatory.backends.sqlite.migrate import migrate
from observatory.backends.sqlite.sql import statement
from observatory.core.spine import MESSAGE_JOBS_MAX

Step = Callable[[sqlite3.Connection], object]

_INSERT_JOB = statement("insert_job")
_SELECT_CURRENT = statement("select_current")
_CLAIM = statement("claim_jobs")
_FINISH = statement("finish_job")
_PAYLOADS = "SELECT job, body FROM payloads WHERE job IN (SELECT value FROM json_each(?))"
_PRAGMAS = (
    "journal_mode=WAL",
    "synchronous=FULL",
    "wal_autocheckpoint=0",
    "foreign_keys=ON",
    "cache_size=-65536",
    "temp_store=MEMORY",
)
_CHECKPOINT_WAL_BYTES = 64 << 20
"""The system's own limit while writes are waiting."""


class Batch(NamedTuple):
    """What one commit of the system recorded: one move of several jobs."""

    number: int
    move: str
    jobs: list[dict[str, Any]]
    """The transitions, with the text that the history holds."""
    events: tuple[int, str, int, bytes]
    """The row of the event log."""


class Recording(NamedTuple):
    """A round as its database tells it."""

    batches: list[Batch]
    rows: dict[str, dict[str, Any]]
    payloads: dict[int, str]
    results: dict[int, str]

    def sizes(self, move: str) -> list[int]:
        """How many jobs each commit of a move held."""
        return [len(batch.jobs) for batch in self.batches if batch.move == move]


class _Subject(msgspec.Struct):
    subject: str
    sequence: str = ""


def read(database: Path, job_type: str) -> Recording:
    """What a stopped system has recorded of the jobs of one type."""
    with closing(sqlite3.connect(database)) as db:
        db.row_factory = sqlite3.Row
        rows = {
            row["id"]: dict(row)
            for row in db.execute("SELECT * FROM jobs WHERE type=?", [job_type])
        }
        ids = {row["seq"]: id for id, row in rows.items()}
        history = {
            (ids[job], version): body
            for job, version, body in db.execute("SELECT job, version, body FROM history")
            if job in ids
        }
        decoder = msgspec.json.Decoder(list[_Subject])
        batches: list[Batch] = []
        log = "SELECT at, publisher, number, body FROM event_log WHERE number IS NOT NULL "
        for entry in db.execute(log + "ORDER BY number"):
            keys = [(e.subject, int(e.sequence)) for e in decoder.decode(entry["body"])]
            texts = [history[key] for key in keys if key in history]
            if texts:
                jobs = [json.loads(text) | {"text": text} for text in texts]
                batches.append(Batch(entry["number"], jobs[0]["move"], jobs, tuple(entry)))
        payloads = dict(db.execute("SELECT job, body FROM payloads").fetchall())
        results = dict(db.execute("SELECT job, body FROM results").fetchall())
    return Recording(batches, rows, payloads, results)


def replay(recording: Recording, moves: Sequence[str], transactions: int, folder: Path) -> float:
    """Write again the batches of some moves; returns the seconds it took.

    Batches of other moves are written before, outside the measurement.
    """
    folder.mkdir(parents=True)
    path = folder / "observatory.db"
    migrate(path)
    steps = _Steps(recording)
    untimed = steps.of(batch for batch in recording.batches if batch.move not in moves)
    timed = steps.of(batch for batch in recording.batches if batch.move in moves)
    wal = path.with_name(path.name + "-wal")
    with closing(sqlite3.connect(path, isolation_level=None, cached_statements=256)) as db:
        for pragma in _PRAGMAS:
            db.execute(f"PRAGMA {pragma}")
        for step in untimed:
            step(db)
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        groups = _groups(timed, transactions)
        started = time.perf_counter()
        for group in groups:
            db.execute("BEGIN IMMEDIATE")
            for step in group:
                step(db)
            db.execute("COMMIT")
            if wal.stat().st_size > _CHECKPOINT_WAL_BYTES:
                db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        return time.perf_counter() - started


def _groups(steps: list[Step], transactions: int) -> list[list[Step]]:
    count = max(1, min(transactions, len(steps)))
    edges = [round(i * len(steps) / count) for i in range(count + 1)]
    return [steps[a:b] for a, b in itertools.pairwise(edges)]


class _Steps:
    """Makes the writes of batches, every tuple in advance."""

    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self._messages = 0
        self._unclaimed: dict[int, set[str]] = {}
        self._message_of: dict[str, int] = {}

    def of(self, batches: Iterable[Batch]) -> list[Step]:
        """Record, publish and forget each batch: later ones are recorded before earlier ones are
        published and published before they are forgotten, as in the system."""
        recorded: list[Step] = []
        published: list[Step] = []
        forgotten: list[Step] = []
        for batch in batches:
            publisher = batch.events[1]
            write, messages = self._write(batch)
            recorded.append(_with_outbox(write, batch))
            published.append(_publish(batch.events, messages))
            forgotten.append(_forget(publisher, batch.number))
        steps: list[Step] = []
        for i in range(len(recorded) + 2):
            steps += recorded[i : i + 1]
            steps += published[max(0, i - 1) : i] if i else []
            steps += forgotten[max(0, i - 2) : i - 1] if i > 1 else []
        return steps

    def _write(self, batch: Batch) -> tuple[Step, list[tuple[Any, ...]]]:
        match batch.move:
            case "accept":
                return self._accept(batch), self._work_messages(batch)
            case "claim":
                return self._claim(batch), []
            case "complete":
                return self._finish(batch), []
            case other:
                raise ValueError(f"a measured job did something unexpected: {other}")

    def _seqs(self, batch: Batch) -> list[int]:
        return [self._recording.rows[t["job"]]["seq"] for t in batch.jobs]

    def _history(self, batch: Batch) -> list[tuple[Any, ...]]:
        seqs = self._seqs(batch)
        return [(s, t["version"], t["text"]) for s, t in zip(seqs, batch.jobs, strict=True)]

    def _accept(self, batch: Batch) -> Step:
        jobs = [
            (
                row["seq"], row["id"], row["type"], row["queue"], row["priority"], "queued",
                row["max_attempts"], row["timeout_s"], row["created_at"], None, row["created_at"],
                row["correlation_id"], None, row["contract_version"], None, None, None,
                row["created_at"],
            )
            for row in (self._recording.rows[t["job"]] for t in batch.jobs)
        ]  # fmt: skip
        payloads = [(seq, self._recording.payloads[seq]) for seq in self._seqs(batch)]
        history = self._history(batch)

        def step(db: sqlite3.Connection) -> None:
            db.execute("SELECT coalesce(max(seq), 0) FROM jobs").fetchone()
            db.executemany(_INSERT_JOB, jobs)
            db.executemany("INSERT INTO payloads VALUES (?, ?)", payloads)
            db.executemany("INSERT INTO history VALUES (?, ?, ?)", history)

        return step

    def _work_messages(self, batch: Batch) -> list[tuple[Any, ...]]:
        messages: list[tuple[Any, ...]] = []
        for start in range(0, len(batch.jobs), MESSAGE_JOBS_MAX):
            chunk = batch.jobs[start : start + MESSAGE_JOBS_MAX]
            self._messages += 1
            self._unclaimed[self._messages] = {t["job"] for t in chunk}
            self._message_of |= {t["job"]: self._messages for t in chunk}
            first = chunk[0]
            jobs = [[t["job"], t["attempt"], t["type"], 1, False] for t in chunk]
            body = {"queue": first["queue"], "priority": first["priority"], "jobs": jobs}
            messages.append((first["queue"], 1, json.dumps(body, separators=(",", ":")).encode()))
        return messages

    def _claim(self, batch: Batch) -> Step:
        ids = json.dumps([t["job"] for t in batch.jobs])
        seqs = self._seqs(batch)
        updates = [
            (s, t["attempt"], t["version"], t["worker"], t["at"])
            for s, t in zip(seqs, batch.jobs, strict=True)
        ]
        history = self._history(batch)
        done: list[tuple[int]] = []
        for t in batch.jobs:
            message = self._message_of[t["job"]]
            self._unclaimed[message].discard(t["job"])
            if not self._unclaimed[message]:
                done.append((message,))

        def step(db: sqlite3.Connection) -> None:
            db.execute(_SELECT_CURRENT, (ids,)).fetchall()
            db.execute(_PAYLOADS, (json.dumps(seqs),)).fetchall()
            db.executemany(_CLAIM, updates)
            db.executemany("INSERT INTO history VALUES (?, ?, ?)", history)
            db.executemany("DELETE FROM work_messages WHERE id = ?", done)

        return step

    def _finish(self, batch: Batch) -> Step:
        ids = json.dumps([t["job"] for t in batch.jobs])
        updates = [
            (
                row["seq"], "completed", t["version"], 0, 0, row["queued_at"], None, t["at"],
                None, None, None, None,
            )
            for t, row in ((t, self._recording.rows[t["job"]]) for t in batch.jobs)
        ]  # fmt: skip
        kept = self._recording.results
        results = [(s, kept[s]) for s in self._seqs(batch) if s in kept]
        history = self._history(batch)

        def step(db: sqlite3.Connection) -> None:
            db.execute(_SELECT_CURRENT, (ids,)).fetchall()
            db.executemany(_FINISH, updates)
            db.executemany("INSERT OR REPLACE INTO results VALUES (?, ?)", results)
            db.executemany("INSERT INTO history VALUES (?, ?, ?)", history)

        return step


def _with_outbox(write: Step, batch: Batch) -> Step:
    at, publisher, number, _ = batch.events
    body = "[" + ",".join(t["text"] for t in batch.jobs) + "]"

    def step(db: sqlite3.Connection) -> None:
        write(db)
        db.execute(
            "INSERT INTO publishers VALUES (?1, 1, ?2) ON CONFLICT (id) DO UPDATE "
            "SET last_number = last_number + 1, seen_at = ?2 RETURNING last_number",
            (publisher, at),
        ).fetchone()
        db.execute("INSERT INTO outbox VALUES (?, ?, ?, ?)", (publisher, number, at, body))

    return step


def _publish(events: tuple[int, str, int, bytes], messages: list[tuple[Any, ...]]) -> Step:
    def step(db: sqlite3.Connection) -> None:
        db.execute(
            "INSERT INTO event_log (at, publisher, number, body) VALUES (?, ?, ?, ?)", events
        )
        db.executemany(
            "INSERT INTO work_messages (queue, priority, body) VALUES (?, ?, ?)", messages
        )

    return step


def _forget(publisher: str, number: int) -> Step:
    rows = [(publisher, number)]
    return lambda db: db.executemany("DELETE FROM outbox WHERE publisher = ? AND number = ?", rows)
