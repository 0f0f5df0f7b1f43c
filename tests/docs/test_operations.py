"""Backup, restore and loss of servers, as docs/operations tells of them, with its own commands."""

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from documents import ROOT, Block, blocks

from development import PostgresServer, RabbitmqServer, RedisServer
from development.installation import postgres_binaries
from development.process import Server
from observatory.backends.postgres.migrate import HEAD
from real import RunningSystem, environment, running_system, until

pytestmark = pytest.mark.slow

JOBS = """
import time
from observatory import Observatory

app = Observatory()

@app.job("square")
async def square(n: int) -> int:
    return n * n

@app.job("slow", max_attempts=5)
def slow(n: int) -> int:
    time.sleep(0.3)
    return n
"""
QUICK = {
    "OBSERVATORY_HEARTBEAT_SECONDS": "0.3",
    "OBSERVATORY_LEASE_SECONDS": "2",
    "OBSERVATORY_CONCURRENCY": "2",
}
DATABASE = "observatory"


class Site:
    """The three servers in a folder, with an empty database."""

    def __init__(self, folder: Path) -> None:
        self.postgres = PostgresServer(folder / "postgres")
        self.rabbitmq = RabbitmqServer(folder / "rabbitmq")
        self.redis = RedisServer(folder / "redis")

    @property
    def servers(self) -> tuple[Server, ...]:
        return self.postgres, self.rabbitmq, self.redis

    @property
    def settings(self) -> dict[str, Any]:
        return QUICK | {
            "OBSERVATORY_STORE_URL": self.postgres.url(DATABASE),
            "OBSERVATORY_SPINE_URL": self.rabbitmq.url(),
            "OBSERVATORY_AGGREGATES_URL": self.redis.url(),
        }

    def lose(self) -> None:
        """Kill every server and remove all that it kept."""
        for server in self.servers:
            server.kill()
            data = (server.folder / "data").resolve()
            shutil.rmtree(server.folder)
            shutil.rmtree(data, ignore_errors=True)


@contextmanager
def site(folder: Path) -> Iterator[Site]:
    with ExitStack() as stack:
        made = Site(folder)
        for server in made.servers:
            stack.enter_context(server)
        made.postgres.psql(f"CREATE DATABASE {DATABASE}")
        yield made


def told_to_run(document: str) -> list[Block]:
    """The marked commands of a document, in its order."""
    return [one for one in blocks(ROOT / "docs" / "operations" / document) if one.mark == "run"]


def run(block: Block, folder: Path, settings: dict[str, str]) -> None:
    """One block in a shell, as an operator would."""
    path = os.pathsep.join([str(postgres_binaries()), str(Path(sys.executable).parent)])
    given = environment(**settings) | {"PATH": f"{path}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block.text],
        cwd=folder, env=given, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, f"{block.where}\n{done.stdout}{done.stderr}"


def submit(http: httpx.Client, type: str, numbers: range) -> dict[str, str]:
    """The job of each key, all accepted."""
    items = [{"type": type, "payload": {"n": n}, "idempotencyKey": f"{type}-{n}"} for n in numbers]
    answer = http.post("/jobs/batch", json=items)
    assert answer.status_code == 202, answer.text
    told: list[dict[str, Any]] = answer.json()["items"]
    return {f"{type}-{n}": one["jobId"] for n, one in zip(numbers, told, strict=True)}


def states(http: httpx.Client) -> Counter[str]:
    """Jobs in each state as the numbers have it, once they are whole and current."""
    answer = http.get("/stats")
    if answer.status_code != 200 or not answer.json()["complete"]:
        return Counter()
    return Counter({state: n for state, n in answer.json()["states"].items() if n})


def counted(system: RunningSystem, wanted: Counter[str], timeout_s: float = 60) -> None:
    until(
        lambda: states(system.http) == wanted,
        timeout_s=timeout_s,
        why=lambda: f"{states(system.http)} and not {wanted}\n{system.output[-3000:]}",
    )


def recorded(http: httpx.Client, ids: list[str]) -> Counter[str]:
    """The states of jobs in the record."""
    return Counter(http.get(f"/jobs/{job}").json()["state"] for job in ids)


def test_what_was_accepted_before_the_dump_is_there_after_a_restore(tmp_path: Path) -> None:
    backup, restore = told_to_run("backup.md")
    with site(tmp_path / "before") as first:
        with running_system(JOBS, tmp_path, **first.settings) as system:
            kept = submit(system.http, "square", range(40))
            counted(system, Counter(completed=40))
            kept |= submit(system.http, "slow", range(30))
            until(lambda: states(system.http)["completed"] > 41)
            run(backup, tmp_path, first.settings)
            at_dump = recorded(system.http, list(kept.values()))
            assert at_dump["queued"] > 0, f"vacuous: nothing waited at the dump: {at_dump}"
            lost = submit(system.http, "square", range(100, 120))
            counted(system, Counter(completed=90))
            system.kill()
        first.lose()

    with site(tmp_path / "after") as second:
        run(restore, tmp_path, second.settings)
        with running_system(JOBS, tmp_path, **second.settings) as system:
            counted(system, Counter(completed=70))
            assert recorded(system.http, list(kept.values())) == Counter(completed=70)
            gone = [system.http.get(f"/jobs/{job}").status_code for job in lost.values()]
            assert gone == [404] * len(lost)
            # The same keys, the same jobs; those that came after the dump are new.
            assert submit(system.http, "square", range(40)) == {
                key: job for key, job in kept.items() if key.startswith("square")
            }
            again = submit(system.http, "square", range(100, 120))
            assert not set(again.values()) & set(lost.values())
            counted(system, Counter(completed=90))
            assert system.stop() == 0, system.output[-3000:]


def test_rabbitmq_and_redis_may_come_back_empty(tmp_path: Path) -> None:
    with (
        site(tmp_path / "servers") as on,
        running_system(JOBS, tmp_path, **on.settings) as system,
    ):
        submit(system.http, "square", range(20))
        counted(system, Counter(completed=20))
        ids = list(submit(system.http, "slow", range(30)).values())
        for server in (on.rabbitmq, on.redis):
            server.kill()
        shutil.rmtree(on.rabbitmq.folder / "data")
        shutil.rmtree(on.redis.folder / "appendonlydir")
        taken = submit(system.http, "square", range(100, 110))
        waiting = recorded(system.http, [*ids, *taken.values()])
        assert waiting["queued"] > 10, f"vacuous: nothing waited: {waiting}"
        for server in (on.rabbitmq, on.redis):
            server.start()

        counted(system, Counter(completed=60), timeout_s=90)
        assert recorded(system.http, [*ids, *taken.values()]) == Counter(completed=40)


def test_the_schema_is_migrated_after_a_backup_and_again_without_harm(tmp_path: Path) -> None:
    (upgrade,) = told_to_run("upgrade.md")
    with PostgresServer(tmp_path / "postgres") as server:
        settings = {"OBSERVATORY_STORE_URL": server.url()}
        for _ in range(2):
            run(upgrade, tmp_path, settings)
            assert server.psql("SELECT version_num FROM alembic_version") == HEAD
        listed = subprocess.run(
            [postgres_binaries() / "pg_restore", "--list", tmp_path / "observatory.dump"],
            capture_output=True, text=True, check=True, timeout=60,
        )  # fmt: skip
        assert "TABLE DATA public jobs" in listed.stdout


def test_an_old_key_and_a_new_one_work_side_by_side(tmp_path: Path) -> None:
    (new_key,) = told_to_run("keys.md")
    made = [_made(new_key.text, tmp_path) for _ in range(2)]
    keys = [key for key, _ in made]

    def answers(entries: list[str]) -> list[int]:
        with running_system(JOBS, tmp_path, OBSERVATORY_API_KEYS=",".join(entries)) as system:
            headers = [{"Authorization": f"Bearer {key}"} for key in keys]
            return [system.http.get("/jobs", headers=one).status_code for one in headers]

    assert answers([entry for _, entry in made]) == [200, 200]
    assert answers([made[1][1]]) == [401, 200]


def _made(text: str, folder: Path) -> tuple[str, str]:
    """A key and its entry, as the command of a document makes them."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = ["bash", "-euo", "pipefail", "-c", f"{text.strip()} --json"]
    done = subprocess.run(
        command, cwd=folder, env=environment(PATH=path), capture_output=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, str] = json.loads(done.stdout)
    return found["key"], found["entry"]
