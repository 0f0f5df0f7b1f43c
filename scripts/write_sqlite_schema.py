"""Write the schema that a new embedded database starts with, from what the migrations make.

.venv/bin/python scripts/write_sqlite_schema.py            write it
.venv/bin/python scripts/write_sqlite_schema.py --check    is it stale? Exit code 1 if so
"""

import sqlite3
import sys
import tempfile
from contextlib import closing
from pathlib import Path

from observatory.backends.sqlite.migrate import HEAD, SCHEMA, upgrade

_OF_SQLITE = "name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"


def schema() -> str:
    """Every statement, in the order in which the migrations came to it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "migrated.db"
        upgrade(path, "head")
        with closing(sqlite3.connect(path)) as db:
            made = db.execute(f"SELECT sql FROM sqlite_schema WHERE {_OF_SQLITE} ORDER BY rowid")
            statements = [str(sql) for (sql,) in made]
    return f"""\
-- What a new file starts with: the schema {HEAD}, as all the migrations together make it. Written
-- by scripts/write_sqlite_schema.py; what each column is for stands in the migrations.
{";".join(f"{chr(10)}{statement}" for statement in statements)};

INSERT INTO alembic_version VALUES ('{HEAD}');
INSERT INTO event_log_epoch VALUES (1, lower(hex(randomblob(16))));
"""


def main() -> int:
    """Write the file, or check it."""
    wanted = schema()
    if "--check" in sys.argv[1:]:
        if SCHEMA.read_text() == wanted:
            return 0
        print(f"{SCHEMA} is stale: run scripts/write_sqlite_schema.py", file=sys.stderr)
        return 1
    SCHEMA.write_text(wanted)
    return 0


if __name__ == "__main__":
    sys.exit(main())
