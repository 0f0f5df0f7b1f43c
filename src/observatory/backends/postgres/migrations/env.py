"""Alembic's entry: raw SQL migrations, run on a given connection or written out as SQL."""

from alembic import context

connection = context.config.attributes.get("connection")
if context.is_offline_mode():
    context.configure(dialect_name="postgresql", transactional_ddl=True)
    with context.begin_transaction():
        context.run_migrations()
else:
    assert connection is not None, "the caller opens the connection and its transaction"
    context.configure(connection=connection, transactional_ddl=True)
    with context.begin_transaction():
        context.run_migrations()
