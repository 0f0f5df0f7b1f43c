"""Fingerprints: failures that differ only in their particulars are one group."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observatory.core.failure import fingerprint, normalised


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("no row 17", "no row 18"),
        ("no row 17", "no row 123456789"),
        ("at 0x7f00aa", "at 0x7f11bb"),
        (
            "job 019363a7-2c1d-7b52-9d3e-6f1c2a3b4c5d is gone",
            "job 119363a7-2c1d-7b52-9d3e-6f1c2a3b4c5e is gone",
        ),
        ("no file 'a.txt'", "no file 'b.txt'"),
        ('no file "a.txt"', 'no file "b.txt"'),
        ("timed out\nafter row 1", "timed out\nfor another reason"),
        ("  padded", "padded\n"),
        ("took 1.5 s", "took 2.25 s"),
        ("invalid syntax (one.py, line 1)", "invalid syntax (other.py, line 23)"),
    ],
)
def test_particulars_do_not_tell_failures_apart(one: str, other: str) -> None:
    assert fingerprint("work", "OSError", one) == fingerprint("work", "OSError", other)


def test_kind_job_type_and_text_tell_failures_apart() -> None:
    groups = {
        fingerprint("work", "OSError", "disk full"),
        fingerprint("work", "OSError", "disk gone"),
        fingerprint("work", "ValueError", "disk full"),
        fingerprint("other", "OSError", "disk full"),
        fingerprint("work", "", "OSError\ndisk full"),
    }

    assert len(groups) == 5


@given(st.text(), st.text(), st.text())
def test_any_text_has_a_fingerprint_of_sixteen_digits(type: str, error: str, message: str) -> None:
    one = fingerprint(type, error, message)

    assert one == fingerprint(type, error, message)
    assert len(one) == 16
    assert int(one, 16) >= 0


@pytest.mark.parametrize("message", ["'" * 1_000_000, "0x" * 500_000, "a-" * 500_000, "1" * 10**6])
def test_a_message_made_to_be_slow_is_not(message: str) -> None:
    start = time.process_time()

    assert len(normalised(message)) <= 500

    assert time.process_time() - start < 1
