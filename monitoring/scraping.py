"""Scrape configurations of Prometheus for every shape of the system, and Alertmanager's routes."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from monitoring.rules import BACKENDS
from observatory.core.alert import BACKLOG_GROWING, LATENCY_HIGH, NO_PROCESSORS

INTERVAL_S: Final = 15
PORTS: Final[Mapping[str, int]] = {
    "gateway": 8084,
    "processor": 8081,
    "metrics-engine": 8082,
    "read-model": 8083,
}
"""Ports of the services in the examples; `file_sd` takes any others. Where `observatory up`
listens, the edge does: links to runbooks lead there in every shape."""
QUEUES_JOB: Final = "rabbitmq-queues"
"""The second scrape of RabbitMQ, queue by queue."""

_QUEUES: Final[Mapping[str, Any]] = {
    "job_name": QUEUES_JOB,
    "metrics_path": "/metrics/detailed",
    "params": {"family": ["queue_coarse_metrics"]},
    # The log is a queue, too, and its depth grows with history; and a broker may serve others.
    "metric_relabel_configs": [
        {"source_labels": ["queue"], "regex": r"observatory\.work\..+", "action": "keep"}
    ],
}
"""The sum over all queues, which is all that its other answer tells, says nothing about ours."""

KEY_FILE: Final = "/etc/prometheus/secrets/observatory-key"


def prometheus(
    targets: Mapping[str, Sequence[str]],
    *,
    interval: str = f"{INTERVAL_S}s",
    rules: str = "rules.yml",
    alertmanager: str = "127.0.0.1:9093",
    others: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, Any]:
    """Prometheus' configuration for services at known addresses.

    Args:
        targets: `host:port` of the processes, by service.
        interval: between scrapes and evaluations, as Prometheus writes it.
        rules: the rule file, relative to the configuration.
        alertmanager: its `host:port`.
        others: `host:port` of what the system runs on, by job name.
    """
    named = [
        {"targets": list(addresses), "labels": {"service": service}}
        for service, addresses in targets.items()
    ]
    found = {"observatory": named} | {
        job: [{"targets": list(addresses)}] for job, addresses in (others or {}).items()
    }
    scrapes = _static(found)
    if brokers := found.get("rabbitmq"):
        scrapes.append({**_QUEUES, "static_configs": brokers})
    return _configuration(
        interval, rules, [{"static_configs": [{"targets": [alertmanager]}]}], scrapes
    )


def _static(jobs: Mapping[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    return [{"job_name": job, "static_configs": configs} for job, configs in jobs.items()]


def _configuration(
    interval: str, rules: str, alertmanagers: list[Any], scrapes: list[dict[str, Any]]
) -> dict[str, Any]:
    return {
        "global": {"scrape_interval": interval, "evaluation_interval": interval},
        "rule_files": [rules],
        "alerting": {"alertmanagers": alertmanagers},
        "scrape_configs": scrapes,
    }


def embedded() -> dict[str, Any]:
    """For `observatory up`: one process."""
    return prometheus({"embedded": ["127.0.0.1:8080"]})


def services() -> dict[str, Any]:
    """For a process a service, on one machine."""
    found = prometheus({service: [f"127.0.0.1:{port}"] for service, port in PORTS.items()})
    # Each has its exporter, or none: whoever runs one names its address in a file.
    found["scrape_configs"] += [
        {"job_name": job, "file_sd_configs": [{"files": [f"backends/{job}.yml"]}]}
        for job in BACKENDS
    ]
    brokers = [{"files": ["backends/rabbitmq.yml"]}]
    found["scrape_configs"].append({**_QUEUES, "file_sd_configs": brokers})
    return found


def compose() -> dict[str, Any]:
    """For compose.yaml, where the addresses of a service's name are those of its containers."""

    def found(names: Sequence[str], port: int) -> dict[str, Any]:
        return {"dns_sd_configs": [{"names": list(names), "type": "A", "port": port}]}

    ours = {
        "job_name": "observatory",
        "authorization": {"credentials_file": KEY_FILE},
        **found(list(PORTS), 8080),
        "relabel_configs": [{"source_labels": ["__meta_dns_name"], "target_label": "service"}],
    }
    # The exporter of nginx is in the network of the edge.
    exporters = {"rabbitmq": "rabbitmq:15692", "postgres": "postgres-exporter:9187"}
    exporters |= {"redis": "redis-exporter:9121", "nginx": "web:9113"}
    backends = [
        {"job_name": job, **found([name], int(port))}
        for job, (name, _, port) in ((j, at.partition(":")) for j, at in exporters.items())
    ]
    backends.append({**_QUEUES, **found(["rabbitmq"], 15692)})
    alertmanager = {"static_configs": [{"targets": ["alertmanager:9093"]}]}
    return _configuration(f"{INTERVAL_S}s", "rules.yml", [alertmanager], [ours, *backends])


def kubernetes() -> dict[str, Any]:
    """For a cluster: every pod that is part of the system, by its labels."""
    prefix = "__meta_kubernetes_pod_label_app_kubernetes_io"

    def keep(source: str, value: str) -> dict[str, Any]:
        return {"source_labels": [source], "regex": value, "action": "keep"}

    def named(source: str, target: str) -> dict[str, Any]:
        return {"source_labels": [source], "target_label": target}

    pods = {
        "job_name": "observatory",
        # Beyond the loopback the system has keys; a key with the scope `read` is mounted there.
        "authorization": {"credentials_file": KEY_FILE},
        "kubernetes_sd_configs": [_found("pod")],
        "relabel_configs": [
            keep(f"{prefix}_part_of", "observatory"),
            keep("__meta_kubernetes_pod_container_port_name", "http"),
            keep("__meta_kubernetes_pod_phase", "Pending|Running"),
            named(f"{prefix}_component", "service"),
            named("__meta_kubernetes_namespace", "namespace"),
            named("__meta_kubernetes_pod_name", "pod"),
        ],
    }
    # What the system runs on, each by the name by which the rules know it.
    backends = {
        "job_name": "backends",
        "kubernetes_sd_configs": [_found("pod")],
        "relabel_configs": [
            keep(f"{prefix}_part_of", "observatory"),
            keep("__meta_kubernetes_pod_container_port_name", "metrics"),
            keep("__meta_kubernetes_pod_phase", "Pending|Running"),
            *_jobs_of_components(f"{prefix}_component"),
            named("__meta_kubernetes_namespace", "namespace"),
            named("__meta_kubernetes_pod_name", "pod"),
        ],
    }
    queues = {
        **_QUEUES,
        "kubernetes_sd_configs": [_found("pod")],
        "relabel_configs": [
            keep(f"{prefix}_part_of", "observatory"),
            keep(f"{prefix}_component", "rabbitmq"),
            keep("__meta_kubernetes_pod_container_port_name", "metrics"),
            keep("__meta_kubernetes_pod_phase", "Pending|Running"),
            named("__meta_kubernetes_namespace", "namespace"),
            named("__meta_kubernetes_pod_name", "pod"),
        ],
    }
    # Each replica by itself: they gossip, and nothing may balance between them.
    found = {"kubernetes_sd_configs": [_found("endpoints")], "relabel_configs": [
        keep("__meta_kubernetes_service_name", "alertmanager"),
        keep("__meta_kubernetes_endpoint_port_name", "http"),
    ]}  # fmt: skip
    return _configuration(f"{INTERVAL_S}s", "rules.yml", [found], [pods, backends, queues])


def _found(role: str) -> dict[str, Any]:
    """Asks for what is in Prometheus' own namespace: without one it would ask for all of the
    cluster, which its Role does not let it read, and so learn of nothing."""
    return {"role": role, "namespaces": {"own_namespace": True}}


def _jobs_of_components(source: str) -> list[dict[str, Any]]:
    """The job of a component: its own name, that of what it exports, or of what the edge is."""
    labelled = {"source_labels": [source], "target_label": "job"}
    return [
        labelled,
        {**labelled, "regex": "(.+)-exporter", "replacement": "$1"},
        {**labelled, "regex": "web", "replacement": "nginx"},
    ]


def prometheus_rule(rules: Mapping[str, Any]) -> dict[str, Any]:
    """The rules as the Prometheus Operator takes them."""
    # It looks at those alone that carry the label of its own release.
    labels = {
        "app.kubernetes.io/component": "monitoring",
        "release": "kube-prometheus-stack",
    }
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "observatory", "labels": labels},
        "spec": dict(rules),
    }


def alertmanager(
    webhook: str = "http://127.0.0.1:9095/", *, wait: str = "30s", again: str = "4h"
) -> dict[str, Any]:
    """Alertmanager's configuration: everything to one webhook, critical alerts again each hour.

    Args:
        webhook: who is told.
        wait: how long alerts are gathered before they are told together.
        again: how long until an alert that goes on is told again.
    """
    told = {"receiver": "on-call", "group_by": ["alertname", "queue"]}
    return {
        "route": {
            **told,
            "group_wait": wait,
            "group_interval": wait,
            "repeat_interval": again,
            "routes": [
                {
                    "receiver": "watchdog",
                    "matchers": ['alertname="ObservatoryWatchdog"'],
                    "repeat_interval": "1m",
                },
                {
                    "receiver": "on-call",
                    "matchers": ['severity="critical"'],
                    "repeat_interval": "1h",
                },
            ],
        },
        "receivers": [
            {"name": "on-call", "webhook_configs": [{"url": webhook, "send_resolved": True}]},
            {"name": "watchdog", "webhook_configs": [{"url": webhook, "send_resolved": False}]},
        ],
        # Where nobody works, every queue is late, and whoever is woken knows why already. Heartbeat
        # jobs stay out: an alert that is inhibited when it ends is never told to be over.
        "inhibit_rules": [
            {
                "source_matchers": [f'alertname="{NO_PROCESSORS.name}"'],
                "target_matchers": [
                    f'alertname=~"{BACKLOG_GROWING.name}|{LATENCY_HIGH.name}"',
                ],
                "equal": ["namespace"],
            }
        ],
    }
