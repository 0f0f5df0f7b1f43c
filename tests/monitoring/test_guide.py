"""The guide's commands start Prometheus, Alertmanager and the exporters, with the files kept here.

They are run as they stand, but on private ports and against private servers.
"""

import os
import re
import shlex
import shutil
import subprocess
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from development import installation
from development.nginx import NginxServer
from development.postgres import PostgresServer
from development.prometheus import Exporter
from development.redis import RedisServer
from monitoring import dashboards, scraping

ROOT: Final = Path(__file__).parents[2]
GUIDE: Final = (ROOT / "docs/guide/monitoring.md").read_text()


def told(pattern: str) -> str:
    """The guide's one line that begins so."""
    (line,) = re.findall(rf"^{pattern}(?: .*)?$", GUIDE, re.MULTILINE)
    return line


class Told(Exporter):
    """What the guide says to start."""

    def __init__(
        self,
        folder: Path,
        program: str,
        *flags: str,
        path: str = "/metrics",
        instead: Mapping[str, str] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Started with `flags` more, the last of which is for the address; `instead` of addresses
        of the guide with others; ready when it answers at `path`."""
        super().__init__(folder, "")
        self.name = program
        self._flags = flags
        self._path = path
        self._instead = instead or {}
        self._given = environment or {}

    def _prepare(self) -> None:
        for name in ("prometheus", "alertmanager"):
            shutil.copytree(ROOT / "monitoring" / name, self.folder / name)

    def _environment(self) -> Mapping[str, str]:
        return {**os.environ, **self._given}

    def _command(self) -> Sequence[str]:
        line = told(self.name)
        for one, other in self._instead.items():
            assert one in line
            line = line.replace(one, other)
        return [*shlex.split(line), *self._flags[:-1], f"{self._flags[-1]}={self.address}"]

    def _answers(self) -> bool:
        with urllib.request.urlopen(f"{self.url()}{self._path}", timeout=10) as answer:
            return answer.status == 200

    def metrics(self) -> str:
        """What it tells."""
        with urllib.request.urlopen(f"{self.url()}/metrics", timeout=10) as answer:
            return answer.read().decode()


def test_prometheus_and_alertmanager_start(tmp_path: Path) -> None:
    ready = "/-/ready"
    # Nobody else is to hear of this one.
    alone = ("--cluster.listen-address=", "--web.listen-address")
    with (
        Told(tmp_path / "p", "prometheus", "--web.listen-address", path=ready) as prometheus,
        Told(tmp_path / "a", "prometheus-alertmanager", *alone, path=ready) as alertmanager,
    ):
        groups = prometheus.get("/api/v1/rules")["data"]["groups"]
        assert {one["name"] for one in groups} >= {"observatory-alerts", "observatory-backends"}
        receivers = alertmanager.get("/api/v2/receivers")
        assert {one["name"] for one in receivers} == {"on-call", "watchdog"}


def test_promtool_checks_what_is_for_containers_outside_of_them(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "monitoring/prometheus", tmp_path / "prometheus")
    check = [str(installation.promtool()), *shlex.split(told("promtool check config"))[1:]]
    done = subprocess.run(check, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"`{scraping.KEY_FILE}`" in GUIDE


def test_a_grafana_of_ones_own_is_given_what_it_reads(tmp_path: Path) -> None:
    grafana = tmp_path / "grafana"
    grafana.mkdir()
    for line in (told("cp -r"), told("sed -i")):
        assert "/etc/grafana" in line
        here = line.replace("/etc/grafana", str(grafana))
        subprocess.run(shlex.split(here), cwd=ROOT, check=True, timeout=60)
    sources: Any = yaml.safe_load((grafana / "provisioning/datasources/prometheus.yml").read_text())
    (source,) = sources["datasources"]
    assert (source["uid"], source["url"]) == ("prometheus", "http://127.0.0.1:9090")
    (provider,) = yaml.safe_load((grafana / "provisioning/dashboards/observatory.yml").read_text())[
        "providers"
    ]
    found = Path(provider["options"]["path"].replace("/etc/grafana", str(grafana)))
    assert len(list(found.glob("*.json"))) == len(dashboards.ALL)
    assert f"folder *{provider['folder']}*" in GUIDE


def of_postgres(folder: Path, server: PostgresServer) -> Told:
    environment = dict([told("export DATA_SOURCE_NAME=.*").removeprefix("export ").split("=", 1)])
    url = shlex.split(environment["DATA_SOURCE_NAME"])[0]
    assert "127.0.0.1:5432" in url
    given = {"DATA_SOURCE_NAME": url.replace(":5432", f":{server.port}")}
    return Told(folder, "prometheus-postgres-exporter", "--web.listen-address", environment=given)


def of_redis(folder: Path, server: RedisServer) -> Told:
    instead = {"redis://127.0.0.1:6379": server.url()}
    return Told(folder, "prometheus-redis-exporter", "--web.listen-address", instead=instead)


def of_nginx(folder: Path, server: NginxServer) -> Told:
    instead = {"http://127.0.0.1:8081/status": server.status_url()}
    return Told(folder, "prometheus-nginx-exporter", "-web.listen-address", instead=instead)


@pytest.mark.parametrize(
    ("server", "exporter", "metric"),
    [
        (PostgresServer, of_postgres, "pg_up 1"),
        (RedisServer, of_redis, "redis_up 1"),
        (lambda folder: NginxServer(folder, "127.0.0.1:9", "127.0.0.1:9"), of_nginx, "nginx_up 1"),
    ],
    ids=["postgres", "redis", "nginx"],
)
def test_an_exporter_reaches_what_it_tells_of(
    server: Callable[[Path], AbstractContextManager[Any]],
    exporter: Callable[[Path, Any], Told],
    metric: str,
    tmp_path: Path,
) -> None:
    with server(tmp_path / "of") as of, exporter(tmp_path / "exporter", of) as telling:
        assert metric in telling.metrics().splitlines()
