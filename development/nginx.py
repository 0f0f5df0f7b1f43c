"""A private nginx as the edge before the services, and the exporter of its metrics."""

import os
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from string import Template
from typing import Final

from development import installation
from development.process import Server
from development.prometheus import Exporter

TEMPLATE: Final = Path(__file__).parents[1] / "edge" / "nginx.conf.template"

_TIMEOUT_S: Final = 5


class NginxServer(Server):
    """nginx with the edge's configuration.

    gateway, read_model: `host:port` of the services behind it.
    """

    name = "nginx"

    def __init__(self, folder: Path | str, gateway: str, read_model: str) -> None:
        super().__init__(folder)
        self._gateway = gateway
        self._read_model = read_model

    def url(self) -> str:
        """Where the page and both APIs are."""
        return f"http://127.0.0.1:{self._port()}"

    def status_url(self) -> str:
        """Where it tells of itself, for its exporter."""
        return f"http://127.0.0.1:{self._port('status')}/status"

    def _prepare(self) -> None:
        # What nginx calls its own variables is left as it is.
        written = Template(TEMPLATE.read_text()).safe_substitute(
            EDGE_FOLDER=self.folder,
            EDGE_LISTEN=f"127.0.0.1:{self._port()}",
            EDGE_STATUS=f"127.0.0.1:{self._port('status')}",
            EDGE_GATEWAY=self._gateway,
            EDGE_READ_MODEL=self._read_model,
        )
        (self.folder / "nginx.conf").write_text(written)

    def _command(self) -> Sequence[str | Path]:
        # Started by root, its workers would be another's and not get into this folder.
        directives = "daemon off;" + (" user root;" if os.geteuid() == 0 else "")
        configuration = self.folder / "nginx.conf"
        return [installation.nginx(), "-e", "stderr", "-g", directives, "-c", configuration]

    def _answers(self) -> bool:
        with urllib.request.urlopen(self.status_url(), timeout=_TIMEOUT_S) as answer:
            return answer.status == 200


class NginxExporter(Exporter):
    """The metrics of nginx."""

    name = "the exporter of nginx"

    def _command(self) -> Sequence[str | Path]:
        listen = f"-web.listen-address={self.address}"
        return [installation.nginx_exporter(), f"-nginx.scrape-uri={self._of}", listen]
