"""``python -m development`` runs RabbitMQ, PostgreSQL and Redis until it is told to stop.

Prints the settings with which ``observatory up`` uses them, as lines for a shell or as JSON.
"""

import argparse
import json
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
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
    """Run the servers; the exit code is 1 if one is missing or ends by itself."""
    options = _parser().parse_args(arguments)
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
        return _run(options.only, folder, told, as_json=options.json)


def _run(names: Sequence[str], folder: Path, told: threading.Event, *, as_json: bool) -> int:
    servers = {name: CHOICES[name].server(folder / name) for name in names}
    with ThreadPoolExecutor() as threads:
        try:
            print(f"==> starting {', '.join(names)} in {folder}", file=sys.stderr)
            list(threads.map(Server.start, servers.values()))
            urls = {CHOICES[name].setting: server.url() for name, server in servers.items()}
            _show(urls, folder, as_json=as_json)
            while not told.wait(_WATCH_S):
                for server in servers.values():
                    if not server.alive:
                        raise ServerFailed(f"{server.name} ended\n{server.output[-3000:]}")
        except ServerFailed as failed:
            print(f"error: {failed}", file=sys.stderr)
            return 1
        finally:
            list(threads.map(Server.stop, servers.values()))
    print("==> stopped", file=sys.stderr)
    return 0


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
