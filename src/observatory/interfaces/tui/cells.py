"""What stands in the rows of the views, made of the API's answers."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from rich.text import Text

from observatory.interfaces.cli.output import attempt_in_column, rate, seconds, standing
from observatory.interfaces.tui.rows import Cell
from observatory.interfaces.tui.words import age, line, number, state_text


def job_cells(job: dict[str, Any], now: datetime) -> tuple[Cell, ...]:
    """State, type, queue, attempt, age, error."""
    error = job["error"]
    told = f"{error['type']}: {error['message']}" if error and job["state"] != "completed" else ""
    return (
        state_text(job["state"]),
        line(job["type"], 40),
        line(job["queue"], 24),
        attempt_in_column(job["attempt"], job["maxAttempts"]),
        age(job["createdAt"], now),
        line(told),
    )


def sampled_states(groups: list[dict[str, Any]]) -> dict[str, str]:
    """The state of each group's latest job: one that waits for a retry where none has failed."""
    return {
        one["sampleJobId"]: "failed" if one["states"]["failed"] else "retrying" for one in groups
    }


def failure_cells(group: dict[str, Any], now: datetime) -> tuple[Cell, ...]:
    """Failed, retrying, of the last hour, last, type, error."""
    last, before = group["recent"]["lastHour"], group["recent"]["hourBefore"]
    trend = "more" if last > before else "fewer" if last < before else "same"
    return (
        number(group["states"]["failed"]),
        number(group["states"]["retrying"]),
        f"{last:,} {trend}",
        age(group["lastSeenAt"], now),
        line(group["type"], 40),
        line(f"{group['errorType']}: {group['message']}"),
    )


def queue_cells(queue: dict[str, Any]) -> tuple[str, tuple[Cell, ...]]:
    """The name, and the cells of the view of queues."""
    wait = queue["waitSeconds"]
    return queue["name"], (
        line(queue["name"], 40),
        Text("‖ paused", style="yellow") if queue["paused"] else "",
        number(queue["states"]["queued"]),
        number(queue["states"]["running"]),
        seconds(queue["oldestAgeSeconds"]),
        rate(queue["createdPerSecond"]),
        rate(queue["finishedPerSecond"]),
        seconds(wait["p95"] if wait else None),
    )


def brief_queue_cells(queue: dict[str, Any], *, narrow: bool) -> tuple[Cell, ...]:
    """Of those cells what the overview has room for, at 80 columns with the names cut short."""
    _, (_, paused, queued, running, oldest, _, done, _) = queue_cells(queue)
    name = line(queue["name"], 14 if narrow else 40)
    mark = Text("‖", style="yellow") if narrow and queue["paused"] else paused
    return name, mark, queued, running, oldest, done


def worker_cells(worker: dict[str, Any], now: datetime) -> tuple[Cell, ...]:
    """State, worker, busy, queues, started, seen."""
    style = "red" if worker["state"] == "stale" else ""
    return (
        Text(standing(worker), style=style),
        line(f"{worker['host']}:{worker['pid']}", 60),
        f"{worker['running']} of {worker['concurrency']}",
        line(", ".join(worker["queues"]) or "every queue", 60),
        age(worker["startedAt"], now),
        age(worker["lastSeenAt"], now),
    )


def event_cells(event: dict[str, Any]) -> tuple[Cell, ...]:
    """When, what, about what, told."""
    data: dict[str, Any] = event.get("data") or {}
    told = [data.get("jobType"), data.get("queue"), data.get("reason")]
    at = datetime.fromisoformat(event["time"]).astimezone().strftime("%H:%M:%S")
    return (
        at,
        line(event["type"], 40),
        line(event.get("subject") or "", 40),
        line(" · ".join(str(one) for one in told if one), 100),
    )


def alert_rows(
    items: list[dict[str, Any]], now: datetime
) -> Iterable[tuple[str, tuple[Cell, ...]]]:
    """For each alert a key, and severity, name, since, what."""
    for one in items:
        key = " ".join([one["name"], *map(str, one["labels"].values())])
        style = {"critical": "bold red", "warning": "yellow"}.get(one["severity"], "")
        yield (
            key,
            (
                Text(one["severity"], style=style),
                line(one["name"], 60),
                age(one["since"], now),
                line(one["summary"]),
            ),
        )
