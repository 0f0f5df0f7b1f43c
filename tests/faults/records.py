"""What the backends hold in the end, read from outside: SQL, AMQP and Redis, nothing of the product."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections import defaultdict
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import aiormq
import psycopg
import redis
from oracle import Record
from psycopg.rows import dict_row

from development.rabbitmq import RabbitmqServer

_LOG_ENDS_AFTER_S: Final = 2.0
"""Nothing more comes from the stream for so long: that was all."""


def embedded(data: Path) -> Record:
    """The record in the database file of a data folder."""
    path = data / "observatory.db"
    assert path.exists(), f"no database at {path}"
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db:
        db.row_factory = sqlite3.Row
        (integrity,) = db.execute("PRAGMA integrity_check").fetchone()
        history: dict[str, list[dict[str, Any]]] = defaultdict(list)
        rows = db.execute(
            "SELECT jobs.id, history.version, history.body FROM history "
            "LEFT JOIN jobs ON jobs.seq = history.job ORDER BY history.job, history.version"
        )
        for id, version, body in rows:
            history[id].append({"row_version": version, **json.loads(body)})
        return Record(
            faults=[] if integrity == "ok" else [integrity],
            jobs={row["id"]: dict(row) for row in db.execute("SELECT * FROM jobs")},
            history=history,
            results=dict(
                db.execute("SELECT jobs.id, body FROM results JOIN jobs ON seq = job").fetchall()
            ),
            log=[
                (row["position"], row["publisher"], row["number"], json.loads(row["body"]))
                for row in db.execute("SELECT * FROM event_log ORDER BY position")
            ],
            publishers=dict(db.execute("SELECT id, last_number FROM publishers").fetchall()),
            keys=dict(db.execute("SELECT key, job_id FROM idempotency_keys").fetchall()),
            outbox=[
                tuple(r) for r in db.execute("SELECT publisher, number FROM outbox").fetchall()
            ],
            work=[
                f"message {id} of {queue}, {parked}"
                for id, queue, parked in db.execute("SELECT id, queue, parked FROM work_messages")
            ],
            aggregate_states={
                (row[0], row[1], row[2]): row[3]
                for row in db.execute("SELECT type, queue, state, count FROM aggregate_states")
                if row[3]
            },
            aggregate_totals={
                (row[0], row[1], row[2]): row[3]
                for row in db.execute(
                    "SELECT type, queue, measure, sum(count) FROM aggregate_series "
                    "WHERE resolution_s = 0 AND measure NOT LIKE '%\\_us' ESCAPE '\\' "
                    "GROUP BY 1, 2, 3"
                )
                if row[3]
            },
            aggregate_numbers=dict(
                db.execute("SELECT publisher, number FROM aggregate_numbers").fetchall()
            ),
            workers=[dict(row) for row in db.execute("SELECT * FROM workers")],
        )


def shared(store_url: str, broker: RabbitmqServer, vhost: str, aggregates_url: str) -> Record:
    """The record in PostgreSQL, a virtual host of RabbitMQ, and Redis."""
    with psycopg.connect(store_url, row_factory=dict_row) as db:
        jobs = {
            str(row["id"]): row | {"id": str(row["id"])} for row in db.execute("SELECT * FROM jobs")
        }
        history: dict[str, list[dict[str, Any]]] = defaultdict(list)
        results: dict[str, str] = {}
        for row in db.execute("SELECT * FROM history ORDER BY job, version"):
            transition = {"row_version": row["version"], **json.loads(row["body"])}
            history[str(row["job"])].append(transition)
            if transition["move"] == "complete" and row["document"] is not None:
                results[str(row["job"])] = row["document"]
        publishers = {r["id"]: r["last_number"] for r in db.execute("SELECT * FROM publishers")}
        keys = {
            r["key"]: str(r["job_id"])
            for r in db.execute("SELECT key, job_id FROM idempotency_keys")
        }
        outbox = [
            (r["publisher"], r["number"])
            for r in db.execute("SELECT publisher, number FROM outbox")
        ]
        workers = list(db.execute("SELECT * FROM workers"))
    states, totals, numbers = _aggregates(aggregates_url)
    return Record(
        faults=[],
        jobs=jobs,
        history=history,
        results=results,
        log=asyncio.run(_log(broker.url(vhost))),
        publishers=publishers,
        keys=keys,
        outbox=outbox,
        work=_left_in_queues(broker, vhost),
        aggregate_states=states,
        aggregate_totals=totals,
        aggregate_numbers=numbers,
        workers=workers,
    )


def _left_in_queues(broker: RabbitmqServer, vhost: str) -> list[str]:
    listed = broker.ctl(
        "list_queues", "-p", vhost, "name", "messages", "--formatter", "json", "--silent"
    )
    return [
        f"{queue['messages']} in {queue['name']}"
        for queue in json.loads(listed)
        if queue["messages"] and queue["name"] != "observatory.events"
    ]


async def _log(url: str) -> list[tuple[int, str | None, int | None, list[dict[str, Any]]]]:
    found: list[tuple[int, str | None, int | None, list[dict[str, Any]]]] = []
    connection = await aiormq.connect(url)
    try:
        channel = await connection.channel()
        await channel.basic_qos(prefetch_count=200)
        arrived = asyncio.Event()

        async def take(message: Any) -> None:
            headers = dict(message.header.properties.headers or {})
            if "mark" not in headers:  # a message of the spine's own
                position, body = headers["x-stream-offset"], json.loads(message.body)
                found.append((position, headers.get("publisher"), headers.get("number"), body))
            await channel.basic_ack(message.delivery_tag, wait=False)
            arrived.set()

        await channel.basic_consume(
            "observatory.events", take, arguments={"x-stream-offset": "first"}
        )
        while True:
            arrived.clear()
            try:
                await asyncio.wait_for(arrived.wait(), _LOG_ENDS_AFTER_S)
            except TimeoutError:
                return found
    finally:
        await connection.close()


def _aggregates(
    url: str,
) -> tuple[dict[tuple[str, str, str], int], dict[tuple[str, str, str], int], dict[str, int]]:
    with closing(redis.Redis.from_url(url, decode_responses=True)) as db:
        generation: Any = db.hget("{observatory}:current", "generation")
        assert generation, "Redis shows no aggregates"
        base = f"{{observatory}}:{generation}:"
        counts: Any = db.hgetall(f"{base}states")
        sums: Any = db.hgetall(f"{base}0")
        numbers: Any = db.hgetall(f"{base}numbers")
    states = {tuple(json.loads(name)): int(n) for name, n in counts.items() if int(n)}
    totals: dict[tuple[str, str, str], int] = defaultdict(int)
    for name, n in sums.items():
        type, queue, measure, _ = json.loads(name)
        if not measure.endswith("_us"):
            totals[type, queue, measure] += int(n)
    return states, dict(totals), {name: int(n) for name, n in numbers.items()}
