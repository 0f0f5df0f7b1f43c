"""The statements, one a file, named by what they do. Parameters are $1, $2, …; those that take
many rows take them as one JSON document."""

from importlib.resources import files


def statement(name: str) -> bytes:
    """The text of ``<name>.sql``."""
    return (files(__name__) / f"{name}.sql").read_bytes()
