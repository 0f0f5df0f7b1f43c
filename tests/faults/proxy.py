"""A line to a server that can be slowed, held, cut or reset at a chosen moment: an asyncio TCP proxy."""

import asyncio
import contextlib
import random
import socket
import struct
import threading
from typing import Final
from urllib.parse import urlsplit, urlunsplit

_CHUNK: Final = 65536
_RESET: Final = struct.pack("ii", 1, 0)
"""SO_LINGER on, for no time: closing sends a reset."""


class Proxy:
    """Carries bytes between clients and a server until it is told otherwise.

    cut_before: text of a client; the line is cut instead of carrying it.
    cut_after: text of a client; it is carried, and the line is cut before any answer to it.
    held: nothing is carried, and nobody is told.
    closed: nobody gets a connection.
    delay_s, jitter_s: how long each chunk is kept, at least, and at most beyond that.
    reset_share: of each chunk, how likely it ends its connection with a reset.
    """

    def __init__(self, url: str, *, seed: int = 0) -> None:
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
        self.delay_s = 0.0
        self.jitter_s = 0.0
        self.reset_share = 0.0
        self.cuts = 0
        """Lines that were cut or reset on purpose."""
        self.withheld = 0
        """Chunks that were not carried while the line was held."""
        self.refused = 0
        """Connections that nobody got."""
        self._random = random.Random(seed)
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        started = threading.Event()
        self._thread = threading.Thread(target=self._serve, args=(started,), daemon=True)
        self._thread.start()
        started.wait(10)

    def __enter__(self) -> "Proxy":
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._end)
        self._thread.join(10)

    def cut(self) -> None:
        """Reset every connection there is now."""
        self._loop.call_soon_threadsafe(self._cut_all)

    def _serve(self, started: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)

        async def listen() -> None:
            self._stopped = asyncio.Event()
            server = await asyncio.start_server(self._connected, sock=self._listener)
            started.set()
            await self._stopped.wait()
            server.close()
            self._cut_all()

        self._loop.run_until_complete(listen())
        # Tasks of cut connections end in their own turn.
        pending = asyncio.all_tasks(self._loop)
        for task in pending:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*pending, return_exceptions=True))
        self._loop.close()

    def _end(self) -> None:
        self._stopped.set()

    def _cut_all(self) -> None:
        for writer in list(self._writers):
            self.cuts += 1
            _reset(writer)

    async def _connected(
        self, from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter
    ) -> None:
        if self.closed:
            self.refused += 1
            _reset(to_client)
            return
        try:
            from_server, to_server = await asyncio.open_connection(*self._server)
        except OSError:
            _reset(to_client)
            return
        ends = {to_client, to_server}
        self._writers |= ends
        silenced = asyncio.Event()
        ways = [
            asyncio.create_task(self._to_server(from_client, to_server, silenced)),
            asyncio.create_task(self._to_client(from_server, to_client, silenced)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            self._writers -= ends
            for one in ends:
                one.close()

    async def _to_server(
        self, client: asyncio.StreamReader, server: asyncio.StreamWriter, silenced: asyncio.Event
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await client.read(_CHUNK):
                if self.cut_before is not None and self.cut_before in data:
                    self.cuts += 1
                    return
                if self.cut_after is not None and self.cut_after in data:
                    self.cuts += 1
                    silenced.set()
                    server.write(data)
                    await server.drain()
                    continue
                if not await self._carry(data, server):
                    return

    async def _to_client(
        self, server: asyncio.StreamReader, client: asyncio.StreamWriter, silenced: asyncio.Event
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await server.read(_CHUNK):
                if silenced.is_set() or not await self._carry(data, client):
                    return

    async def _carry(self, data: bytes, to: asyncio.StreamWriter) -> bool:
        """Whether the line goes on."""
        if self.reset_share and self._random.random() < self.reset_share:
            self.cuts += 1
            _reset(to)
            return False
        if self.delay_s or self.jitter_s:
            await asyncio.sleep(self.delay_s + self._random.uniform(0, self.jitter_s))
        if self.held:
            self.withheld += 1
            return True
        to.write(data)
        await to.drain()
        return True


def _reset(writer: asyncio.StreamWriter) -> None:
    line = writer.get_extra_info("socket")
    if line is not None:
        with contextlib.suppress(OSError):
            line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()
