"""How long every read takes over a large record, in milliseconds.

python -m benchmarks.reads [--jobs 1000000] [--requests 40] [--json]

Fills a private PostgreSQL, rebuilds the aggregates from it, starts a read model, and asks each
route one request at a time: first pages, and the page after where there is one.
"""

import argparse
import http.client
import json
import os
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import urlsplit

from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.embedded import machine
from benchmarks.reads.filling import fill
from benchmarks.reads.questions import STATES, About, Question, questions
from benchmarks.reads.services import Servers, Service, command, service

LIMIT_MS = 50.0

_WARM_UP = 3
_RUN_JOBS = 5_000
_REBUILT_WITHIN_S = 900.0


class Reader:
    """One client with one connection."""

    def __init__(self, url: str) -> None:
        self._connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)

    def get(self, target: str, headers: dict[str, str]) -> tuple[int, float, bytes]:
        """Status, milliseconds until all of the answer was there, and the answer. Of a stream,
        the first event."""
        began = time.perf_counter()
        self._connection.request("GET", target, headers=headers)
        response = self._connection.getresponse()
        if (response.getheader("content-type") or "").startswith("text/event-stream"):
            body = response.readline()
            taken_ms = (time.perf_counter() - began) * 1000
            self._connection.close()
        else:
            body = response.read()
            taken_ms = (time.perf_counter() - began) * 1000
        return response.status, taken_ms, body

    def json(self, target: str) -> Any:
        """The answer as data."""
        status, _, body = self.get(target, {})
        if status != 200:
            raise RuntimeError(f"GET {target}: {status} {body[:500]!r}")
        return json.loads(body)


def known(reader: Reader) -> list[dict[str, Any]]:
    """Jobs of every kind and age, to ask about."""
    groups = {one["type"]: one["fingerprint"] for one in reader.json("/failures")["items"]}
    jobs: list[dict[str, Any]] = []
    for state in STATES:
        jobs += reader.json(f"/jobs?state={state}&limit=20")["items"]
    newest = max(datetime.fromisoformat(job["createdAt"]) for job in jobs)
    for hours in range(1, 17):
        until = (newest - timedelta(hours=hours)).isoformat().replace("+00:00", "Z")
        jobs += reader.json(f"/jobs?until={until}&limit=20")["items"]
    for job in jobs:
        job["fingerprint"] = groups.get(job["type"]) if job["state"] == "failed" else None
    return jobs


def measure(
    reader: Reader, question: Question, jobs: list[dict[str, Any]], requests: int
) -> list[dict]:
    """First pages, and second pages where there are some."""
    random = Random(question.title)
    first: list[float] = []
    second: list[float] = []
    statuses: dict[int, int] = {}
    for number in range(_WARM_UP + requests):
        target, headers = question.ask(About(random.choice(jobs), jobs, random))
        status, taken_ms, body = reader.get(target, headers)
        if number < _WARM_UP:
            continue
        statuses[status] = statuses.get(status, 0) + 1
        first.append(taken_ms)
        if question.pages and status == 200 and (cursor := json.loads(body).get("next")):
            joint = "&" if "?" in target else "?"
            second.append(reader.get(f"{target}{joint}cursor={cursor}", headers)[1])
    figures = [_figures(question.title, first) | {"statuses": statuses}]
    if second:
        figures.append(_figures(f"{question.title}, next page", second))
    return figures


def _figures(title: str, taken_ms: list[float]) -> dict:
    ordered = sorted(taken_ms)
    return {
        "route": title,
        "requests": len(ordered),
        "least_ms": ordered[0],
        "p50_ms": statistics.median(ordered),
        "p99_ms": ordered[min(len(ordered) - 1, round(len(ordered) * 0.99))],
    }


def run_some(folder: Path, settings: dict[str, str], count: int) -> None:
    """Send some jobs through the whole system, so that log, workers and contracts are there."""
    with ExitStack() as stack:
        gateway = stack.enter_context(service(folder, settings, "gateway"))
        stack.enter_context(service(folder, settings, "processor", "benchmarks.jobs"))
        read_model = stack.enter_context(service(folder, settings, "read-model"))
        connection = http.client.HTTPConnection(urlsplit(gateway.url).netloc, timeout=60)
        for start in range(0, count, 100):
            batch = [
                {"type": "bench.noop", "payload": {"n": start + n, "text": "a small payload"}}
                for n in range(100)
            ]
            connection.request(
                "POST", "/jobs/batch", json.dumps(batch), {"Content-Type": "application/json"}
            )
            answer = connection.getresponse()
            if answer.status != 202:
                raise RuntimeError(f"{answer.status}: {answer.read()!r}")
            answer.read()
        reader = Reader(read_model.url)
        while reader.json("/jobs?state=queued,running&limit=1")["items"]:
            time.sleep(0.2)


def rebuilt(engine: Service, began: float) -> dict:
    """How long the aggregates took to be counted anew, and the memory that needed."""
    while "aggregates.rebuilt" not in engine.output.read_text():
        if time.monotonic() - began > _REBUILT_WITHIN_S:
            raise RuntimeError(f"not rebuilt\n{engine.output.read_text()}")
        time.sleep(0.1)
    return {"seconds": time.monotonic() - began, "memory_mb": engine.memory_mb()}


def run(options: argparse.Namespace, console: Console) -> dict:
    """All of it."""
    with (
        tempfile.TemporaryDirectory(prefix="observatory-reads-", dir=options.folder) as temporary,
        ExitStack() as stack,
    ):
        folder = Path(temporary)
        folder.chmod(0o711)  # PostgreSQL may run as another user, who has to get through
        servers = Servers(folder)
        stack.enter_context(servers.running())
        command(servers.settings, "migrate")
        console.print("running some jobs")
        run_some(folder, servers.settings, _RUN_JOBS)
        console.print(f"filling PostgreSQL with {options.jobs:,} jobs")
        fill(servers.postgres.url(), options.jobs)
        console.print("counting them")
        servers.redis.cli("FLUSHALL")
        began = time.monotonic()
        engine = stack.enter_context(service(folder, servers.settings, "metrics-engine"))
        rebuild = rebuilt(engine, began)
        read_model = stack.enter_context(service(folder, servers.settings, "read-model"))
        reader = Reader(read_model.url)
        jobs = known(reader)
        asked = list(questions())
        routes = [
            figures
            for question in track(asked, "asking", console=console, transient=True)
            for figures in measure(reader, question, jobs, options.requests)
        ]
        if options.keep:
            console.print(f"{servers.settings} {read_model.url}\nEnter ends it")
            input()
    load = os.getloadavg()[0]
    return {
        "machine": machine() | {"load": load},
        "jobs": options.jobs,
        "rebuild": rebuild,
        "routes": routes,
    }


def table(routes: list[dict]) -> Table:
    """One row a question."""
    shown = Table("route", "least, ms", "p50, ms", "p99, ms", "", title="reads")
    for column in shown.columns[1:4]:
        column.justify = "right"
    for one in routes:
        slow = "over" if one["p50_ms"] > LIMIT_MS else ""
        other = {status for status in one.get("statuses", {}) if status != 200}
        note = " ".join(filter(None, (slow, *map(str, sorted(other)))))
        figures = (f"{one[name]:.1f}" for name in ("least_ms", "p50_ms", "p99_ms"))
        shown.add_row(one["route"], *figures, note)
    return shown


def main() -> None:
    """Run as a program."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reads", description=__doc__)
    parser.add_argument("--jobs", type=int, default=1_000_000, help="that have ended")
    parser.add_argument("--requests", type=int, default=40, help="of each route and page")
    parser.add_argument("--folder", help="where the data goes")
    parser.add_argument("--json", action="store_true", help="the figures on stdout")
    parser.add_argument("--keep", action="store_true", help="leave it running until Enter")
    options = parser.parse_args()
    found = run(options, Console(stderr=True))
    if options.json:
        json.dump(found, sys.stdout, indent=2)
        return
    console = Console(width=max(100, Console().width))
    console.print(table(found["routes"]))
    rebuild = found["rebuild"]
    console.print(
        f"aggregates counted anew in {rebuild['seconds']:.1f} s, {rebuild['memory_mb']} MB"
    )
    console.print(", ".join(f"{name} {value}" for name, value in found["machine"].items()))
    slow = [one["route"] for one in found["routes"] if one["p50_ms"] > LIMIT_MS]
    console.print(f"over {LIMIT_MS:.0f} ms at the median: {', '.join(slow) or 'none'}")


if __name__ == "__main__":
    main()
