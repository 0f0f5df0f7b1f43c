"""Submitting over HTTP with our own client, as one submits to the system and to its floor."""

import os
from collections.abc import Callable
from typing import Any

from observatory.client import Client, Submission


def _payload(n: int, sleep_s: float) -> dict:
    return {"n": n, "text": "a small payload of a plain job", "sleep_s": sleep_s}


def submitter() -> Callable[[int, float], Any]:
    """Submits one job at a time."""
    client = Client(os.environ["BENCH_GATEWAY"])
    return lambda n, sleep_s: client.submit("bench", _payload(n, sleep_s))


def submit_all(first: int, jobs: int, sleep_s: float) -> None:
    """Submit many in few requests."""
    with Client(os.environ["BENCH_GATEWAY"]) as client:
        numbers = range(first, first + jobs)
        answers = client.submit_many(Submission("bench", _payload(n, sleep_s)) for n in numbers)
    assert all(hasattr(answer, "id") for answer in answers), "a job was refused"
