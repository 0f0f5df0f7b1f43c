"""The benchmark of the embedded system measures what it says, against the tables as they are."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_a_small_round_measures_the_system_and_its_floor(tmp_path: Path) -> None:
    asked = ["--rounds", "1", "--jobs", "300", "--seconds", "1", "--folder", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--json", *asked],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    rounds = json.loads(done.stdout)["rounds"]
    throughput = {"end to end, batches of 100", "end to end, batches of 500", "drain"}
    assert set(rounds) == {*throughput, "latency"}
    for name in throughput:
        (figures,) = rounds[name]
        assert figures["jobs_per_s"] > 0
        assert figures["ratio"] == pytest.approx(
            figures["jobs_per_s"] / figures["floor_jobs_per_s"]
        )
    assert rounds["latency"][0]["requests"] == 200


@pytest.mark.slow
def test_a_small_round_beside_the_peers_measures_the_floor(tmp_path: Path) -> None:
    plot = tmp_path / "peers.svg"
    asked = ["--only", "floor", "--kinds", "10ms", "--quick"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.peers", *asked, "--plot", str(plot)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    written = json.loads(plot.with_suffix(".json").read_text())
    assert written["failures"] == []
    (floor,) = written["results"]["10ms"]["floor"]
    assert min(floor.values()) > 0
    assert "<svg" in plot.read_text()
