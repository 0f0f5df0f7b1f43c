"""Celery as its documentation starts it: RabbitMQ to carry, Redis to keep results."""

import os

from celery import Celery

from benchmarks.peers.runs import run

app = Celery(broker=os.environ["BENCH_AMQP"], backend=os.environ["BENCH_REDIS"])
app.conf.task_send_sent_event = bool(os.environ.get("BENCH_EVENTS"))


@app.task(name="bench")
def bench(n: int, text: str, sleep_s: float) -> int:
    return run(n, sleep_s)


def submit(n: int, sleep_s: float) -> None:
    bench.delay(n, "a small payload of a plain job", sleep_s)
