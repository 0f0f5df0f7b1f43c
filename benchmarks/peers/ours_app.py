"""Our own job, and submitting it with our own client."""

import os

from benchmarks.peers.runs import run_async
from observatory import Observatory
from observatory.client import Client, Submission

app = Observatory()


@app.job("bench", max_attempts=1)
async def bench(n: int, text: str, sleep_s: float) -> int:
    return await run_async(n, sleep_s)


def _payload(n: int, sleep_s: float) -> dict:
    return {"n": n, "text": "a small payload of a plain job", "sleep_s": sleep_s}


def submitter():
    """Submits one job at a time."""
    client = Client(os.environ["BENCH_GATEWAY"])
    return lambda n, sleep_s: client.submit("bench", _payload(n, sleep_s))


def submit_all(first: int, jobs: int, sleep_s: float) -> None:
    """Submit many in few requests."""
    with Client(os.environ["BENCH_GATEWAY"]) as client:
        numbers = range(first, first + jobs)
        answers = client.submit_many(Submission("bench", _payload(n, sleep_s)) for n in numbers)
    assert all(hasattr(answer, "id") for answer in answers), "a job was refused"
