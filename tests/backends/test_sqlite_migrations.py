"""Migrations of the embedded system's file: whole, or not at all."""

import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from alembic.operations import Operations

from observatory.backends.sqlite.database import FILE_NAME
from observatory.backends.sqlite.migrate import HEAD, migrate, revision, upgrade
from observatory.core.errors import ConfigurationError

_KILLED_AT = """
import os, signal, sqlite3, sys
from pathlib import Path
from observatory.backends.sqlite.migrate import migrate

connect, left = sqlite3.connect, [int(sys.argv[2])]

def killed(statement):
    left[0] -= any(word in statement for word in ("CREATE ", "ALTER ", "INSERT ", "UPDATE "))
    if left[0] == 0:
        os.kill(os.getpid(), signal.SIGKILL)

def connected(*arguments, **more):
    connection = connect(*arguments, **more)
    connection.set_trace_callback(killed)
    return connection

sqlite3.connect = sqlite3.dbapi2.connect = connected
migrate(Path(sys.argv[1]))
"""


_LOADED = """
import sys
from pathlib import Path
import observatory.assembly.system
from observatory.backends.sqlite.migrate import migrate, revision

migrate(Path(sys.argv[1]))
print("HEAD", revision(Path(sys.argv[1])))
print(*sys.modules.keys() & {"alembic", "sqlalchemy", "psycopg", "redis", "aiormq", "rstream"})
"""


def _schema(path: Path) -> set[tuple[str, str, str | None]]:
    with closing(sqlite3.connect(path)) as db:
        return set(db.execute("SELECT type, name, sql FROM sqlite_schema").fetchall())


def _contents(path: Path) -> dict[str, int]:
    """Rows of every table: what is drawn by lot differs from file to file."""
    with closing(sqlite3.connect(path)) as db:
        names = db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()
        counts = {n: db.execute(f"SELECT count(*) FROM {n}").fetchone()[0] for (n,) in names}
        assert counts["event_log_epoch"] == counts["alembic_version"] == 1
        return counts


def _refusing(allowed: int) -> Callable[..., sqlite3.Connection]:
    """A way to open a file on which only so many acts succeed."""
    connect, left = sqlite3.connect, iter(range(allowed))

    def authorize(*_: object) -> int:
        return sqlite3.SQLITE_DENY if next(left, None) is None else sqlite3.SQLITE_OK

    def connected(path: Path, **more: Any) -> sqlite3.Connection:
        connection = connect(path, **more)
        connection.set_authorizer(authorize)
        return connection

    return connected


def _acts_of_a_new_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    connect, seen = sqlite3.connect, list[object]()

    def connected(path: Path, **more: Any) -> sqlite3.Connection:
        connection = connect(path, **more)
        connection.set_authorizer(lambda *act: seen.append(act) or sqlite3.SQLITE_OK)
        return connection

    with monkeypatch.context() as patched:
        patched.setattr(sqlite3, "connect", connected)
        migrate(path)
    return len(seen)


@pytest.mark.parametrize("start", ["0001", "0002"])
def test_a_migration_that_fails_after_any_statement_leaves_the_file_as_it_was(
    tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch, start: str
) -> None:
    execute, ended_whole = Operations.execute, False
    for last in range(1, 20):
        path = tmp_path / f"{start}-{last}.db"
        upgrade(path, start)
        before = _schema(path)
        left = last

        def fails(*arguments: object, **more: object) -> None:
            nonlocal left
            execute(*arguments, **more)  # type: ignore[arg-type]
            left -= 1
            if left == 0:
                raise sqlite3.OperationalError("database or disk is full")

        with monkeypatch.context() as patched:
            patched.setattr(Operations, "execute", fails)
            try:
                migrate(path)
            except ConfigurationError as error:
                assert "disk is full" in str(error)  # noqa: PT017 - the last does not fail
                assert _schema(path) == before
            else:
                ended_whole = True
        migrate(path)
        assert revision(path) == HEAD
        assert _schema(path) == _schema(empty_database)
        if ended_whole:
            break
    assert ended_whole
    assert last > 2, "vacuous: hardly a statement failed"


def test_a_new_file_that_cannot_be_written_to_its_end_has_nothing(
    tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    acts = _acts_of_a_new_file(tmp_path / "counted.db", monkeypatch)
    assert acts > 100, "vacuous: hardly an act was seen"
    for allowed in range(0, acts, 15):
        path = tmp_path / f"{allowed}.db"
        with monkeypatch.context() as patched:
            patched.setattr(sqlite3, "connect", _refusing(allowed))
            with pytest.raises(ConfigurationError, match="it is as it was"):
                migrate(path)
        assert _schema(path) == set()
        migrate(path)
        assert _schema(path) == _schema(empty_database)


def test_a_new_file_has_what_the_migrations_make(tmp_path: Path) -> None:
    script = Path(__file__).parents[2] / "scripts" / "write_sqlite_schema.py"
    stale = subprocess.run(
        [sys.executable, script, "--check"], check=False, capture_output=True, text=True, timeout=60
    )
    assert (stale.returncode, stale.stderr) == (0, "")

    migrate(tmp_path / "new.db")
    upgrade(tmp_path / "migrated.db", "head")

    assert _schema(tmp_path / "new.db") == _schema(tmp_path / "migrated.db")
    assert _contents(tmp_path / "new.db") == _contents(tmp_path / "migrated.db")


def test_a_new_file_needs_no_migration_tool(tmp_path: Path) -> None:
    seen = subprocess.run(
        [sys.executable, "-c", _LOADED, str(tmp_path / "new.db")],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert seen.stdout.split() == ["HEAD", HEAD]


@pytest.mark.parametrize(("start", "last"), [(None, 1), (None, 9), ("0001", 1), ("0002", 1)])
def test_a_migration_that_is_killed_can_be_started_again(
    tmp_path: Path, empty_database: Path, start: str | None, last: int
) -> None:
    path = tmp_path / FILE_NAME
    if start is not None:
        upgrade(path, start)
    killed = subprocess.run(
        [sys.executable, "-c", _KILLED_AT, str(path), str(last)], check=False, timeout=60
    )
    assert killed.returncode == -signal.SIGKILL, "vacuous: it was not killed"
    assert revision(path) == start

    migrate(path)

    assert revision(path) == HEAD
    assert _schema(path) == _schema(empty_database)


def test_a_file_that_cannot_be_migrated_is_told_in_words(tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE jobs (id)")
    with pytest.raises(ConfigurationError, match="table jobs already exists"):
        migrate(path)
