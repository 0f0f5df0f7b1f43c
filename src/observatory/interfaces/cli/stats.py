"""`observatory stats`: counts, rates and percentiles."""

from typing import Any

from observatory.interfaces.cli.address import Address
from observatory.interfaces.cli.exit_codes import ExitCode
from observatory.interfaces.cli.output import AsJson, print_json, print_table, say, seconds


def stats(
    *,
    window: int = 900,
    address: Address | None = None,
    as_json: AsJson = False,
) -> int:
    """Print exact counts by state, and rates and percentiles by queue and job type.

    For example:
      observatory stats
      observatory stats --window 60 --json

    Args:
        window: Seconds over which rates and percentiles are taken, 60 to 86400.
    """
    with (address or Address()).client() as client:
        answer = client.stats(window=window)
    if as_json:
        print_json(answer)
    else:
        _print(answer)
    return ExitCode.OK


def _print(answer: dict[str, Any]) -> None:
    print_table(("STATE", "JOBS"), answer["states"].items(), numbers=("JOBS",))
    for name, groups in (("QUEUE", answer["queues"]), ("TYPE", answer["types"])):
        if groups:
            say()
            _print_groups(name, groups)
    rebuilding = "; REBUILDING, not complete yet" if answer["rebuilding"] else ""
    say(
        f"\nover {answer['windowSeconds']} s, as of {answer['asOf']}, "
        f"{seconds(answer['lagSeconds'])} behind the log{rebuilding}\n"
        "counts are exact, percentiles estimated (off by less than 25 %)"
    )


def _print_groups(name: str, groups: dict[str, Any]) -> None:
    headings = (
        name,
        "WAITING",
        "RUNNING",
        "FAILED",
        "DONE/S",
        "WAIT P50",
        "P95",
        "RUN P50",
        "P95 ",
    )
    rows = [
        (
            label,
            sum(group["states"][state] for state in ("scheduled", "queued", "retrying")),
            group["states"]["running"],
            group["states"]["failed"],
            f"{group['finishedPerSecond']:.1f}",
            *_percentiles(group["waitSeconds"]),
            *_percentiles(group["runSeconds"]),
        )
        for label, group in sorted(groups.items())
    ]
    print_table(headings, rows, numbers=headings[1:])


def _percentiles(spread: dict[str, float] | None) -> tuple[str, str]:
    return (seconds(spread["p50"]), seconds(spread["p95"])) if spread else ("-", "-")
