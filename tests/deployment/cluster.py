"""A rendered overlay without a cluster: each container's command as a process of this machine.

What differs from a cluster, and nothing else: names of Services lead to ports of the loopback, whoever
listens does so at one of those, paths of mounts stand below a folder, and RabbitMQ and PostgreSQL are
started by `development/`, as the start programs of their images are not here. nginx is given its
templates filled in, which its image does by itself; Prometheus, which Debian builds without it, the targets
that the rules of its configuration find among the pods.
"""

import json
import os
import re
import secrets
import subprocess
import sys
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from string import Template
from typing import Any, Final

from connections import Watch
from rendering import Document, component, containers, of_kind, parsed, pod, workloads
from rendering import environment as written_environment

from development import PostgresServer, RabbitmqServer, installation
from development.process import Server, free_port
from observatory.asgi.keys import new_key

NOT_HERE: Final = {"grafana", "pgadmin"}
"""Debian has no package of them: their containers are not run by any test."""

_PROGRAMS: Final = {
    "redis-server": installation.redis_server,
    "redis-cli": installation.redis_cli,
    "nginx": installation.nginx,
    "prometheus": installation.prometheus,
    "alertmanager": installation.alertmanager,
    "exporter": installation.nginx_exporter,
    "postgres-exporter": installation.postgres_exporter,
    "redis-exporter": installation.redis_exporter,
    "pg_isready": lambda: installation.postgres_binaries() / "pg_isready",
    "rabbitmq-diagnostics": lambda: installation.rabbitmq_scripts() / "rabbitmq-diagnostics",
}


class Container(Server):
    """One container of the overlay."""

    def __init__(self, cluster: "Cluster", workload: Document, container: Document) -> None:
        super().__init__(cluster.folder / container["name"])
        self.name = container["name"]
        self.container = container
        self.workload = workload
        self.part = component(workload)
        self._cluster = cluster

    def run(self) -> subprocess.CompletedProcess[str]:
        """Run it to its end, as a Job does."""
        self._prepare()
        self._process = subprocess.Popen(
            self._command(),
            env=self._environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        try:
            out, err = self._process.communicate(timeout=120)
        finally:
            self._process.kill()  # No more than a formality, unless it took too long.
        return subprocess.CompletedProcess(
            self._process.args, self._process.returncode, out.decode(), err.decode()
        )

    def probe(self, kind: str) -> bool:
        """Whether a probe passes, called as it is written."""
        probe = self.container[kind]
        if "exec" in probe:
            return self._cluster.executed(self, probe["exec"]["command"])
        how = probe.get("httpGet") or probe["tcpSocket"]
        port = self._cluster.ports[self.part, self._number(how["port"])]
        target = f"http://127.0.0.1:{port}{how.get('path', '/')}"
        try:
            with urllib.request.urlopen(target, timeout=probe.get("timeoutSeconds", 1)) as answer:
                return 200 <= answer.status < 400
        except OSError:
            return False

    def _number(self, name: str) -> int:
        (number,) = (p["containerPort"] for p in self.container["ports"] if p["name"] == name)
        return number

    def _answers(self) -> bool:
        return self.probe("startupProbe" if "startupProbe" in self.container else "readinessProbe")

    def _prepare(self) -> None:
        volumes = {one["name"]: one for one in pod(self.workload)["volumes"]}
        for mount in self.container.get("volumeMounts", ()):
            folder = self.path(mount["mountPath"])
            folder.mkdir(parents=True, exist_ok=True)
            for name, text in self._cluster.content(volumes.get(mount["name"], {})).items():
                (folder / name).write_text(text)
        if self.name == "web":
            self._fill_in_templates()
        if self.name == "prometheus":
            file = self.path("/etc/prometheus") / "prometheus.yml"
            file.write_text(json.dumps(self._discovered(parsed(file.read_text()))))

    def _fill_in_templates(self) -> None:
        values = self._environment()
        allowed = re.compile(values["NGINX_ENVSUBST_FILTER"])
        given = {name: value for name, value in values.items() if allowed.search(name)}
        for template in self.path("/etc/nginx/templates").glob("*.template"):
            written = Template(template.read_text()).safe_substitute(given)
            (Path(values["NGINX_ENVSUBST_OUTPUT_DIR"]) / template.stem).write_text(written)

    def _discovered(self, configuration: Document) -> Document:
        """With the targets that its own rules find among the pods in place of asking a cluster."""
        for job in configuration["scrape_configs"]:
            del job["kubernetes_sd_configs"]
            job["static_configs"] = self._cluster.targets(job.pop("relabel_configs"))
            if "authorization" in job:
                key = job["authorization"]["credentials_file"]
                job["authorization"]["credentials_file"] = self.here(key)
        alertmanager = self._cluster.addresses("alertmanager:9093", self.part)
        configuration["alerting"] = {
            "alertmanagers": [{"static_configs": [{"targets": [alertmanager]}]}]
        }
        return configuration

    def path(self, mount: str) -> Path:
        """Where a path within the container is."""
        return self.folder / "root" / mount.lstrip("/")

    def _environment(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
        values = self._cluster.values(self.container)
        port = values.get("OBSERVATORY_PORT")
        if port:
            own = self._cluster.ports[self.part, int(port)]
            values |= {"OBSERVATORY_HOST": "127.0.0.1", "OBSERVATORY_PORT": str(own)}
        for name in ("EDGE_LISTEN", "EDGE_STATUS", "EDGE_TLS_LISTEN"):
            if name in values:
                values[name] = f"127.0.0.1:{self._cluster.ports[self.part, int(values[name])]}"
        return kept | {name: self.here(value) for name, value in values.items()}

    def here(self, text: str) -> str:
        """A value or argument with its addresses and paths as they are on this machine."""
        text = self._cluster.addresses(text, self.part)
        # At once, as a path that is put in place may begin like a mount.
        mounts = [re.escape(one["mountPath"]) for one in self.container.get("volumeMounts", ())]
        if not mounts:
            return text
        longest_first = "|".join(sorted(mounts, key=len, reverse=True))
        return re.sub(
            rf"(^|=)({longest_first})(?=/|$)",
            lambda found: f"{found[1]}{self.path(found[2])}",
            text,
        )

    def _command(self) -> Sequence[str | Path]:
        environment = self._cluster.values(self.container)
        arguments = [
            re.sub(r"\$\(([A-Z_]+)\)", lambda found: environment[found[1]], one)
            for one in [*self.container.get("command", ()), *self.container.get("args", ())]
        ]
        # The program is this machine's, wherever it is: only what it is told is of the container.
        if arguments[0] == "observatory":
            program = [sys.executable, "-m", "observatory.interfaces.cli.main"]
            arguments.pop(0)
        elif arguments[0] in _PROGRAMS:
            program = [str(_PROGRAMS[arguments.pop(0)]())]
        else:
            program = [str(_PROGRAMS[self.name]())]
        listens = {
            "redis": ["--bind", "127.0.0.1", "--port", self._own(6379)],
            "prometheus": [
                f"--web.listen-address=127.0.0.1:{self._own(9090)}",
                # What it tells before it knows of Alertmanager it tells again, by itself after 1m.
                "--rules.alert.resend-delay=5s",
            ],
            "alertmanager": [f"--web.listen-address=127.0.0.1:{self._own(9093)}"],
        }
        told = [self.here(one) for one in arguments] + listens.get(self.name, [])
        if self.name == "web" and os.geteuid() == 0:
            # nginx's workers would be another's, and not get into this folder.
            told[told.index("daemon off;")] += " user root;"
        if "workingDir" in self.container:
            program = ["env", f"--chdir={self.path(self.container['workingDir'])}", *program]
        return [*program, *told]

    def _own(self, port: int) -> str:
        return str(self._cluster.ports.get((self.part, port), 0))


def _labels(rules: list[Document], seen: dict[str, str]) -> dict[str, str]:
    """What rules of relabelling call a target whose own labels are these."""
    found: dict[str, str] = {}
    for rule in rules:
        value = seen.get(rule["source_labels"][0], "-")
        if matched := re.fullmatch(rule.get("regex", "(.*)"), value):
            replacement = rule.get("replacement", "$1").replace("$1", r"\1")
            found[rule["target_label"]] = matched.expand(replacement)
    return found


class Cluster:
    """Everything of an overlay, to be started part by part."""

    def __init__(self, documents: list[Document], folder: Path) -> None:
        self.folder = folder
        self.documents = documents
        self.watch: Watch
        """Who connects to whom, once somebody watches."""
        self.key, gate = new_key("gate", ["admin"])
        reader, watching = new_key("prometheus", ["read"])
        self.secrets = {
            "observatory-keys": {"entries": f"{gate},{watching}", "reader": reader},
            "observatory-credentials": {
                name: secrets.token_urlsafe(16)
                for name in ("rabbitmq", "postgres", "redis", "grafana", "pgadmin")
            },
        }
        self.rabbitmq = RabbitmqServer(folder / "rabbitmq", metrics=True)
        self.rabbitmq.folder.mkdir(parents=True)
        (self.rabbitmq.folder / "password").write_text(
            self.secrets["observatory-credentials"]["rabbitmq"]
        )
        self.postgres = PostgresServer(folder / "postgres", fsync=False)
        taken: set[int] = set()
        self.ports: dict[tuple[str, int], int] = {}
        for workload, container in containers(documents):
            for port in container.get("ports", ()):
                taken.add(free := free_port(taken))
                self.ports[component(workload), port["containerPort"]] = free
        metrics = int(self.rabbitmq.metrics_address.rpartition(":")[2])
        self.ports |= {
            ("rabbitmq", 5672): self.rabbitmq.port,
            ("rabbitmq", 15692): metrics,
            ("postgres", 5432): self.postgres.port,
        }
        self.containers = {
            container["name"]: Container(self, workload, container)
            for workload, container in containers(documents)
        }

    def sessions(self) -> dict[int, str]:
        """The processes that run now, by the first of each, and of which part each is."""
        return {one.pid: one.part for one in self.containers.values() if one.alive}

    @property
    def listeners(self) -> dict[int, str]:
        """The ports of this machine, and which part of the system listens there."""
        return {port: part for (part, _), port in self.ports.items()}

    def values(self, container: Document) -> dict[str, str]:
        """The environment as Kubernetes makes it: secrets read, `$(NAME)` filled in."""
        found: dict[str, str] = {}
        by_reference = {
            one["name"]: self.secrets[reference["name"]][reference["key"]]
            for one in container.get("env", ())
            if "valueFrom" in one and (reference := one["valueFrom"]["secretKeyRef"])
        }
        for name, value in written_environment(container, self.documents).items():
            filled = re.sub(r"\$\(([A-Z_]+)\)", lambda one: found[one[1]], value)
            found[name] = by_reference.get(name, filled)
        return found

    def content(self, volume: dict[str, Any]) -> dict[str, str]:
        """The files of a volume, by name."""
        if "configMap" in volume:
            maps = {one["metadata"]["name"]: one for one in of_kind(self.documents, "ConfigMap")}
            return maps[volume["configMap"]["name"]]["data"]
        if "secret" in volume:
            held = self.secrets[volume["secret"]["secretName"]]
            return {one["path"]: held[one["key"]] for one in volume["secret"]["items"]}
        if "projected" in volume:
            return {
                k: v for one in volume["projected"]["sources"] for k, v in self.content(one).items()
            }
        return {}

    def targets(self, rules: list[Document]) -> list[Document]:
        """What rules of relabelling leave of the pods' ports, and what they call it."""
        found: list[Document] = []
        for workload, container in containers(self.documents):
            labels = workload["spec"]["template"]["metadata"]["labels"].items()
            meta = {
                f"__meta_kubernetes_pod_label_{re.sub('[^a-z]', '_', name)}": value
                for name, value in labels
            }
            meta |= {"__meta_kubernetes_pod_phase": "Running"}
            for port in container.get("ports", ()):
                seen: dict[str, str] = meta | {
                    "__meta_kubernetes_pod_container_port_name": port["name"]
                }
                kept = [rule for rule in rules if rule.get("action") == "keep"]
                if all(re.fullmatch(one["regex"], seen[one["source_labels"][0]]) for one in kept):
                    own = self.ports[component(workload), port["containerPort"]]
                    named = _labels([one for one in rules if "target_label" in one], seen)
                    found.append({"targets": [f"127.0.0.1:{own}"], "labels": named})
        return found

    def addresses(self, text: str, part: str) -> str:
        """`service:port` as it is on this machine; the loopback of a pod is its own."""
        ports = {
            (one["metadata"]["name"], lead["port"]): (component(one), lead["targetPort"])
            for one in of_kind(self.documents, "Service")
            for lead in one["spec"]["ports"]
        }
        numbers = {
            (component(workload), port["name"]): port["containerPort"]
            for workload in workloads(self.documents)
            for one in pod(workload)["containers"]
            for port in one.get("ports", ())
        }

        def found(match: re.Match[str]) -> str:
            host, port = match[1], int(match[2])
            if (host, port) in ports:
                target = ports[host, port]
                return f"127.0.0.1:{self.ports[target[0], numbers[target]]}"
            if host in ("127.0.0.1", "") and (part, port) in self.ports:
                return f"127.0.0.1:{self.ports[part, port]}"
            return match[0]

        return re.sub(r"(?<![\w.-])([a-z][a-z-]*|127\.0\.0\.1|(?<==)):(\d+)\b", found, text)

    def asked_of_redis(self, *command: str) -> str:
        """What Redis answers to a command."""
        program = [installation.redis_cli(), "-p", str(self.ports["redis", 6379]), *command]
        password = self.secrets["observatory-credentials"]["redis"]
        return subprocess.run(
            program,
            env=os.environ | {"REDISCLI_AUTH": password},
            capture_output=True,
            text=True,
            timeout=60,
        ).stdout.strip()

    def executed(self, container: Container, command: Sequence[str]) -> bool:
        """Whether a command of a probe succeeds, told the port that differs here."""
        port = {
            "pg_isready": ["--port", str(self.postgres.port)],
            "redis-cli": ["-p", str(self.ports["redis", 6379])],
        }
        environment: dict[str, str] = dict(os.environ) | self.values(container.container)
        if container.part == "rabbitmq":
            environment = dict(self.rabbitmq._environment())  # pyright: ignore[reportPrivateUsage]
        done = subprocess.run(
            [_PROGRAMS[command[0]](), *port.get(command[0], ()), *command[1:]],
            env=environment,
            capture_output=True,
            timeout=60,
        )
        return done.returncode == 0
