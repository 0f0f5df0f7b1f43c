"""A private PgBouncer in front of a PostgreSQL: every transaction on another server connection."""

from collections.abc import Sequence
from pathlib import Path

from development import installation
from development.postgres import USER, PostgresServer
from development.process import Server, ask

_SSL_REQUEST = bytes.fromhex("0000000804d2162f")


class PgbouncerServer(Server):
    """PgBouncer in transaction mode, for every database of a server; trusts the loopback.

    connections: to the server, for each database; clients wait for one to be free.
    """

    name = "PgBouncer"

    def __init__(self, folder: Path | str, server: PostgresServer, connections: int = 4) -> None:
        super().__init__(folder)
        self._server = server
        self._connections = connections

    @property
    def port(self) -> int:
        """The port it listens on, the same after every restart."""
        return self._port()

    def url(self, database: str = "postgres") -> str:
        """Where a database is, for clients."""
        return f"postgresql://{USER}@127.0.0.1:{self.port}/{database}"

    def _prepare(self) -> None:
        (self.folder / "users.txt").write_text(f'"{USER}" ""\n')
        (self.folder / "pgbouncer.ini").write_text(
            f"""[databases]
* = host=127.0.0.1 port={self._server.port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {self.port}
unix_socket_dir =
auth_type = trust
auth_file = users.txt
pool_mode = transaction
default_pool_size = {self._connections}
max_client_conn = 500
server_round_robin = 1
"""
        )
        for file in (self.folder, *self.folder.iterdir()):
            file.chmod(0o755 if file.is_dir() else 0o644)

    def _command(self) -> Sequence[str | Path]:
        # It changes to its folder itself, and as root it refuses to run.
        return [installation.pgbouncer(), "pgbouncer.ini"]

    def _answers(self) -> bool:
        return ask(self.port, _SSL_REQUEST, 1) in (b"N", b"S")

    @property
    def _user(self) -> str | None:
        return self._server._user
