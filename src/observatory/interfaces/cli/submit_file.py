"""`observatory submit --file`: a job a line, in batches. What is refused does not stop the rest."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
import uuid_utils

from observatory.client import Refused, Unreachable
from observatory.client.operations import BATCH_BYTES, BATCH_ITEMS, Operations
from observatory.interfaces.cli.exit_codes import ExitCode
from observatory.interfaces.cli.output import Mistake, Output, jobs_of, safe, say
from observatory.interfaces.cli.progress import progress

if TYPE_CHECKING:
    from collections.abc import Generator

    from observatory.client import Client

LINE_BYTES_MAX: Final = 16 * 1024**2
"""No gateway takes a larger batch unless it is set to; nothing longer is held here."""

REFUSALS_TOLD: Final = 1000
"""So many refusals are kept for programs; all of them are counted."""

PATIENCE_S: Final = 60.0
"""How long a batch is sent again while the system cannot take it, once it has taken one. Before
that the client's own patience holds: whoever mistyped the address must not wait for a minute."""

_KEY_CHARS_MAX: Final = 240
"""A key may have 255; the rest is for the number of the line."""

_BATCH_STATUSES: Final = (400, 413, 422)
"""With these a batch is refused for what is in it or for its size: smaller ones may be taken."""

_BOM: Final = b"\xef\xbb\xbf"


class Line(NamedTuple):
    """A line that can be sent."""

    number: int
    item: bytes
    """The job as a batch item, with its key."""


class Unfit(NamedTuple):
    """A line that is no JSON object, so that it is refused before it is sent."""

    number: int
    reason: str


@dataclass
class Tally:
    """What came of the lines so far."""

    key: str
    """Line N without a key of its own is submitted under this, a hyphen and N."""
    accepted: int = 0
    duplicates: int = 0
    """Their keys were used before with the same job."""
    refused: int = 0
    refusals: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    whole: bool = False
    """All of the lines were answered."""

    def document(self) -> dict[str, Any]:
        """For programs."""
        return {
            "accepted": self.accepted,
            "duplicates": self.duplicates,
            "refused": self.refused,
            "refusals": self.refusals,
            "whole": self.whole,
            "idempotencyKey": self.key,
        }

    def text(self) -> str:
        """For people."""
        done = [f"{jobs_of(self.accepted)} accepted"]
        if self.duplicates:
            done.append(f"{self.duplicates:,} submitted before")
        if self.refused:
            done.append(f"{self.refused:,} refused")
        return ", ".join(done)


def submit_file(client: "Client", file: IO[bytes], key: str | None, *, output: Output) -> int:
    """Submit the jobs of a file, and print what came of them, also where it was cut off.

    Args:
        client: who submits them.
        file: a batch item a line. Not more of it than a batch is held.
        key: what the keys of lines without one begin with; given again with the same lines it
            makes no job twice. A new one if left out.
        output: in which form the summary is printed; the refusals are in it for programs.

    Returns: exit code 1 if a line was refused.
    """
    if key is not None and not (key.isascii() and key.isprintable() and " " not in key):
        raise Mistake(f"an idempotency key has visible ASCII characters only, not {key!a}")
    if key is not None and not 1 <= len(key) <= _KEY_CHARS_MAX:
        raise Mistake(f"with a file --idempotency-key has 1 to {_KEY_CHARS_MAX} characters")
    tally = Tally(key or str(uuid_utils.uuid7()))
    with _summing_up(tally, output=output), progress("lines", None) as advance:
        operations = client.operations
        for batch in _batches(_lines(file, tally.key)):
            fit = [one for one in batch if isinstance(one, Line)]
            outcomes = dict(_outcomes(client, operations, fit))
            operations = Operations(PATIENCE_S)
            for one in batch:
                _count(tally, one, outcomes.get(one.number), tell=not output.structured)
            advance(len(batch))
        tally.whole = True
    return ExitCode.FAILED if tally.refused else ExitCode.OK


@contextmanager
def _summing_up(tally: Tally, *, output: Output) -> "Generator[None]":
    """Somebody has to know what was done, also where the rest was cut off."""
    try:
        yield
    except (Refused, Unreachable) as error:
        error.idempotency_key = tally.key
        raise
    except KeyboardInterrupt:
        again = f"--idempotency-key {tally.key} with the same lines makes no job twice"
        print(f"\nobservatory: cut off; {again}", file=sys.stderr)
        raise
    finally:
        output.print(tally.document()) if output.structured else say(tally.text())
        sys.stdout.flush()


def _count(tally: Tally, line: Line | Unfit, outcome: dict[str, Any] | None, *, tell: bool) -> None:
    if isinstance(line, Unfit) or outcome is None:
        problem = None
        reason = line.reason if isinstance(line, Unfit) else "the system did not answer for it"
    elif outcome.get("problem") is None:
        tally.duplicates += bool(outcome["replayed"])
        tally.accepted += not outcome["replayed"]
        return
    else:
        problem = outcome["problem"]
        refusal = Refused(problem, status=int(outcome["status"]))
        reason = "; ".join(part.strip() for part in str(refusal).split("\n"))
    tally.refused += 1
    if tell:
        print(f"line {line.number}: {safe(reason)}", file=sys.stderr)
    elif len(tally.refusals) < REFUSALS_TOLD:
        tally.refusals.append({"line": line.number, "reason": reason, "problem": problem})


def _outcomes(
    client: "Client", operations: Operations, batch: list[Line]
) -> Iterator[tuple[int, dict[str, Any]]]:
    """The outcome of each line by its number, the batch cut in halves where it is too much."""
    if not batch:
        return
    try:
        items = client.run(operations.submit_items([line.item for line in batch]))
    except Refused as refusal:
        if refusal.status not in _BATCH_STATUSES:
            raise
        if len(batch) > 1:
            middle = len(batch) // 2
            yield from _outcomes(client, operations, batch[:middle])
            yield from _outcomes(client, operations, batch[middle:])
            return
        yield batch[0].number, {"problem": refusal.problem, "status": refusal.status}
    else:
        yield from zip((line.number for line in batch), items, strict=True)


def _batches(lines: Iterator[Line | Unfit]) -> Iterator[list[Line | Unfit]]:
    batch: list[Line | Unfit] = []
    size = 0
    for line in lines:
        length = len(line.item) if isinstance(line, Line) else 0
        if batch and (len(batch) == BATCH_ITEMS or size + length > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(line)
        size += length
    if batch:
        yield batch


def _lines(file: IO[bytes], key: str) -> Iterator[Line | Unfit]:
    """Each line that is not blank."""
    number = 0
    while text := file.readline(LINE_BYTES_MAX):
        number += 1
        if len(text) == LINE_BYTES_MAX and not text.endswith(b"\n"):
            _skip_line(file)
            yield Unfit(number, f"longer than {LINE_BYTES_MAX:,} bytes")
            continue
        text = text.removeprefix(_BOM).strip()
        if text:
            yield _read(number, text, f"{key}-{number}")


def _skip_line(file: IO[bytes]) -> None:
    while (text := file.readline(LINE_BYTES_MAX)) and not text.endswith(b"\n"):
        pass


_decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def _read(number: int, text: bytes, key: str) -> Line | Unfit:
    try:
        members = _decode(text)
    except msgspec.ValidationError:
        return Unfit(number, 'it is not a JSON object, such as {"type": "double"}')
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return Unfit(number, f"it is not JSON: {error}")
    if "idempotencyKey" in members:
        return Line(number, text)
    # What the line says is sent as it stands: written anew it would lose a name that stands twice,
    # which the system refuses, and the digits of a number.
    comma = b"," if members else b""
    return Line(number, b'{"idempotencyKey":' + msgspec.json.encode(key) + comma + text[1:])
