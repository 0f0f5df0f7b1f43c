"""RabbitMQ for the suites: one private node a session, one virtual host a test."""

import atexit
import functools
import itertools
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from conformance.in_memory import new_folder
from development.rabbitmq import USER, RabbitmqServer
from observatory.backends.rabbitmq.messages import raw_out
from observatory.backends.rabbitmq.spine import RabbitmqSpine
from observatory.backends.rabbitmq.topology import work_queue

_AT_ONCE: Final = 20
"""Virtual hosts made by one call, for each call starts an Erlang of its own."""

_ADD: Final = """
[begin
    Name = iolist_to_binary(io_lib:format("test-~b", [Number])),
    rabbit_vhost:add(Name, <<"test">>),
    rabbit_auth_backend_internal:set_permissions(
        <<"{user}">>, Name, <<".*">>, <<".*">>, <<".*">>, <<"test">>)
end || Number <- lists:seq({first}, {last})], ok.
"""


@functools.cache
def server() -> RabbitmqServer:
    """The node of this session; it ends with the process. Nothing on it outlives a crash."""
    folder = new_folder()
    started = RabbitmqServer(folder).start()

    def end() -> None:
        started.kill()
        shutil.rmtree(folder, ignore_errors=True)

    atexit.register(end)
    return started


@functools.cache
def _virtual_hosts() -> Iterator[str]:
    def made() -> Iterator[str]:
        for first in itertools.count(1, _AT_ONCE):
            last = first + _AT_ONCE - 1
            server().ctl("eval", _ADD.format(user=USER, first=first, last=last))
            yield from (f"test-{number}" for number in range(first, last + 1))

    return made()


def new_virtual_host() -> str:
    """The URL of an empty virtual host."""
    return server().url(next(_virtual_hosts()))


class RabbitmqBench:
    """The spine in a virtual host of its own."""

    spine: RabbitmqSpine

    def __init__(self, folder: Path, empty_database: Path) -> None:
        del folder, empty_database  # of SQLite
        self._ahead_us = 0
        self._url = ""

    async def now(self) -> int:
        return self._now()

    def _now(self) -> int:
        return time.time_ns() // 1000 + self._ahead_us

    async def open(self) -> None:
        self._url = new_virtual_host()
        await self._open()

    async def _open(self) -> None:
        self.spine = RabbitmqSpine(self._url, now=self._now)
        await self.spine.open()

    async def restart(self) -> None:
        await self.spine.close()
        await self._open()

    async def renew(self) -> None:
        await self.spine.close()
        await self.open()

    async def spoil(self, queue: str) -> None:
        message = raw_out(work_queue(queue, "normal"), b"no JSON", reason="", queue=queue)
        await self.spine._publisher.send([message])

    async def advance(self, seconds: float) -> None:
        self._ahead_us += round(seconds * 1_000_000)

    async def close(self) -> None:
        await self.spine.close()
