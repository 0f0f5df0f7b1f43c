"""compose.yaml is the overlay for kind in other words, and asks for no password that it does not name.

No engine runs here: the file is checked against the schema of the Compose specification, by Compose itself
where the machine has it, and against the manifests, which are run (see `test_as_processes.py`).
"""

import json
import os
import re
import shutil
import stat
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import jsonschema
import pytest
from composition import Unset, composed, read_environment
from rendering import (
    ROOT,
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

from monitoring import scraping

KIND: Final = "overlays/kind"
WHOLE: Final = ROOT / "compose.yaml"
SERVERS: Final = ROOT / "compose.servers.yaml"
SECRETS: Final = {
    **{f"observatory-credentials.{name}": f"{name.upper()}_PASSWORD"
       for name in ("rabbitmq", "postgres", "redis", "grafana", "pgadmin")},
    "observatory-keys.entries": "API_KEYS",
    "observatory-keys.reader": "READER_KEY",
}  # fmt: skip
FOR_OTHERS: Final = {"RABBITMQ_PASSWORD", "POSTGRES_PASSWORD", "REDIS_PASSWORD"}
"""What Kubernetes needs in a container only to make a URL of it."""


@pytest.fixture(scope="module")
def variables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the documented command writes."""
    file = tmp_path_factory.mktemp("environment") / ".env"
    script = ROOT / "scripts" / "write_environment.py"
    subprocess.run([sys.executable, script, file], check=True, capture_output=True, timeout=60)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    return read_environment(file)


@pytest.fixture(scope="module")
def services(variables: dict[str, str]) -> dict[str, Document]:
    return composed(WHOLE, variables)["services"]


PODS: Final = {one["name"]: (workload, one) for workload, one in containers(rendered(KIND))}
every_container = pytest.mark.parametrize("name", sorted(PODS))


@pytest.mark.parametrize("file", [WHOLE, SERVERS], ids=lambda one: one.name)
def test_it_is_what_the_specification_takes(file: Path, variables: dict[str, str]) -> None:
    schemas = files("check_jsonschema") / "builtin_schemas" / "vendor" / "compose-spec.json"
    jsonschema.validate(composed(file, variables), json.loads(schemas.read_text()))


def test_a_key_that_the_specification_does_not_know_would_be_found(
    variables: dict[str, str],
) -> None:
    schemas = files("check_jsonschema") / "builtin_schemas" / "vendor" / "compose-spec.json"
    wrong = composed(WHOLE, variables)
    wrong["services"]["gateway"]["helthcheck"] = {}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, json.loads(schemas.read_text()))


OLDEST_COMPOSE: Final = (2, 17)
"""The first that restarts what depends on another."""


def configured(file: Path, variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """What `docker compose config` says. It needs no engine."""
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]) is None:
            continue
        told = subprocess.run(
            [*command, "version", "--short"], capture_output=True, text=True, timeout=60
        )
        version = re.match(r"v?(\d+)\.(\d+)", told.stdout)
        if version is not None and tuple(map(int, version.groups())) >= OLDEST_COMPOSE:
            given = {"PATH": os.environ["PATH"], **variables}
            asked = ["--env-file", os.devnull, "--file", str(file), "config", "--format", "json"]
            return subprocess.run(
                [*command, *asked], env=given, capture_output=True, text=True, timeout=60
            )
    pytest.skip("NOT TESTED: this machine has no Docker Compose of 2.17 or newer")


@pytest.mark.parametrize("file", [WHOLE, SERVERS], ids=lambda one: one.name)
def test_compose_reads_it_as_it_is_read_here(file: Path, variables: dict[str, str]) -> None:
    done = configured(file, variables)
    assert done.returncode == 0, done.stderr
    # It writes what may be read again, so that a dollar is two.
    read = json.loads(done.stdout.replace("$$", "$"))["services"]
    here = composed(file, variables)["services"]

    assert read.keys() == here.keys()
    for name, service in here.items():
        assert read[name]["image"] == service["image"]
        assert (read[name].get("command") or []) == service.get("command", []), name
        assert read[name].get("environment", {}) == service.get("environment", {}), name
        assert (read[name].get("depends_on") or {}).keys() == service.get("depends_on", {}).keys()


def test_compose_says_which_password_is_not_set(variables: dict[str, str]) -> None:
    done = configured(WHOLE, variables | {"REDIS_PASSWORD": ""})

    assert done.returncode != 0
    assert re.search(r"REDIS_PASSWORD.*scripts/write_environment\.py", done.stderr), done.stderr


def test_it_has_the_containers_of_the_overlay_and_no_other(services: dict[str, Document]) -> None:
    assert services.keys() == PODS.keys()


@every_container
def test_images_and_commands_are_those_of_the_overlay(
    name: str, services: dict[str, Document], variables: dict[str, str]
) -> None:
    workload, container = PODS[name]
    service = services[name]

    assert service["image"] == container["image"]
    entry: list[str] = container.get("command", [])
    # The image of our own has its command as its entry point.
    own_entry: list[str] = [] if entry == ["observatory"] else entry
    wanted: list[str] = [*own_entry, *container.get("args", ())]
    held: dict[str, str] = {"REDISCLI_AUTH": variables["REDIS_PASSWORD"]}
    filled = [re.sub(r"\$\(([A-Z_]+)\)", lambda found: held[found[1]], one) for one in wanted]
    assert service.get("command", []) == filled
    assert service.get("working_dir") == container.get("workingDir")
    if service["image"].startswith("observatory:"):
        assert service["build"] == "."
    user = pod(workload)["securityContext"].get("runAsUser")
    own = service.get("user", "").split(":")[0]
    # Without the volumes of Kubernetes, pgAdmin and the exporter keep the user of their image.
    assert own == str(user) or name in ("pgadmin", "exporter")


def nginx_asks_again(image: str) -> bool:
    """Whether it knows `resolve` for a server of an upstream: nginx does from 1.27.3 on."""
    return tuple(int(one) for one in image.rpartition(":")[2].split(".")) >= (1, 27, 3)


@every_container
def test_environments_are_those_of_the_overlay(
    name: str, services: dict[str, Document], variables: dict[str, str]
) -> None:
    _, container = PODS[name]
    found: dict[str, str] = {}
    for setting, value in environment(container, rendered(KIND)).items():
        secret = SECRETS.get(value)
        found[setting] = (
            variables[secret]
            if secret
            else re.sub(r"\$\(([A-Z_]+)\)", lambda one: found[one[1]], value)
        )
    if name == "web":
        # The address of a container does not stay, as that of a Service does: it is asked for again.
        assert nginx_asks_again(services["web"]["image"])
        found |= {lead: f"{found[lead]} resolve" for lead in ("EDGE_GATEWAY", "EDGE_READ_MODEL")}
        found["EDGE_NAMES"] = "resolver 127.0.0.11 valid=5s ipv6=off;"
    if container.get("command") == ["observatory"]:
        found = {setting: found[setting] for setting in found.keys() - FOR_OTHERS}

    assert services[name].get("environment", {}) == found


@every_container
def test_files_are_those_of_the_overlay(name: str, services: dict[str, Document]) -> None:
    workload, container = PODS[name]
    maps = {one["metadata"]["name"]: one["data"] for one in of_kind(rendered(KIND), "ConfigMap")}
    volumes = {one["name"]: one for one in pod(workload)["volumes"]}
    wanted: dict[str, str] = {}
    kept: set[str] = set()
    claims = {one["metadata"]["name"] for one in workload["spec"].get("volumeClaimTemplates", ())}
    for mount in container.get("volumeMounts", ()):
        volume = volumes.get(mount["name"], {})
        if "configMap" in volume:
            content = maps[volume["configMap"]["name"]]
            wanted |= {f"{mount['mountPath']}/{file}": text for file, text in content.items()}
        if mount["name"] in claims:
            kept.add(mount["mountPath"])
    if name == "prometheus":
        # It finds containers by their names in place of pods by their labels.
        own = ROOT / "monitoring" / "prometheus" / "compose.yml"
        assert parsed(own.read_text()) == scraping.compose()
        wanted["/etc/prometheus/prometheus.yml"] = own.read_text()

    mounted: dict[str, str] = {}
    for volume in services[name].get("volumes", ()):
        source, target, *mode = volume.split(":")
        if not source.startswith("./"):
            kept.remove(target)
            continue
        assert mode == ["ro"]
        path = ROOT / source
        for file in [path] if path.is_file() else sorted(path.iterdir()):
            mounted[target if path.is_file() else f"{target}/{file.name}"] = file.read_text()

    assert (mounted, kept) == (wanted, set())


def test_ports_are_of_the_loopback_and_those_the_scripts_tell(
    services: dict[str, Document],
) -> None:
    ports = {name: one["ports"] for name, one in services.items() if "ports" in one}
    script = (ROOT / "scripts" / "setup_cluster.py").read_text()
    told = dict(re.findall(r'\("(grafana|prometheus|pgadmin)", (\d+)\)', script))
    assert len(told) == 3

    assert ports == {
        "web": ["127.0.0.1:8080:8080"],
        **{name: [f"127.0.0.1:{port}:{port}"] for name, port in told.items()},
    }
    for name, given in ports.items():
        inside = {port["containerPort"] for port in PODS[name][1]["ports"]}
        assert all(int(one.rpartition(":")[2]) in inside for one in given)


def test_what_the_edge_and_prometheus_ask_for_is_where_they_ask(
    services: dict[str, Document],
) -> None:
    scrapes: list[Any] = scraping.compose()["scrape_configs"]
    asked = {
        (name, config["port"])
        for job in scrapes
        for config in job["dns_sd_configs"]
        for name in config["names"]
    }
    telling = {
        (component(workload), port["containerPort"])
        for workload, container in containers(rendered(KIND))
        for port in container.get("ports", ())
        if port["name"] in ("http", "metrics")
    }

    assert asked == telling
    assert services["exporter"]["network_mode"] == "service:web"


def test_each_starts_once_what_it_stands_on_is_healthy(services: dict[str, Document]) -> None:
    for name, service in services.items():
        for other, how in service.get("depends_on", {}).items():
            job = PODS[other][0]["kind"] == "Job"
            wanted = "service_completed_successfully" if job else "service_healthy"
            assert how["condition"] == wanted, (name, other)
            assert job or "test" in services[other]["healthcheck"], (name, other)
        written = json.dumps([service.get("environment"), service.get("command")])
        hosts = set(re.findall(r"(?:@|//|\")([a-z][a-z-]*):\d+", written)) & services.keys()
        assert hosts - _before(services, name) <= {"alertmanager"}, name
    assert {"migrate", "rabbitmq", "postgres", "redis"} <= services["gateway"]["depends_on"].keys()
    migration = services["migrate"]
    assert migration["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    assert migration["restart"] == "on-failure:20"


def _before(services: dict[str, Document], name: str) -> set[str]:
    """What is up before a service, also by way of others."""
    own = services[name].get("depends_on", {}).keys()
    return set(own).union(*(_before(services, one) for one in own))


def test_ends_are_given_their_time_and_memory_is_bounded(services: dict[str, Document]) -> None:
    for name, (_, container) in PODS.items():
        limit = container["resources"]["limits"]["memory"].removesuffix("i").lower()
        assert services[name]["mem_limit"] == limit, name
        assert services[name]["cap_drop"] == ["ALL"], name
    for name in ("gateway", "processor", "metrics-engine", "read-model"):
        grace = float(services[name]["environment"]["OBSERVATORY_GRACE_SECONDS"])
        assert float(services[name]["stop_grace_period"].removesuffix("s")) >= grace + 10


@pytest.mark.parametrize("name", sorted(set(SECRETS.values()) - {"READER_KEY"}))
def test_a_password_that_is_not_set_is_said_with_the_way_out(
    name: str, variables: dict[str, str]
) -> None:
    with pytest.raises(Unset, match=rf"{name} .*scripts/write_environment\.py"):
        composed(WHOLE, variables | {name: ""})


def test_passwords_are_made_once(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("kept")
    script = ROOT / "scripts" / "write_environment.py"
    done = subprocess.run(
        [sys.executable, script, file], capture_output=True, text=True, timeout=60
    )

    assert (done.returncode, file.read_text()) == (1, "kept")
    assert "is kept" in done.stderr


def test_the_servers_alone_are_of_the_same_images() -> None:
    alone = composed(SERVERS, {})["services"]

    assert alone.keys() == {"rabbitmq", "postgres", "redis"}
    for name, service in alone.items():
        assert service["image"] == PODS[name][1]["image"]
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])


def test_every_workload_of_the_overlay_is_one_container() -> None:
    """Were one to run several, what is compared here would not be all of it."""
    for workload in workloads(rendered(KIND)):
        assert workload["spec"].get("replicas", 1) == 1, component(workload)
