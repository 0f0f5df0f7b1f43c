"""Why a running job was asked to end, until it has."""

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the column."""
    op.execute("ALTER TABLE jobs ADD COLUMN cancel_reason text")
