"""Names of queues in paths: what is no such name is another path.

Importing this makes the form known to Starlette's routes; they write `QUEUE_PATH`.
"""

from typing import Final

from starlette.convertors import Convertor, register_url_convertor

from observatory.core.job_type import QUEUE_PATTERN


class QueueNameConvertor(Convertor[str]):
    """A queue's name."""

    regex = QUEUE_PATTERN.pattern.removeprefix("^").removesuffix("$").removesuffix(r"\Z")

    def convert(self, value: str) -> str:
        """From the path."""
        return value

    def to_string(self, value: str) -> str:
        """To a path."""
        return value


register_url_convertor("queue_name", QueueNameConvertor())

QUEUE_PATH: Final = "/queues/{queue:queue_name}"
"""The path of one queue."""
