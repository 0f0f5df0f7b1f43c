"""Which jobs a command is about: the filters of GET /jobs as options."""

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from observatory.interfaces.cli.output import Mistake
from observatory.interfaces.since import WORDS, read_since

State = Literal["scheduled", "queued", "running", "retrying", "completed", "failed", "cancelled"]


@Parameter(name="*")
@dataclass(frozen=True)
class Filter:
    """Options that say which jobs are meant; all of them hold together.

    Args:
        state: Only these states; may be given more than once.
        type: Only this job type.
        queue: Only this queue.
        worker: Only what this worker runs or ran last.
        correlation_id: Only what belongs together.
        parent_id: Only what was made from this job.
        fingerprint: Only this group of failures; `observatory failures` lists them.
        since: Only jobs accepted from then on: 15m, 2h, 7d ago, or a time.
        until: Only jobs accepted before then.
        q: Only jobs in which this text is found.
    """

    state: Annotated[list[State] | None, Parameter(negative="")] = None
    type: str | None = None
    queue: str | None = None
    worker: str | None = None
    correlation_id: str | None = None
    parent_id: str | None = None
    fingerprint: str | None = None
    since: str | None = None
    until: str | None = None
    q: str | None = None

    def given(self) -> dict[str, Any]:
        """Those that were given, as the client takes them.

        Raises:
            Mistake: one is empty, which must not come to mean every job, or is no time.
        """
        found = {name: value for name, value in asdict(self).items() if value is not None}
        for name, value in found.items():
            if value == "" or value == []:
                raise Mistake(f"--{name.replace('_', '-')} is empty; leave it out or say which")
            if name in ("since", "until"):
                found[name] = _instant(name, value)
        return found


def _instant(name: str, text: str) -> datetime:
    when = read_since(text)
    if when is None:
        raise Mistake(
            f"--{name} is a time with an offset, or a span back from now ({WORDS}); not {text!r}"
        )
    return when
