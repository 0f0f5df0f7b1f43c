"""A real nginx with the edge's configuration in front of real services: one origin for all."""

import json
import os
import re
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import jsonschema
import pytest

from development.installation import nginx
from development.nginx import EDGE, Certificate, NginxServer
from development.process import free_port
from docs.documents import blocks
from observatory.client import Client
from real import running_service, until

pytestmark = pytest.mark.slow

JOBS = """
from observatory import Observatory

app = Observatory()

@app.job("double")
async def double(n: int) -> int:
    return 2 * n
"""


ROOT = Path(__file__).parents[2]
CONTRACT = json.loads((ROOT / "contracts" / "http" / "problem.v1.json").read_text())


class Services(NamedTuple):
    """Where they are, and a folder for what stands before them."""

    gateway: str
    read_model: str
    folder: Path


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    """Each in a process of its own."""
    from conformance import postgres, rabbitmq, redis_bench

    database = postgres.new_database(postgres.server())
    redis_bench.server().cli("FLUSHALL")
    settings = {
        "OBSERVATORY_SPINE_URL": rabbitmq.new_virtual_host(),
        "OBSERVATORY_STORE_URL": database,
        "OBSERVATORY_AGGREGATES_URL": redis_bench.server().url(),
    }
    folder = tmp_path_factory.mktemp("edge")
    with ExitStack() as stack:
        gateway, reads, _ = (
            stack.enter_context(running_service(name, folder, **settings))
            for name in ("gateway", "read-model", "metrics-engine")
        )
        stack.enter_context(running_service("processor", folder, module_source=JOBS, **settings))
        yield Services(f"127.0.0.1:{gateway.port}", f"127.0.0.1:{reads.port}", folder)
    postgres.drop_database(postgres.server(), database)


@pytest.fixture(scope="module")
def edge(services: Services) -> Iterator[NginxServer]:
    with NginxServer(services.folder / "nginx", services.gateway, services.read_model) as server:
        yield server


@contextmanager
def another(services: Services, name: str, **values: Any) -> Generator[httpx.Client]:
    """A client of another edge before the same services."""
    at = {"gateway": services.gateway, "read_model": services.read_model}
    given = at | {key: values.pop(key) for key in at if key in values}
    with (
        NginxServer(services.folder / name, **given, **values) as server,
        httpx.Client(base_url=server.url(), trust_env=False, timeout=20) as client,
    ):
        yield client


def problem(answer: httpx.Response, status: int, slug: str) -> dict[str, Any]:
    """What an error is told with, which is as the contract says."""
    assert (answer.status_code, answer.headers["content-type"]) == (
        status,
        "application/problem+json",
    )
    told = answer.json()
    jsonschema.validate(told, CONTRACT)
    assert (told["status"], told["type"].rpartition("/")[2]) == (status, slug)
    assert told["requestId"] == answer.headers["x-correlation-id"]
    assert answer.headers["cache-control"] == "no-store"
    return told


@pytest.fixture
def http(edge: NginxServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=edge.url(), trust_env=False, timeout=20) as client:
        yield client


def accepted(http: httpx.Client) -> str:
    def submitted() -> str | None:
        answer = http.post("/jobs", json={"type": "double", "payload": {"n": 21}})
        return str(answer.json()["jobId"]) if answer.status_code == 202 else None

    return str(until(submitted))


def test_what_is_written_goes_to_the_gateway_and_what_is_read_to_the_read_model(
    http: httpx.Client,
) -> None:
    job_id = accepted(http)

    job = http.get(f"/jobs/{job_id}", headers={"Prefer": "wait=10"}).json()

    assert (job["state"], job["result"]) == ("completed", 42)
    assert http.head("/jobs").status_code == 200
    assert http.post(f"/jobs/{job_id}/retry").status_code == 202
    assert http.delete("/jobs").status_code == 405


def test_the_page_is_at_the_same_origin(http: httpx.Client) -> None:
    answer = http.get("/")

    assert answer.status_code == 200
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    assert "<title>Observatory</title>" in answer.text


def test_an_event_comes_through_at_once(http: httpx.Client) -> None:
    with http.stream("GET", "/events/stream") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        lines = stream.iter_lines()
        next(lines)
        began = time.monotonic()
        job_id = accepted(http)
        for line in lines:
            if line.startswith("data:") and json.loads(line[5:])["subject"] == job_id:
                break
        # Buffered it would come when 4 kB are together, or never.
        assert time.monotonic() - began < 5


def test_what_is_too_large_is_refused_by_the_service_in_its_own_words(http: httpx.Client) -> None:
    answer = http.post(
        "/jobs",
        content=b'{"type": "double", "payload": {"n": "' + b"1" * 2_000_000 + b'"}}',
        headers={"content-type": "application/json"},
    )

    assert problem(answer, 413, "payload-too-large")["detail"].find("17 MiB") == -1


def test_what_no_service_would_take_is_refused_by_the_edge(http: httpx.Client) -> None:
    answer = http.post(
        "/jobs?to=nobody",
        content=b"x" * 18_000_000,
        headers={"content-type": "application/json", "x-correlation-id": "mine-1"},
    )

    told = problem(answer, 413, "payload-too-large")
    assert (told["instance"], told["requestId"]) == ("/jobs", "mine-1")
    assert "17 MiB" in told["detail"]


def test_what_comes_from_outside_cannot_break_out_of_a_problem(http: httpx.Client) -> None:
    answer = http.post(
        '/jobs/%22,"x":"y',
        content=b"x" * 18_000_000,
        headers={"x-correlation-id": '","status":200,"x":"'},
    )

    told = problem(answer, 413, "payload-too-large")
    assert told["instance"] == "/"
    assert re.fullmatch("[0-9a-f]{32}", told["requestId"])


def test_a_head_that_is_too_large_is_told_as_the_services_tell_it(http: httpx.Client) -> None:
    problem(http.get("/jobs", headers={"x-long": "x" * 40_000}), 400, "malformed-request")
    problem(http.get(f"/jobs?q={'x' * 40_000}"), 400, "malformed-request")


def test_who_asks_too_often_is_told_when_to_come_again(services: Services) -> None:
    with another(services, "slow", EDGE_RATE="1", EDGE_BURST="2") as client:
        answers = [client.get("/livez") for _ in range(8)]
        refused = next(answer for answer in answers if answer.status_code != 200)

        problem(refused, 429, "too-many-requests")
        assert int(refused.headers["retry-after"]) == 1
        assert [answer.status_code for answer in answers[:3]] == [200, 200, 200]
        until(lambda: client.get("/livez").status_code == 200)


def test_an_address_is_believed_of_a_trusted_proxy_alone(services: Services) -> None:
    def accepted_of(client: httpx.Client) -> int:
        asked = ({"x-forwarded-for": f"192.0.2.{number}"} for number in range(6))
        return sum(client.get("/livez", headers=one).status_code == 200 for one in asked)

    limits = {"EDGE_RATE": "1", "EDGE_BURST": "1"}
    with another(services, "untrusting", **limits) as client:
        assert accepted_of(client) < 6
    with another(services, "trusting", EDGE_TRUSTED_PROXY="127.0.0.0/8", **limits) as client:
        assert accepted_of(client) == 6


def test_one_address_may_hold_so_many_streams(services: Services) -> None:
    with (
        another(services, "streams", EDGE_STREAMS_MAX="1") as client,
        client.stream("GET", "/events/stream") as first,
    ):
        lines = first.iter_lines()  # kept: a stream that nobody iterates any more is closed
        next(lines)
        with client.stream("GET", "/events/stream") as second:
            assert second.status_code == 429
            second.read()
        problem(second, 429, "too-many-requests")


def test_past_what_it_can_hold_the_edge_says_so(services: Services) -> None:
    with (
        another(services, "full", EDGE_REQUESTS_MAX="1") as client,
        client.stream("GET", "/events/stream") as first,
    ):
        lines = first.iter_lines()  # kept: a stream that nobody iterates any more is closed
        next(lines)
        refused = client.get("/livez")
        problem(refused, 503, "overloaded")
        assert refused.headers["retry-after"] == "1"


def test_a_service_that_is_not_there_or_does_not_answer_is_told(services: Services) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        another(
            services,
            "broken",
            gateway=f"127.0.0.1:{silent.getsockname()[1]}",
            read_model=f"127.0.0.1:{free_port()}",
            EDGE_READ_TIMEOUT="1s",
        ) as client,
    ):
        refused = client.get("/jobs")
        problem(refused, 502, "bad-gateway")
        assert refused.headers["retry-after"] == "1"
        problem(client.post("/jobs", json={}), 504, "gateway-timeout")


def test_what_a_service_answers_is_left_as_it_is(http: httpx.Client) -> None:
    page, answer = http.get("/"), http.get("/jobs")

    assert "script-src 'self'" in page.headers["content-security-policy"]
    assert answer.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
    for one in (page, answer):
        names = [name for name, _ in one.headers.multi_items()]
        for name in (
            "content-security-policy",
            "x-content-type-options",
            "referrer-policy",
            "cross-origin-opener-policy",
            "permissions-policy",
            "x-correlation-id",
        ):
            assert names.count(name) == 1, (name, names)
        assert "strict-transport-security" not in names
        assert "nginx/" not in one.headers["server"]


def signed_by_itself(folder: Path) -> Certificate:
    folder.mkdir(exist_ok=True)
    made = Certificate(folder / "tls.crt", folder / "tls.key")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
         "-days", "1", "-subj", f"/CN={folder.name}", "-addext", "subjectAltName=IP:127.0.0.1",
         "-out", made.chain, "-keyout", made.key],
        check=True, capture_output=True,
    )  # fmt: skip
    return made


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return signed_by_itself(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="module")
def tls_edge(services: Services, certificate: Certificate) -> Iterator[NginxServer]:
    at = (services.gateway, services.read_model)
    with NginxServer(services.folder / "tls", *at, certificate=certificate) as server:
        yield server


def test_the_edge_ends_tls(tls_edge: NginxServer, certificate: Certificate) -> None:
    trust = ssl.create_default_context(cafile=str(certificate.chain))
    with httpx.Client(base_url=tls_edge.url(), verify=trust, trust_env=False, timeout=20) as client:
        job = client.get(f"/jobs/{accepted(client)}", headers={"Prefer": "wait=10"})

    assert (job.status_code, job.json()["result"]) == (200, 42)
    assert job.headers["strict-transport-security"] == "max-age=63072000"


def test_where_there_is_tls_plain_http_is_led_there(tls_edge: NginxServer) -> None:
    asked = httpx.post(
        f"{tls_edge.plain_url()}/jobs?a=b",
        headers={"host": "elsewhere.example"},
        trust_env=False,
    )

    assert (asked.status_code, asked.headers["location"]) == (308, f"{tls_edge.url()}/jobs?a=b")


def spoken(edge: NginxServer, certificate: Certificate, version: ssl.TLSVersion) -> str | None:
    """The protocol that is chosen by http's own negotiation, over a version of TLS."""
    trust = ssl.create_default_context(cafile=str(certificate.chain))
    trust.set_alpn_protocols(["h2", "http/1.1"])
    # What the client's own library would refuse must be refused by the edge.
    trust.set_ciphers("ALL:@SECLEVEL=0")
    trust.minimum_version = trust.maximum_version = version
    at = httpx.URL(edge.url())
    with (
        socket.create_connection((at.host, at.port or 443), timeout=10) as plain,
        trust.wrap_socket(plain, server_hostname=at.host) as wrapped,
    ):
        return wrapped.selected_alpn_protocol()


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
def test_only_tls_that_is_fit_to_use_is_spoken(
    tls_edge: NginxServer, certificate: Certificate
) -> None:
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        assert spoken(tls_edge, certificate, version) == "h2"
    with pytest.raises((ssl.SSLError, ConnectionError)):
        spoken(tls_edge, certificate, ssl.TLSVersion.TLSv1_1)


def reloaded(edge: NginxServer) -> bool:
    """The commands of the document for operators, as they are written there; whether all succeed."""
    keys = blocks(ROOT / "docs" / "operations" / "keys.md")
    (told,) = (block.text for block in keys if block.mark == "reload")
    done = subprocess.run(
        ["bash", "-eu", "-c", told.replace("/run/edge", str(edge.folder))],
        env=dict(os.environ) | {"PATH": f"{nginx().parent}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        timeout=30,
    )
    return done.returncode == 0


def test_a_new_certificate_is_served_after_a_reload_and_no_request_fails(
    services: Services, tmp_path: Path
) -> None:
    first, second = (signed_by_itself(tmp_path / name) for name in ("first", "second"))
    held = Certificate(tmp_path / "tls.crt", tmp_path / "tls.key")
    trust = ssl.create_default_context(cadata=first.chain.read_text() + second.chain.read_text())
    ended = threading.Event()

    def put(chain: Path, key: Path) -> None:
        held.chain.write_text(chain.read_text())
        held.key.write_text(key.read_text())

    def served() -> str:
        at = httpx.URL(edge.url())
        return ssl.get_server_certificate((at.host, at.port or 443), timeout=10)

    def connecting_anew(answered: list[int]) -> None:
        item = {"type": "double", "payload": {"n": 1}}
        while not ended.is_set():
            with httpx.Client(base_url=edge.url(), verify=trust, trust_env=False) as client:
                assert client.post("/jobs", json=item).status_code == 202
            with httpx.Client(base_url=edge.url(), verify=trust, trust_env=False) as client:
                assert client.get("/jobs?limit=1").status_code == 200
            answered[0] += 1

    def on_one_connection(answered: list[int]) -> None:
        with Client(edge.url(), transport=httpx.HTTPTransport(verify=trust)) as client:
            while not ended.is_set():
                client.submit("double", n=1)
                answered[0] += 1

    put(*first)
    at = (services.gateway, services.read_model)
    with (
        NginxServer(services.folder / "rotated", *at, certificate=held) as edge,
        httpx.Client(base_url=edge.url(), verify=trust, trust_env=False, timeout=20) as http,
        http.stream("GET", "/events/stream") as stream,
        ThreadPoolExecutor(3) as threads,
    ):
        lines = stream.iter_lines()
        next(lines)
        counts = [[0], [0], [0]]
        clients = (connecting_anew, connecting_anew, on_one_connection)
        load = [threads.submit(*one) for one in zip(clients, counts, strict=True)]

        def under_load() -> None:
            """Each client has been answered some more."""
            wanted = [count[0] + 3 for count in counts]
            until(
                lambda: (
                    any(one.done() for one in load)
                    or all(count[0] >= more for count, more in zip(counts, wanted, strict=True))
                )
            )

        try:
            under_load()
            put(second.chain, first.key)
            assert not reloaded(edge)
            under_load()
            assert served() == first.chain.read_text()
            for one in (second, first):
                put(*one)
                assert reloaded(edge)
                until(lambda one=one: served() == one.chain.read_text())
                under_load()
        finally:
            ended.set()
        for one in load:
            one.result()
        # The stream began with the first certificate, two reloads ago.
        job_id, deadline = accepted(http), time.monotonic() + 20
        while f'"{job_id}"' not in next(lines):
            assert time.monotonic() < deadline, "the stream tells of other jobs only"


def test_its_own_status_is_told_to_the_loopback_and_its_life_to_everybody(
    edge: NginxServer,
) -> None:
    status = edge.status_url()
    assert "Active connections" in httpx.get(status, trust_env=False).text
    assert httpx.get(status.replace("/status", "/livez"), trust_env=False).text == "ok\n"


def test_every_value_of_the_templates_is_in_the_guide() -> None:
    wanted = {
        name
        for template in EDGE.glob("*.template")
        for name in re.findall(r"\$\{(EDGE_[A-Z_]+)\}", template.read_text())
    }
    text = (ROOT / "docs" / "guide" / "distributed.md").read_text()

    assert len(wanted) > 10
    rows = re.findall(r"^\| (`EDGE_.+?) \|", text, re.MULTILINE)
    assert {name for row in rows for name in re.findall("EDGE_[A-Z_]+", row)} == wanted


def test_who_waits_for_a_job_for_a_minute_is_answered(http: httpx.Client) -> None:
    item = {"type": "double", "payload": {"n": 1}, "delaySeconds": 3600}
    job_id = http.post("/jobs", json=item).json()["jobId"]

    answer = http.get(f"/jobs/{job_id}", headers={"Prefer": "wait=60"}, timeout=90)

    assert (answer.status_code, answer.json()["state"]) == (200, "scheduled")
