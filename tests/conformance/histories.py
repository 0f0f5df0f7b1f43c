"""Random legal histories: jobs that go through the transition table as a store would take them."""

from typing import Any, Final

from hypothesis import strategies as st

from conformance.making import new_id
from observatory.core.instant import MICROSECONDS
from observatory.core.job import Transition
from observatory.core.lifecycle import TRANSITIONS, ErrorInfo, Move, OutcomeKind, State

_FAILING: Final = (OutcomeKind.ERROR, OutcomeKind.TIMEOUT, OutcomeKind.LOST)
_OUTCOMES: Final[dict[Move, tuple[OutcomeKind, ...]]] = {
    Move.COMPLETE: (OutcomeKind.COMPLETED,),
    Move.SCHEDULE_RETRY: _FAILING,
    Move.FAIL: (*_FAILING, OutcomeKind.NOT_RETRYABLE, OutcomeKind.UNSERIALISABLE),
    Move.RELEASE: (OutcomeKind.RELEASED,),
    Move.CANCEL: (OutcomeKind.CANCELLED, OutcomeKind.RELEASED, *_FAILING),
}
"""Which outcomes a store records with a move that ends an attempt."""

_REASONS: Final = {
    Move.SCHEDULE_RETRY: "error",
    Move.FAIL: "attempts_exhausted",
    Move.CANCEL: "requested",
    Move.RELEASE: "released",
}

WORKER: Final = "alpha.example:101:boot-a"


@st.composite
def lives(draw: st.DrawFn, jobs_max: int = 4, moves_max: int = 12) -> list[list[Transition]]:
    """The batches in which a store committed the transitions of a few jobs."""
    now = draw(st.integers(1_000_000 * MICROSECONDS, 4_000_000_000 * MICROSECONDS))
    heads: list[Transition | None] = [None] * draw(st.integers(1, jobs_max))
    batches: list[list[Transition]] = []
    for _ in range(draw(st.integers(1, moves_max))):
        now += draw(st.integers(0, 10 ** draw(st.integers(0, 13))))
        movable = [n for n, head in enumerate(heads) if head is None or head.state is not None]
        if not movable:
            break
        chosen = draw(st.lists(st.sampled_from(movable), min_size=1, unique=True))
        batch = []
        for index in chosen:
            heads[index] = transition = draw(_next(heads[index], now))
            batch.append(transition)
        batches.append(batch)
    return batches


@st.composite
def _next(draw: st.DrawFn, head: Transition | None, now: int) -> Transition:
    previous = None if head is None else head.state
    move = draw(st.sampled_from(sorted(TRANSITIONS[previous])))
    fields: dict[str, Any] = {
        "move": move,
        "at": now,
        "state": TRANSITIONS[previous][move],
        "previous": previous,
        "reason": _REASONS.get(move),
    }
    if head is None:
        fields |= {
            "job": new_id(),
            "type": draw(st.sampled_from(["work", "email.send"])),
            "queue": draw(st.sampled_from(["default", "mail"])),
            "priority": draw(st.sampled_from(["high", "normal", "low"])),
            "max_attempts": draw(st.integers(1, 100)),
        }
    else:
        for name in ("job", "type", "queue", "priority", "max_attempts", "correlation_id"):
            fields[name] = getattr(head, name)
    fields["version"] = 1 if head is None else head.version + 1
    fields["attempt"] = (0 if head is None else head.attempt) + (move is Move.CLAIM)
    if previous is State.RUNNING or move is Move.CLAIM:
        assert head is not None
        # A store knows when a run began or a job was queued; the wait of a run ends with it.
        fields |= {"since": head.at, "worker": WORKER}
    if previous is State.RUNNING:
        outcome = fields["outcome"] = draw(st.sampled_from(_OUTCOMES[move]))
        if move is not Move.COMPLETE and outcome not in (
            OutcomeKind.CANCELLED,
            OutcomeKind.RELEASED,
        ):
            fields["error"] = ErrorInfo("app.Broken", draw(st.text(max_size=20)))
        if move is Move.SCHEDULE_RETRY:
            fields["scheduled_at"] = now + draw(st.integers(0, 60 * MICROSECONDS))
    if move is Move.DEFER:
        fields["scheduled_at"] = now + draw(st.integers(1, 3600 * MICROSECONDS))
    return Transition(**fields)
