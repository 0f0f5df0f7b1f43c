#!/usr/bin/env python3
"""Run the whole system in a kind cluster on this machine, and print where it is.

python scripts/setup_cluster.py [--dry-run]

Safe to repeat: what is there already, passwords and keys included, is kept.
"""

import argparse
import hashlib
import json
import secrets
import sys

import kind_cluster
from kind_cluster import KUBECTL, Failed, ask, run

CREDENTIALS = ("rabbitmq", "postgres", "redis", "grafana", "pgadmin")
OURS = tuple(
    f"deployment/{one}" for one in ("gateway", "processor", "metrics-engine", "read-model")
)
WORKLOADS = (
    *(
        f"statefulset/{one}"
        for one in ("rabbitmq", "postgres", "redis", "prometheus", "alertmanager")
    ),
    *OURS,
    *(f"deployment/{one}" for one in ("web", "grafana", "pgadmin")),
    *(f"deployment/{one}-exporter" for one in ("postgres", "redis")),
)


def new_secrets() -> dict[str, dict[str, str]]:
    """Passwords and API keys that nobody has chosen: each Secret by its name."""
    keys = {name: f"obs_{name}_{secrets.token_urlsafe(32)}" for name in ("operator", "reader")}
    scopes = {"operator": "admin", "reader": "read"}
    entries = [
        f"{name}:{scopes[name]}:{hashlib.sha256(key.encode()).hexdigest()}"
        for name, key in keys.items()
    ]
    return {
        "observatory-credentials": {name: secrets.token_urlsafe(24) for name in CREDENTIALS},
        "observatory-keys": {**keys, "entries": ",".join(entries)},
    }


def _looked_around() -> bool:
    """Whether the cluster is there. Raises Failed where it could not be made or used."""
    kind_cluster.require(("docker", "kind", "kubectl"))
    if ask(("docker", "info")).returncode:
        raise Failed("docker does not answer: start its engine first")
    kind_cluster.require_release(("kind", "version"), (0, 24), "enforces who may connect to whom")
    kubectl = ("kubectl", "version", "--client")
    kind_cluster.require_release(kubectl, (1, 30), "knows all that the manifests hold")
    return kind_cluster.NAME in ask(("kind", "get", "clusters")).stdout.split()


def _has_secret(name: str) -> bool:
    """Whether the cluster holds a Secret. Raises Failed where it does not say."""
    asked = ask((*KUBECTL, "get", "secret", name, "--ignore-not-found", "--output", "name"))
    if asked.returncode:
        raise Failed(f"asking for {name}: {asked.stderr.strip()}")
    return bool(asked.stdout.strip())


def set_up(*, dry: bool) -> None:
    """Every step, in order. Raises Failed."""
    there = not dry and _looked_around()
    if not there:
        configuration = str(kind_cluster.OVERLAY / "cluster.yaml")
        create = ("kind", "create", "cluster", "--config", configuration, "--wait", "120s")
        run(create, why="making the cluster", dry=dry)
    build = ("docker", "build", "--tag", kind_cluster.IMAGE, ".")
    run(build, why="building the image", dry=dry)
    load = ("kind", "load", "docker-image", kind_cluster.IMAGE, "--name", kind_cluster.NAME)
    run(load, why="giving the image to the cluster", dry=dry)
    namespace = kind_cluster.ROOT / "deploy" / "kubernetes" / "base" / "namespace.yaml"
    run((*KUBECTL, "apply", "--filename", str(namespace)), why="making the namespace", dry=dry)
    for name, values in new_secrets().items():
        if not dry and _has_secret(name):
            continue
        document = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}}
        # By standard input: what stands on a command line is seen by every user of the machine.
        given = json.dumps({**document, "stringData": values})
        run((*KUBECTL, "create", "--filename", "-"), why=f"making {name}", dry=dry, given=given)
    # A Job cannot be changed, and the migration of the next release is another.
    gone = (*KUBECTL, "delete", "job", "migrate", "--ignore-not-found")
    run(gone, why="making way for the migration", dry=dry)
    apply = (*KUBECTL, "apply", "--kustomize", str(kind_cluster.OVERLAY))
    run(apply, why="applying the manifests", dry=dry)
    migrated = (*KUBECTL, "wait", "--for=condition=complete", "job/migrate", "--timeout=600s")
    run(migrated, why="waiting for the schema", dry=dry)
    if there:
        # The image may be another under the same name, of which the cluster sees nothing.
        again = (*KUBECTL, "rollout", "restart", *OURS)
        run(again, why="starting the services from the image", dry=dry)
    for workload in WORKLOADS:
        wait = (*KUBECTL, "rollout", "status", workload, "--timeout=600s")
        try:
            run(wait, why=f"waiting for {workload}", dry=dry)
        except Failed:
            run((*KUBECTL, "get", "pods"), why="what has become of them", dry=dry)
            raise


def main() -> int:
    """Set up; 1 where a step fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dry-run", action="store_true", help="print each step and change nothing")
    given = parser.parse_args()
    if code := kind_cluster.finished(lambda: set_up(dry=given.dry_run)):
        return code
    kubectl = " ".join(KUBECTL)
    print(f"The page: {kind_cluster.PAGE}")
    print(
        f"Its key, in base64: {kubectl} get secret observatory-keys -o jsonpath={{.data.operator}}"
    )
    for name, port in (("grafana", 3000), ("prometheus", 9090), ("pgadmin", 5050)):
        print(f"{name}: {kubectl} port-forward service/{name} {port}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
