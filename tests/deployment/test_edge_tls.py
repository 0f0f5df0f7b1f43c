"""The edge ends TLS in a cluster, with the component for it laid over the overlay for kind."""

import os
import ssl
import subprocess
import urllib.error
import urllib.request
from email.message import Message
from pathlib import Path
from typing import IO

import kubernetes_validate  # pyright: ignore[reportMissingTypeStubs]
import pytest
from cluster import Cluster
from rendering import KUBERNETES, component, of_kind, rendered
from test_manifests import KUBERNETES as VERSION

ORIGIN = "https://jobs.test"


class _Followed(urllib.request.HTTPRedirectHandler):
    """Where a request is led, instead of going there."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str,
        headers: Message, newurl: str,
    ) -> None:  # fmt: skip
        raise urllib.error.HTTPError(newurl, code, msg, headers, fp)


@pytest.fixture
def overlay(tmp_path: Path) -> Path:
    """An overlay as an operator would write it."""
    folder = tmp_path / "overlay"
    folder.mkdir()
    here = os.path.relpath(KUBERNETES, folder)
    (folder / "kustomization.yaml").write_text(
        f"resources: [{here}/overlays/kind]\n"
        f"components: [{here}/components/edge-tls]\n"
        "patches:\n"
        "  - target: {kind: ConfigMap, name: edge-tls}\n"
        "    patch: |\n"
        f'      - {{op: replace, path: /data/EDGE_TLS_ORIGIN, value: "{ORIGIN}"}}\n'
    )
    return folder


def certificate(folder: Path) -> dict[str, str]:
    """A Secret of the type `kubernetes.io/tls`: a certificate that signs itself, and its key."""
    chain, key = folder / "tls.crt", folder / "tls.key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
         "-days", "2", "-subj", "/CN=jobs.test", "-addext", "subjectAltName=IP:127.0.0.1",
         "-keyout", key, "-out", chain],
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    return {"tls.crt": chain.read_text(), "tls.key": key.read_text()}


def test_what_the_component_makes_is_what_kubernetes_takes(overlay: Path) -> None:
    documents = rendered(overlay)
    for document in documents:
        kubernetes_validate.validate(document, VERSION, strict=True)

    (web,) = (one for one in of_kind(documents, "Service") if component(one) == "web")
    assert [port["port"] for port in web["spec"]["ports"]] == [80, 443]
    (opened,) = (
        one
        for one in of_kind(documents, "NetworkPolicy")
        if one["metadata"]["name"] == "into-web-from-outside-by-tls"
    )
    assert opened["spec"]["ingress"] == [{"ports": [{"protocol": "TCP", "port": 8443}]}]


def test_the_edge_as_it_is_written_ends_tls_and_leads_plain_http_there(
    overlay: Path, tmp_path: Path
) -> None:
    cluster = Cluster(rendered(overlay), tmp_path / "cluster")
    held = certificate(tmp_path)
    cluster.secrets["observatory-tls"] = held
    with cluster.containers["web"]:
        trusted = ssl.create_default_context(cadata=held["tls.crt"])
        with pytest.raises(urllib.error.HTTPError) as told:
            urllib.request.urlopen(
                f"https://127.0.0.1:{cluster.ports['web', 8443]}/jobs", context=trusted, timeout=10
            )
        with told.value:
            # No service runs here: that is what the edge says, within TLS.
            assert told.value.code == 502
            assert told.value.headers["Strict-Transport-Security"]

        plain = f"http://127.0.0.1:{cluster.ports['web', 8080]}/jobs?state=failed"
        with pytest.raises(urllib.error.HTTPError) as led:
            urllib.request.build_opener(_Followed).open(plain, timeout=10)
        with led.value:
            assert (led.value.code, led.value.url) == (308, f"{ORIGIN}/jobs?state=failed")
