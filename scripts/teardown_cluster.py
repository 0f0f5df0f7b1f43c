#!/usr/bin/env python3
"""Remove the kind cluster, with all that it holds.

python scripts/teardown_cluster.py [--dry-run]
"""

import argparse
import sys

import kind_cluster
from kind_cluster import Failed, run


def main() -> int:
    """Remove; 1 where that fails. One that is not there is no error."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dry-run", action="store_true", help="print each step and change nothing")
    dry = parser.parse_args().dry_run
    try:
        if not dry:
            kind_cluster.require(("kind",))
        delete = ("kind", "delete", "cluster", "--name", kind_cluster.NAME)
        run(delete, why="removing the cluster", dry=dry)
    except Failed as failed:
        return kind_cluster.told(failed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
