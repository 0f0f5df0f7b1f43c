"""The job types that are measured: one does nothing, one keeps a slot busy until told."""

import asyncio
from pathlib import Path

from observatory import Observatory

app = Observatory()


@app.job("bench.noop")
async def noop(n: int, text: str) -> None:
    """Do nothing, so that all that is measured is the system."""


@app.job("bench.hold")
async def hold(until: str) -> None:
    """Keep a slot until a file appears."""
    while not Path(until).exists():
        await asyncio.sleep(0.02)
