"""The floor: the durable steps of the distributed shape and nothing around them.

    python -m benchmarks.peers.floor_app gateway --port PORT
    python -m benchmarks.peers.floor_app worker

What a system that keeps the same promises cannot leave out, written down as directly as Python,
psycopg and aiormq allow: the system's own tables and statements, one transaction a step with an
outbox row in each, every message confirmed, messages acknowledged once their jobs are claimed. It
validates nothing and knows no keys, no retries, no aggregates and no reading, and what a worker has
taken and cannot start yet it keeps.
"""

import argparse
import asyncio
import os
from collections import deque
from collections.abc import Coroutine, Sequence
from typing import Any

import aiormq
import msgspec
import uuid_utils
import uvicorn
import uvloop
from pamqp.commands import Basic

from benchmarks.peers.floor_record import Commit, Item, Job, Writer, accept, claim, encode, finish
from benchmarks.peers.over_http import submit_all, submitter
from benchmarks.peers.runs import run_async
from observatory.core.instant import to_rfc3339

__all__ = ["submit_all", "submitter"]

_WORK = "floor.work"
_EVENTS = "floor.events"
_PERSISTENT = Basic.Properties(delivery_mode=2)

# The limits of the system: they decide how many jobs share a message or a transaction.
_MESSAGE_JOBS = 50
_FINISH_JOBS = 200
_PREFETCH = 16
_SLOTS = int(os.environ.get("OBSERVATORY_CONCURRENCY") or 100)


class Broker:
    """A channel that confirms what is published."""

    async def open(self) -> aiormq.abc.AbstractChannel:
        """Connect, and make the queue and the stream."""
        self._tasks: set[asyncio.Task[None]] = set()
        connection = await aiormq.connect(os.environ["OBSERVATORY_SPINE_URL"])
        self._channel = await connection.channel(publisher_confirms=True)
        for name, kind in ((_WORK, "quorum"), (_EVENTS, "stream")):
            arguments: Any = {"x-queue-type": kind}
            await self._channel.queue_declare(name, durable=True, arguments=arguments)
        return self._channel

    def dispatch(self, commit: Commit, writer: Writer, work: Sequence[str] = ()) -> None:
        """Publish a commit's events and the jobs it queued; once confirmed, it is forgotten."""

        async def step() -> None:
            await self._publish(commit, work)
            writer.forget(commit.number)

        self.keep(step())

    def keep(self, step: Coroutine[Any, Any, None]) -> None:
        """Go on with this beside everything else."""
        task = asyncio.create_task(step)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _publish(self, commit: Commit, work: Sequence[str]) -> None:
        time = to_rfc3339(commit.at)
        events = ",".join(
            f'{{"specversion":"1.0","id":"{row["id"]}:{row["version"]}","source":"/floor",'
            f'"type":"job.{row["move"]}","subject":"{row["id"]}","time":"{time}",'
            f'"datacontenttype":"application/json","data":{row["body"]}}}'
            for row in commit.rows
        )
        messages = [(_EVENTS, f"[{events}]".encode())]
        for start in range(0, len(work), _MESSAGE_JOBS):
            jobs = [(id, 0) for id in work[start : start + _MESSAGE_JOBS]]
            messages.append((_WORK, encode(jobs)))
        publish: Any = self._channel.basic_publish
        await asyncio.gather(
            *(
                publish(body, routing_key=to, properties=_PERSISTENT, mandatory=True, wait=False)
                for to, body in messages
            )
        )


class Gateway:
    """Takes `POST /jobs` and `POST /jobs/batch`; requests that wait together share a commit."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._writer = Writer("accepted")
        self._waiting: list[tuple[list[tuple[str, Item]], asyncio.Future[None]]] = []
        self._writing = False
        self._one = msgspec.json.Decoder(Item).decode
        self._many = msgspec.json.Decoder(list[Item]).decode

    async def __call__(self, scope: dict, receive: Any, send: Any) -> None:
        """The ASGI application."""
        if scope["method"] == "GET":
            await _answer(send, 200, b"{}")
            return
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message["body"], message["more_body"]
        batch = scope["path"] == "/jobs/batch"
        items = self._many(body) if batch else [self._one(body)]
        jobs = [(str(uuid_utils.uuid7()), item) for item in items]
        await self._accept(jobs)
        told = [{"index": i, "status": 202, "jobId": id} for i, (id, _) in enumerate(jobs)]
        await _answer(send, 202, encode({"items": told} if batch else told[0]))

    async def _accept(self, jobs: list[tuple[str, Item]]) -> None:
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((jobs, written))
        if not self._writing:
            self._writing = True
            self._broker.keep(self._write())
        await written

    async def _write(self) -> None:
        while self._waiting:
            taken, self._waiting = self._waiting, []
            jobs = [job for some, _ in taken for job in some]
            commit = await self._writer.commit(accept(jobs))
            for _, written in taken:
                written.set_result(None)
            self._broker.dispatch(commit, self._writer, [id for id, _ in jobs])
        self._writing = False


async def _answer(send: Any, status: int, body: bytes) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class Worker:
    """Claims as many jobs as it has free slots, runs them, and records how they ended."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._claims, self._ends = Writer("claims"), Writer("ends")
        self._free = _SLOTS
        self._freed = asyncio.Event()
        self._messages: asyncio.Queue[Any] = asyncio.Queue()
        self._at_hand: deque[tuple[int, tuple[str, int]]] = deque()
        self._taken = self._settled = 0
        self._ended: list[Job] = []
        self._ending = False
        self._decode = msgspec.json.Decoder(list[tuple[str, int]]).decode

    async def run(self, channel: aiormq.abc.AbstractChannel) -> None:
        """Until the process ends."""
        await channel.basic_qos(prefetch_count=_PREFETCH)
        await channel.basic_consume(_WORK, self._messages.put)
        while True:
            while not self._free:
                self._freed.clear()
                await self._freed.wait()
            references = await self._take()
            jobs: list[Job] = []
            commit = await self._claims.commit(claim(references, jobs))
            last = self._at_hand[0][0] - 1 if self._at_hand else self._taken
            if last > self._settled:
                self._settled = last
                await channel.basic_ack(last, multiple=True, wait=False)
            if jobs:
                self._free -= len(jobs)
                self._broker.dispatch(commit, self._claims)
                self._broker.keep(self._run(jobs))

    async def _take(self) -> list[tuple[str, int]]:
        while len(self._at_hand) < self._free:
            if self._at_hand and self._messages.empty():
                break
            message = await self._messages.get()
            self._taken = message.delivery_tag
            self._at_hand.extend((self._taken, one) for one in self._decode(message.body))
        count = min(self._free, len(self._at_hand))
        return [self._at_hand.popleft()[1] for _ in range(count)]

    async def _run(self, jobs: list[Job]) -> None:
        payloads = [msgspec.json.decode(job.payload) for job in jobs]
        runs = (run_async(payload["n"], payload["sleep_s"]) for payload in payloads)
        for job, result in zip(jobs, await asyncio.gather(*runs), strict=True):
            job.result = result
        self._free += len(jobs)
        self._freed.set()
        self._ended += jobs
        if not self._ending:
            self._ending = True
            await self._finish()

    async def _finish(self) -> None:
        while self._ended:
            jobs, self._ended = self._ended[:_FINISH_JOBS], self._ended[_FINISH_JOBS:]
            self._broker.dispatch(await self._ends.commit(finish(jobs)), self._ends)
        self._ending = False


async def _main(port: int | None) -> None:
    broker = Broker()
    channel = await broker.open()
    if port is None:
        await Worker(broker).run(channel)
        return
    app: Any = Gateway(broker)
    config = uvicorn.Config(app, port=port, lifespan="off", log_level="error", access_log=False)
    await uvicorn.Server(config).serve()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("role", choices=("gateway", "worker"))
    parser.add_argument("--port", type=int)
    uvloop.run(_main(parser.parse_args().port))
