"""`observatory gate`: proves a deployment from the outside, as its users meet it.

Each check stands by itself: one that fails does not keep the others from being made, so that a
broken part is told by its own line.
"""

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from observatory.core.safe_text import safe
from observatory.interfaces.cli.address import Address, Payload
from observatory.interfaces.cli.exit_codes import ExitCode
from observatory.interfaces.cli.output import (
    STATE_STYLES,
    TABLE,
    Mistake,
    Output,
    console,
    jobs_of,
    seconds,
)
from observatory.interfaces.cli.progress import waiting

if TYPE_CHECKING:
    from observatory.client import Client

_LEAST: Final = ("job.created", "job.started", "job.completed")
"""The events that a completed job has at least. One that was retried has more."""

_NO_TRANSITIONS: Final = ("job.attempt_failed", "job.progressed")
"""Events that come beside those of the transitions."""

_DELAY_S: Final = 3600.0


class Broken(Exception):  # noqa: N818 - a finding, not an error of the program
    """A check found something that is not as it must be; the text says what."""


class Finding(NamedTuple):
    """One line of the report."""

    verdict: str
    check: str
    detail: str
    seconds: float


@dataclass
class Visit:
    """What the checks share: the deployment, what is submitted to it, and what came of that."""

    client: "Client"
    type: str
    payload: dict[str, Any]
    count: int
    timeout_s: float
    ids: list[str] = field(default_factory=list[str])
    completed: bool = False
    """All of them have."""
    unreachable: bool = False
    """Nothing answered a check."""
    position: str | None = None
    before: dict[str, Any] = field(default_factory=dict[str, Any])

    def submitted(self) -> list[str]:
        """The jobs of this visit."""
        if not self.ids:
            raise Broken("no job was accepted")
        return self.ids

    def ended(self) -> list[str]:
        """The jobs of this visit, where they have all completed."""
        if not self.completed:
            raise Broken("its jobs did not complete")
        return self.ids


def gate(
    *,
    type: str,
    payload: Payload = "{}",
    jobs: int = 20,
    timeout: float = 60.0,
    address: Address | None = None,
    output: Output = TABLE,
) -> int:
    """Prove a running system from outside: jobs, events, numbers, views, refusals.

    Each line says PASS or FAIL, as soon as it is known. Exit code 1 if anything
    fails, 5 if nothing answers. It submits jobs of a type that must be safe to
    run, has them completed, and cancels one more before it runs.

    For example:
      observatory gate --type email.check --payload '{"to": "nobody@example.com"}'
      observatory gate --type email.check --url https://jobs.example.com --json

    Args:
        type: Which job type to submit.
        payload: Its payload, as JSON object or - for standard input.
        jobs: How many, from 1 to 500.
        timeout: Seconds within which each check must come true.
    """
    from observatory.interfaces.cli.submit import read_payload

    if not 1 <= jobs <= 500:
        raise Mistake(f"--jobs is a number from 1 to 500, not {jobs}")
    sent = read_payload(payload, ())
    findings: list[Finding] = []
    with (address or Address()).client() as client:
        visit = Visit(client, type, sent, jobs, timeout)
        try:
            for one in _findings(visit):
                findings.append(one)
                if not output.structured:
                    _print(one, first=len(findings) == 1)
        except KeyboardInterrupt:
            if output.structured:
                _print_all(findings, output)
            _say_how_far(findings, visit)
            return ExitCode.INTERRUPTED
    if output.structured:
        _print_all(findings, output)
    if visit.unreachable and len(findings) == 1:
        return ExitCode.UNAVAILABLE
    return ExitCode.OK if _all_pass(findings) else ExitCode.FAILED


def _findings(visit: Visit) -> Iterator[Finding]:
    """What each check finds, as soon as it does."""
    for place, (name, check) in enumerate(CHECKS):
        with waiting(name):
            found = _made(name, check, visit)
        yield found
        if visit.unreachable and place == 0:
            return  # every other check would tell the same


def _print(one: Finding, *, first: bool) -> None:
    """A line of the report; its columns are as wide as any check makes them."""
    from rich.text import Text

    width = max(len(name) for name, _ in CHECKS)
    there = console()
    if first:
        heading = Text(f"      {'CHECK':<{width}}  {'TOOK':>8}  FOUND", style="bold")
        there.print(heading, soft_wrap=True)
    columns = f"  {one.check:<{width}}  {seconds(one.seconds):>8}  {safe(one.detail)}"
    told = Text.assemble((one.verdict, STATE_STYLES[one.verdict]), columns)
    there.print(told, soft_wrap=True)
    # Whoever reads a pipe is to see it now, too.
    sys.stdout.flush()


def _print_all(findings: list[Finding], output: Output) -> None:
    whole = len(findings) == len(CHECKS) and _all_pass(findings)
    output.print({"ok": whole, "checks": [one._asdict() for one in findings]})


def _all_pass(findings: list[Finding]) -> bool:
    return all(one.verdict == "PASS" for one in findings)


def _say_how_far(findings: list[Finding], visit: Visit) -> None:
    """What was proven until Ctrl-C, and what goes on all the same."""
    passed = sum(one.verdict == "PASS" for one in findings)
    name = CHECKS[len(findings)][0] if len(findings) < len(CHECKS) else "the end"
    told = f"stopped at {name}: {passed} of {len(CHECKS)} checks passed"
    if failed := len(findings) - passed:
        told += f", {failed} failed"
    if visit.ids and not visit.completed:
        told += f"; its {jobs_of(len(visit.ids))} go on"
    sys.stdout.flush()
    print(f"\nobservatory: {told}", file=sys.stderr)


def _made(name: str, check: Callable[[Visit], str], visit: Visit) -> Finding:
    from observatory.client import ObservatoryError, Unreachable

    began = time.monotonic()
    visit.client.operations.until = began + visit.timeout_s
    try:
        verdict, detail = "PASS", check(visit)
    except (Broken, ObservatoryError, KeyError, TypeError, ValueError) as error:
        words = f"{error.__class__.__name__}: {error}" if isinstance(error, LookupError) else error
        told = "; ".join(line.strip() for line in str(words).splitlines())
        verdict, detail = "FAIL", told[:300]
        visit.unreachable = isinstance(error, Unreachable)
    return Finding(verdict, name, detail, time.monotonic() - began)


def _answers(visit: Visit) -> str:
    found = visit.client.read("/readyz")
    failing = [name for name, one in found["checks"].items() if not one["ok"]]
    if failing or found["status"] != "ok":
        raise Broken(f"not ready: {', '.join(failing) or found['status']}")
    return f"ready: {', '.join(found['checks'])}"


def _contracts(visit: Visit) -> str:
    listed = visit.client.read("/contracts")["items"]
    kinds = [one["kind"] for one in listed]
    if "schema" not in kinds:
        raise Broken("no schema is served")
    names = [one["name"] for one in listed if one["kind"] == "jobType"]
    if visit.type not in names:
        raise Broken(f"no job type {visit.type!r}; known: {', '.join(names) or 'none'}")
    document = visit.client.read("/openapi.json")
    if not str(document.get("openapi", "")).startswith("3.1"):
        raise Broken("/openapi.json is no OpenAPI 3.1 document")
    return f"{kinds.count('schema')} schemas, {len(names)} job types"


def _starting_point(visit: Visit) -> str:
    newest = visit.client.read("/events", {"limit": "1"})["items"]
    visit.position = newest[0]["position"] if newest else "0-0"
    visit.before = _of_type(visit)
    return f"at position {visit.position}"


def _submit(visit: Visit) -> str:
    from observatory.client import Refused, Submission

    accepted = visit.client.submit_many(
        [Submission(visit.type, visit.payload) for _ in range(visit.count)]
    )
    refused = [one for one in accepted if isinstance(one, Refused)]
    visit.ids = [one.id for one in accepted if not isinstance(one, Refused)]
    if refused:
        raise Broken(f"{len(refused)} of {visit.count} refused: {refused[0]}")
    return f"{visit.count} jobs of {visit.type} accepted"


def _seen_at_once(visit: Visit) -> str:
    job = visit.client.job(visit.submitted()[-1]).job
    return f"the last is {job.state}"


def _end(visit: Visit) -> str:
    deadline = time.monotonic() + visit.timeout_s
    states: dict[str, int] = {}
    for job_id in visit.submitted():
        left_s = max(0.0, deadline - time.monotonic())
        state = visit.client.job(job_id).wait(left_s).job.state
        states[state] = states.get(state, 0) + 1
    if states.get("completed", 0) != len(visit.ids):
        raise Broken(", ".join(f"{count} {state}" for state, count in states.items()))
    visit.completed = True
    return f"all {len(visit.ids)} completed"


def _events(visit: Visit) -> str:
    """Every transition of every job, once and in order."""
    wanted = set(visit.ended())
    deadline = time.monotonic() + visit.timeout_s
    while True:
        seen: dict[str, list[dict[str, Any]]] = {job_id: [] for job_id in wanted}
        known: set[str] = set()
        for record in visit.client.events(after=visit.position):
            event = record.event
            subject = event.get("subject")
            if subject in seen and event["id"] not in known and _of_transition(event):
                known.add(event["id"])
                seen[subject].append(event)
        wrong = {job: told for job, told in seen.items() if not _whole(told)}
        if not wrong:
            return f"{sum(map(len, seen.values())):,} events, each job's in order"
        if time.monotonic() > deadline:
            job, told = next(iter(wrong.items()))
            names = ", ".join(one["type"] for one in told) or "none"
            raise Broken(f"{jobs_of(len(wrong))} with events missing, such as {job}: {names}")
        time.sleep(0.2)


def _of_transition(event: dict[str, Any]) -> bool:
    return event["type"].startswith("job.") and event["type"] not in _NO_TRANSITIONS


def _whole(told: list[dict[str, Any]]) -> bool:
    """Whether no transition of a completed job is missing, however many attempts it took: each
    makes the job's version one more, and that is its event's sequence."""
    types = [one["type"] for one in told]
    if not set(_LEAST) <= set(types) or (types[0], types[-1]) != (_LEAST[0], _LEAST[-1]):
        return False
    first = int(told[0]["sequence"])
    return [int(one["sequence"]) for one in told] == list(range(first, first + len(told)))


def _of_type(visit: Visit) -> dict[str, int]:
    found = visit.client.stats()["types"].get(visit.type)
    return {} if found is None else found["states"]


def _numbers(visit: Visit) -> str:
    """Others may use the system meanwhile, so of the type at least ours must have come."""
    wanted = len(visit.ended())
    deadline = time.monotonic() + visit.timeout_s
    while True:
        found = visit.client.stats()
        states = found["types"].get(visit.type, {"states": {}})["states"]
        completed = states.get("completed", 0)
        grown = completed - visit.before.get("completed", 0)
        if found["complete"] and completed >= wanted and grown >= wanted:
            return f"{completed:,} of {visit.type} completed"
        if time.monotonic() > deadline:
            raise Broken(f"{grown:,} more completed, {wanted} were")
        time.sleep(0.2)


def _lists(visit: Visit) -> str:
    """The jobs are found by their type, newest first."""
    oldest = min(visit.submitted())
    found: list[str] = []
    for one in visit.client.items("/jobs", {"type": visit.type, "limit": "200"}):
        if one["id"] < oldest:
            break
        found.append(one["id"])
    missing = set(visit.ids) - set(found)
    if missing:
        raise Broken(f"{len(missing)} jobs are in no list, such as {min(missing)}")
    if found != sorted(found, reverse=True):
        raise Broken("the list is not newest first")
    return f"all {len(visit.ids)} listed"


def _one_key_one_job(visit: Visit) -> str:
    import uuid

    from observatory.client import SubmitOptions

    options = SubmitOptions(idempotency_key=f"gate-{uuid.uuid4()}")
    first = visit.client.submit(visit.type, visit.payload, options=options).id
    second = visit.client.submit(visit.type, visit.payload, options=options).id
    if first != second:
        raise Broken(f"one key made two jobs: {first} and {second}")
    return "the same key gave the same job"


def _cancel(visit: Visit) -> str:
    from observatory.client import SubmitOptions

    later = SubmitOptions(delay=_DELAY_S)
    handle = visit.client.submit(visit.type, visit.payload, options=later)
    handle.cancel("the gate")
    state = handle.refresh().state
    if state != "cancelled":
        raise Broken(f"a scheduled job is {state} after it was cancelled")
    return "a scheduled job was cancelled"


def _refusal(visit: Visit) -> str:
    from observatory.client import Refused

    try:
        handle = visit.client.submit("observatory.gate.unknown", {})
    except Refused as refused:
        if refused.status != 422:
            raise Broken(f"an unknown job type is answered {refused.status}, not 422") from None
        return "an unknown job type is refused"
    handle.cancel("the gate")
    raise Broken("a job of a type that nobody knows was accepted")


def _workers(visit: Visit) -> str:
    staff = visit.client.read("/workers")["items"]
    active = [one for one in staff if one["state"] == "active"]
    if not active:
        raise Broken("no worker is active")
    slots = sum(one["concurrency"] for one in active)
    return f"{len(active)} active with {slots} slots"


def _alerts(visit: Visit) -> str:
    """Where an Alertmanager is named, that it is told of alerts as well: a Prometheus that sees
    nothing has none that fires."""
    deadline = time.monotonic() + visit.timeout_s
    while True:
        found = visit.client.read("/alerts")
        if found["source"] != "alertmanager" or found["detail"] is None:
            break
        if time.monotonic() > deadline:
            raise Broken(found["detail"])
        time.sleep(0.2)
    critical = [one["name"] for one in found["items"] if one["severity"] == "critical"]
    if critical:
        raise Broken(f"critical: {', '.join(critical)}")
    return f"none critical, known by {found['source']}"


def _health(visit: Visit) -> str:
    found = visit.client.read("/system")
    away = [one["name"] for one in found["backends"] if not one["ok"]]
    if away:
        raise Broken(f"does not answer: {', '.join(away)}")
    if found["deadLetters"]:
        raise Broken(f"{found['deadLetters']} dead letters")
    return f"version {found['version']}, commits to publish: {found['outbox']['commits']}"


def _text(visit: Visit, path: str) -> str:
    from observatory.client.requests import Request

    return visit.client.run(visit.client.operations.exchange(Request("GET", path))).text


def _metrics(visit: Visit) -> str:
    text = _text(visit, "/metrics")
    names = {line.split("{")[0].split(" ")[0] for line in text.splitlines() if line[:1].isalpha()}
    own = {name for name in names if name.startswith("observatory_")}
    if "observatory_build_info" not in own:
        raise Broken("/metrics has no observatory_build_info")
    return f"{len(own)} metrics of ours"


def _page(visit: Visit) -> str:
    text = _text(visit, "/")
    if "<title>Observatory</title>" not in text:
        raise Broken("/ is not the page")
    return "served"


CHECKS: Final[tuple[tuple[str, Callable[[Visit], str]], ...]] = (
    ("ready", _answers),
    ("contracts", _contracts),
    ("starting point", _starting_point),
    ("submit", _submit),
    ("seen at once", _seen_at_once),
    ("end", _end),
    ("events", _events),
    ("numbers", _numbers),
    ("lists", _lists),
    ("one key, one job", _one_key_one_job),
    ("cancel", _cancel),
    ("refusal", _refusal),
    ("workers", _workers),
    ("alerts", _alerts),
    ("health", _health),
    ("metrics", _metrics),
    ("page", _page),
)
"""In the order in which they build on one another."""
