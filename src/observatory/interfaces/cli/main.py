"""The entry of the command line.

`observatory --help` must come at once, so nothing is imported here that a command may not need:
commands are named by import path, and the front page is made from the same table without even the
library that parses command lines (cyclopts and rich take 150 ms together).
"""

import errno
import os
import sys
from collections.abc import Sequence
from io import TextIOWrapper
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from observatory import __version__
from observatory.interfaces.cli.exit_codes import ExitCode

if TYPE_CHECKING:
    from cyclopts import App

    from observatory.client import Refused
    from observatory.interfaces.cli.output import Form


class Complaint(NamedTuple):
    """Why a command did not do what it was asked to."""

    message: str
    code: ExitCode
    hint: str | None = None
    problem: dict[str, Any] | None = None
    """What the server answered, RFC 9457."""
    kind: str = ""
    """In one word, for programs; that of the exit code where nothing tells it better."""
    idempotency_key: str | None = None
    """Under which the same may be submitted again without becoming two jobs."""


class Command(NamedTuple):
    """One command: where it lives and what it is for."""

    name: str
    home: str
    summary: str


_CLI: Final = "observatory.interfaces.cli"

_FAILED_WRITES: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF)
"""Without a file's name they come from standard output: other files are told by whoever writes."""

COMMANDS: Final = (
    Command("up", f"{_CLI}.up:up", "Serve the jobs of a module: API, page and processor."),
    Command("gateway", f"{_CLI}.services:gateway", "Serve the write API alone."),
    Command("processor", f"{_CLI}.services:processor", "Run the jobs of a module alone."),
    Command("metrics-engine", f"{_CLI}.services:metrics_engine", "Keep the aggregates alone."),
    Command("read-model", f"{_CLI}.services:read_model", "Serve the read API and page alone."),
    Command("migrate", f"{_CLI}.migrate:migrate", "Bring the PostgreSQL store to this schema."),
    Command("tui", f"{_CLI}.tui:tui", "Watch and operate a system in the terminal."),
    Command("submit", f"{_CLI}.submit:submit", "Submit a job, or the jobs of a file."),
    Command("jobs", f"{_CLI}.jobs:jobs", "List, show, follow, export, cancel or retry jobs."),
    Command("queues", f"{_CLI}.queues:queues", "List, pause or resume queues."),
    Command("failures", f"{_CLI}.watching:failures", "List what fails, grouped by error."),
    Command("workers", f"{_CLI}.watching:workers", "List who runs the jobs."),
    Command("alerts", f"{_CLI}.watching:alerts", "List alerts that fire."),
    Command("stats", f"{_CLI}.stats:stats", "Counts, rates and percentiles."),
    Command("events", f"{_CLI}.events:events", "Read or follow the event log."),
    Command("contracts", f"{_CLI}.contracts:contracts", "List, show or check contracts."),
    Command("keys", f"{_CLI}.keys:keys", "Make API keys."),
    Command("bench", f"{_CLI}.bench:bench", "Load a running system and tell what it did."),
    Command("completion", f"{_CLI}.completion:completion", "Have a shell complete commands."),
    Command("gate", f"{_CLI}.gate:gate", "Prove a running system from outside."),
    Command("doctor", f"{_CLI}.doctor:doctor", "Check this machine, the data and the system."),
)

TAGLINE: Final = "A background-job system whose inside can be seen."

_EXAMPLES: Final = """\
Examples:
  observatory up --demo                 see it at work on real input
  observatory up my_module              serve the jobs of my_module.py
  observatory submit email.send to=a@example.com --wait
  observatory events --follow

Exit codes: 0 ok, 1 a job or check failed, 2 usage, 3 not found, 4 conflict,
5 unavailable: try again later, 6 not ended in the time given to wait.
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit with its code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if sys.stderr is None:  # pyright: ignore[reportUnnecessaryComparison] - `2>&-`
        # Else what is said there would be printed among the output.
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - as long as the process
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a character must not make a command fail.
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        if sys.stdout is None:  # pyright: ignore[reportUnnecessaryComparison] - `>&-`
            # Said before anything is done whose outcome nobody would learn.
            code = _unwritable("it is closed", given)
        else:
            code = run(given)
            sys.stdout.flush()
    except KeyboardInterrupt:
        code = ExitCode.INTERRUPTED
    except BrokenPipeError:
        _leave_unwritten()
        code = ExitCode.PIPE_CLOSED
    except OSError as error:
        if error.errno not in _FAILED_WRITES or error.filename is not None:
            raise
        _leave_unwritten()
        code = _unwritable(error.strerror or str(error), given)
    sys.exit(code)


def _leave_unwritten() -> None:
    """Python flushes stdout once more while it exits, and would complain again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _unwritable(reason: str, arguments: Sequence[str]) -> int:
    complaint = Complaint(f"standard output cannot be written: {reason}", ExitCode.FAILED)
    _complain(complaint, _form(arguments))
    return complaint.code


def run(arguments: list[str]) -> int:
    """Run one command and return its exit code."""
    if arguments in ([], ["--help"], ["-h"]):
        print(front_page(), end="")
        return ExitCode.OK
    if arguments == ["--version"]:
        print(__version__)
        return ExitCode.OK
    from cyclopts import CycloptsError

    try:
        code = application(helps=bool({"--help", "-h"} & {*arguments}))(arguments)
    except CycloptsError as error:
        chain = error.command_chain or ()
        complaint = Complaint(str(error), ExitCode.USAGE, hint=_help_hint(chain))
    except Exception as error:
        complaint = _explained(error)
    else:
        return code if isinstance(code, int) else ExitCode.OK
    _complain(complaint, _form(arguments))
    return complaint.code


def front_page() -> str:
    """What `observatory --help` shows."""
    width = max(len(command.name) for command in COMMANDS)
    listing = "\n".join(f"  {c.name:<{width}}  {c.summary}" for c in COMMANDS)
    return (
        f"{TAGLINE}\n\nUsage: observatory COMMAND [OPTIONS]\n\nCommands:\n{listing}\n\n"
        f"`observatory COMMAND --help` tells more. This is version {__version__}.\n\n"
        f"{_EXAMPLES}"
    )


def application(*, helps: bool = False) -> "App":
    """The commands as cyclopts knows them; none is imported before it is called. `helps`: it will
    print help, in which nobody is told more of colours than elsewhere."""
    from cyclopts import App

    from observatory.interfaces.cli.output import console

    app = App(
        name="observatory",
        help=TAGLINE,
        version=__version__,
        help_format="plaintext",
        result_action="return_value",
        exit_on_error=False,
        print_error=False,
        suppress_keyboard_interrupt=False,
        console=console() if helps else None,
    )
    for command in COMMANDS:
        app.command(command.home, name=command.name)
    return app


def _help_hint(chain: Sequence[str]) -> str:
    return f"see: {' '.join(('observatory', *chain, '--help'))}"


def _form(arguments: Sequence[str]) -> "Form | None":
    """The form that was asked for, also where the arguments could not be read."""
    if "--json" in arguments:
        return "json"
    for name, value in zip(("", *arguments), (*arguments, ""), strict=True):
        for form in ("json", "yaml"):
            if value in (f"--output={form}", f"-o={form}", f"-o{form}"):
                return form
            if name in ("--output", "-o") and value == form:
                return form
    return None


def _complain(complaint: Complaint, form: "Form | None") -> None:
    from observatory.interfaces.cli.output import Output, safe

    if form is not None:
        error: dict[str, Any] = {
            "error": complaint.kind or complaint.code.name.lower(),
            "type": (complaint.problem or {}).get("type"),
            "message": complaint.message.strip(),
            "idempotencyKey": complaint.idempotency_key,
            "problem": complaint.problem,
        }
        Output(form).complain(error)
        return
    print(f"observatory: {safe(complaint.message.strip(), lines=True)}", file=sys.stderr)
    if complaint.hint:
        print(complaint.hint, file=sys.stderr)


def _explained(error: Exception) -> Complaint:
    """An error that has an explanation, as a complaint; any other is a fault of ours: raised."""
    from observatory.core.errors import ConfigurationError, SpineUnavailable, StoreUnavailable
    from observatory.interfaces.cli.output import Clash, Mistake

    if isinstance(error, Mistake | ConfigurationError):
        return Complaint(str(error), ExitCode.USAGE)
    if isinstance(error, Clash):
        return Complaint(str(error), ExitCode.CONFLICT)
    if isinstance(error, StoreUnavailable | SpineUnavailable):
        return Complaint(_try_again(str(error), None), ExitCode.UNAVAILABLE)
    if "observatory.client" not in sys.modules:
        raise error
    from observatory import client

    if isinstance(error, client.Refused):
        return _refused(error)
    if isinstance(error, client.Unreachable):
        key = error.idempotency_key
        text = _try_again(str(error), key)
        return Complaint(text, ExitCode.UNAVAILABLE, idempotency_key=key)
    if isinstance(error, client.Unsendable):
        return Complaint(str(error), ExitCode.USAGE)
    if isinstance(error, client.ObservatoryError):
        return Complaint(str(error), ExitCode.FAILED)
    raise error


def _refused(error: "Refused") -> Complaint:
    """What the system answered, by its status: who can act on it."""
    if error.status == 429 or error.status >= 500:
        key = error.idempotency_key
        text = _try_again(str(error), key)
        return Complaint(text, ExitCode.UNAVAILABLE, problem=error.problem, idempotency_key=key)
    codes = {404: ExitCode.NOT_FOUND, 409: ExitCode.CONFLICT}
    kinds = {401: "unauthorized", 403: "forbidden"}
    return Complaint(
        str(error),
        codes.get(error.status, ExitCode.USAGE),
        problem=error.problem,
        kind=kinds.get(error.status, ""),
    )


def _try_again(text: str, key: str | None) -> str:
    end = " Try" if text.endswith((".", "?")) else "; try"
    # It may have been done, and without its key the next submit would make a second job.
    under = f"; with --idempotency-key {key} it cannot become two jobs" if key else ""
    return f"{text}{end} again later{under}"


if __name__ == "__main__":
    main()
