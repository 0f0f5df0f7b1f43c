"""Every connection that the configuration makes is allowed at both ends, and no other is."""

import json
import re
from typing import Final, NamedTuple

import pytest
from rendering import (
    COMPONENT,
    Document,
    component,
    containers,
    environment,
    of_kind,
    parsed,
    pod,
    rendered,
    workloads,
)

KIND: Final = "overlays/kind"


class Edge(NamedTuple):
    """Who connects to whom, at which port of the pod."""

    source: str
    target: str
    port: int


def made(documents: list[Document]) -> set[Edge]:
    """What the configuration says: settings, scrape configurations, datasources."""
    return {*_by_settings(documents), *_by_watching(documents)}


def _by_settings(documents: list[Document]) -> set[Edge]:
    found: set[Edge] = set()
    for workload, container in containers(documents):
        values = [*environment(container, documents).values(), *container.get("args", ())]
        for host, port in re.findall(r"\b([a-z][a-z-]*):(\d+)\b", " ".join(values)):
            if (
                edge := _through_service(documents, component(workload), host, int(port))
            ) is not None:
                found.add(edge)
    return found


def _through_service(documents: list[Document], source: str, host: str, port: int) -> Edge | None:
    for service in of_kind(documents, "Service"):
        if service["metadata"]["name"] == host:
            (lead,) = (one for one in service["spec"]["ports"] if one["port"] == port)
            return Edge(source, component(service), pod_port(documents, component(service), lead))
    return None


def pod_port(documents: list[Document], target: str, lead: Document) -> int:
    """The number of the port that a port of a Service leads to."""
    (number,) = (
        port["containerPort"]
        for workload in workloads(documents)
        if component(workload) == target
        for one in pod(workload)["containers"]
        for port in one["ports"]
        if port["name"] == lead["targetPort"]
    )
    return number


def _by_watching(documents: list[Document]) -> set[Edge]:
    files = {
        name: text
        for one in of_kind(documents, "ConfigMap")
        for name, text in one["data"].items()
        if name.endswith((".yml", ".json"))
    }
    scraped: set[str] = set()
    scrapes = [parsed(text) for text in files.values() if "scrape_configs" in text]
    for job in scrapes[0]["scrape_configs"]:
        for rule in job["relabel_configs"]:
            if rule.get("source_labels") == ["__meta_kubernetes_pod_container_port_name"]:
                scraped.add(rule["regex"])
    found = {
        Edge("prometheus", component(workload), port["containerPort"])
        for workload, container in containers(documents)
        for port in container.get("ports", ())
        if port["name"] in scraped
    }
    found.add(Edge("prometheus", "alertmanager", 9093))
    servers = json.loads(files["servers.json"])["Servers"]["1"]
    through = {("pgadmin", servers["Host"], servers["Port"]), ("grafana", "prometheus", 9090)}
    found |= {edge for one in through if (edge := _through_service(documents, *one)) is not None}
    return found


def allowed(documents: list[Document], direction: str) -> set[Edge]:
    """What the policies of one direction allow between two parts of the system."""
    parts = {component(workload) for workload in workloads(documents)}
    peer, list_of = ("to", "egress") if direction == "Egress" else ("from", "ingress")
    found: set[Edge] = set()
    for policy in of_kind(documents, "NetworkPolicy"):
        if direction not in policy["spec"]["policyTypes"]:
            continue
        own = policy["spec"]["podSelector"].get("matchLabels", {}).get(COMPONENT)
        for rule in policy["spec"].get(list_of, ()):
            for other in rule.get(peer, ()):
                name = other.get("podSelector", {}).get("matchLabels", {}).get(COMPONENT)
                if name is None:
                    continue
                assert {own, name} <= parts, policy["metadata"]["name"]
                ends = (own, name) if direction == "Egress" else (name, own)
                found |= {Edge(*ends, port["port"]) for port in rule["ports"]}
    return found


def test_every_connection_is_allowed_at_both_ends_and_no_other() -> None:
    documents = rendered(KIND)
    connections = made(documents)

    assert len(connections) > 20
    assert allowed(documents, "Egress") == connections
    assert allowed(documents, "Ingress") == connections


def test_what_is_not_named_is_denied() -> None:
    for overlay in ("base", KIND, "overlays/production"):
        (deny,) = (
            one
            for one in of_kind(rendered(overlay), "NetworkPolicy")
            if one["metadata"]["name"] == "default-deny"
        )
        assert deny["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


@pytest.mark.parametrize(
    ("policy", "who", "ports"),
    [
        ("into-web-from-outside", "web", {8080}),
        ("prometheus-to-cluster", "prometheus", {443, 6443}),
    ],
)
def test_what_is_open_to_everybody_is_known(policy: str, who: str, ports: set[int]) -> None:
    """A rule without peers allows all: there are these two."""
    found = {
        one["metadata"]["name"]: one
        for one in of_kind(rendered(KIND), "NetworkPolicy")
        for rule in [*one["spec"].get("ingress", ()), *one["spec"].get("egress", ())]
        if not rule.get("from") and not rule.get("to")
    }

    assert set(found) == {"into-web-from-outside", "prometheus-to-cluster"}
    spec = found[policy]["spec"]
    rule = [*spec.get("ingress", ()), *spec.get("egress", ())][0]
    assert spec["podSelector"]["matchLabels"][COMPONENT] == who
    assert {port["port"] for port in rule["ports"]} == ports


def test_prometheus_asks_for_no_more_of_the_cluster_than_its_role_lets_it_read() -> None:
    """Without a namespace it would list the pods of all, be refused, and find nothing."""
    documents = rendered(KIND)
    (configuration,) = (
        parsed(text)
        for one in of_kind(documents, "ConfigMap")
        for text in one["data"].values()
        if "scrape_configs" in text
    )
    asked = [
        where
        for one in [*configuration["scrape_configs"], *configuration["alerting"]["alertmanagers"]]
        for where in one["kubernetes_sd_configs"]
    ]
    roles = [one for one in of_kind(documents, "Role") if component(one) == "prometheus"]
    read = {name for one in roles for rule in one["rules"] for name in rule["resources"]}

    assert len(asked) > 3
    assert all(one["namespaces"] == {"own_namespace": True} for one in asked)
    # `endpoints` lists the services and pods behind them as well.
    assert {one["role"] for one in asked} == {"pod", "endpoints"}
    assert read == {"pods", "endpoints", "services"}
    assert not of_kind(documents, "ClusterRole")


CLIENTS_OF_POSTGRES: Final = {
    edge.source for edge in _by_settings(rendered(KIND)) if edge.target == "postgres"
} | {"pgadmin"}


@pytest.mark.parametrize(("name", "direction"), [
    ("postgres-instances", "ingress"), ("to-postgres-instances", "egress"),
])  # fmt: skip
def test_in_production_every_client_reaches_the_pods_that_the_operator_makes(
    name: str, direction: str
) -> None:
    """CloudNativePG sets `cnpg.io/cluster` on every pod; that of a Job has no label of ours."""
    (policy,) = (
        one
        for one in of_kind(rendered("overlays/production"), "NetworkPolicy")
        if one["metadata"]["name"] == name
    )
    operators = {"matchLabels": {"cnpg.io/cluster": "postgres"}}
    rules = policy["spec"][direction]
    if direction == "ingress":
        assert policy["spec"]["podSelector"] == operators
        (clients,) = rules[0]["from"]
        (chosen,) = clients["podSelector"]["matchExpressions"]
    else:
        assert rules[0]["to"] == [{"podSelector": operators}]
        (chosen,) = policy["spec"]["podSelector"]["matchExpressions"]

    assert rules[0]["ports"] == [{"protocol": "TCP", "port": 5432}]
    assert (chosen["key"], chosen["operator"]) == (COMPONENT, "In")
    assert set(chosen["values"]) == CLIENTS_OF_POSTGRES
