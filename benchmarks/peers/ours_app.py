"""Our own job, and submitting it with our own client."""

from benchmarks.peers.over_http import submit_all, submitter
from benchmarks.peers.runs import run_async
from observatory import Observatory

__all__ = ["app", "submit_all", "submitter"]

app = Observatory()


@app.job("bench", max_attempts=1)
async def bench(n: int, text: str, sleep_s: float) -> int:
    return await run_async(n, sleep_s)
