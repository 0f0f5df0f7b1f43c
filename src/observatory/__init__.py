"""The Distributed Task Observatory: a background-job system whose inside can be seen.

Only the names a user writes against are here. They are loaded on first use, so that importing a
part (the command line, the client) does not pay for the rest.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from observatory.core.application import JobContext, Observatory
    from observatory.core.errors import NonRetryable
    from observatory.core.job_type import Retry

__all__ = ["JobContext", "NonRetryable", "Observatory", "Retry", "__version__"]

__version__ = "0.1.0"

_HOMES = {
    "JobContext": "observatory.core.application",
    "NonRetryable": "observatory.core.errors",
    "Observatory": "observatory.core.application",
    "Retry": "observatory.core.job_type",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)
