"""`observatory doctor`: what is wrong here, and what to do about it."""

import os
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path

from observatory.interfaces.cli.address import Address
from observatory.interfaces.cli.diagnosis import Finding, sound
from observatory.interfaces.cli.doctor_backends import shared_backends
from observatory.interfaces.cli.doctor_machine import (
    data_file,
    data_folder,
    disk_space,
    port_free,
    python_version,
    read_settings,
    settings_found,
    sqlite_version,
)
from observatory.interfaces.cli.doctor_system import running_system
from observatory.interfaces.cli.exit_codes import ExitCode
from observatory.interfaces.cli.output import TABLE, Output, print_table, safe


def doctor(
    *,
    data: Path | None = None,
    port: int | None = None,
    address: Address | None = None,
    output: Output = TABLE,
) -> int:
    """Check this machine, the settings, the data or the servers, and a running system.

    Of servers that the settings name: that they answer, their versions and
    features, the schema, their clocks. Nothing is changed.

    Each line says PASS, WARN or FAIL and what to do. Exit code 1 if anything fails;
    a system whose address is named fails where it does not answer.

    For example:
      observatory doctor
      observatory doctor --data /var/lib/observatory --json

    Args:
        data: The data folder that `observatory up` will use [env: OBSERVATORY_DATA].
        port: The port that it will use [env: OBSERVATORY_PORT].
    """
    findings = list(_examine(data, port, address or Address()))
    if output.structured:
        output.print({"ok": sound(findings), "findings": [f._asdict() for f in findings]})
    else:
        rows = [(f.verdict, f.subject, f.detail) for f in findings]
        print_table(("", "CHECK", "FOUND"), rows)
        for finding in findings:
            if finding.advice:
                print(f"\n{finding.verdict} {finding.subject}: {safe(finding.advice)}")
    return ExitCode.OK if sound(findings) else ExitCode.FAILED


def _examine(data: Path | None, port: int | None, address: Address) -> Iterator[Finding]:
    yield python_version(sys.version_info[:3])
    settings = read_settings()
    if isinstance(settings, Finding):
        yield sqlite_version(sqlite3.sqlite_version_info)
        yield settings
        return
    running = running_system(address)
    urls = (settings.store_url, settings.spine_url, settings.aggregates_url)
    on_servers = running.on_servers or all(url.get_secret_value() for url in urls)
    in_file = data is not None or not on_servers
    if in_file:
        yield sqlite_version(sqlite3.sqlite_version_info)
    yield settings_found(os.environ)
    if in_file:
        folder = data or settings.data
        yield data_folder(folder)
        yield from data_file(folder)
        yield disk_space(folder)
    yield from shared_backends(settings)
    yield from running.findings
    if not running.answers and (port is not None or not address.named):
        yield port_free(settings.host, port or settings.port)
