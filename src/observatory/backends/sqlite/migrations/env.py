"""Alembic's entry: raw SQL migrations on one SQLite file, all of them in one transaction.

Python's sqlite3 begins no transaction before DDL, so each statement would stand by itself, and a
process killed between two would leave a schema that no revision has. Hence this recipe of
SQLAlchemy's: the driver is told to begin nothing, and the transaction is begun in words.
https://docs.sqlalchemy.org/en/20/dialects/sqlite.html#pysqlite-serializable
"""

from typing import Any

from alembic import context
from sqlalchemy import create_engine, event, pool

url = context.config.get_main_option("sqlalchemy.url")
assert url is not None, "the caller names the file"
engine = create_engine(url, poolclass=pool.NullPool)


@event.listens_for(engine, "connect")
def _begin_nothing(connection: Any, _: Any) -> None:
    connection.isolation_level = None


@event.listens_for(engine, "begin")
def _begin(connection: Any) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


with engine.connect() as connection:
    context.configure(connection=connection, transactional_ddl=True)
    with context.begin_transaction():
        context.run_migrations()
engine.dispose()
