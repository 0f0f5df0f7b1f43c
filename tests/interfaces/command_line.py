"""The command line as a process: how it is called, and the jobs of the system that it talks to."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

from real import environment

CLI = [sys.executable, "-m", "observatory.interfaces.cli.main"]

JOBS = r"""
from observatory import JobContext, NonRetryable, Observatory

app = Observatory()

@app.job("double")
def double(n: int) -> int:
    return 2 * n

@app.job("echo", queue="voices")
def echo(text: str, ctx: JobContext) -> str:
    ctx.log.info(text)
    return text

@app.job("tell")
def tell(ctx: JobContext) -> None:
    ctx.progress(0.25, "a quarter")
    for n in range(250):
        ctx.log.info("line", n=n)

@app.job("hostile")
def hostile() -> None:
    raise NonRetryable("\x1b[2J\x9b31m\u202egnitrevni\x07")
"""


def cli(
    *arguments: str,
    url: str | None = None,
    cwd: Path | None = None,
    stdin: str = "",
    **settings: str,
) -> subprocess.CompletedProcess[str]:
    given = environment(**settings)
    del given["NO_COLOR"]  # a pipe must be without colour by itself
    if url:
        given["OBSERVATORY_URL"] = url
    return subprocess.run(
        [*CLI, *arguments],
        env=given,
        cwd=cwd,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
    )


def terminal_output(*arguments: str, url: str, **settings: str) -> str:
    """What a command prints to a real terminal."""
    ours, theirs = pty.openpty()
    given = environment(OBSERVATORY_URL=url, TERM="xterm-256color", **settings)
    if "NO_COLOR" not in settings:
        del given["NO_COLOR"]
    process = subprocess.Popen([*CLI, *arguments], env=given, stdout=theirs, stderr=theirs)
    os.close(theirs)
    chunks: list[bytes] = []
    try:
        while chunk := os.read(ours, 65536):
            chunks.append(chunk)
    except OSError:  # Linux's way to say that the other end has closed
        pass
    os.close(ours)
    process.wait(10)
    return b"".join(chunks).decode()
