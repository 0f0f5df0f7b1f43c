"""What the tests of bad input share: the server as it is seen from outside, and bodies for it."""

import contextlib
import http.client
import json
import socket
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jsonschema_rs

from conformance import postgres
from real import RunningSystem
from shapes import backends_of

JOBS = """
from observatory import Observatory
app = Observatory()

@app.job("double")
def double(n: int, label: str = "") -> int:
    return 2 * n

@app.job("keep")
def keep(text: str) -> str:
    return text
"""
GOOD = {"type": "double", "payload": {"n": 1}}
CONTRACTS = Path(__file__).parents[2] / "contracts"
PROBLEM = jsonschema_rs.Draft202012Validator(
    json.loads((CONTRACTS / "http/problem.v1.json").read_text()), validate_formats=True
)
MB = 1024 * 1024


class Server:
    """A running system, and what is known of it from outside."""

    def __init__(self, system: RunningSystem) -> None:
        self.system = system
        self.http = system.http
        self.port = system.port

    @property
    def recorded(self) -> int:
        if shared := backends_of(self.system.folder):
            database = shared["store_url"].rpartition("/")[2]
            return int(postgres.server().psql("SELECT count(*) FROM jobs", database))
        db = sqlite3.connect(f"{(self.system.data / 'observatory.db').as_uri()}?mode=ro", uri=True)
        with contextlib.closing(db):
            return int(db.execute("SELECT count(*) FROM jobs").fetchone()[0])

    @property
    def resident_mb(self) -> float:
        assert self.system.process is not None
        status = Path(f"/proc/{self.system.process.pid}/status").read_text()
        line = next(x for x in status.splitlines() if x.startswith("VmRSS"))
        return int(line.split()[1]) / 1024

    @property
    def cpu_s(self) -> float:
        return self.system.cpu_s

    def post(self, body: bytes, path: str = "/jobs", **headers: str) -> httpx.Response:
        given = {"Content-Type": "application/json"}
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        return self.http.post(path, content=body, headers=given)

    @contextlib.contextmanager
    def connection(self) -> Iterator[socket.socket]:
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as raw:
            yield raw

    def raw(self, request: bytes) -> tuple[int, dict[str, str], bytes]:
        """Bytes as they are, and the answer to them."""
        with self.connection() as raw:
            raw.sendall(request)
            return answer_of(raw)


def answer_of(raw: socket.socket) -> tuple[int, dict[str, str], bytes]:
    response = http.client.HTTPResponse(raw)
    response.begin()
    headers = {name.lower(): value for name, value in response.getheaders()}
    return response.status, headers, response.read()


def check_problem(
    status: int, kind: str, body: bytes, expected: int, slug: str, pointer: str | None = None
) -> dict[str, Any]:
    assert status == expected, body[:1000]
    assert kind == "application/problem+json"
    assert len(body) < 16_000, "an answer stays small whatever was sent"
    problem: dict[str, Any] = json.loads(body)
    PROBLEM.validate(problem)
    assert problem["type"] == f"https://observatory.example/problems/{slug}", problem
    assert problem["status"] == expected
    if pointer is not None:
        pointers = [error["pointer"] for error in problem.get("errors", [])]
        assert pointer in pointers, problem
    return problem


def refused(
    response: httpx.Response, expected: int, slug: str, pointer: str | None = None
) -> dict[str, Any]:
    kind = response.headers.get("content-type", "")
    problem = check_problem(response.status_code, kind, response.content, expected, slug, pointer)
    assert problem["requestId"] == response.headers["x-correlation-id"]
    return problem


def job(**members: Any) -> bytes:
    return json.dumps(GOOD | members).encode()


def keep(inner: bytes) -> bytes:
    return b'{"type":"keep","payload":{"text":' + inner + b"}}"


def deep(levels: int, opening: bytes = b"[", closing: bytes = b"]") -> bytes:
    return keep(opening * levels + closing * levels)
