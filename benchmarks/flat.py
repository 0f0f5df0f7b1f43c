"""Do series and memory stay flat, however many jobs there have been?

python -m benchmarks.flat [--jobs 1000000] [--parts 10] [--json]

Sends so many jobs through the embedded system and looks after each part of them: how many series
/metrics has, how long a scrape takes, how much memory the process holds. Exit code 1 where there
are more series at the end than after the first part, or memory has grown by more than a fifth.
"""

import argparse
import json
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.progress import track

from benchmarks.embedded import CONNECTIONS, TYPE, machine
from benchmarks.load import batches
from benchmarks.server import Server, serving

GROWTH_LIMIT: Final = 1.2
_BATCH: Final = 500


def looked(server: Server) -> dict[str, Any]:
    """One scrape, and the memory of the process."""
    began = time.perf_counter()
    with urllib.request.urlopen(f"{server.url}/metrics", timeout=60) as answer:
        text = answer.read().decode()
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    status = Path(f"/proc/{server.pid}/status").read_text()
    resident = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
    return {
        "series": len(lines),
        "kb": len(text) / 1000,
        "scrape_ms": (time.perf_counter() - began) * 1000,
        "memory_mb": int(resident.split()[1]) / 1024,
    }


def main() -> int:
    """Run as a program."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.flat", description=__doc__)
    parser.add_argument("--jobs", type=int, default=1_000_000)
    parser.add_argument("--parts", type=int, default=10)
    parser.add_argument("--folder", help="where the data goes")
    parser.add_argument("--json", action="store_true", help="the figures on stdout")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with (
        tempfile.TemporaryDirectory(prefix="observatory-bench-", dir=options.folder) as parent,
        serving(Path(parent), None) as server,
    ):
        console = Console(stderr=True)
        part = options.jobs // options.parts
        looked(server)  # from then on it has series of being scraped itself
        for number in track(range(options.parts), "parts", console=console, transient=True):
            batches(server.url, part, _BATCH, CONNECTIONS)
            wanted = [((number + 1) * part,)]
            query = f"SELECT count(*) FROM jobs WHERE type = '{TYPE}' AND state = 'completed'"
            while server.ask(query) != wanted:
                time.sleep(0.5)
            time.sleep(2)
            rows.append({"jobs": wanted[0][0], **looked(server)})
    if options.json:
        json.dump({"machine": machine(), "parts": rows}, sys.stdout, indent=2)
    else:
        for row in rows:
            print(
                f"{row['jobs']:>10,} jobs  {row['series']:>6} series  {row['kb']:>6.0f} kB  "
                f"{row['scrape_ms']:>5.0f} ms a scrape  {row['memory_mb']:>5.0f} MB"
            )
    first, last = rows[0], rows[-1]
    flat = last["series"] <= first["series"]
    return 0 if flat and last["memory_mb"] <= first["memory_mb"] * GROWTH_LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
