"""What may be typed behind `:`, and what is meant by it."""

from collections.abc import Collection
from typing import Final, Literal, NamedTuple
from uuid import UUID

COMMANDS: Final = (
    "overview, jobs FILTER, … alerts, job ID, retry ID, cancel ID, pause QUEUE, resume QUEUE, "
    "help, q"
)


class Command(NamedTuple):
    """What is to be done, and to what: a view, a job's id, a queue."""

    verb: Literal["view", "job", "retry", "cancel", "pause", "resume", "help", "quit"]
    what: str = ""
    filter: str = ""
    """Of a view; as it was where it is empty."""


class NoCommand(Exception):  # noqa: N818 - the user's mistake, not an error of the program
    """It cannot be done as it was typed; the text says what to type."""


def read(text: str, views: Collection[str]) -> Command:
    """A command as it was typed; views are called by their names.

    Raises:
        NoCommand: it is none, or lacks what it is about.
    """
    name, _, rest = text.strip().partition(" ")
    name, rest = name.lower(), rest.strip()
    for view in views:
        if view.lower() == name:
            return Command("view", view, rest)
    match name:
        case "q" | "quit":
            return Command("quit")
        case "help":
            return Command("help")
        case "job" | "retry" | "cancel":
            return Command(name, _job(name, rest))
        case "pause" | "resume":
            if not rest:
                raise NoCommand(f"{name} takes the name of a queue")
            return Command(name, rest)
        case _:
            raise NoCommand(f"no such command: {name[:40]}; there are {COMMANDS}")


def _job(name: str, text: str) -> str:
    try:
        return str(UUID(text))
    except ValueError:
        told = f"{name} takes the id of a job, a UUID; y copies that of a row"
        raise NoCommand(told) from None
