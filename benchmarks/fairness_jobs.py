"""A job that takes its time, and notes itself where and when it ran."""

import asyncio
import json
import os
import time

from observatory import Observatory

app = Observatory()


def _note(job: int, began: bool) -> None:
    line = json.dumps([os.getpid(), job, time.time(), began]) + "\n"
    file = os.open(os.environ["BENCH_RUNS"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(file, line.encode())
    finally:
        os.close(file)


@app.job("bench.sleep", max_attempts=1)
async def sleep(n: int, seconds: float) -> None:
    """Keep a slot for so long."""
    _note(n, True)
    await asyncio.sleep(seconds)
    _note(n, False)
