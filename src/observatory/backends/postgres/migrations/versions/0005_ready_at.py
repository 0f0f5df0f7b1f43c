"""When a job was first to run, from which its whole time is measured."""

from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add the column. Of jobs that were there before, the whole time is not measured."""
    op.execute("ALTER TABLE jobs ADD COLUMN ready_at bigint")
