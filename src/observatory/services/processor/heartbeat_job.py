"""The handler of the heartbeat job, which every processor has."""

from typing import Final

from observatory.core.canary import HEARTBEAT_JOB
from observatory.core.job_type import DEFAULT_QUEUE, Handler, JobType, Retry


async def _nothing() -> None:
    """That it is run is all that it is for."""


HANDLER: Final = Handler(
    job_type=JobType(
        name=HEARTBEAT_JOB,
        version=1,
        queue=DEFAULT_QUEUE,
        max_attempts=1,
        timeout_s=None,
        retry=Retry(),
        contract={},
    ),
    function=_nothing,
    is_async=True,
    context_parameter=None,
    parameters=None,
)
