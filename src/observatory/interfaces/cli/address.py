"""Where the system is that a command talks to."""

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final

from cyclopts import Parameter

from observatory.interfaces.cli.output import Mistake

if TYPE_CHECKING:
    from observatory.client import Client


READS_WITHIN_S: Final = 12.0
"""How long a person waits to read something: a system that asks a store which hangs says so after
ten seconds."""


Payload = Annotated[str, Parameter(allow_leading_hyphen=True)]
"""A JSON object, or ``-`` for standard input, which is no option."""


@Parameter(name="*")
@dataclass(frozen=True)
class Address:
    """Options that every command has which talks to a running system.

    Args:
        url: Where the system is [env: OBSERVATORY_URL; default: http://127.0.0.1:8080].
        key: The API key, if it asks for one [env: OBSERVATORY_API_KEY].
    """

    url: str | None = None
    key: str | None = None

    @property
    def named(self) -> str:
        """What names it, if anything does: an option or a variable."""
        if self.url is not None:
            return "--url"
        return "OBSERVATORY_URL" if os.environ.get("OBSERVATORY_URL") else ""

    def client(self, *, patience: float = 1.0) -> "Client":
        """A client for it. A person waits, so by default it gives up sooner than a program's."""
        from observatory.client import Client

        if self.url is not None and not self.url.strip():
            # Most often a variable that is not set: the default may be quite another system.
            raise Mistake("--url is empty; leave it out for the default")
        try:
            return Client(self.url, key=self.key, patience=patience, reads_within=READS_WITHIN_S)
        except ValueError as error:
            raise Mistake(str(error)) from error
