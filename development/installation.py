"""Where the servers' binaries are, and how they get onto a Debian.

``python -m development.installation`` says what the tests miss; with ``--install`` it installs that
first where it may.
"""

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

_POSTGRES_FOLDERS = "/usr/lib/postgresql/*/bin"
_RABBITMQ_FOLDERS = "/usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin"
_INSTALL_TIMEOUT_S = 900

# Packages start their service when they are installed unless policy-rc.d forbids it. A machine that
# has its own policy keeps it.
_INSTALL = """
set -e
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\\nexit 101\\n' >"$policy"
    chmod 755 "$policy"
fi
export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
apt-get update -qq
apt-get install -y -qq --no-install-recommends "$@" >/dev/null
"""


class Software(NamedTuple):
    """What is installed by one package of Debian: a server, or a program beside it."""

    name: str
    package: str

    def __str__(self) -> str:
        return f"{self.name} is missing: apt-get install {self.package}"


RABBITMQ = Software("RabbitMQ", "rabbitmq-server")
POSTGRES = Software("PostgreSQL", "postgresql")
REDIS = Software("Redis", "redis-server")
PGBOUNCER = Software("PgBouncer", "pgbouncer")
PROMETHEUS = Software("Prometheus", "prometheus")
ALERTMANAGER = Software("Alertmanager", "prometheus-alertmanager")
POSTGRES_EXPORTER = Software("The exporter of PostgreSQL", "prometheus-postgres-exporter")
REDIS_EXPORTER = Software("The exporter of Redis", "prometheus-redis-exporter")
NGINX = Software("nginx", "nginx")
NGINX_EXPORTER = Software("The exporter of nginx", "prometheus-nginx-exporter")
TMUX = Software("tmux", "tmux")
DOCKER = Software("Docker", "docker.io")
DEBOOTSTRAP = Software("debootstrap", "debootstrap")
ALL = (RABBITMQ, POSTGRES, REDIS)
"""What the system runs on."""
WATCHING = (PROMETHEUS, ALERTMANAGER, POSTGRES_EXPORTER, REDIS_EXPORTER, NGINX_EXPORTER)
"""What the fire drill watches it with."""
FOR_TESTS = (*ALL, PGBOUNCER, NGINX, *WATCHING, TMUX)
"""What the tests put it beside as well."""
FOR_IMAGE = (DOCKER, DEBOOTSTRAP)
"""What the image is built with where no engine answers; only its test asks for it."""


class ServerMissing(RuntimeError):
    """The software of a server is not installed; the text says how to install it."""

    def __init__(self, software: Software) -> None:
        super().__init__(str(software))
        self.software = software


def rabbitmq_scripts() -> Path:
    """The folder with the real `rabbitmq-server` and `rabbitmqctl`. Raises ServerMissing.

    Those that Debian puts on the PATH switch to the user rabbitmq and refuse everyone else.
    """
    on_path = shutil.which("rabbitmq-server")
    own = [Path(on_path).resolve().parent] if on_path else []
    for folder in [*_newest_first(_RABBITMQ_FOLDERS), *own]:
        if (folder / "rabbitmq-env").exists() and shutil.which("erl"):
            return folder
    raise ServerMissing(RABBITMQ)


def epmd() -> Path:
    """Erlang's port mapper, without which no RabbitMQ starts. Raises ServerMissing."""
    return _on_path(["epmd"], RABBITMQ)


def postgres_binaries() -> Path:
    """The newest folder with `initdb`, `postgres` and `psql`. Raises ServerMissing."""
    on_path = shutil.which("initdb")
    own = [Path(on_path).resolve().parent] if on_path else []
    for folder in [*_newest_first(_POSTGRES_FOLDERS), *own]:
        if all((folder / name).exists() for name in ("initdb", "postgres", "psql")):
            return folder
    raise ServerMissing(POSTGRES)


def redis_server() -> Path:
    """`redis-server`, or Valkey's. Raises ServerMissing."""
    return _on_path(["redis-server", "valkey-server"], REDIS)


def redis_cli() -> Path:
    """`redis-cli`, or Valkey's. Raises ServerMissing."""
    return _on_path(["redis-cli", "valkey-cli"], REDIS)


def pgbouncer() -> Path:
    """`pgbouncer`. Raises ServerMissing."""
    return _on_path(["pgbouncer"], PGBOUNCER)


def prometheus() -> Path:
    """`prometheus`. Raises ServerMissing."""
    return _on_path(["prometheus"], PROMETHEUS)


def promtool() -> Path:
    """`promtool`, which checks and tests rules. Raises ServerMissing."""
    return _on_path(["promtool"], PROMETHEUS)


def alertmanager() -> Path:
    """Alertmanager, by Debian's name or its own. Raises ServerMissing."""
    return _on_path(["prometheus-alertmanager", "alertmanager"], ALERTMANAGER)


def amtool() -> Path:
    """`amtool`, which checks Alertmanager's configuration. Raises ServerMissing."""
    return _on_path(["amtool"], ALERTMANAGER)


def postgres_exporter() -> Path:
    """`prometheus-postgres-exporter`. Raises ServerMissing."""
    return _on_path(["prometheus-postgres-exporter", "postgres_exporter"], POSTGRES_EXPORTER)


def redis_exporter() -> Path:
    """`prometheus-redis-exporter`. Raises ServerMissing."""
    return _on_path(["prometheus-redis-exporter", "redis_exporter"], REDIS_EXPORTER)


def nginx() -> Path:
    """`nginx`, which Debian puts where only root looks. Raises ServerMissing."""
    return _on_path(["nginx", "/usr/sbin/nginx"], NGINX)


def nginx_exporter() -> Path:
    """`prometheus-nginx-exporter`. Raises ServerMissing."""
    return _on_path(["prometheus-nginx-exporter", "nginx-prometheus-exporter"], NGINX_EXPORTER)


def tmux() -> Path:
    """`tmux`, in which the terminal view is driven. Raises ServerMissing."""
    return _on_path(["tmux"], TMUX)


def dockerd() -> Path:
    """`dockerd`, which Debian puts where only root looks. Raises ServerMissing."""
    return _on_path(["dockerd", "/usr/sbin/dockerd"], DOCKER)


def docker() -> Path:
    """`docker`, the client. Raises ServerMissing."""
    return _on_path(["docker"], DOCKER)


def debootstrap() -> Path:
    """`debootstrap`, which Debian puts where only root looks. Raises ServerMissing."""
    return _on_path(["debootstrap", "/usr/sbin/debootstrap"], DEBOOTSTRAP)


def missing(wanted: Sequence[Software] = ALL) -> list[Software]:
    """Those of `wanted` that are not installed."""
    searches = {
        RABBITMQ: (rabbitmq_scripts, epmd),
        POSTGRES: (postgres_binaries,),
        REDIS: (redis_server, redis_cli),
        PGBOUNCER: (pgbouncer,),
        PROMETHEUS: (prometheus, promtool),
        ALERTMANAGER: (alertmanager, amtool),
        POSTGRES_EXPORTER: (postgres_exporter,),
        REDIS_EXPORTER: (redis_exporter,),
        NGINX: (nginx,),
        NGINX_EXPORTER: (nginx_exporter,),
        TMUX: (tmux,),
        DOCKER: (dockerd, docker),
        DEBOOTSTRAP: (debootstrap,),
    }
    absent: list[Software] = []
    for software in wanted:
        try:
            for search in searches[software]:
                search()
        except ServerMissing:
            absent.append(software)
    return absent


def install(wanted: Sequence[Software] = ALL) -> list[Software]:
    """Install what is missing where that is allowed, and return what is missing still.

    Needs apt-get, and root or a sudo that asks no password; without them nothing happens.
    """
    absent = missing(wanted)
    privilege = _privilege()
    if not absent or privilege is None:
        return absent
    print(f"==> installing {', '.join(software.name for software in absent)}", file=sys.stderr)
    packages = [software.package for software in absent]
    subprocess.run(
        [*privilege, "sh", "-c", _INSTALL, "install", *packages],
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr,
        timeout=_INSTALL_TIMEOUT_S,
        check=False,
    )
    return missing(wanted)


def _privilege() -> list[str] | None:
    """What goes before a command to run it as root; None where apt-get may not be used."""
    if not shutil.which("apt-get"):
        return None
    if os.geteuid() == 0:
        return []
    sudo = shutil.which("sudo")
    if sudo and subprocess.run([sudo, "-n", "true"], capture_output=True).returncode == 0:
        return [sudo, "-n"]
    return None


def _newest_first(pattern: str) -> list[Path]:
    """The folders that match, the one with the highest version first."""

    def version(folder: Path) -> list[int]:
        digits = "".join(letter if letter.isdigit() else " " for letter in folder.parent.name)
        return [int(part) for part in digits.split()]

    return sorted(Path("/").glob(pattern.lstrip("/")), key=version, reverse=True)


def _on_path(names: Sequence[str], software: Software) -> Path:
    for name in names:
        if found := shutil.which(name):
            return Path(found)
    raise ServerMissing(software)


def main(arguments: Sequence[str] | None = None) -> int:
    """Say what is missing; the exit code tells whether something is."""
    parser = argparse.ArgumentParser(prog="python -m development.installation", description=__doc__)
    parser.add_argument("--install", action="store_true", help="install what is missing first")
    wanted = parser.parse_args(arguments)
    absent = install(FOR_TESTS) if wanted.install else missing(FOR_TESTS)
    for software in absent:
        print(software, file=sys.stderr)
    return 1 if absent else 0


if __name__ == "__main__":
    sys.exit(main())
