"""What `observatory doctor` looks at on this machine: versions, settings, folder, disk, port."""

import os
import shutil
import socket
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from observatory.interfaces.cli.diagnosis import Finding

if TYPE_CHECKING:
    from observatory.settings import Settings

LEAST_DISK_BYTES: Final = 100 * 1024**2
"""Below this the store is about to stop: SQLite cannot grow its file or its journal."""

COMFORTABLE_DISK_BYTES: Final = 1024**3


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


def read_settings() -> "Settings | Finding":
    """The settings, or what is wrong with them."""
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
    if shutil.disk_usage(place).total == 0:
        # Such as /proc, where even root, who may write anywhere, can make nothing.
        advice = "choose a folder on a disk with --data"
        return Finding("FAIL", "data folder", f"{folder}, not on a disk", advice)
    if place.is_dir() and os.access(place, os.W_OK | os.X_OK):
        detail = "writable" if place == folder.absolute() else "will be made"
        return Finding("PASS", "data folder", f"{folder}, {detail}")
    advice = f"make {place} a folder you may write to, or choose another with --data"
    return Finding("FAIL", "data folder", f"{folder}, not writable", advice)


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


def data_file(folder: Path) -> Iterator[Finding]:
    """The embedded system's file: that it can be read, and its schema; nothing where there is none
    yet."""
    from observatory.assembly.inspection import FILE_SCHEMA, inspect_file

    path = folder / "observatory.db"
    if not path.exists():
        return
    try:
        found = inspect_file(path)
    except sqlite3.Error as error:
        advice = "put back a copy of the file, or move it away: `observatory up` makes a new one"
        yield Finding("FAIL", "data file", f"{path}, {error}", advice)
        return
    size = f"{found.size_bytes / 1024**2:.1f} MiB, {found.tables} tables and indexes"
    yield Finding("PASS", "data file", f"{path}, {size}")
    if found.schema is None:
        advice = "move the file away; it was not made by this system"
        yield Finding("FAIL", "data schema", "the file has none of this system", advice)
    elif found.schema > FILE_SCHEMA:
        advice = "run the newer release here; there is no way back but a backup"
        told = f"{found.schema}, of a newer release; this one knows {FILE_SCHEMA}"
        yield Finding("FAIL", "data schema", told, advice)
    elif found.schema < FILE_SCHEMA:
        advice = "make a backup; the next `observatory up` brings it there, and not back"
        told = f"{found.schema}, this release needs {FILE_SCHEMA}"
        yield Finding("WARN", "data schema", told, advice)
    else:
        yield Finding("PASS", "data schema", f"{found.schema}, this release's")
