"""The life of a job: the one place that says which state may follow which.

Rules of this file:

1. Every state and every legal transition is in `TRANSITIONS`; an unlisted pair is an error.
2. Nothing here reads a clock or a random source; both come in as arguments.
3. `attempt` numbers the runs and is the fencing token, never reset. `failures` is what is held
   against the retry budget. `crashes` counts attempts whose worker died, kept apart so that a
   restart never uses up a job's budget.
"""

from enum import StrEnum
from typing import Final

import msgspec

from observatory.core.errors import IllegalTransition
from observatory.core.instant import MICROSECONDS
from observatory.core.job_type import Retry


class State(StrEnum):
    """Where a job is in its life."""

    SCHEDULED = "scheduled"
    QUEUED = "queued"
    RUNNING = "running"
    RETRYING = "retrying"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Move(StrEnum):
    """What makes a job change its state."""

    ACCEPT = "accept"
    DEFER = "defer"
    PROMOTE = "promote"
    CLAIM = "claim"
    COMPLETE = "complete"
    SCHEDULE_RETRY = "schedule_retry"
    FAIL = "fail"
    CANCEL = "cancel"
    RELEASE = "release"
    REQUEUE_BY_OPERATOR = "requeue_by_operator"
    PRUNE = "prune"


TERMINAL: Final = frozenset({State.COMPLETED, State.FAILED, State.CANCELLED})

TRANSITIONS: Final[dict[State | None, dict[Move, State | None]]] = {
    None: {Move.ACCEPT: State.QUEUED, Move.DEFER: State.SCHEDULED},
    State.SCHEDULED: {Move.PROMOTE: State.QUEUED, Move.CANCEL: State.CANCELLED},
    State.QUEUED: {Move.CLAIM: State.RUNNING, Move.CANCEL: State.CANCELLED},
    State.RUNNING: {
        Move.COMPLETE: State.COMPLETED,
        Move.SCHEDULE_RETRY: State.RETRYING,
        Move.FAIL: State.FAILED,
        Move.CANCEL: State.CANCELLED,
        Move.RELEASE: State.QUEUED,
    },
    State.RETRYING: {
        Move.PROMOTE: State.QUEUED,
        Move.CANCEL: State.CANCELLED,
        Move.REQUEUE_BY_OPERATOR: State.QUEUED,
    },
    State.COMPLETED: {Move.REQUEUE_BY_OPERATOR: State.QUEUED, Move.PRUNE: None},
    State.FAILED: {Move.REQUEUE_BY_OPERATOR: State.QUEUED, Move.PRUNE: None},
    State.CANCELLED: {Move.REQUEUE_BY_OPERATOR: State.QUEUED, Move.PRUNE: None},
}
"""state → what happens → next state. None before acceptance and after pruning."""


def after(state: State | None, move: Move) -> State | None:
    """The state that follows.

    Raises:
        IllegalTransition: the table does not list the pair.
    """
    try:
        return TRANSITIONS[state][move]
    except KeyError:
        raise IllegalTransition(_why_not(state, move)) from None


_PHRASES: Final = {Move.REQUEUE_BY_OPERATOR: "run again", Move.CANCEL: "cancelled"}
"""What a caller may ask for, in words; the other moves are the system's own."""


def _why_not(state: State | None, move: Move) -> str:
    phrase = _PHRASES.get(move)
    if state is None or phrase is None:
        return f"a {state or 'new'} job cannot {move.replace('_', ' ')}"
    *most, last = (str(one) for one in State if allows(one, move))
    return f"the job is {state}; only a {', '.join(most)} or {last} job can be {phrase}"


def allows(state: State | None, move: Move) -> bool:
    """Whether the table lists the pair."""
    return move in TRANSITIONS[state]


class OutcomeKind(StrEnum):
    """How an attempt ended."""

    COMPLETED = "completed"
    ERROR = "error"
    TIMEOUT = "timeout"
    NOT_RETRYABLE = "not_retryable"
    UNSERIALISABLE = "unserialisable"
    LOST = "lost"
    RELEASED = "released"
    CANCELLED = "cancelled"


class ErrorInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an attempt failed with, as text that every backend can hold."""

    type: str
    message: str
    traceback: str | None = None


class Standing(msgspec.Struct, frozen=True):
    """What has been counted against a job so far, before the attempt that is being judged."""

    failures: int
    crashes: int
    max_attempts: int


class Decision(msgspec.Struct, frozen=True):
    """What follows from an outcome: the move, its reason, the counts after it, and the delay."""

    move: Move
    reason: str | None
    failures: int
    crashes: int
    delay_us: int | None = None


POISON: Final = "poison"
POISON_CRASHES: Final = 3
"""A job whose worker died this often while running it is not run again (Sidekiq's poison pill)."""

SUSPECT_CRASHES: Final = POISON_CRASHES - 1
"""From so many on a job runs apart from others like it, so that it is alone when it is judged. Not
from the first: of the many that run when a node dies, hardly one is to blame."""


def decide(outcome: OutcomeKind, standing: Standing, retry: Retry, jitter: float) -> Decision:
    """Judge an attempt's outcome.

    Args:
        outcome: how the attempt ended.
        standing: the counts before it.
        retry: the job type's backoff.
        jitter: a random number in [0, 1), used where the backoff asks for it.
    """
    failures, crashes = standing.failures, standing.crashes
    match outcome:
        case OutcomeKind.COMPLETED:
            return Decision(Move.COMPLETE, None, failures, crashes)
        case OutcomeKind.CANCELLED:
            return Decision(Move.CANCEL, "requested", failures, crashes)
        case OutcomeKind.RELEASED:
            return Decision(Move.RELEASE, "released", failures, crashes)
        case OutcomeKind.LOST:
            crashes += 1
            if crashes >= POISON_CRASHES:
                return Decision(Move.FAIL, POISON, failures, crashes)
            delay = _delay_us(retry, crashes, jitter)
            return Decision(Move.SCHEDULE_RETRY, "lost", failures, crashes, delay)
        case OutcomeKind.NOT_RETRYABLE | OutcomeKind.UNSERIALISABLE:
            return Decision(Move.FAIL, "not_retryable", failures + 1, crashes)
        case OutcomeKind.ERROR | OutcomeKind.TIMEOUT:
            failures += 1
            if failures >= standing.max_attempts:
                return Decision(Move.FAIL, "attempts_exhausted", failures, crashes)
            delay = _delay_us(retry, failures, jitter)
            return Decision(Move.SCHEDULE_RETRY, outcome.value, failures, crashes, delay)


def _delay_us(retry: Retry, tries: int, jitter: float) -> int:
    return int(retry.delay_s(tries, jitter) * MICROSECONDS)
