"""Ids and names in paths: what is none is another path, and never taken for a job or a queue.

Importing this makes the forms known to Starlette's routes; they write `JOB_PATH` and `QUEUE_PATH`.
"""

from typing import Final

from starlette.convertors import StringConvertor, register_url_convertor

from observatory.core.job_type import QUEUE_PATTERN


class JobIdConvertor(StringConvertor):
    """A UUID in either case, given on in lower case."""

    regex = "[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"

    def convert(self, value: str) -> str:
        """From the path."""
        return value.lower()


class QueueConvertor(StringConvertor):
    """A queue's name."""

    regex = QUEUE_PATTERN.pattern


register_url_convertor("job_id", JobIdConvertor())
register_url_convertor("queue", QueueConvertor())

JOB_PATH: Final = "/jobs/{job_id:job_id}"
"""The path of one job."""

QUEUE_PATH: Final = "/queues/{queue:queue}"
"""The path of one queue."""
