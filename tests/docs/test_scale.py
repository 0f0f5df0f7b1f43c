"""What docs/operations/scale.md tells is what the capacity model makes of the figures that are kept."""

import json

import pytest
from documents import ROOT

from benchmarks import capacity

FIGURES = json.loads(capacity.KEPT.read_text())


def test_the_tables_are_those_of_the_kept_figures() -> None:
    guide = (ROOT / "docs" / "operations" / "scale.md").read_text()

    assert capacity.report(FIGURES, [10_000.0, 100_000.0]) in guide


def test_a_part_that_is_used_up_to_its_limit_is_one_and_past_it_two() -> None:
    for part, limit in capacity.greatest(FIGURES).items():
        assert capacity.needed(FIGURES, limit * 0.999)[part]["needed"] == 1
        past = capacity.needed(FIGURES, limit * 1.001)[part]
        assert past["needed"] == 2
        assert past["possible"] is capacity.GROWTH[part].divides


def test_a_prediction_gives_back_the_run_that_it_was_made_from() -> None:
    run = FIGURES["flat_out"]
    found = capacity.predicted(FIGURES, run["jobs"] / run["seconds"])

    for part, used in run["cpu_s"].items():
        assert found[part] * run["seconds"] == pytest.approx(used, abs=0.02)


def test_measured_loads_are_compared_with_what_was_predicted() -> None:
    found = capacity.compared(FIGURES)

    assert found == FIGURES["compared"]
    assert found.keys() == {f"{rate:g}" for rate in capacity.CHECKED}
