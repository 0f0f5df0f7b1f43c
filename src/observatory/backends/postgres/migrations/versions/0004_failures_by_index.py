"""Failures are grouped from their index alone; it holds only jobs with an error."""

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Make the index anew with what a group is told by."""
    op.execute("DROP INDEX jobs_by_error")
    op.execute(
        "CREATE INDEX jobs_by_error ON jobs (error_fingerprint, id) "
        "INCLUDE (state, type, queue, started_at, finished_at) "
        "WHERE error_fingerprint IS NOT NULL"
    )
