"""What only the SQLite backends promise: the file, its threads, and what is found in it."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config

from conformance.benches import SqliteBench
from conformance.making import keyed
from observatory.backends.sqlite import liveness as sqlite_liveness
from observatory.backends.sqlite import spine as sqlite_spine
from observatory.backends.sqlite.database import FILE_NAME, Database
from observatory.backends.sqlite.migrate import HEAD, MIGRATIONS, revision
from observatory.backends.sqlite.sql import statement
from observatory.backends.sqlite.store import SqliteStore
from observatory.core.aggregates import Deltas, Position
from observatory.core.errors import (
    AggregatesUnavailable,
    QueryTooBroad,
    SpineUnavailable,
    StoreUnavailable,
)
from observatory.core.job import Reference
from observatory.core.spine import LogEntry, WorkMessage
from observatory.core.store import JobFilter
from services.embedding import bench, until

pytestmark = pytest.mark.anyio

MEGABYTES = 6
"""More than the writer lets the write-ahead log grow to."""


def _message(job: str) -> WorkMessage:
    return WorkMessage("default", "normal", (Reference(job, 0, "double", 1, False),))


def _checkpoints(database: Database) -> list[str]:
    seen: list[str] = []
    database._writer.set_trace_callback(
        lambda sql: seen.append(sql) if sql.startswith("PRAGMA") else None
    )
    return seen


def _fill(db: sqlite3.Connection) -> None:
    db.execute("CREATE TABLE IF NOT EXISTS filling (body BLOB)")
    db.executemany("INSERT INTO filling VALUES (zeroblob(?))", [(1 << 20,)] * MEGABYTES)


async def test_a_reader_that_stays_holds_up_one_checkpoint_and_not_every_write(
    tmp_path: Path, empty_database: Path
) -> None:
    async with bench(tmp_path, empty_database) as on:
        checkpoints = _checkpoints(on.database)
        reader = sqlite3.connect(on.database.path, isolation_level=None)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM jobs").fetchone()
        for _ in range(5):
            await on.database.write(_fill)
        await until(lambda: checkpoints)
        await on.database.write(_fill)
        assert checkpoints == ["PRAGMA wal_checkpoint(PASSIVE)"], "which waits for nobody"
        # Also a reader that hinders no moving stands in the way of emptying the log.
        reader.execute("COMMIT")
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM jobs").fetchone()
        on.database._checkpoint_not_before = 0.0
        await on.database.write(lambda _: None)
        await until(lambda: on.database._checkpoint_not_before)
        assert [sql.removeprefix("PRAGMA ") for sql in checkpoints[1:]] == [
            "wal_checkpoint(PASSIVE)",
            "busy_timeout=20",
            "wal_checkpoint(TRUNCATE)",
            "busy_timeout=1000",
        ]
        reader.close()
    wal = on.database.path.with_name("observatory.db-wal")
    assert not wal.exists() or wal.stat().st_size == 0, "closing checkpoints all the same"


async def test_searches_leave_readers_for_the_work(tmp_path: Path, empty_database: Path) -> None:
    async with bench(tmp_path, empty_database) as on:
        release = threading.Event()

        def long(_: sqlite3.Connection) -> bool:
            return release.wait(30)

        searches = [asyncio.create_task(on.database.search(long)) for _ in range(18)]
        snapshots = [on.database.snapshot(long) for _ in range(5)]
        consumer = on.spine.consume(["default"])
        await on.spine.publish([], [_message("a")])
        try:
            taken = await asyncio.wait_for(consumer.take(1, 10), 15)
        finally:
            release.set()
        assert [d.message for d in taken] == [_message("a")]
        assert all(await asyncio.gather(*searches))
        assert all(snapshot.result(10) for snapshot in snapshots)


async def test_a_snapshot_does_not_wait_behind_searches_and_searches_that_wait_are_bounded(
    tmp_path: Path, empty_database: Path
) -> None:
    async with bench(tmp_path, empty_database) as on:
        release = threading.Event()

        def long(_: sqlite3.Connection) -> bool:
            return release.wait(30)

        searches = [asyncio.create_task(on.database.search(long)) for _ in range(18)]
        await asyncio.sleep(0)  # each has begun
        try:
            assert await asyncio.wait_for(on.spine.missing([]), 15) == []
            with pytest.raises(QueryTooBroad, match="too many searches") as refused:
                await on.store.list_jobs(JobFilter(), None, 1)
            assert refused.value.retry_after_s
        finally:
            release.set()
        assert all(await asyncio.gather(*searches))
        assert await on.store.list_jobs(JobFilter(), None, 1) == []


async def test_a_message_that_cannot_be_read_is_set_aside_and_stops_nothing(
    tmp_path: Path, empty_database: Path
) -> None:
    async with bench(tmp_path, empty_database) as on:
        await on.database.write(
            lambda db: db.execute(
                "INSERT INTO work_messages (queue, priority, body) VALUES ('default', 1, ?)",
                (b"{torn",),
            )
        )
        await on.spine.publish([], [_message("a")])
        consumer = on.spine.consume(["default"])
        taken = await consumer.take(10, 1)
        assert [d.message for d in taken] == [_message("a")]
        assert await on.spine.missing([]) == []

        def aside(db: sqlite3.Connection) -> list[tuple[bytes, str]]:
            return db.execute(
                "SELECT body, parked FROM work_messages WHERE parked IS NOT NULL"
            ).fetchall()

        await until(lambda: on.database.read(aside))
        assert await on.database.read(aside) == [(b"{torn", "cannot be decoded")]


async def test_a_take_that_could_not_read_takes_the_same_later(
    tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with bench(tmp_path, empty_database) as on:
        await on.spine.publish([], [_message("a")])
        consumer = on.spine.consume(["default"])
        read = on.database.read

        async def lost(work: Callable[[sqlite3.Connection], object]) -> None:
            await read(work)
            raise StoreUnavailable("the answer is lost")

        with monkeypatch.context() as patched:
            patched.setattr(on.database, "read", lost)
            with pytest.raises(SpineUnavailable):
                await consumer.take(10, 1)
        assert [d.message for d in await consumer.take(10, 1)] == [_message("a")]


async def test_trimming_reads_the_oldest_part_of_the_log_only(
    tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Messages in the log's order: a clock that was set back does not make it look through all."""
    monkeypatch.setattr(sqlite_spine, "_TRIM_MAX", 10)
    async with bench(tmp_path, empty_database) as on:
        await on.spine.publish([LogEntry(b"[]", "p", n) for n in range(10)], [])
        await on.advance(-3600)
        await on.spine.publish([LogEntry(b"[]", "p", n) for n in range(10, 40)], [])
        assert await on.spine.trim_log(await on.now() + 60_000_000) == 0
        await on.advance(7200)
        assert await on.spine.trim_log(await on.now()) == 10
        assert (await on.spine.log_range()).first == 11


async def test_a_pruning_forgets_a_bounded_number_of_keys(
    tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_liveness, "_KEYS_FORGOTTEN_MAX", 2)
    async with bench(tmp_path, empty_database) as on:
        await on.store.accept([keyed(f"k{n}", "body") for n in range(5)])
        await on.advance(25 * 3600)
        left: list[int] = []
        for _ in range(3):
            await on.store.prune(await on.now(), 10)
            left += await on.database.read(
                lambda db: db.execute("SELECT count(*) FROM idempotency_keys").fetchone()
            )
        assert left == [3, 1, 0]


async def test_acknowledgements_that_were_refused_go_with_the_next(
    tmp_path: Path, empty_database: Path
) -> None:
    async with bench(tmp_path, empty_database) as on:
        await on.spine.publish([], [_message("a")])
        await on.spine.publish([], [_message("b")])
        consumer = on.spine.consume(["default"])
        first, second = await consumer.take(2, 1)

        def fails_once(on: SqliteBench) -> None:
            # A trigger stands for the full disk: SQLite refuses the delete.
            on.database.submit(
                lambda db: db.execute(
                    "CREATE TRIGGER full BEFORE DELETE ON work_messages "
                    "BEGIN SELECT RAISE(ABORT, 'disk full'); END"
                )
            ).result(10)

        fails_once(on)
        consumer.acknowledge([first])
        await on.database.write(lambda db: db.execute("DROP TRIGGER full"))
        consumer.acknowledge([second])
        await on.database.write(lambda _: None)
        count = await on.database.read(
            lambda db: db.execute("SELECT count(*) FROM work_messages").fetchone()[0]
        )
        assert count == 0


async def test_each_protocol_tells_of_the_file_by_its_own_error(
    tmp_path: Path, empty_database: Path
) -> None:
    """Who needs the spine and finds the disk full is not told of the store."""
    entry = LogEntry(b"[]", "p", 1)
    position = Position("epoch", 1, {})
    async with bench(tmp_path, empty_database) as on:
        for table in ("event_log", "aggregate_position"):
            await on.database.write(
                lambda db, table=table: db.execute(f"ALTER TABLE {table} RENAME TO away_{table}")
            )
        with pytest.raises(SpineUnavailable):
            await on.spine.publish([entry], [])
        with pytest.raises(SpineUnavailable):
            await on.spine.log_range()
        with pytest.raises(AggregatesUnavailable):
            await on.aggregates.replace(position, Deltas())
        with pytest.raises(AggregatesUnavailable):
            await on.aggregates.states()
    for closed in (on.spine.publish([entry], []), on.spine.missing([]), on.spine.log_range()):
        with pytest.raises(SpineUnavailable):
            await closed
    with pytest.raises(AggregatesUnavailable):
        await on.aggregates.position()


async def test_a_snapshot_that_sqlite_refuses_is_an_error_of_the_store(
    tmp_path: Path, empty_database: Path
) -> None:
    async with bench(tmp_path, empty_database) as on:
        refused = on.database.snapshot(lambda db: db.execute("SELECT * FROM there_is_none"))
        with pytest.raises(StoreUnavailable, match="no such table"):
            refused.result(10)


async def test_a_file_of_the_first_schema_is_brought_to_the_newest(tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.set_main_option("sqlalchemy.url", f"sqlite:///{path}")
    command.upgrade(config, "0001")
    assert revision(path) == "0001"

    database = Database(tmp_path, lambda: 0)
    try:
        store = SqliteStore(database, "boot")
        assert revision(path) == HEAD
        assert await store.pause_queue("mail", True)
        assert set(await store.paused_queues()) == {"mail"}
    finally:
        await database.close()


def test_the_queues_in_which_jobs_wait_are_sought_and_not_scanned(empty_database: Path) -> None:
    with closing(sqlite3.connect(empty_database)) as db:
        plan = db.execute(f"EXPLAIN QUERY PLAN {statement('select_oldest_queued')}").fetchall()

    steps = [detail for *_, detail in plan if "jobs" in detail]
    assert steps == [
        "SEARCH jobs USING INDEX jobs_waiting",
        "SEARCH jobs USING INDEX jobs_waiting (queue>?)",
        "SEARCH jobs USING INDEX jobs_waiting (queue=?)",
    ]


def test_what_a_scrape_asks_for_reads_no_jobs_and_no_more_of_the_outbox_than_is_counted(
    empty_database: Path,
) -> None:
    def steps(name: str, *values: int) -> list[str]:
        plan = db.execute(f"EXPLAIN QUERY PLAN {statement(name)}", values)
        return [detail for *_, detail in plan if " outbox" in detail or " workers" in detail]

    with closing(sqlite3.connect(empty_database)) as db:
        # The first is cut off by the limit of what is counted, the second after one row.
        by_key = "SCAN outbox USING COVERING INDEX sqlite_autoindex_outbox_1"
        assert sorted(steps("select_backlog", 1)) == ["SCAN outbox", by_key]
        assert steps("select_workforce", 1, 1) == ["SCAN workers"]
