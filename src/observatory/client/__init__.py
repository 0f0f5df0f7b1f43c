"""The Python client: submit jobs and read what became of them, over HTTP.

    from observatory.client import Client

    job = Client().submit("email.send", to="a@example.com", subject="hi")
    job.wait(timeout=10)
    print(job.result)

Every operation is written once, as steps (`operations`); `Client` (`blocking`) and `AsyncClient`
(`asynchronous`) only carry requests.
"""

from observatory.client.asynchronous import AsyncClient, AsyncJobHandle
from observatory.client.blocking import Client, JobHandle
from observatory.client.errors import (
    Conflict,
    Interrupted,
    JobFailed,
    NotEnded,
    NotFound,
    PositionLost,
    Refused,
    Unavailable,
    Unreachable,
    Unsendable,
    WaitTimeout,
)
from observatory.client.records import (
    EventRecord,
    Job,
    JobError,
    JobFilter,
    Submission,
    SubmitOptions,
)
from observatory.core.errors import ObservatoryError

__all__ = [
    "AsyncClient",
    "AsyncJobHandle",
    "Client",
    "Conflict",
    "EventRecord",
    "Interrupted",
    "Job",
    "JobError",
    "JobFailed",
    "JobFilter",
    "JobHandle",
    "NotEnded",
    "NotFound",
    "ObservatoryError",
    "PositionLost",
    "Refused",
    "Submission",
    "SubmitOptions",
    "Unavailable",
    "Unreachable",
    "Unsendable",
    "WaitTimeout",
]
