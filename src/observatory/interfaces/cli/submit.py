"""`observatory submit`: one job from the command line, or those of a file."""

import json
import math
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any, Literal, TextIO

from cyclopts import Parameter

from observatory.interfaces.cli.address import Address, Payload
from observatory.interfaces.cli.exit_codes import ExitCode
from observatory.interfaces.cli.jobs import print_job
from observatory.interfaces.cli.output import TABLE, Mistake, Output, say

if TYPE_CHECKING:
    from collections.abc import Generator

    from observatory.client import Client, JobHandle, SubmitOptions


@Parameter(name="*")
@dataclass(frozen=True)
class How:
    """Options that say how a job is to be run.

    Args:
        queue: A queue other than the job type's own.
        priority: Which jobs of a queue go first.
        delay: Seconds from now until it may run.
        at: When it may run, as RFC 3339 time.
        max_attempts: How many failed attempts end it.
        job_timeout: Seconds one attempt may take.
        correlation_id: What it belongs to.
    """

    queue: str | None = None
    priority: Literal["high", "normal", "low"] | None = None
    delay: float | None = None
    at: str | None = None
    max_attempts: int | None = None
    job_timeout: float | None = None
    correlation_id: str | None = None

    def options(self, idempotency_key: str | None) -> "SubmitOptions":
        """As the client takes them.

        Raises:
            Mistake: a number of seconds is none.
        """
        from observatory.client import SubmitOptions

        for name, number in (("--delay", self.delay), ("--job-timeout", self.job_timeout)):
            if number is not None and not math.isfinite(number):
                raise Mistake(f"{name} is a number of seconds, not {number}")
        return SubmitOptions(
            idempotency_key=idempotency_key,
            queue=self.queue,
            priority=self.priority,
            delay=self.delay,
            scheduled_at=self.at,
            max_attempts=self.max_attempts,
            timeout=self.job_timeout,
            correlation_id=self.correlation_id,
        )


def submit(
    job_type: Annotated[str | None, Parameter(name="TYPE", allow_leading_hyphen=True)] = None,
    /,
    *fields: Annotated[str, Parameter(name="KEY=VALUE")],
    payload: Payload | None = None,
    file: Annotated[Path | None, Parameter(allow_leading_hyphen=True)] = None,
    how: How | None = None,
    idempotency_key: str | None = None,
    wait: Annotated[bool, Parameter(negative="")] = False,
    timeout: float | None = None,
    address: Address | None = None,
    output: Output = TABLE,
) -> int:
    """Submit a job, or with --file the jobs of a file, one a line.

    A value is read as JSON where it is JSON (n=2, deep=true, tags='["a"]'),
    else as text; a text that looks like JSON needs its own quotes: code='"007"'.

    A line of a file is what POST /jobs/batch takes: {"type": …, "payload": {…}, …}.
    Lines are sent 500 at a time. One that is refused is told with its number and
    stops no other; exit code 1 if any was. Where the system cannot take them now
    they are sent again for a minute. The same file under the same
    --idempotency-key makes no job twice: line N has KEY-N, unless it has its own.

    For example:
      observatory submit email.send to=a@example.com subject=hi
      observatory submit report.build --payload '{"year": 2026}' --wait
      echo '{"n": 2}' | observatory submit double --payload -
      observatory submit --file jobs.ndjson
      grep double jobs.ndjson | observatory submit - --json

    Args:
        job_type: The job type; - for the same as --file -.
        fields: Members of the payload.
        payload: The payload as a JSON object, or - to read it from standard input.
        file: Submit the jobs of this file, NDJSON; - for standard input.
        idempotency_key: The same key never makes a second job.
        wait: Wait for the end and print the outcome; exit code 1 if it is not completed.
        timeout: With --wait, seconds to wait at most; exit code 6 if it has not ended then.
    """
    options = (how or How()).options(idempotency_key)
    if timeout is not None and not wait:
        raise Mistake("--timeout says how long to wait and goes with --wait")
    if timeout is not None and not timeout >= 0:
        raise Mistake(f"--timeout is a number of seconds from 0 up, not {timeout:g}")
    where = address or Address()
    if job_type == "-" and file is None:
        job_type, file = None, Path("-")
    if file is not None:
        if job_type or fields or payload is not None or wait or how not in (None, How()):
            raise Mistake("with a file each line says what its job is; leave the rest out")
        return _submit_lines(file, idempotency_key, where, output=output)
    if job_type is None or job_type.startswith("-"):
        wrong = f"no such option: {job_type}" if job_type else "say which TYPE of job, or a --file"
        raise Mistake(f"{wrong}; see: observatory submit --help")
    document = read_payload(payload, fields)
    with where.client() as client:
        job = client.submit(job_type, document, options=options)
        if wait:
            return _waited(client, job, timeout, output=output)
        output.print({"jobId": job.id}) if output.structured else say(job.id)
        return ExitCode.OK


def _waited(client: "Client", job: "JobHandle", timeout: float | None, *, output: Output) -> int:
    from observatory.client import ObservatoryError, WaitTimeout

    try:
        job.wait(timeout)
    except WaitTimeout as error:
        output.print(client.read(f"/jobs/{job.id}")) if output.structured else say(error)
        return ExitCode.NOT_ENDED
    except KeyboardInterrupt:
        told = f"job {job.id} was accepted and goes on; see: observatory jobs show {job.id}"
        print(f"\nobservatory: {told}", file=sys.stderr)
        if output.structured:
            output.print({"jobId": job.id})
        raise
    except ObservatoryError:
        print(f"job {job.id} was accepted, but its end cannot be read here", file=sys.stderr)
        raise
    print_job(client, job.job, output=output)
    return ExitCode.OK if job.state == "completed" else ExitCode.FAILED


def _submit_lines(path: Path, key: str | None, address: Address, *, output: Output) -> int:
    from observatory.interfaces.cli.submit_file import submit_file

    with _opened(path) as file, address.client() as client:
        return submit_file(client, file, key, output=output)


@contextmanager
def _opened(path: Path) -> "Generator[IO[bytes]]":
    if path == Path("-"):
        yield standard_input().buffer
        return
    try:
        file = path.open("rb")
    except OSError as error:
        raise Mistake(f"{path} cannot be read: {error.strerror}") from error
    with file:
        yield file


def standard_input() -> TextIO:
    """Standard input. Raises Mistake where it is closed."""
    if sys.stdin is None:  # pyright: ignore[reportUnnecessaryComparison] - `<&-`
        raise Mistake("standard input is closed; there is nothing to read")
    return sys.stdin


def read_payload(payload: str | None, fields: tuple[str, ...]) -> dict[str, Any]:
    """The payload from `--payload` and the `KEY=VALUE` members together."""
    document: dict[str, Any] = {}
    if payload is not None:
        document = _object(standard_input().read() if payload == "-" else payload)
    given = set(document)
    for field in fields:
        name, equals, value = field.partition("=")
        if not equals or not name:
            raise Mistake(f"{field!r} is not KEY=VALUE")
        if name in given:
            raise Mistake(f"the key {name!r} is given twice")
        given.add(name)
        document[name] = _value(name, value)
    return document


def _object(text: str) -> dict[str, Any]:
    try:
        document = _json(text)
    except (ValueError, RecursionError) as error:
        raise Mistake(f"--payload is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise Mistake("--payload must be a JSON object, such as '{\"n\": 2}'")
    return document  # pyright: ignore[reportUnknownVariableType] - decoded JSON


def _json(text: str) -> Any:
    # Python would take NaN, Infinity and 1e999, and what is sent in their place is null.
    return json.loads(text, parse_constant=_no_constant, parse_float=_finite)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise _OutOfRange(f"{text} is too large for a number")
    if number == 0 and text.lower().partition("e")[0].strip("-0."):
        raise _OutOfRange(f"{text} is too small for a number")
    return number


class _OutOfRange(ValueError):  # noqa: N818 - says what is so
    """JSON, and no number that is kept as it is."""


def _value(name: str, text: str) -> Any:
    try:
        return _json(text)
    except _OutOfRange as error:
        # Whoever writes a number does not mean text, and would not learn that text was sent.
        raise Mistake(f"{name}: {error}; as text it needs its own quotes: '\"…\"'") from error
    except (ValueError, RecursionError):
        return text
