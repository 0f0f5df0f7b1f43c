"""Every fault of the catalogue against the system on shared backends, each with its own table row.

    python tests/faults/fault_table.py [--jobs 20000] [--only TEXT] [--seed N] [--json] [--keep DIR]

For each fault a new installation is started and jobs are submitted steadily; the fault is injected
and mended; then it is measured how long a job submitted now takes to be taken, run and counted; and
when all accepted jobs have ended the oracle judges. Exit code 0 when every promise held under every
fault, 1 when one was broken or a fault did not fire.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parents[1])]

from catalogue import Fault, faults  # noqa: E402
from installation import Installation, Servers, servers  # noqa: E402

from real import until  # noqa: E402

COLUMNS = (
    "fault",
    "accepted",
    "lost",
    "double outcomes",
    "aggregate difference",
    "seconds to recover",
)
RECOVERED_WITHIN_S = 15.0


def main() -> int:
    options = _options()
    folder = Path(options.keep or tempfile.mkdtemp(prefix="faults-"))
    folder.mkdir(parents=True, exist_ok=True)
    wanted = [
        f for f in faults(long=True) if options.only.lower() in f"{f.number} {f.name}".lower()
    ]
    _say(
        options, f"seed {options.seed}, {options.jobs} jobs a fault, {len(wanted)} faults, {folder}"
    )
    rows: list[dict[str, Any]] = []
    for number, fault in enumerate(wanted, 1):
        began = time.monotonic()
        # Servers of its own: what one fault did to them is not the next one's matter.
        home = folder / str(number)
        home.mkdir()
        row: dict[str, Any] = {"fault": f"{fault.number} {fault.name}"}
        try:
            with servers(home / "servers") as on:
                row |= run(fault, home, on, seed=options.seed, jobs=options.jobs)
        except Exception as error:
            row |= {"ok": False, "why": f"{error}"}
            if not options.json:
                traceback.print_exc()
        rows.append(row)
        _say(options, f"{number}/{len(wanted)} {_line(row)} ({time.monotonic() - began:.0f} s)")
    if options.json:
        print(json.dumps(rows, indent=2))
    else:
        print("\n" + _table(rows))
    return 0 if all(row["ok"] for row in rows) else 1


def run(fault: Fault, folder: Path, on: Servers, *, seed: int, jobs: int) -> dict[str, Any]:
    """One fault, from an installation that is new to the oracle's judgement."""
    with Installation(folder, on, seed=seed, pace_s=0.05, lease_s=fault.lease_s) as system:
        system.runs_cut_off = fault.runs_cut_off
        system.stream.start()
        system.under_load()
        fault.inject(system)
        recovered_s = system.seconds_to_recover()
        until(
            lambda: system.stream.client.acknowledged >= jobs,
            timeout_s=60 + jobs / 20,
            why=lambda: f"{system.stream.client.acknowledged} of {jobs} accepted",
        )
        verdict = system.end(log_kept=fault.log_kept, timeout_s=120 + jobs / 50)
    differing = [text for rule, texts in verdict.faults.items() for text in texts if "G4" in rule]
    doubled = [text for rule, texts in verdict.faults.items() for text in texts if "G2" in rule]
    return {
        "accepted": verdict.counts["acknowledged"],
        "lost": verdict.counts["lost"],
        "double outcomes": len(doubled),
        "aggregate difference": len(differing),
        "seconds to recover": round(recovered_s, 1),
        "ok": verdict.ok and recovered_s <= RECOVERED_WITHIN_S,
        "why": "" if verdict.ok else verdict.table(),
    }


def _line(row: dict[str, Any]) -> str:
    told = ", ".join(f"{row[c]} {c}" for c in COLUMNS[1:] if c in row)
    return f"{row['fault']}: {told or 'no result'}{'' if row['ok'] else ' BROKEN ' + row['why']}"


def _table(rows: list[dict[str, Any]]) -> str:
    cells = [COLUMNS, *([str(row.get(c, "-")) for c in COLUMNS] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(COLUMNS))]
    lines = [
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in cells
    ]
    broken = sum(not row["ok"] for row in rows)
    lines += [
        "",
        f"{broken} of {len(rows)} faults broke a promise" if broken else "every promise held",
    ]
    return "\n".join(lines)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--jobs", type=int, default=20_000, help="accepted a fault, at the least")
    parser.add_argument("--only", default="", help="faults whose number or name has this text")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--json", action="store_true", help="one document instead of a table")
    parser.add_argument("--keep", help="folder for servers, ledgers and outputs")
    return parser.parse_args()


def _say(options: argparse.Namespace, text: str) -> None:
    print(text, file=sys.stderr if options.json else sys.stdout, flush=True)


if __name__ == "__main__":
    sys.exit(main())
