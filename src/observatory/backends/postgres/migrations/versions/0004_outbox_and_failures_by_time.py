"""Commits that wait, and failures, found by their time."""

from alembic import op

revision = "0004"
down_revision = "0003"

_FAILED = (
    "ON jobs ({}coalesce(finished_at, started_at)) "
    "WHERE state IN ('failed', 'retrying') AND error_fingerprint IS NOT NULL"
)


def upgrade() -> None:
    """Add the indexes. Those of failures cost nothing where jobs do not fail."""
    op.execute("CREATE INDEX outbox_by_time ON outbox (created_at)")
    op.execute("CREATE INDEX jobs_failed " + _FAILED.format(""))
    op.execute("CREATE INDEX jobs_failed_by_type " + _FAILED.format("type, "))
    op.execute("CREATE INDEX jobs_failed_by_queue " + _FAILED.format("queue, "))
