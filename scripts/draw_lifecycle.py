"""Draw docs/reference/lifecycle.md from the one table of transitions.

.venv/bin/python scripts/draw_lifecycle.py            write the page
.venv/bin/python scripts/draw_lifecycle.py --check    say whether it is stale, exit code 1 if so
"""

import sys
from pathlib import Path

from observatory.core.event import TYPE_OF_MOVE as EVENT_OF_MOVE
from observatory.core.lifecycle import TERMINAL, TRANSITIONS, Move, State

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "lifecycle.md"

MEANING = {
    Move.ACCEPT: "the gateway recorded it; it may run now",
    Move.DEFER: "the gateway recorded it; it may run at a later time",
    Move.PROMOTE: "its time has come (promoter)",
    Move.CLAIM: "a worker took it: a new attempt",
    Move.COMPLETE: "the handler returned",
    Move.SCHEDULE_RETRY: "the attempt failed, timed out or was lost; another follows",
    Move.FAIL: "attempts used up, not retryable, or three workers died running it",
    Move.CANCEL: "someone asked for it",
    Move.RELEASE: "a draining worker handed it back; costs no attempt budget",
    Move.REQUEUE_BY_OPERATOR: "someone asked for it to run again; the budget starts anew",
    Move.PRUNE: "retention removed it from the record",
}


def page() -> str:
    """The whole page."""
    return f"""\
# The life of a job

This page is written by `scripts/draw_lifecycle.py` from `TRANSITIONS` in
[`core/lifecycle.py`](../../src/observatory/core/lifecycle.py), the only place that says which state
may follow which. A move that is not listed is refused: as a problem
[`illegal-transition`](problems.md#illegal-transition) when a caller asks for it,
as an error inside.

```mermaid
{diagram()}
```

Terminal states, which only an explicit retry or retention leaves: {_terminal()}.

{table()}
"""


def diagram() -> str:
    """The transitions as a mermaid state diagram."""
    lines = ["stateDiagram-v2"]
    for state, moves in TRANSITIONS.items():
        for move, following in moves.items():
            lines.append(f"    {state or '[*]'} --> {following or '[*]'}: {_words(move)}")
    return "\n".join(lines)


def table() -> str:
    """Every move with its meaning and its event."""
    lines = ["| from | move | to | when | event |", "|---|---|---|---|---|"]
    for state, moves in TRANSITIONS.items():
        for move, following in moves.items():
            event = f"`{EVENT_OF_MOVE[move]}`"
            here, there = _shown(state, "not on record"), _shown(following, "not on record")
            lines.append(f"| {here} | {_words(move)} | {there} | {MEANING[move]} | {event} |")
    return "\n".join(lines)


def _terminal() -> str:
    return ", ".join(f"`{state}`" for state in State if state in TERMINAL)


def _shown(state: State | None, otherwise: str) -> str:
    return otherwise if state is None else f"`{state}`"


def _words(move: Move) -> str:
    return move.value.replace("_", " ")


def main() -> int:
    if "--check" in sys.argv[1:]:
        fresh = PAGE.exists() and PAGE.read_text() == page()
        print("fresh" if fresh else f"stale: run {Path(__file__).name}")
        return 0 if fresh else 1
    PAGE.write_text(page())
    return 0


if __name__ == "__main__":
    sys.exit(main())
