"""The oracle: from what the outside can see, was a promise of design.md section 3 broken?

It reads the client's ledger (what was sent, what was answered), the handlers' own ledger (what
ran), what the backends hold in the end (`records.py`), and the last `/stats`. It imports nothing of the product: the table of legal
transitions is written down here a second time, on purpose.

The words are Jepsen's for a queue: *lost* was accepted and has no outcome, *duplicated* took
effect more than once, *unexpected* exists and was never asked for, *recovered* exists although its
client never learned of it.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

STATES = ("scheduled", "queued", "running", "retrying", "completed", "failed", "cancelled")
TERMINAL = frozenset({"completed", "failed", "cancelled"})
LEGAL = {
    None: {"accept": "queued", "defer": "scheduled"},
    "scheduled": {"promote": "queued", "cancel": "cancelled"},
    "queued": {"claim": "running", "cancel": "cancelled"},
    "running": {
        "complete": "completed",
        "schedule_retry": "retrying",
        "fail": "failed",
        "cancel": "cancelled",
        "release": "queued",
    },
    "retrying": {"promote": "queued", "cancel": "cancelled", "requeue_by_operator": "queued"},
    "completed": {"requeue_by_operator": "queued"},
    "failed": {"requeue_by_operator": "queued"},
    "cancelled": {"requeue_by_operator": "queued"},
}
EVENT_OF_MOVE = {
    "accept": "job.created",
    "defer": "job.created",
    "promote": "job.queued",
    "release": "job.queued",
    "requeue_by_operator": "job.queued",
    "claim": "job.started",
    "complete": "job.completed",
    "schedule_retry": "job.retrying",
    "fail": "job.failed",
    "cancel": "job.cancelled",
}
MEASURE_OF_MOVE = {
    "accept": "created",
    "defer": "created",
    "claim": "started",
    "complete": "completed",
    "fail": "failed",
    "schedule_retry": "retried",
    "cancel": "cancelled",
}
FAILED_ATTEMPT = frozenset({"error", "timeout", "not_retryable", "unserialisable", "lost"})
POISON_STARTS = 3
SHOWN_MAX = 5


# What the client knows


@dataclass
class Submit:
    """One job that a client wanted, under one key, and every answer it got for it."""

    key: str
    type: str
    number: int
    sent: int = 0
    unknown: int = 0
    """Sent, and never answered or answered by a 5xx: it may or may not have been accepted."""
    refused: int | None = None
    job_ids: set[str] = field(default_factory=set)
    replayed: int = 0

    @property
    def acknowledged(self) -> bool:
        return bool(self.job_ids)


class ClientLedger:
    """Every submit of every client thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.submits: dict[str, Submit] = {}

    def want(self, key: str, type: str, number: int) -> Submit:
        with self._lock:
            return self.submits.setdefault(key, Submit(key, type, number))

    def sent(self, submits: Iterable[Submit]) -> None:
        with self._lock:
            for submit in submits:
                submit.sent += 1

    def unknown(self, submits: Iterable[Submit]) -> None:
        with self._lock:
            for submit in submits:
                submit.unknown += 1

    def answered(
        self, submit: Submit, status: int, job_id: str | None, *, replayed: bool = False
    ) -> None:
        with self._lock:
            if status == 202:
                assert job_id, f"a 202 without a job id for {submit.key}"
                submit.job_ids.add(job_id)
                submit.replayed += replayed
            elif status >= 500:
                submit.unknown += 1
            else:
                submit.refused = status

    @property
    def acknowledged(self) -> int:
        with self._lock:
            return sum(s.acknowledged for s in self.submits.values())


# What the handlers know


@dataclass(frozen=True)
class Effect:
    """One line of the handlers' ledger."""

    job: str
    attempt: int
    pid: int
    phase: str


def effects(path: Path) -> list[Effect]:
    """The handlers' ledger so far. Lines are whole, since each was one write with O_APPEND."""
    if not path.exists():
        return []
    found: list[Effect] = []
    for line in path.read_text().splitlines():
        job, attempt, pid, phase = line.split()
        found.append(Effect(job, int(attempt), int(pid), phase))
    return found


def in_flight(found: Iterable[Effect], pid: int | None = None) -> set[tuple[str, int]]:
    """Runs that have begun and not ended, of one process or of all."""
    open_runs: set[tuple[str, int]] = set()
    for effect in found:
        if pid is None or effect.pid == pid:
            run = (effect.job, effect.attempt)
            (open_runs.add if effect.phase == "start" else open_runs.discard)(run)
    return open_runs


# Judgement


class Verdict:
    """Counts, and what is wrong under which rule."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.faults: dict[str, list[str]] = {}
        self.rules: list[str] = []

    def rule(self, name: str, broken: Iterable[str]) -> None:
        """A rule was looked at; every text says one way in which it is broken."""
        self.rules.append(name)
        if found := list(broken):
            self.faults[name] = found

    @property
    def ok(self) -> bool:
        return not self.faults

    def table(self) -> str:
        """For people."""
        width = max(map(len, [*self.rules, *self.counts]))
        lines = [f"{name:<{width}}  {count:>8}" for name, count in self.counts.items()]
        lines.append("")
        for name in self.rules:
            broken = self.faults.get(name, [])
            lines.append(f"{name:<{width}}  {f'BROKEN {len(broken)}' if broken else 'holds':>8}")
            lines += [f"    {text}" for text in broken[:SHOWN_MAX]]
            if len(broken) > SHOWN_MAX:
                lines.append(f"    … and {len(broken) - SHOWN_MAX} more")
        return "\n".join(lines)

    def demand(self) -> None:
        """Fail the test with the table unless every rule holds."""
        assert self.ok, "\n" + self.table()


@dataclass
class Record:
    """What the backends hold in the end, read by `records.py`."""

    faults: list[str]
    """What the backends themselves say is broken."""
    jobs: dict[str, dict[str, Any]]
    history: dict[str, list[dict[str, Any]]]
    results: dict[str, str]
    log: list[tuple[int, str | None, int | None, list[dict[str, Any]]]]
    """Position, publisher, its number and the events of each message."""
    publishers: dict[str, int]
    """The last number of each."""
    keys: dict[str, str]
    outbox: list[tuple[str, int]]
    work: list[str]
    """What is left in work queues, in words."""
    aggregate_states: dict[tuple[str, str, str], int]
    aggregate_totals: dict[tuple[str, str, str], int]
    aggregate_numbers: dict[str, int]
    workers: list[dict[str, Any]]


def judge(
    *,
    record: Record,
    client: ClientLedger,
    ran: list[Effect],
    stats: dict[str, Any] | None,
    kills: int,
    concurrency: int,
    result_of: Callable[[Submit], Any] | None = None,
    log_kept: bool = True,
) -> Verdict:
    """Hold everything that is known against everything that was promised.

    `kills` is how many times a processor was killed, stopped or cut off; `log_kept` is False where
    the fault was to take the log away, and then nothing is asked of it.
    """
    verdict = Verdict()
    verdict.rule("the backends are whole", record.faults)
    _accepted(verdict, record, client)
    _histories(verdict, record)
    _effects(verdict, record, client, ran, kills, concurrency, result_of)
    if log_kept:
        _log(verdict, record)
    _aggregates(verdict, record, stats)
    _leftovers(verdict, record)
    return verdict


def _accepted(verdict: Verdict, record: Record, client: ClientLedger) -> None:
    submits = client.submits.values()
    acknowledged = [s for s in submits if s.acknowledged]
    by_key: dict[str, list[str]] = defaultdict(list)
    for job in record.jobs.values():
        by_key[job["idempotency_key"]].append(job["id"])
    lost: list[str] = []
    unfinished: list[str] = []
    for submit in acknowledged:
        for job_id in submit.job_ids:
            job = record.jobs.get(job_id)
            if job is None:
                lost.append(f"{submit.key}: 202 named {job_id}, which is not on record")
            elif job["state"] not in TERMINAL:
                unfinished.append(f"{submit.key}: {job_id} is {job['state']}")
    verdict.rule("G1 no accepted job is lost", lost)
    verdict.rule("G1 every accepted job has ended", unfinished)
    wanted = {s.key: s for s in submits}
    unexpected = [
        f"{job['id']} ({job['type']}, key {job['idempotency_key']})"
        for job in record.jobs.values()
        if job["idempotency_key"] not in wanted
    ]
    verdict.rule("no job was invented", unexpected)
    verdict.rule(
        "what was refused does not exist",
        (
            f"{s.key}: answered {s.refused}, yet there is {by_key[s.key]}"
            for s in submits
            if s.refused is not None and not s.acknowledged and not s.unknown and by_key.get(s.key)
        ),
    )
    verdict.rule(
        "G6 one key, one job",
        [
            *(f"{s.key}: answers named {sorted(s.job_ids)}" for s in submits if len(s.job_ids) > 1),
            *(f"{k}: on record {ids}" for k, ids in by_key.items() if k and len(ids) > 1),
        ],
    )
    kept = {key.partition(" ")[2]: job for key, job in record.keys.items()}
    verdict.rule(
        "G6 the key is kept with its job",
        (
            f"{s.key}: answered {sorted(s.job_ids)}, kept {kept.get(s.key)}"
            for s in acknowledged
            if kept.get(s.key) not in s.job_ids
        ),
    )
    verdict.counts |= {
        "submits": len(wanted),
        "requests per submit ×100": round(100 * sum(s.sent for s in submits) / max(1, len(wanted))),
        "acknowledged": len(acknowledged),
        "refused": sum(s.refused is not None and not s.acknowledged for s in submits),
        "unknown at some time": sum(s.unknown > 0 for s in submits),
        "unknown to the end": sum(s.unknown > 0 and not s.acknowledged for s in submits),
        "replayed answers": sum(s.replayed for s in submits),
        "jobs on record": len(record.jobs),
        "lost": len(lost) + len(unfinished),
        "unexpected": len(unexpected),
        "recovered": sum(
            s.unknown > 0 and bool(by_key.get(s.key)) and (s.replayed > 0 or not s.acknowledged)
            for s in submits
        ),
    }


def _histories(verdict: Verdict, record: Record) -> None:
    versions: list[str] = []
    illegal: list[str] = []
    numbering: list[str] = []
    outcomes: list[str] = []
    heads: list[str] = []
    for id, job in record.jobs.items():
        history = record.history.get(id, [])
        seen = [t["version"] for t in history]
        if seen != list(range(1, len(history) + 1)) or job["version"] != len(history):
            versions.append(f"{id}: versions {seen}, the job says {job['version']}")
        state: str | None = None
        claims: list[int] = []
        ends: list[dict[str, Any]] = []
        for t in history:
            after = LEGAL.get(state, {}).get(t["move"])
            if after is None or t.get("state") != after or t.get("previous") != state:
                illegal.append(f"{id} v{t['version']}: {state} --{t['move']}→ {t.get('state')}")
            if t["move"] == "claim":
                claims.append(t["attempt"])
            elif t["attempt"] != (claims[-1] if claims else 0):
                numbering.append(f"{id} v{t['version']}: {t['move']} of attempt {t['attempt']}")
            state = t.get("state")
            if state in TERMINAL:
                ends.append(t)
        if claims != list(range(1, len(claims) + 1)) or job["attempt"] != len(claims):
            numbering.append(f"{id}: attempts {claims}, the job says {job['attempt']}")
        requeues = sum(t["move"] == "requeue_by_operator" for t in history)
        if job["state"] in TERMINAL and len(ends) > 1 + requeues:
            outcomes.append(f"{id}: {[t['move'] for t in ends]}")
        if job["state"] in TERMINAL and not ends:
            outcomes.append(f"{id}: {job['state']} without a transition that says so")
        if state != job["state"]:
            heads.append(f"{id}: history ends {state}, the job is {job['state']}")
        crashes = sum(t.get("outcome") == "lost" for t in history)
        if not requeues and job["crashes"] != crashes:
            heads.append(f"{id}: {crashes} attempts lost, the job says {job['crashes']}")
        poisoned = job["state"] == "failed" and ends and ends[-1].get("reason") == "poison"
        if poisoned and job["crashes"] != POISON_STARTS:
            heads.append(f"{id}: poison after {job['crashes']} crashes")
        if (job["state"] == "completed") != (id in record.results) and not requeues:
            outcomes.append(f"{id}: {job['state']}, result kept: {id in record.results}")
    verdict.rule("G2 versions have no gap", versions)
    verdict.rule("only legal transitions", illegal)
    verdict.rule("G2 attempts have no gap", numbering)
    verdict.rule("G2 one outcome a job", outcomes)
    verdict.rule("the job is where its history ends", heads)
    verdict.rule(
        "no history without a job",
        [f"{len(record.history[None])} rows"] if None in record.history else [],  # type: ignore[index]
    )
    verdict.counts |= dict.fromkeys(STATES, 0)
    verdict.counts |= Counter(job["state"] for job in record.jobs.values())
    verdict.counts["transitions"] = sum(map(len, record.history.values()))
    verdict.counts["attempts"] = sum(job["attempt"] for job in record.jobs.values())
    verdict.counts["attempts lost"] = sum(
        t.get("outcome") == "lost" for h in record.history.values() for t in h
    )


def _effects(
    verdict: Verdict,
    record: Record,
    client: ClientLedger,
    ran: list[Effect],
    kills: int,
    concurrency: int,
    result_of: Callable[[Submit], Any] | None,
) -> None:
    starts = Counter((e.job, e.attempt) for e in ran if e.phase == "start")
    ends = {(e.job, e.attempt) for e in ran if e.phase == "end"}
    claimed = {
        (id, t["attempt"]) for id, h in record.history.items() for t in h if t["move"] == "claim"
    }
    verdict.rule(
        "no run without a claim", (f"{job} attempt {n}" for job, n in starts if (job, n) not in claimed)
    )  # fmt: skip
    verdict.rule(
        "an attempt runs at most once",
        (f"{job} attempt {n} began {count} times" for (job, n), count in starts.items() if count > 1),
    )  # fmt: skip
    completed = {
        id: [t["attempt"] for t in record.history[id] if t["move"] == "complete"]
        for id, job in record.jobs.items()
        if job["state"] == "completed"
    }
    verdict.rule(
        "what is completed took effect",
        (
            f"{id}: attempt {n} is recorded, and did not run to its end"
            for id, attempts in completed.items()
            for n in attempts[-1:]
            if (id, n) not in ends
        ),
    )
    effects_a_job = Counter(job for job, _ in ends)
    duplicated = [job for job, count in effects_a_job.items() if count > 1]
    again = sum(record.jobs[job]["attempt"] > 1 for job in duplicated if job in record.jobs)
    verdict.rule(
        "effects repeat only by kills or failures",
        [
            *([f"{len(duplicated) - again} repeated within one attempt"] * (again < len(duplicated))),
            *(
                [f"{len(duplicated)} jobs > {kills} kills × {concurrency} at once"]
                * (len(duplicated) > kills * concurrency)
            ),
        ],
    )  # fmt: skip
    if result_of is not None:
        wrong: list[str] = []
        for submit in client.submits.values():
            for id in submit.job_ids & record.results.keys():
                if json.loads(record.results[id]) != result_of(submit):
                    wrong.append(f"{submit.key}: {record.results[id]}")
        verdict.rule("the result is the job's own", wrong)
    verdict.counts["runs"] = len(starts)
    verdict.counts["duplicated"] = len(duplicated)


def _log(verdict: Verdict, record: Record) -> None:
    ids: dict[tuple[str, str, str], set[str]] = defaultdict(set)
    keys_of_id: dict[str, set[tuple[str, str, str]]] = defaultdict(set)
    first_seen: dict[str, list[int]] = defaultdict(list)
    numbers: dict[str, list[int]] = defaultdict(list)
    repeats = events = 0
    for _, publisher, number, batch in record.log:
        if publisher is not None:
            if number in numbers[publisher]:
                repeats += 1
            else:
                numbers[publisher].append(number)
        for event in batch:
            events += 1
            if not event["type"].startswith("job.") or event["type"] == "job.progressed":
                continue
            key = (event["subject"], event["sequence"], event["type"])
            version = int(event["sequence"])
            if key not in ids and version not in first_seen[event["subject"]]:
                first_seen[event["subject"]].append(version)
            ids[key].add(event["id"])
            keys_of_id[event["id"]].add(key)
    missing: list[str] = []
    for id, history in record.history.items():
        for t in history:
            wanted = [EVENT_OF_MOVE[t["move"]]]
            if t.get("outcome") in FAILED_ATTEMPT:
                wanted.append("job.attempt_failed")
            missing += [
                f"{id} v{t['version']} {kind}"
                for kind in wanted
                if (id, str(t["version"]), kind) not in ids
            ]
    verdict.rule("G3 every transition is in the log", missing)
    verdict.rule(
        "G3 no event without a transition",
        (
            f"{subject} v{version} {kind}"
            for subject, version, kind in ids
            if not 1 <= int(version) <= len(record.history.get(subject, []))
        ),
    )
    verdict.rule(
        "G3 a repeat has the same id",
        (f"{key}: {sorted(found)}" for key, found in ids.items() if len(found) > 1),
    )
    verdict.rule(
        "G3 an id is of one event",
        (f"{id}: {sorted(found)}" for id, found in keys_of_id.items() if len(found) > 1),
    )
    verdict.rule(
        "G3 per job ordered by version",
        (
            f"{subject}: {order}"
            for subject, order in first_seen.items()
            if order != list(range(1, len(order) + 1))
        ),
    )
    verdict.rule(
        "G3 a publisher's numbers have no gap",
        (
            f"{publisher}: {len(numbers[publisher])} of {last}, in order: "
            f"{numbers[publisher] == list(range(1, last + 1))}"
            for publisher, last in record.publishers.items()
            if numbers[publisher] != list(range(1, last + 1))
        ),
    )
    verdict.counts["events in the log"] = events
    verdict.counts["log messages repeated"] = repeats
    verdict.counts["publishers"] = len(record.publishers)


def _aggregates(verdict: Verdict, record: Record, stats: dict[str, Any] | None) -> None:
    states = Counter((j["type"], j["queue"], j["state"]) for j in record.jobs.values())
    totals: Counter[tuple[str, str, str]] = Counter()
    for history in record.history.values():
        was_due = False
        for t in history:
            was_due = was_due or t["state"] == "queued"
            if measure := MEASURE_OF_MOVE.get(t["move"]):
                totals[t["type"], t["queue"], measure] += 1
            if t["state"] in TERMINAL and was_due:
                totals[t["type"], t["queue"], "end_to_end"] += 1
            lost = t.get("outcome") == "lost"
            if lost:
                totals[t["type"], t["queue"], "lost"] += 1
            if t["move"] == "claim":
                totals[t["type"], t["queue"], "wait"] += 1
            elif t["move"] == "complete" or (t.get("outcome") in FAILED_ATTEMPT and not lost):
                totals[t["type"], t["queue"], "run"] += 1
    verdict.rule("G4 states equal the store", _differences(record.aggregate_states, states))
    verdict.rule("G4 totals equal the history", _differences(record.aggregate_totals, totals))
    verdict.rule(
        "G4 every commit is counted once",
        _differences(record.aggregate_numbers, record.publishers),
    )
    if stats is None:
        return
    overall = Counter(j["state"] for j in record.jobs.values())
    by_type: dict[str, Counter[str]] = defaultdict(Counter)
    by_queue: dict[str, Counter[str]] = defaultdict(Counter)
    for job in record.jobs.values():
        by_type[job["type"]][job["state"]] += 1
        by_queue[job["queue"]][job["state"]] += 1
    broken = [] if stats["complete"] else ["/stats says that it is not complete"]
    broken += _differences(stats["states"], overall, "/stats")
    for kind, groups in (("types", by_type), ("queues", by_queue)):
        for name, counts in groups.items():
            shown = stats[kind].get(name, {"states": {}})["states"]
            broken += _differences(shown, counts, f"/stats {kind} {name}")
    verdict.rule("G4 /stats equals SQL", broken)


def _differences(got: Any, wanted: Any, what: str = "") -> list[str]:
    return [
        f"{what} {key}: {got.get(key, 0)}, by recount {wanted.get(key, 0)}".strip()
        for key in sorted({*got, *wanted}, key=str)
        if got.get(key, 0) != wanted.get(key, 0)
    ]


def _leftovers(verdict: Verdict, record: Record) -> None:
    verdict.rule("the outbox is empty", (f"{row[0]} {row[1]}" for row in record.outbox))
    verdict.rule("the work queues are empty", record.work)
    verdict.rule(
        "no worker is left behind",
        (f"{w['id']} is {w['state']}" for w in record.workers if w["state"] in ("active", "draining")),
    )  # fmt: skip


def wait_until_quiet(http: Any, *, accepted: int, timeout_s: float) -> dict[str, Any]:
    """Wait until `/stats` says that all ended and everything is counted; returns that `/stats`."""
    deadline = time.monotonic() + timeout_s
    while True:
        answer = http.get("/stats")
        stats = answer.json()
        # Where a backend was away it may still be finding its way back.
        states = stats["states"] if answer.status_code == 200 else dict.fromkeys(STATES, 0)
        busy = sum(states[s] for s in STATES if s not in TERMINAL)
        done = sum(states[s] for s in TERMINAL)
        if (
            answer.status_code == 200
            and not busy
            and done >= accepted
            and stats["complete"]
            and stats["lagSeconds"] == 0
        ):
            return stats
        if time.monotonic() > deadline:
            raise AssertionError(f"not quiet after {timeout_s} s, {accepted} accepted: {states}")
        time.sleep(0.1)
