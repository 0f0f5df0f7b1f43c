"""Work to break: job types that keep a ledger of their own, and clients that never give up."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import oracle
from oracle import ClientLedger, Submit

from real import RunningSystem, until

LEDGER = "effects.txt"
CONCURRENCY = 16

JOBS = """
import asyncio, os, time
from observatory import JobContext, NonRetryable, Observatory, Retry

app = Observatory()
LEDGER = os.environ["TEST_LEDGER"]
SOON = Retry(base=0.05, factor=2.0, cap=0.5)


def note(ctx, phase):
    line = f"{ctx.job_id} {ctx.attempt} {os.getpid()} {phase}\\n".encode()
    file = os.open(LEDGER, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(file, line)
    finally:
        os.close(file)


@app.job("work", retry=SOON)
def work(n: int, pause: float, ctx: JobContext) -> dict:
    note(ctx, "start")
    ctx.log.info("working", n=n)
    time.sleep(pause)
    ctx.progress(1.0, "done")
    note(ctx, "end")
    return {"n": n, "square": n * n}


@app.job("wait", queue="waiting", retry=SOON)
async def wait(n: int, pause: float, ctx: JobContext) -> dict:
    note(ctx, "start")
    await asyncio.sleep(pause)
    note(ctx, "end")
    return {"n": n, "square": n * n}


@app.job("flaky", retry=SOON)
async def flaky(n: int, pause: float, ctx: JobContext) -> dict:
    note(ctx, "start")
    await asyncio.sleep(pause)
    if ctx.attempt == 1:
        note(ctx, "fail")
        raise ConnectionError("the first attempt always fails")
    note(ctx, "end")
    return {"n": n, "square": n * n}


@app.job("doomed", queue="doomed", retry=SOON)
def doomed(n: int, pause: float, ctx: JobContext) -> dict:
    note(ctx, "start")
    note(ctx, "fail")
    raise NonRetryable(f"{n} can never work")


@app.job("killer", retry=SOON)
def killer(n: int, pause: float, ctx: JobContext) -> None:
    note(ctx, "start")
    time.sleep(pause)
    os._exit(9)
"""
"""A module for `observatory up`; `TEST_LEDGER` names the handlers' ledger file."""

TYPES = ("work", "work", "wait", "wait", "wait", "flaky", "doomed")


def result_of(submit: Submit) -> Any:
    """What the handlers above make of a submit."""
    return {"n": submit.number, "square": submit.number**2}


def settings(folder: Path) -> dict[str, str]:
    """The environment of the module above."""
    return {
        "TEST_LEDGER": str(folder / LEDGER),
        "OBSERVATORY_CONCURRENCY": str(CONCURRENCY),
        "OBSERVATORY_GRACE_SECONDS": "5",
    }


@dataclass
class Kill:
    """One SIGKILL, and what it hit."""

    acknowledged: int
    in_flight: int
    submits_open: int
    restart_s: float


class Storm:
    """Submits jobs over HTTP, singly and in batches, each until it is answered, while somebody
    else kills the server. A submit whose outcome is unknown is sent again with the same key."""

    def __init__(
        self,
        system: RunningSystem,
        *,
        jobs: int,
        seed: int,
        pause_s: float = 0.06,
        give_up_after_s: float = 120.0,
        rate: float | None = None,
    ) -> None:
        self.client = ClientLedger()
        self.kills: list[Kill] = []
        self.errors: list[str] = []
        self._system = system
        self._random = random.Random(seed)
        self._deadline = time.monotonic() + give_up_after_s
        self._open = 0
        self._lock = threading.Lock()
        self._rate = rate
        self._bodies: dict[str, dict[str, Any]] = {}
        for number in range(jobs):
            kind = self._random.choice(TYPES)
            submit = self.client.want(f"storm-{seed}-{number}", kind, number)
            payload = {"n": number, "pause": self._random.uniform(0, 2 * pause_s)}
            body: dict[str, Any] = {"type": kind, "payload": payload}
            if self._random.random() < 0.1:
                body["delaySeconds"] = round(self._random.uniform(0.05, 0.5), 3)
            if self._random.random() < 0.2:
                body["priority"] = self._random.choice(("high", "low"))
            self._bodies[submit.key] = body

    @property
    def open(self) -> int:
        """Requests under way at this moment."""
        return self._open

    def run(self, singles: int = 6, batchers: int = 2) -> list[threading.Thread]:
        """Start the clients: most jobs go in batches, as many requests are single ones."""
        submits = list(self.client.submits.values())
        self._random.shuffle(submits)
        # A third singly; the rest in batches of 1 to 20.
        third = len(submits) // 3
        groups: list[list[Submit]] = []
        rest = submits[third:]
        while rest:
            size = self._random.randint(1, 20)
            groups.append(rest[:size])
            rest = rest[size:]
        threads: list[threading.Thread] = []
        for i in range(singles):
            mine = [[s] for s in submits[:third][i::singles]]
            threads.append(self._thread(mine, self._send_one))
        for i in range(batchers):
            threads.append(self._thread(groups[i::batchers], self._send_batch))
        for thread in threads:
            thread.start()
        return threads

    def _thread(
        self, groups: list[list[Submit]], send: Callable[[httpx.Client, list[Submit]], bool]
    ) -> threading.Thread:
        share = sum(map(len, groups)) / max(1, len(self.client.submits))
        pause_s = 0.0
        if self._rate:
            pause_s = (
                len(self.client.submits) / self._rate * share / max(1, len(groups)) * 8 * share
            )

        def run() -> None:
            with httpx.Client(
                base_url=self._system.url, timeout=httpx.Timeout(10.0), trust_env=False
            ) as http:
                for group in groups:
                    while not send(http, group):
                        if time.monotonic() > self._deadline:
                            self.errors.append(f"gave up on {[s.key for s in group]}")
                            return
                        time.sleep(0.05)
                    time.sleep(pause_s)

        return threading.Thread(target=run, daemon=True)

    def _post(
        self, http: httpx.Client, group: list[Submit], path: str, **request: Any
    ) -> httpx.Response | None:
        with self._lock:
            self._open += 1
        self.client.sent(group)
        try:
            return http.post(path, **request)
        except httpx.ConnectError:
            return None  # it never left: nobody listens
        except httpx.TransportError:
            self.client.unknown(group)
            return None
        finally:
            with self._lock:
                self._open -= 1

    def _send_one(self, http: httpx.Client, group: list[Submit]) -> bool:
        (submit,) = group
        headers = {"Idempotency-Key": submit.key}
        answer = self._post(http, group, "/jobs", json=self._bodies[submit.key], headers=headers)
        if answer is None:
            return False
        self._note(
            submit, answer.status_code, answer.json(), "idempotent-replayed" in answer.headers
        )
        return answer.status_code < 500

    def _send_batch(self, http: httpx.Client, group: list[Submit]) -> bool:
        items = [{**self._bodies[s.key], "idempotencyKey": s.key} for s in group]
        answer = self._post(http, group, "/jobs/batch", json=items)
        if answer is None:
            return False
        if answer.status_code not in (202, 207):
            self.client.unknown(group)
            if answer.status_code < 500:
                self.errors.append(f"batch answered {answer.status_code}: {answer.text[:300]}")
            return answer.status_code < 500
        for submit, item in zip(group, answer.json()["items"], strict=True):
            self._note(submit, item["status"], item, item["replayed"])
        return True

    def _note(self, submit: Submit, status: int, body: Any, replayed: bool) -> None:
        self.client.answered(submit, status, body.get("jobId"), replayed=replayed)
        if 400 <= status < 500:
            self.errors.append(f"{submit.key} was refused: {body}")

    def kill_when(self, acknowledged: int, *, ledger: Path, timeout_s: float = 60.0) -> Kill:
        """Once so many are acknowledged and something runs: SIGKILL, and start again."""
        process = self._system.process
        assert process is not None, "the system was never started"

        def hit() -> int:
            if self.client.acknowledged < acknowledged:
                return 0
            return len(oracle.in_flight(oracle.effects(ledger), process.pid))

        running = self._system.freeze_when(
            hit, timeout_s=timeout_s, why=lambda: f"of {self.client.acknowledged} acknowledged"
        )
        until(lambda: self.open)  # clients go on asking a process that stands still
        open_now, acknowledged_now = self.open, self.client.acknowledged
        self._system.kill()
        began = time.monotonic()
        self._system.start()
        kill = Kill(acknowledged_now, running, open_now, time.monotonic() - began)
        self.kills.append(kill)
        return kill


class Stream(Storm):
    """Clients like a storm's that go on, at a steady pace, until they are told that it is enough."""

    def __init__(self, url: str, *, seed: int, pace_s: float, pause_s: float) -> None:
        self.url = url
        self.client = ClientLedger()
        self.kills = []
        self.errors: list[str] = []
        self._seed = seed
        self._pace_s = pace_s
        self._pause_s = pause_s
        self._enough = threading.Event()
        self._deadline = float("inf")
        self._open = 0
        self._lock = threading.Lock()
        self._bodies: dict[str, dict[str, Any]] = {}
        self._threads: list[threading.Thread] = []

    def start(self, singles: int = 2, batchers: int = 2) -> None:
        """Begin: so many clients send single jobs, and so many send batches of 1 to 20."""
        for number in range(singles + batchers):
            size = 1 if number < singles else 20
            thread = threading.Thread(target=self._go_on, args=(number, size), daemon=True)
            thread.start()
            self._threads.append(thread)

    def end(self, timeout_s: float) -> None:
        """Enough; returns once every submit has its answer."""
        self._enough.set()
        self._deadline = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(timeout_s + 15)
            assert not thread.is_alive(), "a client still waits for an answer"

    def _go_on(self, number: int, size_max: int) -> None:
        chance = random.Random(f"{self._seed}-{number}")
        send = self._send_one if size_max == 1 else self._send_batch
        count = 0
        with httpx.Client(base_url=self.url, timeout=10.0, trust_env=False) as http:
            while not self._enough.is_set():
                group: list[Submit] = []
                for _ in range(chance.randint(1, size_max)):
                    count += 1
                    group.append(
                        self._wanted(chance, f"stream-{self._seed}-{number}-{count}", count)
                    )
                while not send(http, group):
                    if time.monotonic() > self._deadline:
                        self.errors.append(f"gave up on {[s.key for s in group]}")
                        return
                    time.sleep(0.1)
                time.sleep(self._pace_s)

    def _wanted(self, chance: random.Random, key: str, number: int) -> Submit:
        kind = chance.choice(TYPES)
        submit = self.client.want(key, kind, number)
        pause_s = chance.uniform(0, 2 * self._pause_s)
        body: dict[str, Any] = {"type": kind, "payload": {"n": number, "pause": pause_s}}
        if chance.random() < 0.1:
            body["delaySeconds"] = round(chance.uniform(0.05, 0.5), 3)
        if chance.random() < 0.2:
            body["priority"] = chance.choice(("high", "low"))
        self._bodies[key] = body
        return submit

    def probe(self, http: httpx.Client, number: int) -> str | None:
        """Submit a job of the highest priority; its id, or None where it was not taken."""
        submit = self.client.want(f"probe-{self._seed}-{number}", "wait", number)
        payload = {"n": number, "pause": 0.0}
        self._bodies[submit.key] = {"type": "wait", "payload": payload, "priority": "high"}
        self._send_one(http, [submit])
        return next(iter(submit.job_ids), None)
