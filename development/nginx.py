"""A private nginx as the edge before the services, and the exporter of its metrics."""

import os
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from string import Template
from typing import Final, NamedTuple

from development import installation
from development.process import Server
from development.prometheus import Exporter

EDGE: Final = Path(__file__).parents[1] / "edge"

_TIMEOUT_S: Final = 5


class Certificate(NamedTuple):
    """A certificate with those it was signed by, and its key: files of PEM."""

    chain: Path
    key: Path


class NginxServer(Server):
    """nginx with the edge's configuration.

    gateway, read_model: `host:port` of the services behind it.
    certificate: where given, plain HTTP is led to HTTPS.
    values: of the template, such as EDGE_RATE="2"; by default nothing limits a test.
    """

    name = "nginx"

    def __init__(
        self,
        folder: Path | str,
        gateway: str,
        read_model: str,
        *,
        certificate: Certificate | None = None,
        **values: str,
    ) -> None:
        super().__init__(folder)
        self._values = {"EDGE_GATEWAY": gateway, "EDGE_READ_MODEL": read_model, **values}
        self._certificate = certificate

    def url(self) -> str:
        """Where the page and both APIs are."""
        if self._certificate is not None:
            return f"https://127.0.0.1:{self._port('tls')}"
        return self.plain_url()

    def plain_url(self) -> str:
        """Where plain HTTP is answered."""
        return f"http://127.0.0.1:{self._port()}"

    def status_url(self) -> str:
        """Where it tells of itself, for its exporter."""
        return f"http://127.0.0.1:{self._port('status')}/status"

    def _prepare(self) -> None:
        values = {
            "EDGE_FOLDER": str(self.folder),
            "EDGE_LISTEN": f"127.0.0.1:{self._port()}",
            "EDGE_STATUS": f"127.0.0.1:{self._port('status')}",
            "EDGE_NAMES": "",
            "EDGE_TRUSTED_PROXY": "unix:",
            "EDGE_RATE": "100000",
            "EDGE_BURST": "100000",
            "EDGE_REQUESTS_MAX": "2000",
            "EDGE_STREAMS_MAX": "2000",
            "EDGE_READ_TIMEOUT": "75s",
            **self._values,
        }
        names = ["nginx.conf"]
        if self._certificate is not None:
            names.append("tls.conf")
            values |= {
                "EDGE_TLS_LISTEN": f"127.0.0.1:{self._port('tls')}",
                "EDGE_TLS_CERTIFICATE": str(self._certificate.chain.absolute()),
                "EDGE_TLS_KEY": str(self._certificate.key.absolute()),
                "EDGE_TLS_ORIGIN": self.url(),
            }
        for name in names:
            # What nginx calls its own variables is left as it is.
            written = Template((EDGE / f"{name}.template").read_text()).safe_substitute(values)
            (self.folder / name).write_text(written)

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
