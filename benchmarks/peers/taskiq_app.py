"""Taskiq on RabbitMQ, with its results in Redis."""

import os

from taskiq_aio_pika import AioPikaBroker
from taskiq_redis import RedisAsyncResultBackend

from benchmarks.peers.runs import run_async

broker = AioPikaBroker(os.environ["BENCH_AMQP"]).with_result_backend(
    RedisAsyncResultBackend(os.environ["BENCH_REDIS"])
)


@broker.task
async def bench(n: int, text: str, sleep_s: float) -> int:
    return await run_async(n, sleep_s)


async def submit(n: int, sleep_s: float) -> None:
    await bench.kiq(n, "a small payload of a plain job", sleep_s)
