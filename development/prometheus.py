"""A private Prometheus and Alertmanager, and the exporters of PostgreSQL and Redis."""

import json
import os
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import yaml

from development import installation
from development.process import Server

_TIMEOUT_S = 10


class _HttpServer(Server):
    """A server of the loopback that says of itself when it is ready."""

    @property
    def address(self) -> str:
        """`host:port`."""
        return f"127.0.0.1:{self._port()}"

    def url(self) -> str:
        """Where it is, for clients."""
        return f"http://{self.address}"

    def get(self, path: str, query: Mapping[str, str] | None = None) -> Any:
        """What it answers to a GET, decoded. Raises OSError."""
        target = f"{self.url()}{path}" + (f"?{urlencode(query)}" if query else "")
        with urllib.request.urlopen(target, timeout=_TIMEOUT_S) as answer:
            return json.load(answer)

    def _answers(self) -> bool:
        with urllib.request.urlopen(f"{self.url()}/-/ready", timeout=_TIMEOUT_S) as answer:
            return answer.status == 200


class Exporter(_HttpServer):
    """Tells the metrics of another server."""

    def __init__(self, folder: Path | str, url: str) -> None:
        """`url` is the other server's."""
        super().__init__(folder)
        self._of = url

    def _prepare(self) -> None:
        """Nothing: it keeps nothing."""

    def _answers(self) -> bool:
        with urllib.request.urlopen(f"{self.url()}/metrics", timeout=_TIMEOUT_S) as answer:
            return answer.status == 200


class PostgresExporter(Exporter):
    """The metrics of PostgreSQL."""

    name = "the exporter of PostgreSQL"

    def _environment(self) -> Mapping[str, str]:
        return {**os.environ, "DATA_SOURCE_NAME": f"{self._of}?sslmode=disable"}

    def _command(self) -> Sequence[str | Path]:
        return [installation.postgres_exporter(), f"--web.listen-address={self.address}"]


class RedisExporter(Exporter):
    """The metrics of Redis."""

    name = "the exporter of Redis"

    def _command(self) -> Sequence[str | Path]:
        listen = f"--web.listen-address={self.address}"
        return [installation.redis_exporter(), f"--redis.addr={self._of}", listen]


class PrometheusServer(_HttpServer):
    """Prometheus with a configuration and a rule file."""

    name = "Prometheus"

    def __init__(
        self, folder: Path | str, configuration: Mapping[str, Any], rules: Mapping[str, Any]
    ) -> None:
        """`configuration` names `rules.yml` as its rule file."""
        super().__init__(folder)
        self._files = {"prometheus.yml": configuration, "rules.yml": rules}

    def query(self, expr: str) -> list[dict[str, Any]]:
        """What an expression gives now: the samples of the vector."""
        return self.get("/api/v1/query", {"query": expr})["data"]["result"]

    def alerts(self) -> list[dict[str, Any]]:
        """Alerts that are pending or fire."""
        return self.get("/api/v1/alerts")["data"]["alerts"]

    def _prepare(self) -> None:
        for name, document in self._files.items():
            (self.folder / name).write_text(yaml.safe_dump(dict(document)))

    def _command(self) -> Sequence[str | Path]:
        return [
            installation.prometheus(),
            f"--config.file={self.folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={self.folder / 'data'}",
            f"--web.listen-address={self.address}",
            # Alerts are told again as often: those that were told to nobody wait for the next time.
            "--rules.alert.resend-delay=5s",
            "--log.level=warn",
        ]


class AlertmanagerServer(_HttpServer):
    """Alertmanager alone, without peers."""

    name = "Alertmanager"

    def __init__(self, folder: Path | str, configuration: Mapping[str, Any]) -> None:
        super().__init__(folder)
        self._configuration = configuration

    def _prepare(self) -> None:
        (self.folder / "alertmanager.yml").write_text(yaml.safe_dump(dict(self._configuration)))

    def _command(self) -> Sequence[str | Path]:
        return [
            installation.alertmanager(),
            f"--config.file={self.folder / 'alertmanager.yml'}",
            f"--storage.path={self.folder / 'data'}",
            f"--web.listen-address={self.address}",
            "--cluster.listen-address=",
            "--log.level=warn",
        ]
