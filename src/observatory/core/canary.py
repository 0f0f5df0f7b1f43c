"""The heartbeat job: one like any other that does nothing, so that its coming through tells that
the pipeline works, and its not coming that it does not, whatever else is quiet.

A worker's heartbeat is another thing: that tells only that a worker lives.
"""

from typing import Final

from observatory.core.job import Submission
from observatory.core.job_type import DEFAULT_QUEUE

HEARTBEAT_JOB: Final = "observatory.heartbeat"
"""Its job type: built into every processor, registered by none, submitted by gateways alone."""

STAGE_OF_EVENT: Final = {
    "job.created": "accepted",
    "job.started": "started",
    "job.completed": "completed",
}

APPLIED: Final = "applied"
"""The last stage: the metrics engine has counted that it completed."""

STAGES: Final = (*STAGE_OF_EVENT.values(), APPLIED)
"""Every stage, in the order in which a heartbeat job comes to them."""

_TIMEOUT_S: Final = 60.0


def heartbeat_submission(id: str, slot: int) -> Submission:
    """The heartbeat job of a stretch of time, which is made once, however many gateways submit
    it."""
    return Submission(
        id=id,
        type=HEARTBEAT_JOB,
        queue=DEFAULT_QUEUE,
        priority="high",
        payload="{}",
        max_attempts=1,
        timeout_s=_TIMEOUT_S,
        contract_version=1,
        correlation_id=f"heartbeat-{slot}",
        idempotency_key=f"heartbeat-{slot}",
        fingerprint="",
    )
