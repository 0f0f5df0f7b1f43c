#!/usr/bin/env python3
"""Remove the kind cluster, with all that it holds.

python scripts/teardown_cluster.py [--dry-run]
"""

import argparse
import sys

import kind_cluster
from kind_cluster import run


def tear_down(*, dry: bool) -> None:
    """Remove the cluster. Raises Failed."""
    if not dry:
        kind_cluster.require(("kind",))
    delete = ("kind", "delete", "cluster", "--name", kind_cluster.NAME)
    run(delete, why="removing the cluster", dry=dry)


def main() -> int:
    """Remove; 1 where that fails. One that is not there is no error."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dry-run", action="store_true", help="print each step and change nothing")
    dry = parser.parse_args().dry_run
    return kind_cluster.finished(lambda: tear_down(dry=dry))


if __name__ == "__main__":
    sys.exit(main())
