"""`observatory doctor`: what is wrong here, and what to do about it."""

import contextlib
import os
import shutil
import socket
import sqlite3
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import quote

from observatory.interfaces.cli.address import Address
from observatory.interfaces.cli.exit_codes import ExitCode
from observatory.interfaces.cli.output import TABLE, Output, print_table, safe

if TYPE_CHECKING:
    from observatory.settings import Settings


class Finding(NamedTuple):
    """One line of the report."""

    verdict: str
    subject: str
    detail: str
    advice: str = ""


LEAST_DISK_BYTES: Final = 100 * 1024**2
"""Below this the store is about to stop: SQLite cannot grow its file or its journal."""

COMFORTABLE_DISK_BYTES: Final = 1024**3

LONGEST_LAG_S: Final = 10.0
"""A metrics engine that is further behind shows old numbers; a canary comes every few seconds."""


def doctor(
    *,
    data: Path | None = None,
    port: int | None = None,
    address: Address | None = None,
    output: Output = TABLE,
) -> int:
    """Check this machine, the data folder, the settings and a running system.

    Each line says PASS, WARN or FAIL and what to do. Exit code 1 if anything fails.

    For example:
      observatory doctor
      observatory doctor --data /var/lib/observatory --json

    Args:
        data: The data folder that `observatory up` will use [env: OBSERVATORY_DATA].
        port: The port that it will use [env: OBSERVATORY_PORT].
    """
    findings = list(_examine(data, port, address or Address()))
    if output.structured:
        output.print({"ok": _sound(findings), "findings": [f._asdict() for f in findings]})
    else:
        rows = [(f.verdict, f.subject, f.detail) for f in findings]
        print_table(("", "CHECK", "FOUND"), rows)
        for finding in findings:
            if finding.advice:
                print(f"\n{finding.verdict} {finding.subject}: {safe(finding.advice)}")
    return ExitCode.OK if _sound(findings) else ExitCode.FAILED


def _sound(findings: list[Finding]) -> bool:
    return all(finding.verdict != "FAIL" for finding in findings)


def _examine(data: Path | None, port: int | None, address: Address) -> Iterator[Finding]:
    yield python_version(sys.version_info[:3])
    yield sqlite_version(sqlite3.sqlite_version_info)
    settings = _settings()
    if isinstance(settings, Finding):
        yield settings
        return
    yield settings_found(os.environ)
    folder = data or settings.data
    yield data_folder(folder)
    yield from data_file(folder)
    yield disk_space(folder)
    running = list(running_system(address))
    yield from running
    if running[0].verdict == "WARN":
        yield port_free(settings.host, port or settings.port)


def python_version(version: tuple[int, ...]) -> Finding:
    """3.11 is the floor."""
    text = ".".join(map(str, version))
    if version < (3, 11):
        return Finding("FAIL", "python", text, "install Python 3.11 or newer")
    return Finding("PASS", "python", text)


def sqlite_version(version: tuple[int, ...]) -> Finding:
    """The WAL-reset bug: 3.7.0 to 3.51.2, fixed in 3.51.3 and in 3.50.7 and 3.44.6."""
    text = ".".join(map(str, version))
    fixed = version >= (3, 51, 3) or any(
        low <= version < high for low, high in (((3, 50, 7), (3, 51)), ((3, 44, 6), (3, 45)))
    )
    if fixed:
        return Finding("PASS", "sqlite", text)
    return Finding(
        "WARN",
        "sqlite",
        f"{text}, has the WAL-reset bug",
        "two connections that write and checkpoint at once can lose a commit in this version. "
        "It is contained here: one connection alone writes and checkpoints, and a lock keeps a "
        "second process out. Never open the data file for writing with another program; "
        "SQLite 3.51.3, 3.50.7 and 3.44.6 have the correction.",
    )


def _settings() -> "Settings | Finding":
    from pydantic import ValidationError

    from observatory.settings import Settings, wrong_settings

    try:
        return Settings()
    except ValidationError as error:
        wrong = "; ".join(wrong_settings(error))
        return Finding("FAIL", "settings", wrong, "correct or unset these environment variables")


def settings_found(environment: Iterable[str]) -> Finding:
    """Which settings the environment sets, and which names it sets that are no settings."""
    from observatory.settings import unknown_settings

    environment = list(environment)
    if unknown := unknown_settings(environment):
        advice = "correct or unset these environment variables; docs/guide/operating.md lists all"
        return Finding("WARN", "settings", f"no such setting: {', '.join(unknown)}", advice)
    names = sorted(name for name in environment if name.startswith("OBSERVATORY_"))
    found = f"from the environment: {', '.join(names)}" if names else "all at their defaults"
    return Finding("PASS", "settings", found)


def data_folder(folder: Path) -> Finding:
    """Writable, or can be made."""
    place = _nearest_existing(folder)
    if place.is_dir() and os.access(place, os.W_OK | os.X_OK):
        detail = "writable" if place == folder.absolute() else "will be made"
        return Finding("PASS", "data folder", f"{folder}, {detail}")
    advice = f"make {place} a folder you may write to, or choose another with --data"
    return Finding("FAIL", "data folder", f"{folder}, not writable", advice)


def data_file(folder: Path) -> Iterator[Finding]:
    """The embedded system's file: that SQLite can read it; nothing where there is none yet."""
    path = folder / "observatory.db"
    if not path.exists():
        return
    try:
        # Read only: a second connection that may write is what the WAL-reset bug needs.
        with contextlib.closing(
            sqlite3.connect(f"file:{quote(str(path.absolute()))}?mode=ro", uri=True)
        ) as file:
            tables = file.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    except sqlite3.Error as error:
        advice = "put back a copy of the file, or move it away: `observatory up` makes a new one"
        yield Finding("FAIL", "data file", f"{path}, {error}", advice)
    else:
        yield Finding(
            "PASS",
            "data file",
            f"{path}, {path.stat().st_size / 1024**2:.1f} MiB, {tables} tables and indexes",
        )


def disk_space(folder: Path) -> Finding:
    """Room for the store to grow."""
    free = shutil.disk_usage(_nearest_existing(folder)).free
    text = f"{free / 1024**3:.1f} GiB free"
    if free < LEAST_DISK_BYTES:
        return Finding("FAIL", "disk", text, "free some space: soon nothing can be accepted")
    if free < COMFORTABLE_DISK_BYTES:
        return Finding("WARN", "disk", text, "free some space, or keep jobs for fewer days")
    return Finding("PASS", "disk", text)


def _nearest_existing(folder: Path) -> Path:
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    return place


def port_free(host: str, port: int) -> Finding:
    """Whether `observatory up` could listen."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            # As the server does: a connection that is still closing is no reason to refuse.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        advice = "end the program that listens there, or choose another with --port"
        return Finding("FAIL", "port", f"{host}:{port}, {error.strerror}", advice)
    return Finding("PASS", "port", f"{host}:{port}, free")


def running_system(address: Address) -> Iterator[Finding]:
    """Readiness and lag of a system that runs; a WARN alone if none does."""
    from observatory.client import ObservatoryError, Refused, Unreachable

    with address.client(patience=0.0) as client:
        try:
            client.read("/readyz")
        except Unreachable:
            advice = "start it with `observatory up`, or name its address with --url"
            yield Finding("WARN", "system", "none is running at this address", advice)
            return
        except Refused as error:
            advice = "see what the server prints; GET /readyz names each check"
            yield Finding("FAIL", "system", f"runs and is not ready: {error}", advice)
            return
        yield Finding("PASS", "system", "runs and is ready")
        try:
            yield _lag(float(client.stats()["lagSeconds"]))
        except ObservatoryError as error:
            yield Finding("FAIL", "numbers", str(error), "give a key with the scope read: --key")


def _lag(lag_s: float) -> Finding:
    text = f"{lag_s:.1f} s behind the event log"
    if lag_s > LONGEST_LAG_S:
        return Finding("WARN", "numbers", text, "the metrics engine does not keep up or stands")
    return Finding("PASS", "numbers", text)
