"""The private servers keep their data through a kill, and leave nothing running behind them."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import aiormq
import pytest

from development import (
    PostgresServer,
    RabbitmqServer,
    RedisServer,
    ServerMissing,
    installation,
)

ROOT = Path(__file__).parents[2]


def processes_in(folder: Path) -> list[str]:
    """The command lines that name the folder, or run in it, but for this process.

    The data of PostgreSQL stand elsewhere where its user may not enter the folder.
    """
    folders = [str(folder), *(str(data.resolve()) for data in folder.rglob("data"))]
    found: list[str] = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            place = os.readlink(process / "cwd")
        except OSError:
            continue
        if int(process.name) != os.getpid() and any(one in f"{command} {place}" for one in folders):
            found.append(command)
    return found


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def test_redis_keeps_its_data_and_port_through_a_kill(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as server:
        url = server.url()
        assert server.cli("set", "key", "value") == "OK"
        server.kill()
        assert not server.alive
        server.start()
        assert server.cli("get", "key") == "value"
        server.restart()
        assert (server.cli("get", "key"), server.url()) == ("value", url)
        assert server.cli("config", "get", "maxmemory-policy").split() == [
            "maxmemory-policy",
            "noeviction",
        ]
    assert not processes_in(tmp_path)


def test_postgres_keeps_its_data_and_port_through_a_kill(tmp_path: Path) -> None:
    with PostgresServer(tmp_path) as server:
        url = server.url()
        server.psql("CREATE TABLE kept (n int); INSERT INTO kept VALUES (7)")
        # A connection that is busy when the server dies does not hold the data afterwards.
        sleeping = subprocess.Popen(
            [installation.postgres_binaries() / "psql", url, "-c", "SELECT pg_sleep(600)"],
            stderr=subprocess.DEVNULL,
        )
        active = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'"
        wait_until(lambda: server.psql(active) == "1", "the query does not run")
        server.kill()
        assert sleeping.wait(30) != 0
        server.start()
        assert (server.psql("SELECT n FROM kept"), server.url()) == ("7", url)
        assert server.psql("SHOW fsync") == "on"
        server.restart()
        assert server.psql("SELECT n FROM kept") == "7"
    assert not processes_in(tmp_path)


def test_rabbitmq_keeps_its_queues_and_port_through_a_kill(tmp_path: Path) -> None:
    """Of streams nothing is asked: 3.10 sometimes has one that does not answer for long after a
    kill. What the system makes of that is in the tests of its recovery."""

    async def publish(url: str) -> None:
        connection = await aiormq.connect(url)
        channel = await connection.channel(publisher_confirms=True)
        await channel.queue_declare("kept", durable=True, arguments={"x-queue-type": "quorum"})
        await channel.basic_publish(b"message", routing_key="kept")
        await connection.close()

    async def read(url: str) -> bytes | None:
        connection = await aiormq.connect(url)
        try:
            channel = await connection.channel()
            return (await channel.basic_get("kept")).body
        except (aiormq.AMQPError, asyncio.CancelledError):
            return None  # It answers before its queues have found their leaders.
        finally:
            await connection.close()

    with RabbitmqServer(tmp_path, consumer_timeout_s=90) as server:
        url = server.add_vhost("a/b")
        asyncio.run(publish(url))
        # Where a replicated queue is kept is on disk only a second or so after it was declared.
        server.restart()
        server.kill()
        server.start()
        wait_until(lambda: asyncio.run(read(url)) == b"message", "the message is gone", 60)
        assert server.ctl("eval", "application:get_env(rabbit, consumer_timeout).") == "{ok,90000}"
    assert not processes_in(tmp_path)


def test_what_is_missing_is_said_with_the_command_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for pattern in ("_POSTGRES_FOLDERS", "_RABBITMQ_FOLDERS"):
        monkeypatch.setattr(installation, pattern, str(tmp_path / "*"))

    assert [str(software) for software in installation.missing()] == [
        "RabbitMQ is missing: apt-get install rabbitmq-server",
        "PostgreSQL is missing: apt-get install postgresql",
        "Redis is missing: apt-get install redis-server",
    ]
    # Without apt-get on the PATH nothing is tried.
    assert installation.install() == list(installation.ALL)
    with pytest.raises(ServerMissing, match="apt-get install redis-server"):
        RedisServer(tmp_path / "redis").start()


def test_the_command_ends_with_1_where_a_server_is_missing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "development", "--only", "redis", "--install"],
        cwd=ROOT,
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert (done.returncode, done.stdout, done.stderr) == (
        1,
        "",
        "Redis is missing: apt-get install redis-server\n",
    )


def test_the_command_runs_all_until_it_is_told(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "development", "--folder", str(tmp_path / "kept")]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        printed = [running.stdout.readline().strip() for _ in range(4)]
        before = processes_in(tmp_path)
        running.send_signal(signal.SIGTERM)
        assert running.wait(60) == 0

    assert [line.partition("=")[0] for line in printed[:3]] == [
        "export OBSERVATORY_SPINE_URL",
        "export OBSERVATORY_STORE_URL",
        "export OBSERVATORY_AGGREGATES_URL",
    ]
    assert printed[3].endswith(f"kill {running.pid}")
    for program in ("beam", "epmd", "postgres", "redis"):
        assert any(program in line for line in before), program
    assert not processes_in(tmp_path)


def test_nothing_outlives_a_python_that_was_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "development", "--json", "--folder", str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        said = json.loads(running.stdout.readline())
        assert said["pid"] == running.pid
        assert len(processes_in(tmp_path)) > 4
        running.kill()

    wait_until(lambda: not processes_in(tmp_path), "a server runs on")
