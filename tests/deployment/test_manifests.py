"""The manifests keep the house's rules: what they name is there, and nothing is open or unbounded."""

import json
import re
from pathlib import Path
from typing import Any, Final

import kubernetes_validate  # pyright: ignore[reportMissingTypeStubs]
import pytest
from rendering import (
    COMPONENT,
    OVERLAYS,
    ROOT,
    Document,
    component,
    containers,
    environment,
    of_kind,
    parsed,
    pod,
    rendered,
    text,
    workloads,
)

from monitoring import scraping
from monitoring.rules import BACKENDS
from observatory.interfaces.cli import services as commands
from observatory.interfaces.cli.migrate import migrate
from observatory.settings import unknown_settings

KUBERNETES: Final = "1.37"
OF_OPERATORS: Final = {
    "Cluster",
    "HTTPRoute",
    "PodMonitor",
    "PrometheusRule",
    "RabbitmqCluster",
    "ScaledObject",
    "ServiceMonitor",
}
"""Kinds that Kubernetes itself has no schema for; see `test_operators.py`."""
SECRETS: Final = {
    "observatory-credentials": {"rabbitmq", "postgres", "redis", "grafana", "pgadmin"},
    "observatory-keys": {"entries", "reader"},
    "observatory-tls": {"tls.crt", "tls.key"},
    # Made by the operators in production.
    "rabbitmq-default-user": {"username", "password"},
    "postgres-app": {"password"},
}
OWN: Final = {"gateway", "processor", "metrics-engine", "read-model"}

every_overlay = pytest.mark.parametrize("overlay", OVERLAYS)


@every_overlay
def test_each_document_is_one_that_kubernetes_takes(overlay: str) -> None:
    unknown: set[str] = set()
    for document in rendered(overlay):
        try:
            kubernetes_validate.validate(document, KUBERNETES, strict=True)
        except kubernetes_validate.SchemaNotFoundError:
            unknown.add(document["kind"])

    assert unknown == (OF_OPERATORS if overlay == "overlays/production" else set())


def test_a_field_that_kubernetes_does_not_know_would_be_found() -> None:
    document = of_kind(rendered("base"), "Deployment")[0]
    pod(document)["containers"][0]["readynessProbe"] = {}

    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(document, KUBERNETES, strict=True)


@every_overlay
def test_each_document_and_pod_has_the_recommended_labels(overlay: str) -> None:
    wanted = {"name", "instance", "version", "component", "part-of", "managed-by"}
    for document in rendered(overlay):
        metas = [document["metadata"]]
        if document in workloads([document]):
            metas.append(document["spec"]["template"]["metadata"])
        for meta in metas:
            labels = {name.removeprefix("app.kubernetes.io/") for name in meta["labels"]}
            optional = (
                {"component"} if document["kind"] in ("ConfigMap", "Namespace") else set[str]()
            )
            assert wanted - optional <= labels, (document["kind"], meta)


@every_overlay
def test_selectors_find_the_pods_they_mean(overlay: str) -> None:
    documents = rendered(overlay)
    pods = [one["spec"]["template"]["metadata"]["labels"] for one in workloads(documents)]
    # Those that the Cluster Operator makes have the name of their RabbitmqCluster.
    pods += [
        {"app.kubernetes.io/name": one["metadata"]["name"], COMPONENT: "rabbitmq"}
        for one in of_kind(documents, "RabbitmqCluster")
    ]
    for document in of_kind(
        documents, "Deployment", "StatefulSet", "Service", "PodDisruptionBudget"
    ):
        selector = document["spec"]["selector"]
        wanted = selector.get("matchLabels", selector)
        found = [labels for labels in pods if wanted.items() <= labels.items()]
        assert [one[COMPONENT] for one in found] == [component(document)]
        # A version in a selector would leave the pods of the release before unfound.
        assert "app.kubernetes.io/version" not in wanted


@every_overlay
def test_each_container_is_probed_bounded_and_may_do_little(overlay: str) -> None:
    documents = rendered(overlay)
    for workload, container in containers(documents):
        where = container["name"]
        if workload["kind"] != "Job":
            assert {"readinessProbe", "livenessProbe"} <= container.keys(), where
            _probes_name_ports(container)
        bounds = container["resources"]
        least = {bounds["limits"]["memory"], *(["64Mi"] if overlay == "overlays/kind" else [])}
        assert bounds["requests"]["memory"] in least, where
        assert "cpu" in bounds["requests"], where
        assert "cpu" not in bounds["limits"], where
        may = container["securityContext"]
        assert may["allowPrivilegeEscalation"] is False, where
        assert may["capabilities"]["drop"] == ["ALL"], where
        added = may["capabilities"].get("add", [])
        assert (added, may["readOnlyRootFilesystem"]) == (
            (["NET_BIND_SERVICE"], False) if where == "pgadmin" else ([], True)
        )
    for workload in workloads(documents):
        may = pod(workload)["securityContext"]
        assert may["runAsNonRoot"] is True
        assert may["runAsUser"] > 0
        assert may["seccompProfile"] == {"type": "RuntimeDefault"}
        # Prometheus alone asks the cluster something.
        asks = component(workload) == "prometheus"
        assert pod(workload)["automountServiceAccountToken"] is asks


def _probes_name_ports(container: Document) -> None:
    names = {port["name"] for port in container["ports"]}
    for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
        probe = container.get(kind, {})
        for how in ("httpGet", "tcpSocket"):
            if how in probe:
                assert probe[how]["port"] in names, container["name"]


@every_overlay
def test_the_namespace_enforces_what_the_pods_keep(overlay: str) -> None:
    (namespace,) = of_kind(rendered(overlay), "Namespace")

    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


@every_overlay
def test_images_are_of_a_version(overlay: str) -> None:
    images = re.findall(r"^\s*(?:- )?image(?:Name)?: (\S+)$", text(overlay), re.MULTILINE)

    assert len(images) >= 10
    for image in images:
        _, _, tag = image.rpartition("/")[2].partition(":")
        assert re.match(r"v?\d+\.\d+", tag), image
        assert "bitnami" not in image


@every_overlay
def test_no_secret_is_written(overlay: str) -> None:
    documents = rendered(overlay)

    assert of_kind(documents, "Secret") == []
    for _, container in containers(documents):
        for one in container.get("env", ()):
            if re.search(r"PASSWORD|_PASS$|API_KEY|_AUTH$|TOKEN", one["name"]):
                assert "valueFrom" in one, one["name"]
            for user in re.findall(r"://([^@/]*)@", one.get("value", "")):
                assert re.fullmatch(r"\S*:\$\([A-Z_]+\)", user), one["name"]


@every_overlay
def test_what_is_named_is_there(overlay: str) -> None:
    documents = rendered(overlay)
    maps = {one["metadata"]["name"] for one in of_kind(documents, "ConfigMap")}
    for workload in workloads(documents):
        volumes = {one["name"]: one for one in pod(workload)["volumes"]}
        claims = {
            one["metadata"]["name"] for one in workload["spec"].get("volumeClaimTemplates", ())
        }
        for container in pod(workload)["containers"]:
            mounts = {one["name"] for one in container.get("volumeMounts", ())}
            assert mounts <= volumes.keys() | claims, container["name"]
            for source in container.get("envFrom", ()):
                assert source["configMapRef"]["name"] in maps
            _secrets_are_known(container)
        for volume in volumes.values():
            if "configMap" in volume:
                assert volume["configMap"]["name"] in maps
            if "secret" in volume:
                keys = {item["key"] for item in volume["secret"]["items"]}
                assert keys <= SECRETS[volume["secret"]["secretName"]]


def _secrets_are_known(container: Document) -> None:
    for one in container.get("env", ()):
        if "valueFrom" in one:
            reference = one["valueFrom"]["secretKeyRef"]
            assert reference["key"] in SECRETS[reference["name"]], one["name"]


@every_overlay
def test_settings_and_commands_are_those_of_the_program(overlay: str) -> None:
    documents = rendered(overlay)
    known = {
        "gateway": commands.gateway,
        "processor": commands.processor,
        "metrics-engine": commands.metrics_engine,
        "read-model": commands.read_model,
        "migrate": migrate,
    }
    ours = [one for one in containers(documents) if one[1].get("command") == ["observatory"]]

    assert {component(workload) for workload, _ in ours} == set(known)
    for workload, container in ours:
        assert unknown_settings(environment(container, documents)) == []
        assert container["args"][0] == component(workload)


@every_overlay
def test_a_value_made_of_others_comes_after_them(overlay: str) -> None:
    for _, container in containers(rendered(overlay)):
        before: set[str] = set()
        for one in container.get("env", ()):
            assert set(re.findall(r"\$\(([A-Z_]+)\)", one.get("value", ""))) <= before, one["name"]
            before.add(one["name"])


@every_overlay
def test_an_end_takes_no_longer_than_it_is_given(overlay: str) -> None:
    documents = rendered(overlay)
    for workload, container in containers(documents):
        if component(workload) in OWN:
            grace = float(environment(container, documents)["OBSERVATORY_GRACE_SECONDS"])
            pause = container["lifecycle"]["preStop"]["sleep"]["seconds"]
            assert pod(workload)["terminationGracePeriodSeconds"] >= pause + grace + 10


@every_overlay
def test_services_lead_to_ports_that_are_there(overlay: str) -> None:
    documents = rendered(overlay)
    ports = {
        component(workload): {
            port["name"] for one in pod(workload)["containers"] for port in one.get("ports", ())
        }
        for workload in workloads(documents)
    }
    for service in of_kind(documents, "Service"):
        for port in service["spec"]["ports"]:
            assert port["targetPort"] in ports[component(service)], service["metadata"]["name"]


CONFIGURATION: Final = {
    "edge-templates": ["edge/nginx.conf.template"],
    "edge-tls-template": ["edge/tls.conf.template"],
    "jobs": ["examples/standard_library.py"],
    "prometheus-configuration": [
        "monitoring/prometheus/kubernetes.yml",
        "monitoring/prometheus/rules.yml",
    ],
    "alertmanager-configuration": ["monitoring/alertmanager/alertmanager.yml"],
    "grafana-datasources": ["monitoring/grafana/provisioning/datasources/prometheus.yml"],
    "grafana-dashboard-providers": ["monitoring/grafana/provisioning/dashboards/observatory.yml"],
    "grafana-dashboards": [
        str(path.relative_to(ROOT))
        for path in sorted((ROOT / "monitoring" / "grafana" / "dashboards").glob("*.json"))
    ],
}


def test_configuration_is_that_of_the_repository() -> None:
    maps = {
        one["metadata"]["name"].rpartition("-")[0]: one["data"]
        for one in of_kind(rendered("overlays/kind"), "ConfigMap")
    }
    for name, paths in CONFIGURATION.items():
        wanted = sorted((ROOT / path).read_text() for path in paths)
        assert sorted(maps[name].values()) == wanted, name
    assert maps.keys() - CONFIGURATION.keys() == {"observatory-settings", "pgadmin-servers"}


def test_the_operator_is_given_the_rules_of_the_repository() -> None:
    (rule,) = of_kind(rendered("overlays/production"), "PrometheusRule")

    assert rule["spec"] == parsed((ROOT / "monitoring/prometheus/rules.yml").read_text())


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_whatever_the_rules_ask_for_is_scraped(overlay: str) -> None:
    """Each job of the rules is what the relabelling makes of a component that has a port for it."""
    documents = rendered(overlay)
    telling = {
        component(workload)
        for workload, container in containers(documents)
        if any(port["name"] == "metrics" for port in container.get("ports", ()))
    }
    if overlay == "overlays/production":
        (monitor,) = of_kind(documents, "PodMonitor")
        watched = set(monitor["spec"]["selector"]["matchExpressions"][0]["values"])
        assert telling <= watched
        # Those of operators have the labels of their custom resources.
        telling = watched
        rules: list[Any] = monitor["spec"]["podMetricsEndpoints"][0]["relabelings"]
        ways = [(one.get("regex", "(.*)"), one.get("replacement", "$1")) for one in rules]
    else:
        _, backends, _ = scraping.kubernetes()["scrape_configs"]
        rules = [one for one in backends["relabel_configs"] if one.get("target_label") == "job"]
        ways = [(one.get("regex", "(.*)"), one.get("replacement", "$1")) for one in rules]

    jobs = {_job_of(name, ways) for name in telling}

    assert jobs == set(BACKENDS)


def _job_of(name: str, ways: list[tuple[str, str]]) -> str:
    """What the rules of relabelling make of a component's name; the last that matches decides."""
    matching = [way for way in ways if re.fullmatch(way[0], name)]
    regex, replacement = matching[-1]
    return re.sub(rf"^{regex}$", replacement.replace("$1", r"\1"), name)


def test_processors_are_counted_by_numbers_that_there_are() -> None:
    documents = rendered("overlays/production")
    (scaled,) = of_kind(documents, "ScaledObject")
    query = scaled["spec"]["triggers"][0]["metadata"]["query"]
    names = set(re.findall(r"[a-z_]*:?observatory_[a-z_]+(?::[a-z0-9]+)?", query))
    recorded = set(
        re.findall(r"record: (\S+)", (ROOT / "monitoring/prometheus/rules.yml").read_text())
    )
    told = set(
        re.findall(r"`(observatory_[a-z_]+)", (ROOT / "docs/reference/metrics.md").read_text())
    )

    assert len(names) == 4
    assert names <= recorded | told
    (processor,) = (one for one in workloads(documents) if component(one) == "processor")
    assert "replicas" not in processor["spec"], "it would be set back at each apply"
    assert scaled["spec"]["scaleTargetRef"]["name"] == processor["metadata"]["name"]


@pytest.mark.parametrize("name", sorted(OWN | {"web"}))
def test_in_production_the_loss_of_one_node_leaves_another(name: str) -> None:
    documents = rendered("overlays/production")
    (workload,) = (one for one in workloads(documents) if component(one) == name)
    (scaled,) = of_kind(documents, "ScaledObject")
    least = workload["spec"].get("replicas", scaled["spec"]["minReplicaCount"])
    (budget,) = (
        one["spec"] for one in of_kind(documents, "PodDisruptionBudget") if component(one) == name
    )
    spreads = {one["topologyKey"]: one for one in pod(workload)["topologySpreadConstraints"]}

    assert least >= 2
    # A budget that lets none go would keep a node from being emptied.
    assert budget["maxUnavailable"] == 1
    found = spreads["kubernetes.io/hostname"]["labelSelector"]["matchLabels"]
    assert found[COMPONENT] == name


def test_what_is_read_is_led_to_the_read_model_and_what_is_written_to_the_gateway() -> None:
    documents = rendered("overlays/production")
    (route,) = of_kind(documents, "HTTPRoute")
    by_method: dict[str, Any] = {}
    for rule in route["spec"]["rules"]:
        for match in rule["matches"]:
            if match["path"]["type"] == "PathPrefix":
                by_method[match.get("method", "else")] = rule["backendRefs"]

    assert by_method == {
        "GET": [{"name": "read-model", "port": 8080}],
        "HEAD": [{"name": "read-model", "port": 8080}],
        "else": [{"name": "gateway", "port": 8080}],
    }
    (ingress,) = of_kind(documents, "Ingress")
    backend = ingress["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]
    (web,) = (one for one in of_kind(documents, "Service") if component(one) == "web")
    assert backend == {"name": "web", "port": {"name": web["spec"]["ports"][0]["name"]}}


def test_the_port_of_the_kind_cluster_is_that_of_the_edge() -> None:
    cluster = parsed((ROOT / "deploy/kubernetes/overlays/kind/cluster.yaml").read_text())
    (mapping,) = cluster["nodes"][0]["extraPortMappings"]
    (web,) = (
        one for one in of_kind(rendered("overlays/kind"), "Service") if component(one) == "web"
    )

    assert web["spec"]["ports"][0]["nodePort"] == mapping["containerPort"]
    assert mapping["listenAddress"] == "127.0.0.1"


def test_pgadmin_is_led_to_postgres() -> None:
    for overlay, host in (("overlays/kind", "postgres"), ("overlays/production", "postgres-rw")):
        (found,) = (
            json.loads(one["data"]["servers.json"])["Servers"]["1"]
            for one in of_kind(rendered(overlay), "ConfigMap")
            if "servers.json" in one["data"]
        )
        assert (found["Host"], found["Port"]) == (host, 5432)


def test_nothing_in_the_folder_is_left_out() -> None:
    folder: Path = ROOT / "deploy" / "kubernetes" / "base"
    named = (folder / "kustomization.yaml").read_text()

    for file in folder.iterdir():
        assert file.name == "kustomization.yaml" or f"{file.name}" in named, file
