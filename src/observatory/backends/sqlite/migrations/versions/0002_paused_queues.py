"""Queues that an operator has paused."""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Create the table."""
    op.execute(
        "CREATE TABLE paused_queues (queue TEXT PRIMARY KEY, paused_at INTEGER NOT NULL) "
        "STRICT, WITHOUT ROWID"
    )
