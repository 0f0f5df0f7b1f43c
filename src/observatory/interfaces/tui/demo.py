"""The embedded system with its demo, started from the terminal view where nothing answered."""

import asyncio
import os
import subprocess
import sys


class Demo:
    """A process that ends with the view."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        """None until it is started."""

    def start(self, port: int | None) -> None:
        """Start it, without waiting for it."""
        command = [sys.executable, "-m", "observatory.interfaces.cli.main", "up", "--demo"]
        self.process = subprocess.Popen(  # noqa: S603 - our own command
            [*command, "--port", str(port)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"NO_COLOR": "1"},
        )

    async def stop(self) -> None:
        """End it, if it runs, and wait until it has handed back what it ran."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            await asyncio.to_thread(self.process.wait, 30)
