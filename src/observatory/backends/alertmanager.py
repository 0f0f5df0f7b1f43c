"""Alertmanager, asked again and again which alerts fire."""

import asyncio
from datetime import datetime
from typing import Final
from urllib.parse import urlsplit

import httpx
import msgspec

from observatory.core.alert import WATCHDOG, Alert, Firing
from observatory.core.errors import ConfigurationError
from observatory.core.instant import MICROSECONDS

_PATIENCE_S: Final = 5.0
_ALERTS_MAX: Final = 500
_BYTES_MAX: Final = 4 << 20
_TEXT_MAX: Final = 2000
_PATH: Final = "/api/v2/alerts"
_QUERY: Final = {
    "active": "true",
    "silenced": "true",
    "inhibited": "false",
    # Others' alerts may come to the same Alertmanager, and this is no view of those.
    "filter": 'alertname=~"Observatory.+"',
}


class _Annotations(msgspec.Struct):
    summary: str = ""
    description: str = ""
    runbook_url: str | None = None


class _Status(msgspec.Struct, rename="camel"):
    silenced_by: list[str] = []


class _Given(msgspec.Struct, rename="camel"):
    labels: dict[str, str]
    starts_at: datetime
    annotations: _Annotations = msgspec.field(default_factory=_Annotations)
    status: _Status = msgspec.field(default_factory=_Status)


_decode: Final = msgspec.json.Decoder(list[_Given]).decode


class Alertmanager:
    """A client of its API, version 2, that asks for the alerts of this system."""

    def __init__(self, url: str) -> None:
        """`url` is where Alertmanager is served, without the path of the API.

        Raises:
            ConfigurationError: it names no host.
        """
        if not urlsplit(url).hostname:
            raise ConfigurationError("OBSERVATORY_ALERTMANAGER_URL must be http://host:port")
        self._url = url.rstrip("/")
        self._client: httpx.AsyncClient | None = None

    async def firing(self) -> Firing:
        """The alerts that fire and are neither silenced nor inhibited, at most 500; and how many
        are silenced.

        Raises:
            OSError: it does not answer, or with something else.
        """
        if self._client is None:
            self._client = httpx.AsyncClient(timeout=_PATIENCE_S, trust_env=False)
        try:
            async with asyncio.timeout(_PATIENCE_S):
                body = await self._read(self._client)
        except (httpx.HTTPError, TimeoutError) as error:
            raise OSError(str(error) or type(error).__name__) from error
        try:
            given = _decode(body)
        except msgspec.DecodeError as error:
            raise OSError(f"not an answer of Alertmanager: {error}") from error
        told = [one for one in given if not one.status.silenced_by]
        # The one that always fires tells of nothing that is wrong.
        others = [one for one in given if one.labels.get("alertname") != WATCHDOG.name]
        silenced = sum(bool(one.status.silenced_by) for one in others)
        return Firing(
            tuple(_alert(one) for one in told[:_ALERTS_MAX]), silenced, len(others) < len(given)
        )

    async def _read(self, client: httpx.AsyncClient) -> bytes:
        async with client.stream("GET", self._url + _PATH, params=_QUERY) as answer:
            if answer.status_code != 200:
                raise OSError(f"it answered {answer.status_code}")
            body = bytearray()
            async for chunk in answer.aiter_bytes():
                body += chunk
                if len(body) > _BYTES_MAX:
                    raise OSError(f"it answered more than {_BYTES_MAX} bytes")
            return bytes(body)

    async def close(self) -> None:
        """Close the connection."""
        if self._client is not None:
            await self._client.aclose()


def _alert(given: _Given) -> Alert:
    labels = {name: value[:_TEXT_MAX] for name, value in given.labels.items()}
    return Alert(
        name=labels.pop("alertname", ""),
        severity=labels.pop("severity", ""),
        since=round(given.starts_at.timestamp() * MICROSECONDS),
        summary=given.annotations.summary[:_TEXT_MAX],
        description=given.annotations.description[:_TEXT_MAX],
        runbook=_address(given.annotations.runbook_url),
        labels=labels,
    )


def _address(url: str | None) -> str | None:
    """A runbook's address, where it is one that a page may link to."""
    fits = url is not None and url[:8].lower().startswith(("http://", "https://", "/runbook"))
    return url[:_TEXT_MAX] if url is not None and fits else None
