"""Who is connected to whom among processes of this machine, as Linux tells it."""

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final, Self

_SAMPLE_S: Final = 0.03
_LOOPBACK: Final = "0100007F"
"""127.0.0.1 as `/proc/net/tcp` writes it."""


class Watch:
    """While it runs, notes who holds connections to ports that are known."""

    def __init__(self, sessions: Callable[[], Mapping[int, str]], ports: Mapping[int, str]) -> None:
        """Set up.

        Args:
            sessions: who the processes of a session (`setsid`) are, now.
            ports: of the loopback, and who listens there.
        """
        self.seen: set[tuple[str, str, int]] = set()
        """Who, with whom, at which port of this machine."""
        self._sessions = sessions
        self._ports = ports
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._ended.wait(_SAMPLE_S):
            held = list(_connections(self._ports))
            if not held:
                continue
            owners = dict(_sockets(self._sessions()))
            for port, inode in held:
                if (who := owners.get(inode)) is not None and who != self._ports[port]:
                    self.seen.add((who, self._ports[port], port))


def _connections(ports: Mapping[int, str]) -> Iterator[tuple[int, str]]:
    """Connections to these ports from this machine: the port, and the inode of the near end."""
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        host, _, port = fields[2].partition(":")
        if host == _LOOPBACK and int(port, 16) in ports:
            yield int(port, 16), fields[9]


def _sockets(sessions: Mapping[int, str]) -> Iterator[tuple[str, str]]:
    """The inodes of the sockets of every process of these sessions, and who each is."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            # After the name, which may hold anything: state, parent, group, session.
            session = int(stat.read_text(errors="replace").rpartition(")")[2].split()[3])
            if (who := sessions.get(session)) is None:
                continue
            for descriptor in (stat.parent / "fd").iterdir():
                target = os.readlink(descriptor)
                if target.startswith("socket:["):
                    yield target[8:-1], who
        except (OSError, IndexError):
            continue  # It has ended, or closed it, meanwhile.
