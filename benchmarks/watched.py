"""What it costs to be watched: the embedded system's throughput alone, and while it is scraped.

python -m benchmarks.watched [--rounds 5] [--jobs 60000] [--every 5] [--json]

In turn, on an empty data folder each: alone; and with a scrape of /metrics and a heartbeat job
every five seconds, which is three times as often as the files in monitoring/ ask for. One process
does all the work, so what that costs is told by its processor time a job, which varies less than
speed does. Exit code 1 where a job alone takes less than 97 % of what it takes watched,
at the median of the rounds.
"""

import argparse
import json
import statistics
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import track

from benchmarks.embedded import end_to_end, machine
from benchmarks.server import Server

LEAST_SHARE: Final = 0.97
_BATCH: Final = 100


@contextmanager
def scraped(server: Server, every_s: float, told: dict[str, float]) -> Iterator[None]:
    """Scrape until the block ends; how often, how large and how long it was."""
    ended = threading.Event()

    def work() -> None:
        while not ended.wait(every_s):
            began = time.monotonic()
            with urllib.request.urlopen(f"{server.url}/metrics", timeout=30) as answer:
                told["bytes"] = len(answer.read())
            told["scrapes"] = told.get("scrapes", 0) + 1
            told["longest_s"] = max(told.get("longest_s", 0.0), time.monotonic() - began)

    scraping = threading.Thread(target=work, daemon=True)
    scraping.start()
    try:
        yield
    finally:
        ended.set()
        scraping.join(60)


def main() -> int:
    """Run as a program."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.watched", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=60_000, help="of each measurement")
    parser.add_argument("--every", type=float, default=5.0, help="seconds between two scrapes")
    parser.add_argument("--folder", help="where the data goes")
    parser.add_argument("--json", action="store_true", help="the figures on stdout")
    options = parser.parse_args()
    told: dict[str, float] = {}
    rounds: list[dict[str, dict]] = []
    heartbeat = {"OBSERVATORY_CANARY_SECONDS": f"{options.every:g}"}
    with tempfile.TemporaryDirectory(prefix="observatory-bench-", dir=options.folder) as parent:
        console = Console(stderr=True)
        for number in track(range(options.rounds), "rounds", console=console, transient=True):
            measured: dict[str, dict] = {}
            # Whoever is second finds a warmer machine: they take turns.
            for name in ("alone", "watched")[:: 1 if number % 2 == 0 else -1]:
                folder = Path(parent) / f"{number}-{name}"
                folder.mkdir()
                watched = {
                    "settings": heartbeat,
                    "beside": lambda server: scraped(server, options.every, told),
                }
                more = watched if name == "watched" else {}
                measured[name] = end_to_end(
                    folder, options.jobs, _BATCH, None, lambda _: None, **more
                )
            rounds.append(measured)
    shares = [one["alone"]["cpu_s_per_1000"] / one["watched"]["cpu_s_per_1000"] for one in rounds]
    share = statistics.median(shares)
    if options.json:
        json.dump({"machine": machine(), "rounds": rounds, "told": told}, sys.stdout, indent=2)
    else:
        for name in ("alone", "watched"):
            rate = statistics.median(one[name]["jobs_per_s"] for one in rounds)
            cpu = statistics.median(one[name]["cpu_s_per_1000"] for one in rounds)
            print(f"{name:8} {rate:,.0f} jobs/s, {cpu:.3f} CPU s a thousand")
        print(
            f"{told['scrapes']:.0f} scrapes of {told['bytes'] / 1000:.0f} kB, "
            f"the longest {told['longest_s'] * 1000:.0f} ms"
        )
        spread = f"{min(shares):.1%} to {max(shares):.1%}"
        verdict = "met" if share >= LEAST_SHARE else "NOT MET"
        print(f"{verdict}: {share:.1%} of the jobs a processor second ({spread}; 97 % asked for)")
    return 0 if share >= LEAST_SHARE else 1


if __name__ == "__main__":
    sys.exit(main())
