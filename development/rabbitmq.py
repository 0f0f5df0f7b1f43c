"""A private RabbitMQ node with its own name, cookie, port mapper and configuration."""

import os
import secrets
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from development import installation
from development.process import Server, ServerFailed, ask

USER = "observatory"

_TIMEOUT_S = 120
_MILLISECONDS = 1000
_AMQP_HEADER = b"AMQP\x00\x00\x09\x01"
_METHOD_FRAME = b"\x01"

# Where Erlang finds no port mapper it starts one that stays; ours is there before and until after.
_NO_EPMD = "-start_epmd false"
_LOOPBACK = "-kernel inet_dist_use_interface {127,0,0,1}"


class RabbitmqServer(Server):
    """A RabbitMQ node with one scheduler thread, for it shares the machine with what it serves.

    consumer_timeout_s: after how long it closes a channel that has not acknowledged; None for the
    default of RabbitMQ.
    settings: further lines of rabbitmq.conf.
    metrics: whether it tells its own to Prometheus, at `metrics_address`.

    RabbitMQ 3.10 does not survive every kill: a quorum queue or stream that was declared less than
    a second or so before is there afterwards and never answers. Restart after declaring, then kill.
    """

    name = "RabbitMQ"

    def __init__(
        self,
        folder: Path | str,
        *,
        consumer_timeout_s: float | None = None,
        settings: Mapping[str, str] | None = None,
        metrics: bool = False,
    ) -> None:
        super().__init__(folder)
        self._metrics = metrics
        self._consumer_timeout_s = consumer_timeout_s
        self._settings = dict(settings or {})
        self._epmd: subprocess.Popen[bytes] | None = None
        self._epmd_watchdog: subprocess.Popen[bytes] | None = None

    def url(self, vhost: str = "/") -> str:
        """Where a virtual host is, for clients."""
        return f"amqp://{USER}:{self._password}@127.0.0.1:{self.port}/{quote(vhost, safe='')}"

    @property
    def port(self) -> int:
        """The port it listens on for AMQP, the same after every restart."""
        return self._port()

    @property
    def metrics_address(self) -> str:
        """`host:port` of its metrics."""
        return f"127.0.0.1:{self._port('metrics')}"

    def ctl(self, *arguments: str) -> str:
        """What rabbitmqctl prints. Raises ServerFailed."""
        done = subprocess.run(
            [installation.rabbitmq_scripts() / "rabbitmqctl", "--quiet", *arguments],
            env=self._environment(),
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
        )
        if done.returncode:
            raise ServerFailed(f"rabbitmqctl {' '.join(arguments)}: {done.stdout}{done.stderr}")
        return done.stdout.strip()

    def add_vhost(self, name: str) -> str:
        """Make a virtual host in which the user may do everything, and return its URL."""
        self.ctl("add_vhost", name)
        self.ctl("set_permissions", "-p", name, USER, ".*", ".*", ".*")
        return self.url(name)

    def _prepare(self) -> None:
        home = self._folder("home")
        cookie = home / ".erlang.cookie"
        if not cookie.exists():
            cookie.write_text(secrets.token_hex(20))
            # Erlang refuses a cookie that others may read.
            cookie.chmod(0o400)
        (self.folder / "enabled_plugins").write_text(
            "[rabbitmq_prometheus].\n" if self._metrics else "[].\n"
        )
        lines = (f"{name} = {value}\n" for name, value in self._configuration().items())
        (self.folder / "rabbitmq.conf").write_text("".join(lines))
        self._start_epmd()

    def _configuration(self) -> dict[str, str]:
        limits = {
            "vm_memory_high_watermark.absolute": "1GB",
            "disk_free_limit.absolute": "50MB",
            # The log that all quorum queues share is in memory up to this size.
            "raft.wal_max_size_bytes": str(64 << 20),
        }
        if self._consumer_timeout_s is not None:
            limits["consumer_timeout"] = str(round(self._consumer_timeout_s * _MILLISECONDS))
        if self._metrics:
            limits["prometheus.tcp.ip"] = "127.0.0.1"
            limits["prometheus.tcp.port"] = str(self._port("metrics"))
        return {
            "listeners.tcp.1": f"127.0.0.1:{self.port}",
            "default_user": USER,
            "default_pass": self._password,
            "log.console": "true",
            "log.console.level": "info",
            "log.file": "false",
            **limits,
            **self._settings,
        }

    def _environment(self) -> Mapping[str, str]:
        # Nothing of a RabbitMQ that is configured for this user may reach the private one.
        kept = {name: value for name, value in os.environ.items() if "RABBITMQ" not in name}
        return {
            **kept,
            "HOME": str(self._folder("home")),
            "RABBITMQ_NODENAME": f"observatory-{self.port}@localhost",
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(self.folder / "advanced.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "enabled_plugins"),
            "RABBITMQ_MNESIA_BASE": str(self._folder("data")),
            "RABBITMQ_LOG_BASE": str(self._folder("logs")),
            "RABBITMQ_PID_FILE": str(self.folder / "pid"),
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self._port("distribution")),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": f"+S 1:1 {_NO_EPMD} {_LOOPBACK}",
            "RABBITMQ_CTL_ERL_ARGS": f"+S 1:1 {_NO_EPMD}",
            "ERL_EPMD_PORT": str(self._port("epmd")),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
        }

    def _command(self) -> Sequence[str | Path]:
        return [installation.rabbitmq_scripts() / "rabbitmq-server"]

    def _answers(self) -> bool:
        return ask(self.port, _AMQP_HEADER, 1) == _METHOD_FRAME

    def _wait_until_it_answers(self) -> None:
        super()._wait_until_it_answers()
        # It answers on its port a little before it can be told anything.
        self.ctl("await_startup")

    def _start_epmd(self) -> None:
        with self._log.open("ab") as log:
            self._epmd = subprocess.Popen(
                [installation.epmd(), "-port", str(self._port("epmd")), "-address", "127.0.0.1"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._epmd_watchdog = self._watch(self._epmd.pid)

    def _ended(self) -> None:
        super()._ended()
        for process in (self._epmd, self._epmd_watchdog):
            if process is not None:
                process.kill()
                process.communicate()
        self._epmd = self._epmd_watchdog = None

    @property
    def _password(self) -> str:
        file = self.folder / "password"
        if not file.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            file.touch(mode=0o600)
            file.write_text(secrets.token_urlsafe(16))
        return file.read_text()

    def _folder(self, name: str) -> Path:
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder
