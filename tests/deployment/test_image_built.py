"""The image is built by `make image`, and the overlay for kind runs from it, as its manifests say.

Where no registry can be reached, the bases are stand-ins made of packages (`development/image_bases.py`);
where no engine can run either, all of this is skipped. Both are said aloud.
"""

import json
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import datetime
from time import monotonic
from typing import Any, Final, NamedTuple

import pytest
from cluster import Cluster
from from_image import IMAGE, RESTRICTED, ContainerOfImage, health_of
from rendering import ROOT, rendered

from development.container_engine import Engine, EngineFailed, EngineUnavailable
from development.image_bases import engine_for
from development.process import Server, free_port
from real import until

BUILD_TIMEOUT_S: Final = 600
# On a machine's first run the engine is installed and the bases are made before that.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(2 * BUILD_TIMEOUT_S)]

SERVICES: Final = ("gateway", "processor", "metrics-engine", "read-model")
HOST: Final = ("run", "--rm", "--network", "host", *RESTRICTED, "--tmpfs", "/tmp")


class Built(NamedTuple):
    """The image, where it is, and what it says of itself."""

    engine: Engine
    stand_ins: list[str]
    configuration: dict[str, Any]

    def sh(self, script: str, *options: str) -> str:
        """What a shell in a container of it prints."""
        return self.engine.docker(
            "run", "--rm", "--network", "none", *options, "--entrypoint", "sh", IMAGE, "-c", script
        )


def aloud(config: pytest.Config, text: str) -> None:
    """Say something to whoever runs the tests, whatever becomes of them."""
    with config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print(f"\n==> {text}", file=sys.stderr)


@pytest.fixture(scope="module")
def built(request: pytest.FixtureRequest) -> Iterator[Built]:
    with ExitStack() as stack:
        try:
            engine, stand_ins = stack.enter_context(engine_for(ROOT / "Dockerfile"))
        except EngineUnavailable as unavailable:
            reason = f"the image is NOT built and NOT run: {unavailable}"
            aloud(request.config, reason)
            pytest.skip(reason)
        if stand_ins:
            aloud(request.config, f"no registry: stand-ins for {', '.join(stand_ins)}")
        began = monotonic()
        done = subprocess.run(
            ["make", "image", "IMAGE_OPTIONS=--network host"],
            cwd=ROOT,
            env=engine.environment,
            capture_output=True,
            text=True,
            timeout=BUILD_TIMEOUT_S,
        )
        assert done.returncode == 0, (done.stdout + done.stderr)[-5000:]
        (found,) = json.loads(engine.docker("image", "inspect", IMAGE))
        size = f"{found['Size'] / 1e6:.0f} MB"
        aloud(request.config, f"image built in {monotonic() - began:.0f} s, {size}")
        yield Built(engine, stand_ins, found["Config"])


@pytest.fixture(scope="module")
def cluster(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    made = Cluster(rendered("overlays/kind"), tmp_path_factory.mktemp("from-image"))
    ours = [name for name, one in made.containers.items() if one.container["image"] == IMAGE]
    assert sorted(ours) == sorted([*SERVICES, "migrate"])
    for name in ours:
        made.containers[name] = ContainerOfImage(made, made.containers[name], built.engine)
    servers = [made.containers[name] for name in ("redis", "alertmanager", "prometheus")]
    with running(made.rabbitmq, made.postgres, *servers):
        made.postgres.psql("CREATE ROLE observatory LOGIN")
        made.postgres.psql("CREATE DATABASE observatory OWNER observatory")
        migrated = made.containers["migrate"].run()
        assert migrated.returncode == 0, migrated.stdout + migrated.stderr
        with running(*(made.containers[name] for name in (*SERVICES, "web"))):
            yield made


@contextmanager
def running(*servers: Server) -> Iterator[None]:
    """Servers that need not wait for one another."""
    with ThreadPoolExecutor(len(servers)) as threads:
        try:
            list(threads.map(Server.start, servers))
            yield
        finally:
            list(threads.map(Server.stop, servers))


def test_it_says_what_it_is(built: Built) -> None:
    project = (ROOT / "pyproject.toml").read_text()
    labels = built.configuration["Labels"]
    told = {
        name.removeprefix("org.opencontainers.image."): value
        for name, value in labels.items()
        if name.startswith("org.opencontainers.image.")
    }

    assert told.keys() == {"title", "description", "version", "licenses", "revision", "created"}
    assert re.fullmatch("[0-9a-f]{40}(-dirty)?", told["revision"])
    assert datetime.fromisoformat(told["created"]).tzinfo is not None
    assert f'version = "{told["version"]}"' in project
    assert f'license = "{told["licenses"]}"' in project
    assert bool(built.stand_ins) == ("stand-in" in labels)
    assert built.engine.docker("run", "--rm", *RESTRICTED, IMAGE, "--version")


def test_nobody_in_particular_runs_it_and_may_write_nowhere(built: Built) -> None:
    assert built.sh("id -u; id -g").split() == ["10001", "10001"]
    # As it would be where somebody forgets the read-only file system.
    writable = built.sh("find / -xdev -writable ! -type l 2>/dev/null || true").split()
    assert set(writable) <= {"/tmp", "/var/tmp", "/run/lock"}
    # What the image adds to its base: of root, open to nobody else's writing, without set-id bits.
    odd = r"find /opt ! -type l \( ! -uid 0 -o -perm /022 -o -perm /6000 \)"
    assert built.sh(odd) == ""
    # And with that file system: the folder in memory alone.
    assert built.sh("touch /tmp/1 && ! touch /var/tmp/1", *RESTRICTED, "--tmpfs", "/tmp") == ""


def test_it_holds_what_the_lock_names_and_nothing_that_built_it(built: Built) -> None:
    named = (
        "from importlib.metadata import distributions as d\n"
        "print(*(f'{one.name.lower()}=={one.version}' for one in d(path=__import__('sys').path[-1:])))"
    )
    held = built.engine.docker("run", "--rm", "--entrypoint", "python", IMAGE, "-c", named).split()
    locked = set(
        re.findall(r'^name = "(.+)"\nversion = "(.+)"', (ROOT / "uv.lock").read_text(), re.M)
    )

    assert len(held) > 40
    pinned = {f"{name}=={version}" for name, version in locked}
    assert {
        re.sub("[._]", "-", one.partition("==")[0]) + "==" + one.partition("==")[2] for one in held
    } <= pinned
    assert (
        built.sh(
            "for one in uv node npm; do command -v $one; done; ls -d /source /wheels 2>/dev/null; true"
        )
        == ""
    )


def test_every_service_runs_from_it_and_is_healthy(cluster: Cluster) -> None:
    for name in SERVICES:
        container = cluster.containers[name]
        assert isinstance(container, ContainerOfImage)
        for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
            until(lambda c=container, k=kind: c.probe(k), timeout_s=30, why=lambda n=name: n)
        until(lambda c=container: c.health() == "healthy", timeout_s=60, why=container.health)


def test_the_gate_passes_from_it_through_the_edge(built: Built, cluster: Cluster) -> None:
    edge = f"http://127.0.0.1:{cluster.ports['web', 8080]}"
    given = dict(built.engine.environment) | {"OBSERVATORY_API_KEY": cluster.key}
    told = Engine(given, private=built.engine.private).docker(
        *(*HOST, "--env", f"OBSERVATORY_URL={edge}", "--env", "OBSERVATORY_API_KEY", IMAGE),
        *("gate", "--json", "--timeout", "120", "--type", "source.analyze"),
        *("--payload", '{"path": "json/decoder.py"}'),
    )

    verdicts = {one["check"]: one["verdict"] for one in json.loads(told)["checks"]}
    assert set(verdicts.values()) == {"PASS"}, verdicts
    (alerts,) = (one for one in json.loads(told)["checks"] if one["check"] == "alerts")
    assert "alertmanager" in alerts["detail"]


def test_its_page_was_built_inside_and_is_served_through_the_edge(cluster: Cluster) -> None:
    see_the_page(f"http://127.0.0.1:{cluster.ports['web', 8080]}")


def test_it_is_the_whole_system_in_one_process_as_well(built: Built) -> None:
    port = free_port()
    name = f"observatory-up-{port}"
    built.engine.docker(
        *("run", "--detach", "--name", name, "--network", "host", *RESTRICTED, "--tmpfs", "/tmp"),
        *("--env", f"OBSERVATORY_PORT={port}", IMAGE, "up", "--demo", "--files", "3"),
    )
    try:
        url = f"http://127.0.0.1:{port}"

        def completed() -> bool:
            try:
                return len(read(f"{url}/jobs?state=completed")["items"]) == 3
            except OSError:
                return False

        until(completed, timeout_s=60, why=lambda: built.engine.docker("logs", name))
        see_the_page(url)
        until(lambda: health_of(built.engine, name) == "healthy", timeout_s=60)
        built.engine.docker("stop", "--time", "30", name)
        code = built.engine.docker("inspect", "--format", "{{.State.ExitCode}}", name)
        assert code == "0", built.engine.docker("logs", name)
    finally:
        built.engine.docker("rm", "--force", name)


def test_a_command_that_fails_says_so(built: Built) -> None:
    with pytest.raises(EngineFailed, match="no-such-command"):
        built.engine.docker("run", "--rm", IMAGE, "no-such-command")


def read(url: str) -> Any:
    """What is answered, decoded."""
    with urllib.request.urlopen(url, timeout=10) as answer:
        return json.load(answer)


def see_the_page(url: str) -> None:
    """The page comes with what it is made of."""
    with urllib.request.urlopen(f"{url}/", timeout=10) as answer:
        page = answer.read().decode()
    parts = re.findall(r'(?:src|href)="(/?[^":]+\.(?:js|css))"', page)
    assert {part.rpartition(".")[2] for part in parts} == {"js", "css"}, page
    held = 0
    for part in parts:
        with urllib.request.urlopen(f"{url}/{part.lstrip('./')}", timeout=10) as answer:
            assert answer.headers.get_content_subtype() in ("javascript", "css")
            held += len(answer.read())
    assert held > 50_000
