"""The store on PostgreSQL while the server dies, lines are cut, and nodes change their roles."""

import asyncio
import os
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from conformance.making import WORKER, accept, ended, keyed, named, running, submission, worker
from development.postgres import PostgresServer
from faults.proxy import Proxy
from observatory import Observatory
from observatory.backends.postgres import database as database_module
from observatory.backends.postgres import writer as writer_module
from observatory.backends.postgres.database import Database
from observatory.backends.postgres.migrate import migrate
from observatory.backends.postgres.store import PostgresStore
from observatory.backends.postgres.transaction import Transaction
from observatory.core.errors import (
    InvalidCursor,
    NotFound,
    Problem,
    QueryTooBroad,
    RowRefused,
    StoreUnavailable,
)
from observatory.core.job import Submission
from observatory.core.lifecycle import Move, State
from observatory.core.spine import work_of
from observatory.core.store import Accepted, JobFilter
from observatory.runtime.dispatch import Dispatcher
from observatory.services.processor.service import Processor
from observatory.settings import Settings
from services.embedding import bench

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    with PostgresServer(tmp_path_factory.mktemp("postgres")) as server:
        yield server


@pytest.fixture
def url(server: PostgresServer, request: pytest.FixtureRequest) -> str:
    if not server.alive:
        server.start()
    name = f"recovery_{abs(hash(request.node.name))}"
    server.psql(f"CREATE DATABASE {name}")
    migrate(server.url(name))
    return server.url(name)


@pytest.fixture
async def store(url: str) -> AsyncIterator[PostgresStore]:
    database = Database(url)
    yield PostgresStore(database, "boot-a")
    await database.close()


@pytest.fixture
async def line(url: str) -> AsyncIterator[Proxy]:
    with Proxy(url) as line:
        yield line


@pytest.fixture
async def far(line: Proxy) -> AsyncIterator[PostgresStore]:
    """A store at the other end of a line."""
    database = Database(line.url)
    yield PostgresStore(database, "boot-far")
    await database.close()


async def until(holds: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it never came to hold"
        await asyncio.sleep(0.02)


async def patiently(submissions: list[Submission], store: PostgresStore) -> list[str]:
    """Accept as soon as the store is back."""
    deadline = time.monotonic() + 30
    while True:
        try:
            return await accept(store, *submissions)
        except StoreUnavailable:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)


# The server dies


async def test_nothing_answered_is_lost_when_the_server_dies_under_load(
    server: PostgresServer, store: PostgresStore
) -> None:
    acknowledged: set[str] = set()
    refused: set[str] = set()
    stop = threading.Event()

    async def submit() -> None:
        while not stop.is_set():
            given = [submission() for _ in range(3)]
            ids = {one.id for one in given}
            try:
                await store.accept(given)
            except StoreUnavailable:
                refused.update(ids)
                await asyncio.sleep(0.02)
            else:
                acknowledged.update(ids)

    lanes = [asyncio.create_task(submit()) for _ in range(8)]
    for _ in range(2):
        before = len(acknowledged)
        await until(lambda before=before: len(acknowledged) > before + 100)  # type: ignore[misc]
        os.kill(server.pid, signal.SIGQUIT)  # pg_ctl stop -m immediate
        await until(lambda: not server.alive)
        missed = len(refused)
        await until(lambda missed=missed: len(refused) > missed)  # type: ignore[misc]
        await asyncio.to_thread(server.restart)
    before = len(acknowledged)
    await until(lambda: len(acknowledged) > before + 100)
    stop.set()
    await asyncio.gather(*lanes)

    kept = set(server.psql("SELECT id FROM jobs", store_database(store)).split())
    assert acknowledged <= kept
    assert kept <= acknowledged | refused
    commits = await store.unpublished(0, 1_000_000)
    assert [c.number for c in commits] == list(range(1, len(commits) + 1))
    assert {t.job for c in commits for t in c.transitions} == kept


def store_database(store: PostgresStore) -> str:
    return str(store._database._url.rpartition("/")[2])  # pyright: ignore[reportPrivateUsage]


async def test_the_store_comes_back_with_the_server(
    server: PostgresServer, store: PostgresStore
) -> None:
    job = await running(store)
    await store.register_worker(worker())
    assert store.heartbeat(WORKER, 1, "active").known
    server.kill()

    with pytest.raises(StoreUnavailable):
        await store.job(job)
    with pytest.raises(StoreUnavailable):
        await store.finish([ended(job)], WORKER)
    with pytest.raises(StoreUnavailable):
        await asyncio.to_thread(store.heartbeat, WORKER, 1, "active")

    server.start()
    await patiently([submission()], store)
    recorded, _ = await store.finish([ended(job)], WORKER)
    assert recorded == [True]
    assert store.heartbeat(WORKER, 1, "active").known


# The answer to a commit is lost


async def test_a_commit_whose_answer_was_lost_is_found_to_be_one(
    line: Proxy, far: PostgresStore, store: PostgresStore
) -> None:
    await accept(far)
    line.cut_after = b"COMMIT\0"
    given = keyed("k", "body")

    results, commit = await far.accept([given])

    assert line.cuts == 1
    assert results == [Accepted(given.id)]
    assert commit is not None
    assert (await store.unpublished(0, 10))[-1] == commit
    line.cut_after = None
    assert (await far.accept([submission()]))[1].number == commit.number + 1  # type: ignore[union-attr]


async def test_a_commit_that_never_arrived_is_refused_and_nothing_is_recorded(
    line: Proxy, far: PostgresStore, store: PostgresStore
) -> None:
    await accept(far)
    line.cut_before = b"COMMIT\0"
    given = keyed("k", "body")

    with pytest.raises(StoreUnavailable) as refusal:
        await far.accept([given])

    assert line.cuts == 1
    assert "not known" not in refusal.value.detail
    assert await store.job(given.id) is None
    line.cut_before = None
    results, commit = await far.accept([given])
    assert results == [Accepted(given.id)]
    assert commit is not None
    assert commit.number == 2


async def test_where_nobody_can_tell_the_caller_is_told_so(
    line: Proxy, far: PostgresStore, store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "_RESOLVE_WITHIN_S", 0.5)
    await accept(far)
    line.cut_after = b"COMMIT\0"
    line.closed = True
    given = keyed("k", "body")

    with pytest.raises(StoreUnavailable, match="not known"):
        await far.accept([given])

    line.cut_after, line.closed = None, False
    assert (await store.job(given.id)) is not None
    # What was recorded is found again by its key, and by its id where the same is sent again.
    assert await patiently([given], far) == [given.id]
    assert len(await store.history(given.id)) == 1


async def test_a_job_whose_claim_nobody_can_tell_of_is_run_all_the_same(
    line: Proxy, far: PostgresStore, store: PostgresStore, tmp_path: Path, empty_database: Path
) -> None:
    """The line is away for longer than the commit is looked for, and less than a lease."""
    app = Observatory()

    @app.job("work")
    async def work(n: int) -> int:
        return n

    settings = Settings(data=tmp_path, lease_seconds=15, heartbeat_seconds=1)
    async with bench(tmp_path, empty_database) as on:
        dispatcher = Dispatcher(far, on.spine, "/observatory/test/1", 1000)
        processor = Processor(
            far, on.spine, dispatcher, app.handlers, settings, lambda: time.time_ns() // 1000
        )
        dispatcher.start()
        await processor.start()
        _, accepted = await store.accept([submission("work")])
        assert accepted is not None
        (job,) = (t.job for t in accepted.transitions)
        # So that the claim is the only commit on the line.
        await processor._maintenance.stop()  # pyright: ignore[reportPrivateUsage]
        line.cut_after, line.closed = b"COMMIT\0", True
        await on.spine.publish([], work_of([accepted]))
        await until(lambda: line.cuts > 0)
        line.cut()
        assert await state_of(store, job) is State.RUNNING
        await asyncio.sleep(7)
        line.cut_after, line.closed = None, False
        began = time.monotonic()

        while await state_of(store, job) is not State.COMPLETED:
            assert time.monotonic() < began + 20, "the job is not run"
            await asyncio.sleep(0.05)

        assert [t.move for t in await store.history(job)][1:] == [Move.CLAIM, Move.COMPLETE]
        await processor.stop()
        await dispatcher.stop()


async def state_of(store: PostgresStore, job_id: str) -> State | None:
    job = await store.job(job_id)
    return None if job is None else job.state


async def test_a_connection_that_died_in_its_sleep_is_not_noticed(
    server: PostgresServer, store: PostgresStore
) -> None:
    job = await running(store)
    assert await store.job(job) is not None
    server.psql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE application_name LIKE 'observatory%'"
    )

    assert (await store.finish([ended(job)], WORKER))[0] == [True]
    assert await store.job(job) is not None


# A server that says nothing


async def test_a_beat_that_gets_no_answer_fails_in_time(
    line: Proxy, far: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "_BEAT_WITHIN_S", 0.5)
    await far.register_worker(worker())
    assert far.heartbeat(WORKER, 0, "active").known
    line.held = True
    began = time.monotonic()

    with pytest.raises(StoreUnavailable):
        await asyncio.to_thread(far.heartbeat, WORKER, 0, "active")

    assert time.monotonic() - began < 8, "a beat, and one attempt to connect anew"
    line.held = False
    await asyncio.sleep(0.3)
    assert far.heartbeat(WORKER, 0, "active").known


async def test_a_write_that_gets_no_answer_fails_and_the_next_ones_do_not(
    line: Proxy, far: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "_WRITE_WITHIN_S", 0.5)
    await accept(far)
    line.held = True

    with pytest.raises(StoreUnavailable):
        await far.accept([submission()])

    line.held = False
    await patiently([submission()], far)


async def test_a_long_read_that_gets_no_answer_fails_in_time(
    line: Proxy, far: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "_STEP_WITHIN_S", 0.5)
    database = far._database  # pyright: ignore[reportPrivateUsage]

    def cut_short(db: Transaction) -> None:
        for _ in range(4):
            db.execute(b"SELECT pg_sleep(0.2)")  # together longer than one may take
        line.held = True
        db.execute(b"SELECT 1")

    began = time.monotonic()
    with pytest.raises(StoreUnavailable):
        await database.snapshot(cut_short)

    assert 0.8 < time.monotonic() - began < 8


# Nodes change their roles


async def test_a_node_that_becomes_read_only_is_left_and_writes_go_on_when_it_ends(
    server: PostgresServer, store: PostgresStore
) -> None:
    (job,) = await accept(store)
    server.psql("ALTER SYSTEM SET default_transaction_read_only = on")
    server.psql("SELECT pg_reload_conf()")
    try:
        async with asyncio.timeout(20):
            while True:
                try:
                    await store.accept([submission()])
                except StoreUnavailable:
                    break
        with pytest.raises(StoreUnavailable):
            await store.accept([submission()])
        assert await store.job(job) is not None, "reads go on"
    finally:
        server.psql("ALTER SYSTEM RESET default_transaction_read_only")
        server.psql("SELECT pg_reload_conf()")

    await patiently([submission()], store)
    claimed, _ = await store.claim([named(job)], WORKER)
    assert [one.id for one in claimed] == [job]


# Callers go away


async def test_a_cancelled_reader_leaves_no_transaction_open(
    server: PostgresServer, store: PostgresStore
) -> None:
    database = store._database  # pyright: ignore[reportPrivateUsage]
    readers = [
        asyncio.create_task(database.read(lambda db: db.execute(b"SELECT pg_sleep(0.5)")))
        for _ in range(8)
    ]
    await asyncio.sleep(0.2)

    for one in readers:
        one.cancel()
    await asyncio.gather(*readers, return_exceptions=True)

    open_ones = "SELECT count(*) FROM pg_stat_activity WHERE datname = '{}' AND state LIKE '{}'"
    name = store_database(store)
    await until(lambda: server.psql(open_ones.format(name, "active")) == "0")
    assert server.psql(open_ones.format(name, "idle in transaction%")) == "0"
    assert await store.now() > 0


async def test_a_cancelled_writer_leaves_its_write_whole(store: PostgresStore) -> None:
    given = [submission() for _ in range(20)]
    writers = [asyncio.create_task(store.accept([one])) for one in given]
    await asyncio.sleep(0.001)

    for one in writers[::2]:
        one.cancel()
    answers = await asyncio.gather(*writers, return_exceptions=True)

    for one, answer in zip(given, answers, strict=True):
        if not isinstance(answer, BaseException):
            assert await store.job(one.id) is not None
    commits = await store.unpublished(0, 100)
    assert [c.number for c in commits] == list(range(1, len(commits) + 1))
    for commit in commits:
        for transition in commit.transitions:
            assert await store.job(transition.job) is not None


async def test_a_question_that_reads_too_much_is_told_so_and_the_next_is_answered(
    store: PostgresStore,
) -> None:
    database = store._database  # pyright: ignore[reportPrivateUsage]
    with pytest.raises(QueryTooBroad):
        await database.read(lambda db: db.execute(b"SELECT pg_sleep(10)"))

    assert await store.now() > 0


# What the database refuses


async def test_a_refused_row_takes_no_other_write_with_it(store: PostgresStore) -> None:
    (taken,) = await accept(store)
    good = [submission() for _ in range(20)]
    bad = [submission(id=taken), submission(type="nul\0"), submission(max_attempts=2**40)]
    given = [*good[:10], *bad, *good[10:]]

    answers = await asyncio.gather(*(store.accept([one]) for one in given), return_exceptions=True)

    for one, answer in zip(given, answers, strict=True):
        if one in bad:
            assert isinstance(answer, RowRefused)
            assert not isinstance(answer, Problem), "services single out what is no Problem"
        else:
            assert not isinstance(answer, BaseException)
    for one in good:
        job = await store.job(one.id)
        assert job is not None
        assert job.state is State.QUEUED
    commits = await store.unpublished(0, 100)
    assert sorted(c.number for c in commits) == list(range(1, 22))


async def test_writers_that_meet_in_opposite_order_both_succeed(url: str) -> None:
    databases = [Database(url) for _ in range(2)]
    first, second = (PostgresStore(one, f"boot-{n}") for n, one in enumerate(databases))
    try:
        jobs = [await running(first) for _ in range(30)]
        # Groups lock in the order of their writes: many of one job each, from both ends.
        ours = [first.finish([ended(job)], WORKER) for job in jobs]
        theirs = [second.finish([ended(job)], WORKER) for job in reversed(jobs)]

        answers = await asyncio.gather(*ours, *theirs)

        assert sum(recorded == [True] for recorded, _ in answers) == len(jobs)
    finally:
        for one in databases:
            await one.close()


async def test_what_can_be_no_id_names_no_job_and_harms_no_other(store: PostgresStore) -> None:
    (job,) = await accept(store)
    wrong = "not-an-id"

    claimed, _ = await store.claim([named(wrong), named(job)], WORKER)
    recorded, _ = await store.finish([ended(wrong), ended(job)], WORKER)

    assert [one.id for one in claimed] == [job]
    assert recorded == [False, True]
    assert await store.job(wrong) is None
    assert await store.history(wrong) == []
    with pytest.raises(NotFound):
        await store.cancel(wrong, None)
    with pytest.raises(InvalidCursor):
        await store.list_jobs(JobFilter(), wrong, 10)
    assert await store.list_jobs(JobFilter(type="nul\0"), None, 10) == []


async def test_commits_wait_for_the_disk_where_the_server_would_not(
    server: PostgresServer, url: str
) -> None:
    name = url.rpartition("/")[2]
    server.psql(f"ALTER DATABASE {name} SET synchronous_commit = off")
    database = Database(url)
    try:
        shown = await database.write(lambda db: db.execute(b"SHOW synchronous_commit"))
        assert shown == [("on",)]
    finally:
        await database.close()
