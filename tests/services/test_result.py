"""What a handler returns and cannot be kept: whoever wrote the handler is told so."""

import json
import re
from typing import Any

import pytest

from observatory.core.lifecycle import ErrorInfo
from observatory.services.processor.result import encoded


@pytest.mark.parametrize(
    ("result", "said"),
    [
        (object(), "holds a value of type object; return text, numbers"),
        ("half \ud800", r"lone surrogate, '\\ud800'"),
        ({"a": ["\x00"]}, "U\\+0000 .at /a/0."),
        (float("nan"), "NaN or infinity"),
        (10**30, "an integer.* 64 bits; return a longer one as text"),
        (2**64 - 1, "an integer.* 64 bits; return a longer one as text"),
        (json.loads("[" * 100 + "]" * 100), "nested deeper than 64"),
    ],
    ids=["an object", "a surrogate", "a NUL", "NaN", "a long integer", "2**64 - 1", "depth 100"],
)
def test_whoever_returns_what_cannot_be_kept_is_told_so(result: Any, said: str) -> None:
    error = encoded(result, 1_000)
    assert isinstance(error, ErrorInfo)
    assert error.message.startswith("the result cannot be kept as JSON: ")
    assert re.search(said, error.message), error.message
    assert "send" not in error.message
