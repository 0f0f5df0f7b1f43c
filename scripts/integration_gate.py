#!/usr/bin/env python3
"""Prove the system in the kind cluster from outside, through its edge: `observatory gate`.

python scripts/integration_gate.py [--dry-run]

Runs in the image, beside the cluster, so that nothing need be installed here.
"""

import argparse
import base64
import os
import sys

import kind_cluster
from kind_cluster import KUBECTL, Failed, ask, run

ASK_KEY = (*KUBECTL, "get", "secret", "observatory-keys", "--output", "jsonpath={.data.operator}")
PAYLOAD = '{"path": "json/decoder.py"}'
EDGE = f"http://{kind_cluster.NAME}-control-plane:30080"
GATE = (
    *("docker", "run", "--rm", "--network", "kind", "--env", "OBSERVATORY_API_KEY"),
    *(
        "--env",
        f"OBSERVATORY_URL=http://{kind_cluster.NAME}-control-plane:30080",
        kind_cluster.IMAGE,
    ),
    # A Prometheus that has just begun may need more than a minute until its alerts arrive.
    *("gate", "--timeout", "180", "--type", "source.analyze", "--payload", PAYLOAD),
)


def prove(*, dry: bool) -> None:
    """Run the gate. Raises Failed."""
    if not dry:
        kind_cluster.require(("docker", "kubectl"))
        asked = ask(ASK_KEY)
        if asked.returncode or not asked.stdout:
            raise Failed(
                f"no key in the cluster; run setup_cluster.py first: {asked.stderr.strip()}"
            )
        # By the environment: what stands on a command line is seen by every user of the machine.
        os.environ["OBSERVATORY_API_KEY"] = base64.b64decode(asked.stdout).decode()
    run(GATE, why="proving the system through its edge", dry=dry)


def main() -> int:
    """Prove; 1 where anything fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dry-run", action="store_true", help="print each step and change nothing")
    dry = parser.parse_args().dry_run
    return kind_cluster.finished(lambda: prove(dry=dry))


if __name__ == "__main__":
    sys.exit(main())
