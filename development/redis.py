"""A private Redis that appends every change to a file and never evicts."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

from development import installation
from development.process import Server, ServerFailed, ask

_TIMEOUT_S = 60


class RedisServer(Server):
    """Redis as the aggregates need it: append-only file, synced every second, no eviction."""

    name = "Redis"

    def url(self, db: int = 0) -> str:
        """Where it is, for clients."""
        return f"redis://127.0.0.1:{self.port}/{db}"

    @property
    def port(self) -> int:
        """The port it listens on, the same after every restart."""
        return self._port()

    def cli(self, *arguments: str) -> str:
        """What redis-cli prints for one command. Raises ServerFailed."""
        done = subprocess.run(
            [installation.redis_cli(), "-p", str(self.port), "-e", *arguments],
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
        )
        if done.returncode:
            raise ServerFailed(f"redis-cli {' '.join(arguments)}: {done.stdout}{done.stderr}")
        return done.stdout.strip()

    def _prepare(self) -> None:
        """Nothing: Redis makes what it needs."""

    def _command(self) -> Sequence[str | Path]:
        settings = {
            "port": str(self.port),
            "bind": "127.0.0.1",
            "dir": str(self.folder),
            "daemonize": "no",
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "maxmemory-policy": "noeviction",
        }
        named = [part for name, value in settings.items() for part in (f"--{name}", value)]
        return [installation.redis_server(), *named]

    def _answers(self) -> bool:
        # While it reads its file back it answers -LOADING.
        return ask(self.port, b"PING\r\n", 16).startswith(b"+PONG")
