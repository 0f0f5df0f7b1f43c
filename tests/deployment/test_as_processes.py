"""The overlay for kind is run as it is written, without a cluster: see `cluster.py` for what differs."""

import json
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from cluster import NOT_HERE, Cluster
from connections import Watch
from rendering import rendered
from test_network import Edge, allowed

from monitoring.rules import BACKENDS
from monitoring.scraping import QUEUES_JOB
from real import environment, until

pytestmark = pytest.mark.slow

PAYLOAD = ("--payload", '{"path": "json/decoder.py"}')
BY_DEVELOPMENT = {"rabbitmq", "postgres"}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    made = Cluster(rendered("overlays/kind"), tmp_path_factory.mktemp("cluster"))
    with ExitStack() as stack:
        made.watch = stack.enter_context(Watch(made.sessions, made.listeners))
        stack.enter_context(made.rabbitmq)
        stack.enter_context(made.postgres)
        made.postgres.psql("CREATE ROLE observatory LOGIN")
        made.postgres.psql("CREATE DATABASE observatory OWNER observatory")
        first = ("redis", "alertmanager", "prometheus")
        for name in first:
            stack.enter_context(made.containers[name])
        migrated = made.containers["migrate"].run()
        assert migrated.returncode == 0, migrated.stdout + migrated.stderr
        others = made.containers.keys() - {*first, "migrate", *BY_DEVELOPMENT, *NOT_HERE}
        services = {"gateway", "processor", "metrics-engine", "read-model", "web"}
        assert others == services | {"exporter", "postgres-exporter", "redis-exporter"}
        # The exporters last: that of nginx asks it when it starts.
        for name in sorted(others, key=lambda one: one not in services):
            stack.enter_context(made.containers[name])
        yield made


def test_every_probe_passes(cluster: Cluster) -> None:
    called = 0
    for name, container in cluster.containers.items():
        if name in NOT_HERE:
            continue
        for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
            if kind in container.container:
                until(lambda c=container, k=kind: c.probe(k), timeout_s=30, why=lambda n=name: n)
                called += 1
    assert called >= 32


def attempts_named(text: str, edge: str, key: str) -> list[str]:
    """The attempts of every job that a text names: what the gate tells of one is not why."""
    found: list[str] = []
    for job_id in set(re.findall(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", text)):
        asked = urllib.request.Request(
            f"{edge}/jobs/{job_id}/attempts", headers={"Authorization": f"Bearer {key}"}
        )
        with urllib.request.urlopen(asked, timeout=10) as answer:
            found.append(answer.read().decode())
    return found


def test_the_gate_passes_through_the_edge(cluster: Cluster) -> None:
    edge = f"http://127.0.0.1:{cluster.ports['web', 8080]}"
    given = environment(OBSERVATORY_URL=edge, OBSERVATORY_API_KEY=cluster.key)
    program = [sys.executable, "-m", "observatory.interfaces.cli.main", "gate", "--json"]

    told = subprocess.run(
        # It takes a while until Prometheus' alerts arrive.
        [*program, "--timeout", "120", "--type", "source.analyze", *PAYLOAD],
        env=given,
        capture_output=True,
        text=True,
        timeout=240,
    )

    found = json.loads(told.stdout)
    failed = [one for one in found["checks"] if one["verdict"] != "PASS"]
    assert failed == [], attempts_named(str(failed), edge, cluster.key)
    assert told.returncode == 0
    # Alerts come from the Alertmanager that the settings name.
    (alerts,) = (one for one in found["checks"] if one["check"] == "alerts")
    assert "alertmanager" in alerts["detail"]


def test_without_a_key_nothing_is_read(cluster: Cluster) -> None:
    edge = f"http://127.0.0.1:{cluster.ports['web', 8080]}"
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{edge}/jobs", timeout=10)

    with refused.value:
        assert refused.value.code == 401


def test_prometheus_finds_all_that_tells_of_itself_and_may_read_it(cluster: Cluster) -> None:
    def up() -> dict[str, str]:
        at = f"http://127.0.0.1:{cluster.ports['prometheus', 9090]}/api/v1/query?query=up"
        with urllib.request.urlopen(at, timeout=10) as answer:
            found = json.load(answer)["data"]["result"]
        return {
            one["metric"].get("service", one["metric"]["job"]): one["value"][1] for one in found
        }

    wanted = {"gateway", "processor", "metrics-engine", "read-model", *BACKENDS, QUEUES_JOB}
    # It asks each a quarter of a minute after the last time.
    until(lambda: up() == dict.fromkeys(wanted, "1"), timeout_s=40, why=lambda: str(up()))


def test_who_connects_to_whom_is_what_the_policies_allow(cluster: Cluster) -> None:
    """What the kernel has seen since the start, at the ports that containers declare."""
    policies = {
        edge for edge in allowed(cluster.documents, "Egress") if edge.source not in NOT_HERE
    }
    assert policies == {
        edge for edge in allowed(cluster.documents, "Ingress") if edge.source not in NOT_HERE
    }

    def used() -> set[Edge]:
        by_port = {port: number for (_, number), port in cluster.ports.items()}
        return {Edge(who, whom, by_port[port]) for who, whom, port in set(cluster.watch.seen)}

    exporter = f"http://127.0.0.1:{cluster.ports['redis-exporter', 9121]}/metrics"
    edge = f"http://127.0.0.1:{cluster.ports['web', 8080]}/jobs"

    def all_used() -> bool:
        # What is made by the gate alone, or only once.
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(edge, data=b"{}", timeout=10)
        assert cluster.containers["migrate"].run().returncode == 0
        # The exporter holds its connection for as long as Redis takes to answer.
        assert cluster.asked_of_redis("CLIENT", "PAUSE", "2000", "ALL") == "OK"
        urllib.request.urlopen(exporter, timeout=20).close()
        return used() >= policies

    until(all_used, timeout_s=120, why=lambda: str(policies - used()))
    assert used() == policies


def test_a_probe_of_what_is_not_there_fails(cluster: Cluster) -> None:
    exporter = cluster.containers["exporter"]
    exporter.stop()

    assert not exporter.probe("readinessProbe")
