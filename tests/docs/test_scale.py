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


@pytest.mark.parametrize("name", ["flat_out", "light"])
def test_a_prediction_gives_back_the_runs_that_it_was_made_from(name: str) -> None:
    run = FIGURES[name]
    found = capacity.predicted(FIGURES, run["jobs"] / run["seconds"])

    for part, cost in capacity.costs(FIGURES).items():
        if cost.job > 0 and cost.commit > 0:  # otherwise the two runs contradict each other
            used = run["cpu_s"][part]
            assert found[part] * run["seconds"] == pytest.approx(used, abs=0.02), part


def test_a_commit_carries_as_many_jobs_as_in_the_runs_and_never_more() -> None:
    light, busy = FIGURES["light"], FIGURES["flat_out"]
    flat_out = busy["jobs"] / busy["seconds"]
    most, least = (run["per_job"]["postgres commits"] for run in (light, busy))

    assert capacity.commits(FIGURES, 1) == most
    assert capacity.commits(FIGURES, flat_out) == pytest.approx(least)
    assert capacity.commits(FIGURES, 100 * flat_out) == least
    assert capacity.commits(FIGURES, flat_out / 2) == pytest.approx(min(most, 2 * least))


def test_measured_loads_are_compared_with_what_was_predicted() -> None:
    found = capacity.compared(FIGURES)

    assert found == FIGURES["compared"]
    assert found.keys() == {f"{rate:g}" for rate in capacity.CHECKED}
