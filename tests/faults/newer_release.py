"""A release that is newer than this one: a copy of the program with one migration more."""

import shutil
from pathlib import Path
from typing import Final

from observatory.backends.postgres.migrate import HEAD

ROOT: Final = Path(__file__).parents[2]
SCHEMA: Final = "9001"

_MIGRATION: Final = f'''
from alembic import op

revision = "{SCHEMA}"
down_revision = "{HEAD}"
oldest = "{HEAD}"


def upgrade():
    op.execute("ALTER TABLE jobs ADD COLUMN region text")
    op.execute("ALTER TABLE history ADD COLUMN cost bigint NOT NULL DEFAULT 0")
    op.execute("CREATE INDEX jobs_by_region ON jobs (region)")
    op.execute("CREATE TABLE regions (name text PRIMARY KEY)")
'''


def newer_release(folder: Path) -> dict[str, str]:
    """Make it there, and return the setting of the environment with which it is run."""
    package = folder / "src" / "observatory"
    shutil.copytree(
        ROOT / "src" / "observatory", package, ignore=shutil.ignore_patterns("__pycache__")
    )
    for beside in ("contracts", "docs"):
        (folder / beside).symlink_to(ROOT / beside)
    postgres = package / "backends" / "postgres"
    (postgres / "migrations" / "versions" / f"{SCHEMA}_made_here.py").write_text(_MIGRATION)
    code = (postgres / "migrate.py").read_text()
    known = f'HEAD: Final = "{HEAD}"'
    assert known in code
    (postgres / "migrate.py").write_text(code.replace(known, f'HEAD: Final = "{SCHEMA}"'))
    return {"PYTHONPATH": str(package.parent)}
