"""The one table that says which state may follow which, and the judging of outcomes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observatory.core.errors import IllegalTransition
from observatory.core.instant import MICROSECONDS
from observatory.core.job_type import Retry
from observatory.core.lifecycle import (
    POISON_CRASHES,
    TERMINAL,
    TRANSITIONS,
    Move,
    OutcomeKind,
    Standing,
    State,
    after,
    allows,
    decide,
)

states = st.sampled_from([None, *State])
moves = st.sampled_from(Move)
outcomes = st.sampled_from(OutcomeKind)
retries = st.builds(
    Retry,
    base=st.floats(0, 1e5),
    factor=st.floats(1, 1e3),
    cap=st.floats(0, 1e6),
    jitter=st.booleans(),
)
standings = st.builds(
    Standing,
    failures=st.integers(0, 100),
    crashes=st.integers(0, POISON_CRASHES),
    max_attempts=st.integers(1, 100),
)
jitters = st.floats(0, 1, exclude_max=True)


def test_every_state_is_reached_and_every_move_is_used() -> None:
    assert set(TRANSITIONS) == {None, *State}
    assert {state for row in TRANSITIONS.values() for state in row.values()} == {None, *State}
    assert {move for row in TRANSITIONS.values() for move in row} == set(Move)


def test_a_terminal_state_is_left_by_an_operator_or_by_pruning_alone() -> None:
    left_by = {Move.REQUEUE_BY_OPERATOR, Move.PRUNE}

    assert {state for state in State if set(TRANSITIONS[state]) <= left_by} == TERMINAL


def test_only_a_terminal_job_is_ever_removed() -> None:
    assert {state for state in TRANSITIONS if allows(state, Move.PRUNE)} == TERMINAL


def test_only_a_queued_job_is_claimed() -> None:
    assert [state for state in TRANSITIONS if allows(state, Move.CLAIM)] == [State.QUEUED]


def test_every_job_that_is_not_over_can_be_cancelled() -> None:
    assert {s for s in State if allows(s, Move.CANCEL)} == set(State) - TERMINAL


@given(states, moves)
def test_what_the_table_does_not_list_is_refused(state: State | None, move: Move) -> None:
    if allows(state, move):
        assert after(state, move) is TRANSITIONS[state][move]
    else:
        with pytest.raises(IllegalTransition, match=r"cannot|can be"):
            after(state, move)


@given(st.lists(moves, max_size=30))
def test_no_sequence_of_moves_leads_out_of_the_table(wishes: list[Move]) -> None:
    state: State | None = None
    for position, move in enumerate(wishes):
        if not allows(state, move):
            continue
        previous, state = state, after(state, move)
        assert (previous in TERMINAL) <= (move in (Move.REQUEUE_BY_OPERATOR, Move.PRUNE))
        assert (state is State.RUNNING) == (move is Move.CLAIM)
        if state is None:
            assert position > 0
            return


@given(outcomes, standings, retries, jitters)
def test_every_outcome_leads_to_a_move_a_running_job_can_make(
    outcome: OutcomeKind, standing: Standing, retry: Retry, jitter: float
) -> None:
    decision = decide(outcome, standing, retry, jitter)

    assert allows(State.RUNNING, decision.move)
    assert decision.failures - standing.failures in (0, 1)
    assert decision.crashes - standing.crashes in (0, 1)
    assert (decision.delay_us is not None) == (decision.move is Move.SCHEDULE_RETRY)
    if decision.delay_us is not None:
        assert 0 <= decision.delay_us <= retry.cap * MICROSECONDS


@given(outcomes, standings, retries, jitters)
def test_judging_is_a_function_of_its_arguments(
    outcome: OutcomeKind, standing: Standing, retry: Retry, jitter: float
) -> None:
    assert decide(outcome, standing, retry, jitter) == decide(outcome, standing, retry, jitter)


@pytest.mark.parametrize(
    ("outcome", "move", "reason"),
    [
        (OutcomeKind.COMPLETED, Move.COMPLETE, None),
        (OutcomeKind.CANCELLED, Move.CANCEL, "requested"),
        (OutcomeKind.RELEASED, Move.RELEASE, "released"),
    ],
)
@given(standings, retries, jitters)
def test_an_attempt_that_did_not_fail_is_not_held_against_the_job(
    outcome: OutcomeKind,
    move: Move,
    reason: str | None,
    standing: Standing,
    retry: Retry,
    jitter: float,
) -> None:
    decision = decide(outcome, standing, retry, jitter)

    assert (decision.move, decision.reason) == (move, reason)
    assert (decision.failures, decision.crashes) == (standing.failures, standing.crashes)


@pytest.mark.parametrize("outcome", [OutcomeKind.ERROR, OutcomeKind.TIMEOUT])
@given(standings, retries, jitters)
def test_a_failure_is_tried_again_until_the_attempts_are_used_up(
    outcome: OutcomeKind, standing: Standing, retry: Retry, jitter: float
) -> None:
    decision = decide(outcome, standing, retry, jitter)

    used_up = standing.failures + 1 >= standing.max_attempts
    assert decision.move is (Move.FAIL if used_up else Move.SCHEDULE_RETRY)
    assert decision.reason == ("attempts_exhausted" if used_up else outcome)
    assert (decision.failures, decision.crashes) == (standing.failures + 1, standing.crashes)


@pytest.mark.parametrize("outcome", [OutcomeKind.NOT_RETRYABLE, OutcomeKind.UNSERIALISABLE])
@given(standings, retries, jitters)
def test_what_trying_again_would_not_help_fails_at_once(
    outcome: OutcomeKind, standing: Standing, retry: Retry, jitter: float
) -> None:
    decision = decide(outcome, standing, retry, jitter)

    assert (decision.move, decision.reason) == (Move.FAIL, "not_retryable")


@given(standings, retries, jitters)
def test_a_lost_worker_costs_a_crash_and_no_attempt(
    standing: Standing, retry: Retry, jitter: float
) -> None:
    decision = decide(OutcomeKind.LOST, standing, retry, jitter)

    poison = standing.crashes + 1 >= POISON_CRASHES
    assert decision.move is (Move.FAIL if poison else Move.SCHEDULE_RETRY)
    assert decision.reason == ("poison" if poison else "lost")
    assert (decision.failures, decision.crashes) == (standing.failures, standing.crashes + 1)


def test_what_a_caller_may_not_do_is_said_in_words() -> None:
    with pytest.raises(IllegalTransition) as refusal:
        after(State.QUEUED, Move.REQUEUE_BY_OPERATOR)
    assert refusal.value.detail == (
        "the job is queued; only a retrying, completed, failed or cancelled job can be run again"
    )
