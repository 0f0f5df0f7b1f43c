"""``python -m development`` runs RabbitMQ, PostgreSQL and Redis until it is told to stop.

Prints the settings with which ``observatory up`` uses them, as lines for a shell or as JSON. With
``-- COMMAND …`` it runs that with the settings in its environment, for as long as it lasts.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from development import installation
from development.installation import Software
from development.postgres import PostgresServer
from development.process import Server, ServerFailed
from development.rabbitmq import RabbitmqServer
from development.redis import RedisServer

_WATCH_S = 1.0
_POLL_S = 0.2
_END_TIMEOUT_S = 60.0


class _Choice(NamedTuple):
    software: Software
    server: type[RabbitmqServer | PostgresServer | RedisServer]
    setting: str


CHOICES = {
    "rabbitmq": _Choice(installation.RABBITMQ, RabbitmqServer, "OBSERVATORY_SPINE_URL"),
    "postgres": _Choice(installation.POSTGRES, PostgresServer, "OBSERVATORY_STORE_URL"),
    "redis": _Choice(installation.REDIS, RedisServer, "OBSERVATORY_AGGREGATES_URL"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the servers; the exit code is 1 if one is missing or ends by itself, and otherwise that
    of the command, if there is one."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    split = given.index("--") if "--" in given else len(given)
    options = _parser().parse_args(given[:split])
    command = given[split + 1 :]
    software = [CHOICES[name].software for name in options.only]
    absent = installation.install(software) if options.install else installation.missing(software)
    for one in absent:
        print(one, file=sys.stderr)
    if absent:
        return 1
    told = threading.Event()
    for sign in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(sign, lambda *_: told.set())
    with _folder(options.folder) as folder:
        return _run(options.only, folder, told, command, as_json=options.json)


def _run(
    names: Sequence[str],
    folder: Path,
    told: threading.Event,
    command: Sequence[str],
    *,
    as_json: bool,
) -> int:
    servers = {name: CHOICES[name].server(folder / name) for name in names}
    with ThreadPoolExecutor() as threads:
        try:
            print(f"==> starting {', '.join(names)} in {folder}", file=sys.stderr)
            list(threads.map(Server.start, servers.values()))
            urls = {CHOICES[name].setting: server.url() for name, server in servers.items()}
            if command:
                return _accompany(command, urls, list(servers.values()), told)
            _show(urls, folder, as_json=as_json)
            while not told.wait(_WATCH_S):
                _see_that_they_run(servers.values())
        except ServerFailed as failed:
            print(f"error: {failed}", file=sys.stderr)
            return 1
        finally:
            list(threads.map(Server.stop, servers.values()))
    print("==> stopped", file=sys.stderr)
    return 0


def _accompany(
    command: Sequence[str], urls: dict[str, str], servers: list[Server], told: threading.Event
) -> int:
    """Run a command with the servers; its exit code. It is told to end when this is."""
    # In a group of its own: Ctrl-C reaches it from here, once, and not from the terminal as well.
    process = subprocess.Popen(command, env=os.environ | urls, process_group=0)
    try:
        while process.poll() is None and not told.wait(_POLL_S):
            _see_that_they_run(servers)
        if process.poll() is None:
            process.terminate()
        return process.wait(_END_TIMEOUT_S)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def _see_that_they_run(servers: Iterable[Server]) -> None:
    for server in servers:
        if not server.alive:
            raise ServerFailed(f"{server.name} ended\n{server.output[-3000:]}")


def _show(urls: dict[str, str], folder: Path, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"pid": os.getpid(), "folder": str(folder), "urls": urls}), flush=True)
        return
    for setting, url in urls.items():
        print(f"export {setting}='{url}'")
    print(f"# They run until Ctrl-C here, or: kill {os.getpid()}", flush=True)


@contextmanager
def _folder(wanted: Path | None) -> Iterator[Path]:
    """The folder wanted, which stays, or a temporary one, which does not."""
    if wanted is not None:
        wanted.mkdir(parents=True, exist_ok=True)
        yield wanted.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="observatory-services-") as temporary:
        # PostgreSQL may run as another user, who has to get through.
        Path(temporary).chmod(0o711)
        yield Path(temporary)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m development", description=__doc__)
    parser.add_argument("--folder", type=Path, help="keep all here; else nothing is kept")
    parser.add_argument("--json", action="store_true", help="one line of JSON instead of a shell's")
    parser.add_argument("--install", action="store_true", help="install what is missing first")
    parser.add_argument(
        "--only",
        type=_names,
        default=list(CHOICES),
        metavar="NAMES",
        help=f"some of {','.join(CHOICES)}",
    )
    return parser


def _names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in CHOICES:
            raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(CHOICES)}")
    return names


if __name__ == "__main__":
    sys.exit(main())
