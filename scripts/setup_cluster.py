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
WORKLOADS = (
    *(
        f"statefulset/{one}"
        for one in ("rabbitmq", "postgres", "redis", "prometheus", "alertmanager")
    ),
    *(f"deployment/{one}" for one in ("gateway", "processor", "metrics-engine", "read-model")),
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


def set_up(*, dry: bool) -> None:
    """Every step, in order. Raises Failed."""
    if not dry:
        kind_cluster.require(("docker", "kind", "kubectl"))
        if ask(("docker", "info")).returncode:
            raise Failed("docker does not answer: start its engine first")
    if dry or kind_cluster.NAME not in ask(("kind", "get", "clusters")).stdout.split():
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
        if not dry and ask((*KUBECTL, "get", "secret", name)).returncode == 0:
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
    for workload in WORKLOADS:
        wait = (*KUBECTL, "rollout", "status", workload, "--timeout=600s")
        run(wait, why=f"waiting for {workload}", dry=dry)


def main() -> int:
    """Set up; 1 where a step fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dry-run", action="store_true", help="print each step and change nothing")
    given = parser.parse_args()
    try:
        set_up(dry=given.dry_run)
    except Failed as failed:
        return kind_cluster.told(failed)
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
