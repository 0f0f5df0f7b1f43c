"""Alembic's entry: raw SQL migrations, run on a given connection or written out as SQL.

A migration that only adds names as `oldest` the oldest schema whose release works with what it
makes; one that names none is for its own release alone, and so is every later one.
"""

from alembic import context

from observatory.backends.postgres.migrate import remark

connection = context.config.attributes.get("connection")
if context.is_offline_mode():
    context.configure(dialect_name="postgresql", transactional_ddl=True)
else:
    assert connection is not None, "the caller opens the connection and its transaction"
    context.configure(connection=connection, transactional_ddl=True)
with context.begin_transaction():
    context.run_migrations()
    revisions = list(context.script.walk_revisions())
    oldest = max(getattr(one.module, "oldest", one.revision) for one in revisions)
    word = remark(revisions[0].revision, oldest)
    context.execute(f"COMMENT ON TABLE alembic_version IS '{word}'")
