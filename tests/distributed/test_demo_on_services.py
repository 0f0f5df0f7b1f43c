"""The demo on servers of its own, by the one command of the guide: its numbers agree everywhere."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from development.postgres import PostgresServer
from development.process import free_port
from real import environment, until

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
OBSERVATORY = [sys.executable, "-m", "observatory.interfaces.cli.main"]
FILES = 150
ENDINGS = {"job.completed": "completed", "job.failed": "failed", "job.cancelled": "cancelled"}


class Demo:
    """What `scripts/demo --services` starts once everything is installed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = f"http://127.0.0.1:{(port := free_port())}"
        self._output = folder / "output.txt"
        command = [sys.executable, "-m", "development", "--folder", str(folder / "servers"), "--"]
        command += [*OBSERVATORY, "up", "--demo", f"--files={FILES}", f"--port={port}"]
        with self._output.open("wb") as output:
            self.process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @property
    def output(self) -> str:
        return self._output.read_text(errors="replace")

    def is_done(self) -> bool:
        assert self.process.poll() is None, self.output
        return "Ctrl-C ends it" in self.output

    def in_sql(self) -> Counter[str]:
        asked = "SELECT state, count(*) FROM jobs GROUP BY state"
        answer = PostgresServer(self.folder / "servers" / "postgres").psql(asked)
        return Counter({state: int(n) for state, n in (s.split("|") for s in answer.split())})

    def in_stats(self) -> Counter[str]:
        states = httpx.get(f"{self.url}/stats", trust_env=False).json()["states"]
        return Counter({state: n for state, n in states.items() if n})

    def on_the_command_line(self) -> Counter[str]:
        answer = subprocess.run(
            [*OBSERVATORY, "stats", "--json"],
            env=environment(OBSERVATORY_URL=self.url),
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        return Counter({s: n for s, n in json.loads(answer.stdout)["states"].items() if n})

    def in_the_log(self) -> Counter[str]:
        last: dict[str, str] = {}
        query = {"limit": "200", "after": "0-0", "type": ",".join(ENDINGS)}
        while True:
            page = httpx.get(f"{self.url}/events", params=query, trust_env=False).json()
            for item in page["items"]:
                last[item["event"]["subject"]] = ENDINGS[item["event"]["type"]]
            if page["next"] is None:
                return Counter(last.values())
            query["cursor"] = page["next"]


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    started = Demo(tmp_path)
    yield started
    if started.process.poll() is None:
        started.process.terminate()
        started.process.wait(60)


def test_the_numbers_of_the_demo_agree_everywhere(demo: Demo) -> None:
    until(demo.is_done, timeout_s=240, why=lambda: demo.output[-3000:])

    stored = demo.in_sql()
    assert stored.total() == FILES + 1
    assert set(stored) <= {"completed", "failed"}
    until(lambda: demo.in_stats() == stored)
    assert demo.on_the_command_line() == stored
    assert demo.in_the_log() == stored
    assert f"\n{FILES} files in " in demo.output
    assert "postgresql://" in demo.output

    demo.process.send_signal(signal.SIGINT)
    assert demo.process.wait(60) == 0, demo.output[-3000:]
    assert "Traceback" not in demo.output
    here = str(demo.folder).encode()
    for process in Path("/proc").glob("[0-9]*"):
        if int(process.name) != os.getpid():
            try:
                assert here not in (process / "cmdline").read_bytes()
            except (FileNotFoundError, ProcessLookupError):
                pass
