"""Migrations of the embedded system's file: whole, or not at all."""

import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from alembic.operations import Operations

from observatory.backends.sqlite.database import FILE_NAME
from observatory.backends.sqlite.migrate import HEAD, MIGRATIONS, migrate, revision
from observatory.core.errors import ConfigurationError

_KILLED_AFTER = """
import os, signal, sys
from pathlib import Path
from alembic.operations import Operations
from observatory.backends.sqlite.migrate import migrate

execute, left = Operations.execute, [int(sys.argv[2])]

def killed(self, *arguments, **more):
    execute(self, *arguments, **more)
    left[0] -= 1
    if left[0] == 0:
        os.kill(os.getpid(), signal.SIGKILL)

Operations.execute = killed
migrate(Path(sys.argv[1]))
"""


def _schema(path: Path) -> set[tuple[str, str, str | None]]:
    with closing(sqlite3.connect(path)) as db:
        return set(db.execute("SELECT type, name, sql FROM sqlite_schema").fetchall())


def _at(path: Path, version: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.set_main_option("sqlalchemy.url", f"sqlite:///{path}")
    command.upgrade(config, version)


def _statements(path: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    count = 0
    execute = Operations.execute

    def counted(*arguments: object, **more: object) -> None:
        nonlocal count
        count += 1
        execute(*arguments, **more)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(Operations, "execute", counted)
        migrate(path)
    return count


def test_a_migration_that_fails_after_any_statement_leaves_the_file_as_it_was(
    tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    execute = Operations.execute
    statements = _statements(tmp_path / "counted.db", monkeypatch)
    assert statements > 10, "vacuous: no statement was seen"
    for start in (None, "0001", "0002"):
        for last in range(1, statements + 1):
            path = tmp_path / f"{start}-{last}.db"
            if start is not None:
                _at(path, start)
            before = _schema(path) if start is not None else set()
            left = last

            def fails(*arguments: object, **more: object) -> None:
                nonlocal left
                execute(*arguments, **more)  # type: ignore[arg-type]
                left -= 1
                if left == 0:
                    raise sqlite3.OperationalError("database or disk is full")

            with monkeypatch.context() as patched:
                patched.setattr(Operations, "execute", fails)
                if start is not None and left > 2:
                    break  # fewer statements than that are left from there
                try:
                    migrate(path)
                except ConfigurationError as error:
                    assert "disk is full" in str(error)  # noqa: PT017 - the last may not fail
                    assert _schema(path) == before
            migrate(path)
            assert revision(path) == HEAD
            assert _schema(path) == _schema(empty_database)


@pytest.mark.parametrize(("start", "last"), [(None, 1), (None, 9), ("0001", 1), ("0002", 1)])
def test_a_migration_that_is_killed_can_be_started_again(
    tmp_path: Path, empty_database: Path, start: str | None, last: int
) -> None:
    path = tmp_path / FILE_NAME
    if start is not None:
        _at(path, start)
    killed = subprocess.run(
        [sys.executable, "-c", _KILLED_AFTER, str(path), str(last)], check=False, timeout=60
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
