"""What `observatory doctor` looks at on the servers that the settings name."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from observatory.interfaces.cli.diagnosis import Finding, clocks

if TYPE_CHECKING:
    from pydantic import SecretStr

    from observatory.settings import Settings


def shared_backends(settings: "Settings") -> Iterator[Finding]:
    """Each server that is named: that it answers, its version, and what this system needs of it."""
    for subject, given, look in (
        ("store", settings.store_url, _store),
        ("spine", settings.spine_url, _spine),
        ("aggregates", settings.aggregates_url, _aggregates),
    ):
        yield from _looked_at(subject, given, look)


def _looked_at(
    subject: str, given: "SecretStr", look: Callable[[str], Iterator[Finding]]
) -> Iterator[Finding]:
    from observatory.core.errors import (
        AggregatesUnavailable,
        ConfigurationError,
        SpineUnavailable,
        StoreUnavailable,
    )
    from observatory.interfaces.cli.serving import without_secrets

    url = given.get_secret_value()
    if not url:
        return
    setting = f"OBSERVATORY_{subject.upper()}_URL"
    if not _readable(url):
        advice = f"correct {setting}; in user and password / is written %2F, @ %40, : %3A"
        yield Finding("FAIL", subject, "its URL cannot be read", advice)
        return
    try:
        yield from look(url)
    except ConfigurationError as error:
        yield Finding("FAIL", subject, str(error), f"correct {setting}")
    except (StoreUnavailable, SpineUnavailable, AggregatesUnavailable, ValueError) as error:
        advice = f"start it, or correct host, port, user and password of {setting}"
        yield Finding("FAIL", subject, f"{_without(url, error)} ({without_secrets(url)})", advice)


def _readable(url: str) -> bool:
    """Whether a URL has the parts of one. What a driver says of one that has not may hold a piece
    of the password."""
    try:
        urlsplit(url).port  # noqa: B018 - reading it checks it
    except ValueError:
        return False
    return True


def _without(url: str, error: Exception) -> str:
    """The text of an error; a driver may have put the URL into it."""
    return str(error).replace(url, "the URL")


_UPGRADE: Final = "docs/guide/distributed.md tells which versions are tested"


def _version(subject: str, product: str, version: str) -> Finding:
    from observatory.assembly.inspection import LEAST

    least = LEAST.get(product)
    found = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if least is None:
        return Finding("WARN", subject, f"{product} {version}, not tested", _UPGRADE)
    if found < least:
        oldest = ".".join(map(str, least))
        advice = f"upgrade {product} to {oldest} or newer; {_UPGRADE}"
        return Finding("FAIL", subject, f"{product} {version}, too old", advice)
    return Finding("PASS", subject, f"{product} {version}")


def _store(url: str) -> Iterator[Finding]:
    from observatory.assembly.inspection import POSTGRES_SCHEMA, inspect_store

    server = inspect_store(url)
    yield _version("store", "PostgreSQL", server.version)
    if not server.writable:
        advice = "name the primary; several hosts may stand in the URL, host1,host2"
        yield Finding("FAIL", "store", "a replica, which takes no writes", advice)
    schema = server.schema
    if schema is None:
        yield store_schema(None, POSTGRES_SCHEMA)
    else:
        yield store_schema(schema.revision, POSTGRES_SCHEMA, only_adds=schema.only_adds)
    yield clocks("store's clock", server.ahead_s, server.round_trip_s)


def store_schema(at: str | None, needed: str, *, only_adds: bool = False) -> Finding:
    """The revision of a shared store against this release's.

    Args:
        at: The revision; None for a database that was never migrated.
        needed: This release's.
        only_adds: It is newer, and this release works with it, too.
    """
    if at == needed:
        return Finding("PASS", "store schema", f"{at}, this release's")
    if at is not None and at > needed:
        told = f"{at}, of a newer release; this one knows {needed}"
        if only_adds:
            advice = "end the upgrade: run the newer release here, too"
            return Finding("WARN", "store schema", f"{told} and works with it", advice)
        return Finding("FAIL", "store schema", told, "run the newer release here, too")
    told = f"{at or 'none yet'}; this release needs {needed}"
    return Finding("FAIL", "store schema", told, "make a backup, then run `observatory migrate`")


def _spine(url: str) -> Iterator[Finding]:
    import logging

    from observatory.assembly.inspection import inspect_spine

    # What the driver says of a broker that does not answer is a finding, and is told as that.
    logging.getLogger("aiormq").addHandler(logging.NullHandler())
    broker = inspect_spine(url)
    yield _version("spine", broker.product, broker.version)
    if broker.lacks:
        words = f"the broker lacks {', '.join(broker.lacks)}"
        yield Finding("FAIL", "spine features", words, "use RabbitMQ itself; " + _UPGRADE)
    else:
        yield Finding("PASS", "spine features", "confirms, nacks, notice of cancelled consumers")
    if broker.missing:
        words = f"not there yet: {', '.join(broker.missing)}"
        advice = "the first service that starts makes them; it needs the right to configure"
        yield Finding("WARN", "spine topology", words, advice)
    else:
        words = "the exchange, the event log and the dead letters are there"
        yield Finding("PASS", "spine topology", words)


def _aggregates(url: str) -> Iterator[Finding]:
    from observatory.assembly.inspection import inspect_aggregates

    server = inspect_aggregates(url)
    yield _version("aggregates", server.product, server.version)
    if server.eviction != "noeviction":
        words = f"maxmemory-policy {server.eviction}: counts may be thrown away"
        advice = "CONFIG SET maxmemory-policy noeviction, and in its configuration file"
        yield Finding("WARN", "aggregates memory", words, advice)
    yield clocks("aggregates' clock", server.ahead_s, server.round_trip_s)
