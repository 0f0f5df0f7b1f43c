"""The whole system on RabbitMQ, PostgreSQL and Redis, in one process and in several."""

import asyncio
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import aiormq
import httpx
import pytest

from conformance import postgres, rabbitmq, redis_bench
from development import PostgresServer
from development.process import free_port
from real import RunningSystem, environment, running_service, running_system, until

pytestmark = pytest.mark.slow

JOBS = """
import os, time
from pathlib import Path
from observatory import JobContext, Observatory

app = Observatory()

def ran(ctx: JobContext) -> None:
    line = f"{ctx.job_id} {ctx.attempt}\\n".encode()
    fd = os.open("ledger.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(fd, line)
    os.close(fd)

@app.job("square")
async def square(n: int, ctx: JobContext) -> int:
    ran(ctx)
    return n * n

@app.job("slow", max_attempts=5)
def slow(seconds: float, ctx: JobContext) -> str:
    ran(ctx)
    time.sleep(seconds)
    return "slept"

@app.job("broken", max_attempts=1)
async def broken(ctx: JobContext) -> None:
    raise ValueError("on purpose")
"""

QUICK = {"OBSERVATORY_HEARTBEAT_SECONDS": "0.3", "OBSERVATORY_LEASE_SECONDS": "2"}
TERMINAL = {"completed", "failed", "cancelled"}


def command(settings: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    """One run of the command line, to its end."""
    return subprocess.run(
        [sys.executable, "-m", "observatory.interfaces.cli.main", *words],
        env=environment(**settings),
        capture_output=True,
        text=True,
        timeout=60,
    )


def submit(http: httpx.Client, type: str, payloads: list[dict[str, Any]]) -> list[str]:
    """The ids of jobs that were all accepted."""
    items = [{"type": type, "payload": p, "idempotencyKey": f"{type}-{i}"}
             for i, p in enumerate(payloads)]  # fmt: skip
    answer = http.post("/jobs/batch", json=items)
    assert answer.status_code == 202, answer.text
    assert all(item["status"] == 202 for item in answer.json()["items"]), answer.text
    return [item["jobId"] for item in answer.json()["items"]]


def ended(http: httpx.Client, ids: list[str], *, timeout_s: float = 60.0) -> dict[str, Any]:
    """Every job, once all of them have ended."""
    found: dict[str, Any] = {}

    def all_there() -> bool:
        for id in ids:
            if id not in found:
                answer = http.get(f"/jobs/{id}")
                # Connecting to a store that was away is tried again only after a pause.
                if answer.status_code == 503 or answer.json()["state"] not in TERMINAL:
                    return False
                found[id] = answer.json()
        return True

    until(all_there, timeout_s=timeout_s, why=lambda: f"{len(found)} of {len(ids)} have ended")
    return found


def states(http: httpx.Client) -> Counter[str]:
    """Jobs in each state as the aggregates have it."""
    answer = http.get("/stats")
    assert answer.status_code == 200, answer.text
    return Counter({s: n for s, n in answer.json()["states"].items() if n})


def at_work(processor: RunningSystem, http: httpx.Client, ledger: Path) -> bool:
    """Whether jobs have begun in this processor that the store does not know to have ended.

    A commit that is under way when it is frozen is through a moment later.
    """
    time.sleep(0.1)
    began = {line.split()[0] for line in ledger.read_text().splitlines()}
    running = http.get("/jobs", params={"state": "running"}).json()["items"]
    pid = str(processor.process.pid)
    return any(job["id"] in began and job["worker"].split(":")[1] == pid for job in running)


def outcomes(url: str) -> Counter[int]:
    """How many terminal transitions each job has: the count of each number."""
    lines = postgres.server().psql(
        "SELECT count(*) FILTER (WHERE body::jsonb ->> 'state' IN "
        "('completed', 'failed', 'cancelled')) FROM history GROUP BY job",
        url.rpartition("/")[2],
    )
    return Counter(int(line) for line in lines.split())


def test_one_process_loses_nothing_when_it_is_killed(
    tmp_path: Path, shared_backends: dict[str, str]
) -> None:
    with running_system(JOBS, tmp_path, **QUICK, **shared_backends) as system:
        ids = submit(system.http, "square", [{"n": n} for n in range(300)])
        ids += submit(system.http, "slow", [{"seconds": 0.2}] * 60)
        for _ in range(3):
            time.sleep(0.3)
            system.restart()
        jobs = ended(system.http, ids)
        assert {job["state"] for job in jobs.values()} == {"completed"}
        broken = submit(system.http, "broken", [{}] * 5)
        assert {job["state"] for job in ended(system.http, broken).values()} == {"failed"}
        until(lambda: states(system.http) == Counter(completed=360, failed=5), timeout_s=20)
        assert outcomes(shared_backends["OBSERVATORY_STORE_URL"]) == Counter({1: 365})
        assert system.stop() == 0, system.output[-3000:]
    assert not system.data.exists(), "nothing is kept in a file"


def test_processes_of_their_own_share_the_work_and_take_over(
    tmp_path: Path, shared_backends: dict[str, str]
) -> None:
    settings = QUICK | shared_backends
    migrated = command(settings, "migrate", "--json")
    assert migrated.returncode == 0, migrated.stderr
    assert json.loads(migrated.stdout)["schema"]
    assert shared_backends["OBSERVATORY_STORE_URL"].rpartition("/")[2] in migrated.stdout
    with ExitStack() as stack:

        def start(command: str, **more: Any) -> RunningSystem:
            return stack.enter_context(running_service(command, tmp_path, **more, **settings))

        gateway, reads = start("gateway"), start("read-model")
        start("metrics-engine")
        first = start("processor", module_source=JOBS, OBSERVATORY_CONCURRENCY="4")
        second = start("processor", module_source=JOBS, OBSERVATORY_CONCURRENCY="4")
        until(lambda: len(reads.http.get("/workers").json()["items"]) == 2)

        ids = submit(gateway.http, "slow", [{"seconds": 0.5}] * 30)
        until(lambda: (tmp_path / "ledger.txt").exists())
        first.kill_when(lambda: at_work(first, reads.http, tmp_path / "ledger.txt"))
        began = time.monotonic()
        jobs = ended(reads.http, ids)
        assert {job["state"] for job in jobs.values()} == {"completed"}
        assert time.monotonic() - began < 15 + 30 * 0.5 / 4
        tried = Counter(
            line.split()[0] for line in (tmp_path / "ledger.txt").read_text().splitlines()
        )
        assert max(tried.values()) == 2, "the kill hit nobody"
        until(lambda: states(reads.http) == Counter(completed=30), timeout_s=20)
        assert outcomes(shared_backends["OBSERVATORY_STORE_URL"]) == Counter({1: 30})
        alone = settings | {"OBSERVATORY_URL": gateway.url}
        answer = command(alone, "submit", "square", "n=3", "--wait")
        assert answer.returncode != 0
        assert "was accepted" in answer.stderr
        assert "the edge leads each request to the right one" in answer.stderr
        for one in (second, gateway, reads):
            assert one.stop() == 0, one.output[-3000:]


def test_without_redis_jobs_go_on_and_views_say_how_old_they_are(
    tmp_path: Path, shared_backends: dict[str, str]
) -> None:
    with (
        redis_bench.RedisServer(tmp_path / "redis") as redis,
        running_system(
            JOBS, tmp_path, **QUICK, **(shared_backends | {"OBSERVATORY_AGGREGATES_URL": redis.url()})
        ) as system,
    ):  # fmt: skip
        ended(system.http, submit(system.http, "square", [{"n": n} for n in range(20)]))
        until(lambda: states(system.http) == Counter(completed=20), timeout_s=20)

        redis.kill()
        ids = [
            system.http.post("/jobs", json={"type": "square", "payload": {"n": n}}).json()["jobId"]
            for n in range(20)
        ]
        jobs = ended(system.http, ids)
        assert {job["state"] for job in jobs.values()} == {"completed"}
        answer = system.http.get("/stats")
        assert answer.status_code == 503, answer.text
        assert answer.json()["type"].endswith("aggregates-unavailable")
        listed = system.http.get("/jobs")
        assert listed.status_code == 200
        until(
            lambda: float(system.http.get("/jobs").headers["observatory-lag-seconds"]) > 1,
            why=lambda: "the age does not grow",
        )
        assert 'backend_up{backend="aggregates"} 0.0' in system.http.get("/metrics").text

        redis.start()
        redis.cli("FLUSHALL")

        def counted_again() -> bool:
            answer = system.http.get("/stats")
            return answer.status_code == 200 and states(system.http) == Counter(completed=40)

        until(counted_again, timeout_s=30)
        until(lambda: system.http.get("/readyz").status_code == 200)


def test_migrating_waits_for_a_server_that_is_not_there_yet(tmp_path: Path) -> None:
    server = PostgresServer(tmp_path / "postgres", fsync=False)
    with server:
        url = server.url("postgres")
    settings = environment(OBSERVATORY_STORE_URL=url)
    program = [sys.executable, "-m", "observatory.interfaces.cli.main", "migrate"]
    at_once = subprocess.run(program, env=settings, capture_output=True, text=True, timeout=60)
    assert at_once.returncode == 5, at_once.stderr

    with waiting_to_migrate(url) as waits:
        assert waits.stderr is not None
        assert "does not answer" in waits.stderr.readline()
        with server:
            told, _ = waits.communicate(timeout=60)
    assert (waits.returncode, "is at schema" in told) == (0, True)


@contextmanager
def waiting_to_migrate(url: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-m", "observatory.interfaces.cli.main", "migrate", "--wait", "60"],
        env=environment(OBSERVATORY_STORE_URL=url),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as waits:
        try:
            yield waits
        finally:
            waits.kill()


def test_what_waits_to_migrate_ends_when_it_is_told_to() -> None:
    with waiting_to_migrate(f"postgresql://nobody@127.0.0.1:{free_port()}/nothing") as waits:
        assert waits.stderr is not None
        assert "trying again" in waits.stderr.readline()
        waits.terminate()
        assert waits.wait(30) == 143
        assert "Traceback" not in waits.stderr.read()


def test_a_store_that_is_not_migrated_is_said_in_one_line(shared_backends: dict[str, str]) -> None:
    url = shared_backends["OBSERVATORY_STORE_URL"].rpartition("/")[0] + "/postgres"
    settings = shared_backends | {"OBSERVATORY_STORE_URL": url}
    done = command(settings, "gateway", "--port", "0")
    assert done.returncode == 2, done.stderr
    assert "run `observatory migrate` once" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_store_that_does_not_answer_is_said_in_one_line(shared_backends: dict[str, str]) -> None:
    settings = shared_backends | {"OBSERVATORY_STORE_URL": "postgresql://x:secret@127.0.0.1:1/x"}
    done = command(settings, "up", "--port", "0")
    assert done.returncode == 5, done.stderr
    assert "secret" not in done.stderr
    assert "Traceback" not in done.stderr


def test_without_rabbitmq_jobs_are_taken_and_run_when_it_is_back(
    tmp_path: Path, shared_backends: dict[str, str]
) -> None:
    with rabbitmq.RabbitmqServer(tmp_path / "rabbitmq") as broker:
        settings = QUICK | shared_backends | {"OBSERVATORY_SPINE_URL": broker.url()}
        with running_system(JOBS, tmp_path, **settings) as system:
            ended(system.http, submit(system.http, "square", [{"n": n} for n in range(20)]))

            broker.stop()
            ids = [
                system.http.post("/jobs", json={"type": "square", "payload": {"n": n}}).json()[
                    "jobId"
                ]
                for n in range(20)
            ]
            until(
                lambda: float(system.http.get("/jobs").headers["observatory-lag-seconds"]) > 1,
                timeout_s=30,
                why=lambda: "the age does not grow",
            )
            assert {system.http.get(f"/jobs/{id}").json()["state"] for id in ids} == {"queued"}

            broker.start()
            jobs = ended(system.http, ids)
            assert {job["state"] for job in jobs.values()} == {"completed"}
            until(lambda: states(system.http) == Counter(completed=40), timeout_s=30)
    assert outcomes(shared_backends["OBSERVATORY_STORE_URL"]) == Counter({1: 40})


async def loses_patience(url: str, within_s: float) -> bool:
    """Whether the broker closes the channel of somebody who takes a message and says nothing."""
    connection = await aiormq.connect(url)
    try:
        channel = await connection.channel()
        await channel.queue_declare("held", durable=True, arguments={"x-queue-type": "quorum"})
        await channel.basic_publish(b"{}", routing_key="held")
        taken = asyncio.Event()

        async def take(_: Any) -> None:
            taken.set()

        await channel.basic_consume("held", take)
        await asyncio.wait_for(taken.wait(), 5)
        closed, _ = await asyncio.wait([channel.closing], timeout=within_s + 5)
        return bool(closed)
    finally:
        await connection.close()


def test_jobs_that_outlast_the_brokers_patience_run_once(
    tmp_path: Path, shared_backends: dict[str, str]
) -> None:
    patience_s = 10.0
    folder = tmp_path / "rabbitmq"
    folder.mkdir()
    # By itself RabbitMQ looks for those who are late once a minute.
    (folder / "advanced.config").write_text("[{rabbit, [{channel_tick_interval, 1000}]}].")
    with rabbitmq.RabbitmqServer(folder, consumer_timeout_s=patience_s) as broker:
        settings = shared_backends | {
            "OBSERVATORY_SPINE_URL": broker.url(),
            "OBSERVATORY_CONCURRENCY": "2",
        }
        with running_system(JOBS, tmp_path, **settings) as system:
            # Two run, the others wait at hand or in the queue for as long.
            ids = submit(system.http, "slow", [{"seconds": patience_s + 3}] * 4)
            jobs = ended(system.http, ids, timeout_s=4 * patience_s)
        assert {(job["state"], job["attempt"]) for job in jobs.values()} == {("completed", 1)}
        assert len((tmp_path / "ledger.txt").read_text().splitlines()) == len(ids)
        assert asyncio.run(loses_patience(broker.url(), patience_s)), "it would have waited on"


def test_started_without_rabbitmq_it_takes_jobs_and_runs_them_later(
    tmp_path: Path, shared_backends: dict[str, str]
) -> None:
    with rabbitmq.RabbitmqServer(tmp_path / "rabbitmq") as broker:
        broker.stop()
        settings = QUICK | shared_backends | {"OBSERVATORY_SPINE_URL": broker.url()}
        with running_system(JOBS, tmp_path, start=False, **settings) as system:
            system.start(wait=False)
            until(lambda: answers(system.http), timeout_s=20)
            ids = submit(system.http, "square", [{"n": n} for n in range(5)])
            assert system.http.get("/readyz").status_code == 503
            assert system.alive

            broker.start()
            jobs = ended(system.http, ids)
            assert {job["state"] for job in jobs.values()} == {"completed"}
            until(lambda: system.http.get("/readyz").status_code == 200, timeout_s=20)


def answers(http: httpx.Client) -> bool:
    """Whether anybody listens."""
    try:
        return http.get("/livez").status_code == 200
    except httpx.TransportError:
        return False


def test_without_postgresql_jobs_are_refused_and_what_ran_is_recorded_later(
    tmp_path: Path, shared_backends: dict[str, str]
) -> None:
    with postgres.PostgresServer(tmp_path / "postgres") as server:
        # Rescued by nobody while the store is away, so the run under way is recorded, not repeated.
        settings = shared_backends | {"OBSERVATORY_STORE_URL": server.url()}
        settings |= {"OBSERVATORY_LEASE_SECONDS": "60"}
        with running_system(JOBS, tmp_path, **settings) as system:
            ids = submit(system.http, "slow", [{"seconds": 2.0}])
            until(lambda: (tmp_path / "ledger.txt").exists())

            server.stop()
            refused = system.http.post("/jobs", json={"type": "square", "payload": {"n": 1}})
            assert refused.status_code == 503, refused.text
            assert refused.json()["type"].endswith("store-unavailable")
            assert system.http.get("/jobs").status_code == 503
            time.sleep(2.5)

            server.start()
            jobs = ended(system.http, ids)
            assert {job["state"] for job in jobs.values()} == {"completed"}
            assert len((tmp_path / "ledger.txt").read_text().splitlines()) == 1
            until(lambda: states(system.http) == Counter(completed=1), timeout_s=30)


def test_a_paused_queue_waits_and_loses_nothing(
    tmp_path: Path, shared_backends: dict[str, str]
) -> None:
    with running_system(JOBS, tmp_path, **QUICK, **shared_backends) as system:
        ended(system.http, submit(system.http, "square", [{"n": n} for n in range(50)]))
        assert system.http.post("/queues/default/pause").json()["paused"] is True
        time.sleep(1.0)  # within which every processor has seen it
        items = [{"type": "square", "payload": {"n": n}} for n in range(50)]
        answer = system.http.post("/jobs/batch", json=items)
        ids = [item["jobId"] for item in answer.json()["items"]]
        time.sleep(1.5)
        assert {system.http.get(f"/jobs/{id}").json()["state"] for id in ids} == {"queued"}
        assert system.http.post("/queues/default/resume").json()["paused"] is False
        jobs = ended(system.http, ids)
        assert {job["attempt"] for job in jobs.values()} == {1}
        until(lambda: states(system.http) == Counter(completed=100), timeout_s=20)
