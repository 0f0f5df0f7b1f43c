"""Job ids in paths: what is not a UUID is another path, and never taken for a job.

Importing this makes the form known to Starlette's routes; they write `JOB_PATH`.
"""

from typing import Final

from starlette.convertors import Convertor, register_url_convertor


class JobIdConvertor(Convertor[str]):
    """A UUID in either case, given on in lower case."""

    regex = "[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"

    def convert(self, value: str) -> str:
        """From the path."""
        return value.lower()

    def to_string(self, value: str) -> str:
        """To a path."""
        return value


register_url_convertor("job_id", JobIdConvertor())

JOB_PATH: Final = "/jobs/{job_id:job_id}"
"""The path of one job."""
