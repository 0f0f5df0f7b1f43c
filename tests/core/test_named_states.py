"""States and moves named outside the lifecycle table are those of the table."""

import re
from pathlib import Path
from typing import Any

import pytest

import observatory.backends
from observatory.backends.sqlite import migrate
from observatory.core.event import events_of
from observatory.core.job import Transition
from observatory.core.lifecycle import TRANSITIONS, Move, State
from observatory.settings.contract_files import load

BACKENDS = Path(observatory.backends.__file__).parent
SOURCES = sorted([*BACKENDS.rglob("*.sql"), *BACKENDS.rglob("*.py")])
WORKER_STATES = {"active", "draining", "stopped", "lost"}
TREE = load()

_COMPARED = re.compile(
    r"\b(state|move)'?\)?\s*(?:=|<>|!=|(?:NOT\s+)?IN)\s*(\([^()]*\)|'[^']*')", re.IGNORECASE
)
_QUOTED = re.compile(r"'([a-z_]+)'")


def named(kind: str) -> dict[str, set[str]]:
    """Words that SQL compares with `kind`, and the files they stand in."""
    found: dict[str, set[str]] = {}
    for path in SOURCES:
        for match in _COMPARED.finditer(path.read_text()):
            if match[1].lower() == kind:
                for word in _QUOTED.findall(match[2]):
                    found.setdefault(word, set()).add(path.name)
    return found


def test_sql_names_no_state_that_the_table_does_not_have() -> None:
    words = named("state")

    assert {"queued", "running", "scheduled", "retrying", "active"} <= set(words), "found too few"
    unknown = {word: files for word, files in words.items() if word not in WORKER_STATES | {*State}}
    assert unknown == {}


def test_sql_names_no_move_that_the_table_does_not_have() -> None:
    words = named("move")

    assert "claim" in words, "found too few"
    assert set(words) <= {*Move}


def test_the_jobs_that_fall_due_are_in_the_states_that_are_promoted() -> None:
    promoted = {state for state, row in TRANSITIONS.items() if Move.PROMOTE in row}

    for statement in sorted(BACKENDS.rglob("promote_jobs.sql")):
        words = {
            word
            for m in _COMPARED.finditer(statement.read_text())
            for word in _QUOTED.findall(m[2])
        }
        assert words == promoted, statement


def test_the_contract_of_a_job_names_the_states_in_their_order() -> None:
    assert TREE["job.v1.json"]["$defs"]["state"]["enum"] == [*State]


def moves_of(kind: str) -> list[tuple[State | None, Move, State | None]]:
    """The transitions that an event type tells of."""
    found = []
    for previous, row in TRANSITIONS.items():
        for move, state in row.items():
            transition = Transition(
                job="j", version=1, move=move, at=0, type="t", queue="q", priority="normal",
                attempt=0, state=state, previous=previous,
            )  # fmt: skip
            if events_of(transition, "/observatory/test/1")[-1].type == kind:
                found.append((previous, move, state))
    return found


def allowed(schema: dict[str, Any]) -> set[str | None]:
    return {schema["const"]} if "const" in schema else set(schema["enum"])


@pytest.mark.parametrize(
    "kind",
    [
        "job.created", "job.queued", "job.started", "job.completed", "job.retrying", "job.failed",
        "job.cancelled", "job.pruned",
    ],
)  # fmt: skip
def test_the_contract_of_an_event_names_the_states_it_leads_from_and_to(kind: str) -> None:
    properties = TREE[f"events/{kind}.v1.json"]["properties"]
    moves = moves_of(kind)

    assert moves
    if "$ref" not in properties["previousState"]:  # which would leave it open
        assert allowed(properties["previousState"]) == {previous for previous, _, _ in moves}
    assert allowed(properties["state"]) == {state for _, _, state in moves}


def test_the_newest_migration_is_the_one_the_code_expects() -> None:
    versions = sorted((migrate.MIGRATIONS / "versions").glob("[0-9]*.py"))
    revisions = [re.search(r'^revision = "(\w+)"', v.read_text(), re.M) for v in versions]

    assert revisions
    assert [m[1] for m in revisions if m][-1] == migrate.HEAD
    assert all(v.name.startswith(f"{m[1]}_") for v, m in zip(versions, revisions, strict=True) if m)


def test_each_migration_follows_the_one_before() -> None:
    versions = sorted((migrate.MIGRATIONS / "versions").glob("[0-9]*.py"))
    before = None
    for version in versions:
        text = version.read_text()
        found = re.search(r'^down_revision = (?:None|"(\w+)")', text, re.M)
        assert found is not None, version.name
        assert found[1] == before, version.name
        before = version.name.partition("_")[0]
