"""The first schema: the statements stand in the .sql file of the same name."""

from pathlib import Path

from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create every table."""
    text = Path(__file__).with_suffix(".sql").read_text().strip().removesuffix(";")
    for statement in text.split(";\n\n"):
        op.execute(statement)
