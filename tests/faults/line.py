"""A line to a server that can be cut or held at a chosen moment."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit, urlunsplit


class Line:
    """Carries bytes between clients and a server until it is told otherwise.

    cut_before: text of a client; the line is cut instead of carrying it.
    cut_after: text of a client; it is carried, and the line is cut before any answer to it.
    held: nothing is carried, and nobody is told.
    closed: nobody gets a connection.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        assert parts.port is not None
        self._server = (parts.hostname, parts.port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        port = self._listener.getsockname()[1]
        user, at, _ = parts.netloc.rpartition("@")
        self.url = urlunsplit(parts._replace(netloc=f"{user}{at}127.0.0.1:{port}"))
        self.cut_before: bytes | None = None
        self.cut_after: bytes | None = None
        self.held = False
        self.closed = False
        self.cuts = 0
        self._open: list[socket.socket] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def __enter__(self) -> "Line":
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        for one in self._open:
            _cut(one)

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if self.closed:
                    client.close()
                    continue
                server = socket.create_connection(self._server)
                self._open += (client, server)
                silenced = threading.Event()
                threading.Thread(
                    target=self._to_server, args=(client, server, silenced), daemon=True
                ).start()
                threading.Thread(
                    target=self._to_client, args=(client, server, silenced), daemon=True
                ).start()

    def _to_server(
        self, client: socket.socket, server: socket.socket, silenced: threading.Event
    ) -> None:
        for data in _received(client):
            if self.cut_before is not None and self.cut_before in data:
                self.cuts += 1
                break
            if self.cut_after is not None and self.cut_after in data:
                self.cuts += 1
                silenced.set()
                server.sendall(data)
                continue
            if not self.held:
                server.sendall(data)
        _cut(client)
        _cut(server)

    def _to_client(
        self, client: socket.socket, server: socket.socket, silenced: threading.Event
    ) -> None:
        with contextlib.suppress(OSError):
            for data in _received(server):
                if silenced.is_set():
                    break
                if not self.held:
                    client.sendall(data)
        _cut(client)
        _cut(server)


def _received(one: socket.socket) -> Iterator[bytes]:
    with contextlib.suppress(OSError):
        while data := one.recv(65536):
            yield data


def _cut(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
