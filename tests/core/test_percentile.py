"""Distributions: percentiles of binned durations are as near as promised."""

from bisect import bisect_left
from collections import Counter
from itertools import pairwise
from math import ceil

from hypothesis import given
from hypothesis import strategies as st

from observatory.core.aggregates import BOUNDS_US, COUNT, Deltas, percentile
from observatory.core.instant import MICROSECONDS

durations = st.lists(
    st.integers(1, BOUNDS_US[-1]) | st.integers(1, 10_000_000), min_size=1, max_size=60
)


def bins(durations_us: list[int]) -> Counter[int]:
    return Counter(bisect_left(BOUNDS_US, us) for us in durations_us)


def test_neighbouring_bounds_differ_by_at_most_a_quarter() -> None:
    assert BOUNDS_US[0] == 100
    assert BOUNDS_US[-1] >= 22 * 3600 * MICROSECONDS
    assert all(lower < upper <= lower * 1.25 for lower, upper in pairwise(BOUNDS_US))


@given(durations, st.floats(0.01, 1))
def test_a_percentile_is_off_by_less_than_a_quarter(
    durations_us: list[int], quantile: float
) -> None:
    exact_us = sorted(durations_us)[ceil(quantile * len(durations_us)) - 1]

    for sum_us in (None, sum(durations_us)):
        answer = percentile(bins(durations_us), quantile, sum_us)

        assert answer is not None
        # Below the first bound the promise is that bound, there being nothing to be a quarter of.
        assert abs(answer * MICROSECONDS - exact_us) <= max(exact_us * 0.25, BOUNDS_US[0])


@given(durations)
def test_percentiles_never_fall_as_the_quantile_grows(durations_us: list[int]) -> None:
    quantiles = [n / 20 for n in range(1, 21)]
    for sum_us in (None, sum(durations_us)):
        answers = [percentile(bins(durations_us), q, sum_us) or 0.0 for q in quantiles]

        assert answers == sorted(answers)


@given(st.integers(1, BOUNDS_US[-1]), st.integers(1, 50), st.floats(0.01, 1))
def test_equal_durations_are_known_in_the_middle_and_one_alone_exactly(
    us: int, times: int, quantile: float
) -> None:
    one = percentile(bins([us]), quantile, us)
    middle = percentile(bins([us] * (2 * times + 1)), 0.5, us * (2 * times + 1))

    assert one is not None
    assert middle is not None
    assert abs(one * MICROSECONDS - us) < 1e-6 * us + 1e-3
    assert abs(middle * MICROSECONDS - us) < 1e-6 * us + 1e-3


def test_one_long_run_among_short_ones_is_told_as_it_was() -> None:
    runs = [1_000] * 99 + [20_005_000]
    longest = percentile(bins(runs), 1.0, sum(runs))

    assert longest is not None
    assert abs(longest - 20.005) < 0.05


def test_nothing_has_no_percentile() -> None:
    assert percentile({}, 0.5) is None
    assert percentile({3: 0}, 0.5) is None


def test_what_lasted_beyond_the_last_bound_is_told_as_that_bound() -> None:
    assert percentile({len(BOUNDS_US): 3}, 0.99) == BOUNDS_US[-1] / MICROSECONDS


@given(st.lists(st.integers(0, 10**12), max_size=20))
def test_a_duration_is_counted_once_in_its_bin_and_once_in_the_sum(durations_us: list[int]) -> None:
    deltas = Deltas()
    for us in durations_us:
        deltas.duration(1_800_000_000 * MICROSECONDS, "work", "q", "run", us)

    for width in (0, 5, 60):
        rows = {key: n for key, n in deltas.series.items() if key[0] == width}
        assert sum(n for key, n in rows.items() if key[4] == "run") == len(durations_us)
        assert sum(n for key, n in rows.items() if key[4:] == ("run_us", COUNT)) == sum(
            durations_us
        )
