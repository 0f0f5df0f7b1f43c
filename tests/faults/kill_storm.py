"""The full form of G1: thousands of jobs over HTTP while the process is killed again and again.

    python tests/faults/kill_storm.py [--jobs 2000] [--kills 3] [--seed N] [--json] [--data DIR]

Prints its seed, what each kill hit and the oracle's table; exit code 0 when every promise held,
1 when one was broken. A storm in which there is nothing to kill ends with an error. The data is
kept when something is wrong.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parents[1])]

import oracle  # noqa: E402
import records  # noqa: E402
from workload import CONCURRENCY, JOBS, LEDGER, Storm, result_of, settings  # noqa: E402

from real import running_system  # noqa: E402


def main() -> int:
    options = _options()
    folder = Path(options.data or tempfile.mkdtemp(prefix="kill-storm-"))
    folder.mkdir(parents=True, exist_ok=True)
    _say(options, f"seed {options.seed}, {options.jobs} jobs, {options.kills} kills, {folder}")
    began = time.monotonic()
    with running_system(JOBS, folder, **settings(folder)) as system:
        storm = Storm(
            system,
            jobs=options.jobs,
            seed=options.seed,
            pause_s=0.03,
            give_up_after_s=60 + options.jobs / 10 + 10 * options.kills,
            rate=options.rate,
        )
        clients = storm.run()
        for number in range(1, options.kills + 1):
            kill = storm.kill_when(
                round(options.jobs * number / (options.kills + 1)), ledger=folder / LEDGER
            )
            _say(
                options,
                f"kill {number}: {kill.acknowledged} acknowledged, {kill.in_flight} running, "
                f"{kill.submits_open} requests open, up again in {kill.restart_s:.1f} s",
            )
        for client in clients:
            while client.is_alive():
                client.join(2)
                _say(options, f"acknowledged {storm.client.acknowledged}")
        accepted = storm.client.acknowledged
        stats = oracle.wait_until_quiet(system.http, accepted=accepted, timeout_s=120)
        code = system.stop()
        took_s = time.monotonic() - began
        verdict = oracle.judge(
            record=records.embedded(system.data),
            client=storm.client,
            ran=oracle.effects(folder / LEDGER),
            stats=stats,
            kills=len(storm.kills),
            concurrency=CONCURRENCY,
            result_of=result_of,
        )
    verdict.rule("SIGTERM ends it with 0", [] if code == 0 else [f"it ended with {code}"])
    verdict.rule("every client got its answers", storm.errors)
    verdict.counts |= {"kills": len(storm.kills)}
    _report(options, verdict, storm, took_s)
    if not verdict.ok:
        return 1
    if options.data is None:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=2000)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    parser.add_argument("--rate", type=float, default=250, help="jobs a second at most, roughly")
    parser.add_argument("--json", action="store_true", help="one JSON document at the end")
    parser.add_argument("--data", help="folder to work in, kept (default: a temporary one)")
    return parser.parse_args()


def _say(options: argparse.Namespace, text: str) -> None:
    print(text, file=sys.stderr if options.json else sys.stdout, flush=True)


def _report(
    options: argparse.Namespace, verdict: oracle.Verdict, storm: Storm, took_s: float
) -> None:
    if options.json:
        report = {
            "seed": options.seed,
            "seconds": round(took_s, 1),
            "kills": [vars(kill) for kill in storm.kills],
            "counts": verdict.counts,
            "rules": {name: verdict.faults.get(name, []) for name in verdict.rules},
            "ok": verdict.ok,
        }
        print(json.dumps(report, indent=2))
        return
    print(f"\nseed {options.seed}, {took_s:.0f} s\n\n{verdict.table()}")
    print("\nevery promise held" if verdict.ok else "\nBROKEN; run again with the same --seed")


if __name__ == "__main__":
    sys.exit(main())
