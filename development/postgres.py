"""A private PostgreSQL. Started by root it runs as the user postgres, since it refuses root."""

import atexit
import os
import pwd
import shutil
import signal
import struct
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from development import installation
from development.process import Server, ServerFailed, ask

USER = "postgres"
"""Who is superuser in the database, and who runs it where root starts it."""

_TIMEOUT_S = 120
_SOCKET_PATH_MAX = 100
_SSL_REQUEST = struct.pack("!ii", 8, 80877103)


class PostgresServer(Server):
    """PostgreSQL that trusts every connection of the loopback.

    fsync: whether a commit waits for the disk; without it, what the machine loses is lost.
    settings: further settings by name, as in postgresql.conf.
    """

    name = "PostgreSQL"
    # Fast shutdown: open connections are ended, not waited for.
    stop_signal = signal.SIGINT

    def __init__(
        self, folder: Path | str, *, fsync: bool = True, settings: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(folder)
        self._settings = {"fsync": "on" if fsync else "off", **(settings or {})}

    def url(self, database: str = "postgres") -> str:
        """Where a database is, for clients."""
        return f"postgresql://{USER}@127.0.0.1:{self.port}/{database}"

    @property
    def port(self) -> int:
        """The port it listens on, the same after every restart."""
        return self._port()

    def psql(self, sql: str, database: str = "postgres") -> str:
        """What psql prints, unaligned and without headings. Raises ServerFailed."""
        psql = installation.postgres_binaries() / "psql"
        quietly = ("-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1")
        return self._run(psql, *quietly, "-d", self.url(database), "-c", sql)

    def _prepare(self) -> None:
        data = self.folder / "data"
        if (data / "PG_VERSION").exists():
            return
        self._place(data)
        self._run(
            installation.postgres_binaries() / "initdb",
            *("--pgdata", str(data.resolve()), "--username", USER, "--auth", "trust"),
            *("--encoding", "UTF8", "--locale", "C", "--no-sync"),
            user=self._user,
        )

    def _command(self) -> Sequence[str | Path]:
        data = (self.folder / "data").resolve()
        # The path of a socket has a limit; where it would be exceeded there is TCP only.
        sockets = data if len(str(data)) < _SOCKET_PATH_MAX - len(".s.PGSQL.00000") else ""
        settings = {
            "port": str(self.port),
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": str(sockets),
            # Of a server that is killed nothing stays in the machine's memory.
            "dynamic_shared_memory_type": "mmap",
            **self._settings,
        }
        named = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return [installation.postgres_binaries() / "postgres", "-D", data, *named]

    def _answers(self) -> bool:
        # The port answers as soon as it is open; a query, only once recovery is done.
        if ask(self.port, _SSL_REQUEST, 1) not in (b"N", b"S"):
            return False
        try:
            return self.psql("SELECT 1") == "1"
        except ServerFailed:
            return False

    @property
    def _user(self) -> str | None:
        return USER if os.geteuid() == 0 else None

    def _place(self, data: Path) -> None:
        """Make the folder of the data, owned by who runs the server.

        Where that user may not enter `folder`, as in the private folders of pytest, the data stand
        in a temporary folder, linked from here, and go when this process ends.
        """
        if data.is_symlink():
            data.unlink()
        data.mkdir(mode=0o700, exist_ok=True)
        if self._user is None:
            return
        self._give_away(data)
        if self._may_enter(data):
            return
        data.rmdir()
        elsewhere = Path(tempfile.mkdtemp(prefix="observatory-postgres-"))
        self._give_away(elsewhere)
        data.symlink_to(elsewhere, target_is_directory=True)
        atexit.register(shutil.rmtree, elsewhere, ignore_errors=True)

    def _give_away(self, folder: Path) -> None:
        owner = pwd.getpwnam(USER)
        os.chown(folder, owner.pw_uid, owner.pw_gid)

    def _may_enter(self, folder: Path) -> bool:
        test = ["test", "-w", str(folder)]
        return (
            subprocess.run(
                test, cwd="/", user=self._user, group=self._user, extra_groups=[]
            ).returncode
            == 0
        )

    def _run(self, *command: str | Path, user: str | None = None) -> str:
        done = subprocess.run(
            command,
            cwd="/",
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            user=user,
            group=user,
            extra_groups=None if user is None else [],
        )
        if done.returncode:
            raise ServerFailed(f"{Path(command[0]).name}: {done.stdout}{done.stderr}")
        return done.stdout.strip()


class PostgresReplica(PostgresServer):
    """A hot standby that follows another server's log."""

    def __init__(self, folder: Path | str, primary: PostgresServer) -> None:
        super().__init__(folder)
        self._primary = primary

    def _prepare(self) -> None:
        data = self.folder / "data"
        if (data / "PG_VERSION").exists():
            return
        self._place(data)
        self._run(
            installation.postgres_binaries() / "pg_basebackup",
            *("--pgdata", str(data.resolve()), "--dbname", self._primary.url()),
            *("--checkpoint", "fast", "--write-recovery-conf", "--no-sync"),
            user=self._user,
        )
