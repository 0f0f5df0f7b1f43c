"""Workers as they are shown."""

from typing import Any

from observatory.core.instant import to_rfc3339
from observatory.core.job import WorkerRecord


def worker(record: WorkerRecord, stale_before: int) -> dict[str, Any]:
    """A worker as it is shown: one not seen since `stale_before` is stale."""
    state = record.state
    if state == "lost" or (state in ("active", "draining") and record.seen_at < stale_before):
        state = "stale"
    return {
        "id": record.id,
        "host": record.host,
        "pid": record.pid,
        "startedAt": to_rfc3339(record.started_at),
        "lastSeenAt": to_rfc3339(record.seen_at),
        "state": state,
        "rescued": record.state == "lost",
        "concurrency": record.concurrency,
        "running": record.running,
        "queues": list(record.queues),
        "jobTypes": list(record.job_types),
    }
