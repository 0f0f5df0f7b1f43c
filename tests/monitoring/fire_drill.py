"""Cause every fault that there is an alert for, and print what became of each alert.

    python tests/monitoring/fire_drill.py [--only TEXT] [--json] [--keep DIR]

Exit code 0 when every alert fired, was delivered, shown and resolved; 1 otherwise.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parents[1])]

from drill import DRILLS, drill, site, until  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402


def main() -> int:
    """Run the drill."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--only", default="", help="alerts whose name has this text")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--keep", help="where data and logs stay")
    options = parser.parse_args()
    folder = Path(options.keep or tempfile.mkdtemp(prefix="fire-drill-"))
    folder.mkdir(parents=True, exist_ok=True)
    wanted = [name for name in DRILLS if options.only.lower() in name.lower()]
    rows: list[dict[str, Any]] = []
    with site(folder) as at:
        until(lambda: at.receiver.told, timeout_s=60, why=lambda: "the watchdog does not arrive")
        for alert in wanted:
            print(f"==> {alert}", file=sys.stderr)
            try:
                rows.append(asdict(drill(at, alert)))
            except AssertionError as error:
                rows.append({"alert": alert, "error": str(error)[:300]})
    if options.json:
        print(json.dumps(rows, indent=2))
    else:
        _print(rows)
    return 1 if any("error" in row for row in rows) else 0


def _print(rows: list[dict[str, Any]]) -> None:
    columns = ("fired_s", "delivered_s", "shown_s", "resolved_s")
    table = Table("alert", *(name.removesuffix("_s") + ", s" for name in columns), "")
    for row in rows:
        values = (f"{row[name]:.1f}" if name in row else "" for name in columns)
        table.add_row(row["alert"], *values, row.get("error", ""))
    Console(width=120).print(table)


if __name__ == "__main__":
    sys.exit(main())
