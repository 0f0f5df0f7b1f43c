"""Which work messages a commit makes: bounded, of one queue and priority, suspects alone."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from conformance.histories import lives
from conformance.making import new_id
from observatory.core.job import Commit, Transition
from observatory.core.lifecycle import Move, State
from observatory.core.spine import MESSAGE_JOBS_MAX, work_of


@given(lives())
def test_exactly_the_queued_jobs_of_a_commit_are_named(record: list[list[Transition]]) -> None:
    for batch in record:
        named = [r.id for m in work_of([Commit("boot", 1, tuple(batch))]) for r in m.jobs]
        assert Counter(named) == Counter(t.job for t in batch if t.state is State.QUEUED)


@given(
    st.lists(
        st.tuples(st.sampled_from("qr"), st.sampled_from(["high", "low"]), st.booleans()),
        max_size=130,
    )
)
def test_a_message_is_of_one_queue_and_priority_bounded_and_a_suspect_alone(
    jobs: list[tuple[str, str, bool]],
) -> None:
    transitions = tuple(
        Transition(
            job=new_id(), version=3, move=Move.PROMOTE, at=1, type="work", queue=queue,
            priority=priority, attempt=1, state=State.QUEUED, suspect=suspect, contract_version=2,
        )
        for queue, priority, suspect in jobs
    )  # fmt: skip
    of = {t.job: t for t in transitions}

    messages = work_of([Commit("boot", 1, transitions)])

    for message in messages:
        assert 1 <= len(message.jobs) <= MESSAGE_JOBS_MAX
        for reference in message.jobs:
            t = of.pop(reference.id)
            assert (message.queue, message.priority) == (t.queue, t.priority)
            assert (reference.attempt, reference.type) == (t.attempt, t.type)
            assert (reference.contract_version, reference.suspect) == (2, t.suspect)
            assert len(message.jobs) == 1 or not t.suspect
    assert of == {}
    calm = Counter((t.queue, t.priority) for t in transitions if not t.suspect)
    needed = sum(-(-n // MESSAGE_JOBS_MAX) for n in calm.values())
    assert len(messages) == needed + sum(t.suspect for t in transitions)
