"""What every backend of the aggregates must do, and the sums being right at all (G4)."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.benches import AggregatesBench
from conformance.histories import lives
from conformance.making import SOURCE, without_zeros
from observatory.core.aggregates import (
    ALL_TIME,
    COUNT,
    KEPT_S,
    RESOLUTIONS_S,
    Aggregates,
    Deltas,
    Measure,
    Position,
    SeriesKey,
    fold_batch,
    fold_transitions,
)
from observatory.core.errors import PositionMismatch
from observatory.core.event import encode_commit
from observatory.core.instant import MICROSECONDS
from observatory.core.job import Commit, Transition
from observatory.core.lifecycle import Move, State

pytestmark = pytest.mark.anyio

NOW_S = 1_800_000_000
NOW = NOW_S * MICROSECONDS


def at(offset: int, **numbers: int) -> Position:
    return Position("epoch", offset, numbers)


def moved(
    previous: State | None, state: State | None, type: str = "work", queue: str = "q"
) -> Deltas:
    deltas = Deltas()
    deltas.move(type, queue, previous, state)
    return deltas


async def counts(aggregates: Aggregates) -> dict[tuple[str, str, State], int]:
    rows, _ = await aggregates.states()
    return {(row.type, row.queue, row.state): row.count for row in rows}


async def sums(aggregates: Aggregates, resolution_s: int, **where: str) -> dict[SeriesKey, int]:
    rows = await aggregates.series(resolution_s, 0, **where)
    assert len({row.key for row in rows}) == len(rows)
    return {row.key: row.count for row in rows}


async def test_what_was_never_filled_has_no_position(aggregates: Aggregates) -> None:
    assert await aggregates.position() is None
    assert await aggregates.states() == ([], 0)
    assert await aggregates.series(60, 0) == []
    with pytest.raises(PositionMismatch):
        await aggregates.apply(0, at(1, a=1), moved(None, State.QUEUED))


async def test_sums_are_added_and_the_position_moves_with_them(aggregates: Aggregates) -> None:
    await aggregates.replace(at(10, a=3), moved(None, State.QUEUED))

    await aggregates.apply(10, at(12, a=4, b=1), moved(State.QUEUED, State.RUNNING))
    await aggregates.apply(12, at(13), moved(None, State.QUEUED, "other"))

    assert await aggregates.position() == at(13, a=4, b=1)
    assert await counts(aggregates) == {
        ("work", "q", State.RUNNING): 1,
        ("other", "q", State.QUEUED): 1,
    }
    assert (await aggregates.states())[1] == 13


@pytest.mark.parametrize("expected", [9, 11, 12, 0])
async def test_sums_for_another_offset_are_refused_whole(
    aggregates: Aggregates, expected: int
) -> None:
    await aggregates.replace(at(10, a=3), moved(None, State.QUEUED))
    deltas = moved(None, State.QUEUED)
    deltas.count(NOW, "work", "q", "created")

    with pytest.raises(PositionMismatch):
        await aggregates.apply(expected, at(20, a=9), deltas)

    assert await aggregates.position() == at(10, a=3)
    assert await counts(aggregates) == {("work", "q", State.QUEUED): 1}
    assert await aggregates.series(60, 0) == []


async def test_the_same_batch_is_never_added_twice(aggregates: Aggregates) -> None:
    await aggregates.replace(at(0), Deltas())
    await aggregates.apply(0, at(1, a=1), moved(None, State.QUEUED))

    with pytest.raises(PositionMismatch):
        await aggregates.apply(0, at(1, a=1), moved(None, State.QUEUED))

    assert await counts(aggregates) == {("work", "q", State.QUEUED): 1}


async def test_sums_of_another_epoch_are_refused(aggregates: Aggregates) -> None:
    await aggregates.replace(at(10), Deltas())

    with pytest.raises(PositionMismatch):
        await aggregates.apply(10, Position("another", 11, {}), moved(None, State.QUEUED))

    assert await counts(aggregates) == {}


async def test_replacing_leaves_nothing_of_before(aggregates: Aggregates) -> None:
    old = moved(None, State.QUEUED)
    old.count(NOW, "old", "q", "created")
    await aggregates.replace(at(10, a=3, b=4), old)
    new = moved(None, State.FAILED, "new")
    new.count(NOW, "new", "q", "created")

    await aggregates.replace(Position("another", 2, {"c": 7}), new)

    assert await aggregates.position() == Position("another", 2, {"c": 7})
    assert await counts(aggregates) == {("new", "q", State.FAILED): 1}
    assert {key.type for key in await sums(aggregates, ALL_TIME)} == {"new"}


async def test_invalidated_sums_are_still_shown_and_known_to_be_incomplete(
    aggregates: Aggregates,
) -> None:
    await aggregates.replace(at(10, a=3), moved(None, State.QUEUED))

    await aggregates.invalidate()

    assert await aggregates.position() is None
    assert await counts(aggregates) == {("work", "q", State.QUEUED): 1}
    with pytest.raises(PositionMismatch):
        await aggregates.apply(10, at(11), Deltas())
    await aggregates.replace(at(11, a=4), moved(None, State.FAILED))
    assert await counts(aggregates) == {("work", "q", State.FAILED): 1}


async def test_a_state_that_holds_no_job_is_not_told(aggregates: Aggregates) -> None:
    await aggregates.replace(at(0), moved(None, State.QUEUED))

    await aggregates.apply(0, at(1), moved(State.QUEUED, None))

    assert await counts(aggregates) == {}


async def test_the_series_add_up_in_every_resolution(aggregates: Aggregates) -> None:
    await aggregates.replace(at(0), Deltas())
    for offset in range(3):
        deltas = Deltas()
        deltas.count(NOW + offset * 40 * MICROSECONDS, "work", "q", "created")
        deltas.duration(NOW, "work", "q", "run", 1_500_000)
        await aggregates.apply(offset, at(offset + 1), deltas)

    all_time = await sums(aggregates, ALL_TIME)
    assert all_time[SeriesKey(ALL_TIME, 0, "work", "q", "created", COUNT)] == 3
    assert all_time[SeriesKey(ALL_TIME, 0, "work", "q", "run_us", COUNT)] == 4_500_000
    for width in RESOLUTIONS_S:
        rows = await sums(aggregates, width)
        created = {key.bucket_s: n for key, n in rows.items() if key.measure == "created"}
        expected = Counter((NOW_S + n * 40) // width * width for n in range(3))
        assert created == expected
        assert sum(n for key, n in rows.items() if key.measure == "run") == 3


async def test_the_series_are_asked_by_time_type_and_queue(aggregates: Aggregates) -> None:
    deltas = Deltas()
    for hours, type, queue in [(0, "a", "q"), (1, "a", "r"), (2, "b", "q")]:
        deltas.count(NOW + hours * 3600 * MICROSECONDS, type, queue, "created")
    await aggregates.replace(at(0), deltas)

    assert len(await aggregates.series(60, NOW_S + 3600)) == 2
    assert {key.queue for key in await sums(aggregates, 60, type="a")} == {"q", "r"}
    assert {key.type for key in await sums(aggregates, 60, queue="q")} == {"a", "b"}
    assert len(await sums(aggregates, 60, type="b", queue="q")) == 1
    assert await sums(aggregates, 60, type="b", queue="r") == {}


async def test_each_resolution_is_trimmed_to_what_is_kept_of_it(aggregates: Aggregates) -> None:
    deltas = Deltas()
    ages_s = [0, 3600 - 60, 3600 + 60, 86_400 - 120, 86_400 + 120]
    for age_s in ages_s:
        deltas.count(NOW - age_s * MICROSECONDS, "work", "q", "created")
    await aggregates.replace(at(0), deltas)

    await aggregates.trim(NOW_S)

    for width, kept_s in KEPT_S.items():
        expected = sum(age_s < kept_s for age_s in ages_s)
        assert len(await sums(aggregates, width)) == expected
    assert sum((await sums(aggregates, ALL_TIME)).values()) == len(ages_s)


def created(seconds: int, amount: int = 1) -> Deltas:
    deltas = Deltas()
    deltas.count(NOW + seconds * MICROSECONDS, "work", "q", "created", amount=amount)
    return deltas


def row(count: int) -> list[tuple[Measure, int]]:
    return [(("work", "q", "created", COUNT), count)]


@pytest.mark.parametrize("width", RESOLUTIONS_S)
async def test_who_knows_the_series_is_told_which_buckets_have_changed(
    aggregates: Aggregates, width: int
) -> None:
    nothing = await aggregates.changes(width, 0, None)
    assert nothing.buckets == {}
    await aggregates.replace(at(4), created(-120, 7))
    await aggregates.apply(4, at(5), created(0))
    await aggregates.apply(5, at(6), created(120))

    first = await aggregates.changes(width, 0, nothing.mark)
    assert first.anew
    assert first.buckets == {NOW_S - 120: row(7), NOW_S: row(1), NOW_S + 120: row(1)}
    again = await aggregates.changes(width, 0, first.mark)
    assert (again.anew, again.buckets) == (False, {})

    await aggregates.apply(6, at(7), created(0))
    await aggregates.apply(7, at(8), created(-120))
    changed = await aggregates.changes(width, 0, again.mark)
    assert not changed.anew
    assert changed.buckets == {NOW_S: row(2), NOW_S - 120: row(8)}
    assert (await aggregates.changes(width, NOW_S, again.mark)).buckets == {NOW_S: row(2)}
    assert (await aggregates.changes(width, 0, changed.mark)).buckets == {}

    await aggregates.replace(at(8), created(0, 5))
    replaced = await aggregates.changes(width, 0, changed.mark)
    assert (replaced.anew, replaced.buckets) == (True, {NOW_S: row(5)})


async def test_a_process_that_starts_anew_is_told_everything(
    aggregates_bench: AggregatesBench,
) -> None:
    await aggregates_bench.aggregates.replace(at(0), created(0))
    await aggregates_bench.aggregates.apply(0, at(1), created(60))
    mark = (await aggregates_bench.aggregates.changes(60, 0, None)).mark

    await aggregates_bench.restart()

    found = await aggregates_bench.aggregates.changes(60, 0, None)
    assert found.buckets == {NOW_S: row(1), NOW_S + 60: row(1)}
    known = await aggregates_bench.aggregates.changes(60, 0, mark)
    assert known.buckets == (found.buckets if known.anew else {})


async def test_sums_and_position_outlive_the_process(aggregates_bench: AggregatesBench) -> None:
    await aggregates_bench.aggregates.replace(at(10, a=3), moved(None, State.QUEUED))

    await aggregates_bench.restart()

    aggregates = aggregates_bench.aggregates
    assert await aggregates.position() == at(10, a=3)
    assert await counts(aggregates) == {("work", "q", State.QUEUED): 1}


def test_sums_for_a_time_hold_the_buckets_that_are_kept_at_it_and_the_lifetime() -> None:
    whole, kept = Deltas(), Deltas(NOW_S)
    for age_s in [0, 3595, 3600, 3604, 3605, 86_340, 86_400, 86_459, 86_460, 10**7]:
        for into in (whole, kept):
            into.count(NOW - age_s * MICROSECONDS, "work", "q", "created")

    assert kept.series == {
        key: count
        for key, count in whole.series.items()
        if key[0] == ALL_TIME or key[1] >= (NOW_S - KEPT_S[key[0]]) // key[0] * key[0]
    }


@given(lives())
def test_events_and_record_add_up_to_the_same(record: list[list[Transition]]) -> None:
    by_event, by_record = Deltas(), Deltas()
    for number, transitions in enumerate(record, 1):
        fold_batch(encode_commit(Commit("boot", number, tuple(transitions)), SOURCE), by_event)
    everything = [transition for transitions in record for transition in transitions]
    fold_transitions(everything, by_record)
    last = {transition.job: transition for transition in everything}
    present = Counter((t.type, t.queue, t.state) for t in last.values() if t.state is not None)

    assert without_zeros(by_event.series) == without_zeros(by_record.series)
    assert without_zeros(by_event.states) == present


@given(lives())
def test_the_order_in_which_batches_are_folded_does_not_matter(
    record: list[list[Transition]],
) -> None:
    forth, back = Deltas(), Deltas()
    bodies = [encode_commit(Commit("boot", 1, tuple(batch)), SOURCE) for batch in record]
    for body in bodies:
        fold_batch(body, forth)
    for body in reversed(bodies):
        fold_batch(body, back)

    assert without_zeros(forth.states) == without_zeros(back.states)
    assert forth.series == back.series


@given(lives(), st.integers(0, 2 * 86_400))
def test_a_rebuild_holds_what_following_and_trimming_leave(
    record: list[list[Transition]], after_s: int
) -> None:
    followed = Deltas()
    everything = [transition for transitions in record for transition in transitions]
    for transitions in record:
        fold_batch(encode_commit(Commit("boot", 1, tuple(transitions)), SOURCE), followed)
    now_s = everything[-1].at // MICROSECONDS + after_s
    rebuilt = Deltas(now_s)
    fold_transitions(everything, rebuilt)
    trimmed = {
        key: amount
        for key, amount in followed.series.items()
        if key[0] == ALL_TIME or key[1] >= (now_s - KEPT_S[key[0]]) // key[0] * key[0]
    }

    assert without_zeros(rebuilt.series) == without_zeros(trimmed)


def test_what_a_rebuild_holds_does_not_grow_with_the_history() -> None:
    def held(days: int) -> int:
        job = {"job": "j", "type": "t", "queue": "q", "priority": "normal", "attempt": 0}
        lives = (
            Transition(version=1, move=Move.ACCEPT, at=NOW - n * 60 * MICROSECONDS, **job)
            for n in range(days * 24 * 60)
        )
        deltas = Deltas(NOW_S)
        fold_transitions(lives, deltas)
        return len(deltas.series)

    assert held(days=20) == held(days=2) < 24 * 60 + 60 + 20
