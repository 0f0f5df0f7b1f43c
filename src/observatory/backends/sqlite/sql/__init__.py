"""The statements, one a file, named by what they do."""

from importlib.resources import files


def statement(name: str) -> str:
    """The text of ``<name>.sql``."""
    return (files(__name__) / f"{name}.sql").read_text()
