"""The embedded system with its demo, started from the terminal view where nothing answered."""

import asyncio
import os
import subprocess
import sys
import tempfile
from typing import IO


class Demo:
    """A process that ends with the view."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        """None until it is started."""
        self._said: IO[bytes] | None = None

    def start(self, port: int | None) -> None:
        """Start it, without waiting for it."""
        command = [sys.executable, "-m", "observatory.interfaces.cli.main", "up", "--demo"]
        # A file, as nobody reads while it runs, and a pipe would fill up and hold it.
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the process
        self.process = subprocess.Popen(  # noqa: S603 - our own command
            [*command, "--port", str(port)],
            stdin=subprocess.DEVNULL,
            stdout=self._said,
            stderr=subprocess.STDOUT,
            env=os.environ | {"NO_COLOR": "1"},
        )

    def why_it_ended(self) -> str | None:
        """What it said last, where it has ended by itself; None while it runs."""
        if self.process is None or self._said is None or self.process.poll() is None:
            return None
        self._said.seek(0)
        said = self._said.read().decode(errors="replace").strip()
        last = said.splitlines()[-1].removeprefix("observatory: ") if said else "it said nothing"
        return f"{last} (exit code {self.process.returncode})"

    async def stop(self) -> None:
        """End it, if it runs, and wait until it has handed back what it ran."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            await asyncio.to_thread(self.process.wait, 30)
        if self._said is not None:
            self._said.close()
            self._said = None
