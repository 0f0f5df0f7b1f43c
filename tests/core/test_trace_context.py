"""What a caller says of its trace is kept with the job and passed on: only what is valid, bounded."""

import pytest

from observatory.core.trace_context import TraceContext, read_trace_context, trace_id_of

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
GOOD = f"00-{TRACE}-00f067aa0ba902b7-01"


def test_a_valid_context_is_kept_as_it_is() -> None:
    assert read_trace_context(GOOD, "vendor=1,other=2") == TraceContext(GOOD, "vendor=1,other=2")
    assert trace_id_of(GOOD) == TRACE


@pytest.mark.parametrize(
    "traceparent",
    [
        "",
        "00",
        GOOD + "\n",
        GOOD + "-more",
        GOOD.upper(),
        GOOD.replace("00-", "ff-", 1),
        f"00-{'0' * 32}-00f067aa0ba902b7-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-00f067aa0ba902b7-\u0661\u0661",
        "00-" + "a" * 100_000,
        '{"trace": "\x1b[2J"}',
    ],
)
def test_what_is_no_context_counts_as_not_sent(traceparent: str) -> None:
    assert read_trace_context(traceparent, "vendor=1") == TraceContext(None, None)


@pytest.mark.parametrize("tracestate", ["", "a=" + "b" * 511, "a=\x1b[2J", "a=\u00e9", "a=\n"])
def test_a_state_that_cannot_be_passed_on_is_left_out(tracestate: str) -> None:
    assert read_trace_context(GOOD, tracestate) == TraceContext(GOOD, None)


def test_without_a_context_there_is_no_trace() -> None:
    assert read_trace_context(None, "vendor=1") == TraceContext()
    assert trace_id_of(None) is None
