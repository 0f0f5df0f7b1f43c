"""The backends of a process, chosen by the settings; SQLite where none is named."""

from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import NamedTuple
from urllib.parse import urlsplit

from observatory.backends.sqlite.aggregates import SqliteAggregates
from observatory.backends.sqlite.database import Database
from observatory.backends.sqlite.spine import SqliteSpine
from observatory.backends.sqlite.store import SqliteStore
from observatory.core.aggregates import Aggregates
from observatory.core.alert import Alerting
from observatory.core.errors import ConfigurationError
from observatory.core.spine import Spine
from observatory.core.store import Store
from observatory.settings import Settings


class Backends(NamedTuple):
    """What the services of a process stand on."""

    store: Store
    spine: Spine
    aggregates: Aggregates
    alerting: Alerting | None


@asynccontextmanager
async def opened(
    settings: Settings, boot: str, clock: Callable[[], int], *, alone: bool
) -> AsyncGenerator[Backends]:
    """The backends that the settings name, until the block ends.

    Args:
        settings: the three URLs, and the data folder for what has none.
        boot: the id of this start of a process; the publisher of its commits.
        clock: the embedded store's clock, in microseconds since the epoch.
        alone: no other process shares them, so that SQLite may serve, and an empty database is
            given its schema.

    Raises:
        ConfigurationError: a URL is missing or cannot be used.
        StoreUnavailable: the store does not answer.
    """
    urls = _urls(settings)
    missing = [name for name, url in urls.items() if not url]
    if missing and not alone:
        raise ConfigurationError(
            f"services in processes of their own need {', '.join(missing)}; "
            "`observatory up` runs all in one process without them"
        )
    async with AsyncExitStack() as stack:
        database: Database | None = None
        if missing:
            database = Database(settings.data, clock)
            stack.push_async_callback(database.close)
        yield Backends(
            await _store(settings, boot, database, stack, alone=alone),
            await _spine(settings, database, stack),
            await _aggregates(settings, database, stack),
            _alerting(settings, stack),
        )


def _urls(settings: Settings) -> dict[str, str]:
    return {
        "OBSERVATORY_SPINE_URL": settings.spine_url.get_secret_value(),
        "OBSERVATORY_STORE_URL": settings.store_url.get_secret_value(),
        "OBSERVATORY_AGGREGATES_URL": settings.aggregates_url.get_secret_value(),
    }


def require_scheme(name: str, url: str, *allowed: str) -> None:
    """See that a setting's URL is of a kind that can be used.

    Raises:
        ConfigurationError: it is not.
    """
    if urlsplit(url).scheme not in allowed:
        shown = " or ".join(f"{scheme}://" for scheme in allowed)
        raise ConfigurationError(f"{name} must begin with {shown}")


def _alerting(settings: Settings, stack: AsyncExitStack) -> Alerting | None:
    url = settings.alertmanager_url.get_secret_value()
    if not url:
        return None
    require_scheme("OBSERVATORY_ALERTMANAGER_URL", url, "http", "https")
    from observatory.backends.alertmanager import Alertmanager

    alertmanager = Alertmanager(url)
    stack.push_async_callback(alertmanager.close)
    return alertmanager


async def _store(
    settings: Settings,
    boot: str,
    database: Database | None,
    stack: AsyncExitStack,
    *,
    alone: bool,
) -> Store:
    url = settings.store_url.get_secret_value()
    if not url:
        assert database is not None
        return SqliteStore(database, boot)
    require_scheme("OBSERVATORY_STORE_URL", url, "postgresql", "postgres")
    from observatory.backends.postgres.database import Database as PostgresDatabase
    from observatory.backends.postgres.store import PostgresStore

    shared = PostgresDatabase(url)
    stack.push_async_callback(shared.close)
    await shared.open(create=alone)
    return PostgresStore(shared, boot)


async def _spine(settings: Settings, database: Database | None, stack: AsyncExitStack) -> Spine:
    url = settings.spine_url.get_secret_value()
    if not url:
        assert database is not None
        return SqliteSpine(database)
    require_scheme("OBSERVATORY_SPINE_URL", url, "amqp", "amqps")
    from observatory.backends.rabbitmq.spine import RabbitmqSpine

    spine = RabbitmqSpine(url, retention_s=round(settings.event_retention_days * 86_400))
    stack.push_async_callback(spine.close)
    return spine


async def _aggregates(
    settings: Settings, database: Database | None, stack: AsyncExitStack
) -> Aggregates:
    url = settings.aggregates_url.get_secret_value()
    if not url:
        assert database is not None
        return SqliteAggregates(database)
    require_scheme("OBSERVATORY_AGGREGATES_URL", url, "redis", "rediss")
    from observatory.backends.redis.aggregates import RedisAggregates

    aggregates = RedisAggregates(url)
    stack.push_async_callback(aggregates.close)
    await aggregates.open()
    return aggregates
