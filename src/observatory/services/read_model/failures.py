"""Failures as they are shown: failing jobs grouped by what they fail with."""

from typing import Any

from observatory.core.failure import normalised
from observatory.core.instant import to_rfc3339
from observatory.core.store import FailureGroup


def failure(group: FailureGroup) -> dict[str, Any]:
    """One group of jobs that fail alike."""
    return {
        "fingerprint": group.fingerprint,
        "errorType": group.error_type,
        "message": normalised(group.message),
        "type": group.type,
        "count": group.failed + group.retrying,
        "states": {"failed": group.failed, "retrying": group.retrying},
        "firstSeenAt": to_rfc3339(group.first_seen_at),
        "lastSeenAt": to_rfc3339(group.last_seen_at),
        "sampleJobId": group.sample_job,
        "recent": {"lastHour": group.last_hour, "hourBefore": group.hour_before},
    }
