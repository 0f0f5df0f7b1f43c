"""Dramatiq on RabbitMQ, with its results in Redis."""

import os

import dramatiq
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

from benchmarks.peers.runs import run

broker = RabbitmqBroker(url=os.environ["BENCH_AMQP"])
broker.add_middleware(Results(backend=RedisBackend(url=os.environ["BENCH_REDIS"])))
dramatiq.set_broker(broker)


@dramatiq.actor(store_results=True)
def bench(n: int, text: str, sleep_s: float) -> int:
    return run(n, sleep_s)


def submit(n: int, sleep_s: float) -> None:
    bench.send(n, "a small payload of a plain job", sleep_s)
