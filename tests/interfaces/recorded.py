"""A system that answers as one once did: real HTTP, the same times, ages and ids in every run.

What it answers to reads was recorded from the demo (`screens/recorded.json`) or is written down here
(`golden/answers.json`); `test_cli_looks.py` checks both by the contracts. To what would change
something it answers as if it had. With the key `wrong` everything is refused.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from stand_in import served_by

HERE: Final = Path(__file__).parent
RECORDED: Final[dict[str, Any]] = json.loads((HERE / "screens" / "recorded.json").read_text())
WRITTEN: Final[dict[str, Any]] = json.loads((HERE / "golden" / "answers.json").read_text())

JOB: Final[str] = RECORDED["job"]
NEW_JOB: Final = "01a21cca-8b00-7000-8000-000000000001"
EVENT: Final = "3f1c5f0e-64a0-5d62-9f62-3f0a4d0b6f0e"
ABSENT: Final = "01a21cca-0000-7000-8000-000000000000"
BASE: Final = "https://observatory.example/problems/"


def problem(status: int, slug: str, title: str, detail: str) -> tuple[int, dict[str, Any]]:
    """A problem, and the status it is answered with."""
    return status, {"type": f"{BASE}{slug}", "title": title, "status": status, "detail": detail}


def read(path: str, query: dict[str, list[str]]) -> tuple[int, Any]:
    """The answer to a GET."""
    if path == "/jobs":
        state = "('state', 'failed')"
        key = next(k for k in RECORDED["answers"] if k.startswith("/jobs?") and state in k)
        page = RECORDED["answers"][key]
        limit = int(query["limit"][0])
        more = "bW9yZQ" if limit < len(page["items"]) else None
        return 200, {**page, "items": page["items"][:limit], "next": more}
    if path == "/events":
        items = RECORDED["events"][-int(query["limit"][0]) :]
        return 200, {"items": items, "next": "bW9yZQ", "asOf": "2026-11-27T11:36:31.000000Z"}
    if path in WRITTEN:
        answer = WRITTEN[path]
        if path == "/system":
            # Its clock is this machine's.
            now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
            answer = {**answer, "asOf": now}
        return 200, answer
    for key, answer in RECORDED["answers"].items():
        if key.split("?")[0] == path:
            return 200, answer
    return problem(404, "not-found", "There is no such thing", f"there is nothing at {path}")


def changed(path: str, body: Any) -> tuple[int, Any]:
    """The answer to a POST."""
    accepted = {"jobId": NEW_JOB, "eventId": EVENT}
    if path == "/jobs":
        if body["type"] == "unknown":
            return problem(422, "unknown-job-type", "The job type is not known", "none has it")
        return 202, accepted
    if path == "/jobs/batch":
        return 207, {
            "accepted": 0,
            "refused": 0,
            "items": [_item(n, i) for n, i in enumerate(body)],
        }
    if path == "/jobs/actions":
        matched = 3
        return 200, {
            "action": body["action"], "dryRun": body["dryRun"], "matched": matched,
            "changed": 0 if body["dryRun"] else matched, "skipped": 0, "complete": True, "next": None,
        }  # fmt: skip
    name, _, verb = path.removeprefix("/jobs/").removeprefix("/queues/").rpartition("/")
    if name == ABSENT:
        return problem(404, "not-found", "There is no such thing", f"there is no job {name}")
    match verb:
        case "cancel":
            return 202, {
                "jobId": name, "state": "cancelled", "eventId": EVENT,
                "cancelRequestedAt": "2026-11-27T11:36:31.000000Z",
            }  # fmt: skip
        case "retry":
            return 202, {**accepted, "jobId": NEW_JOB if "payload" in body else name}
        case _:
            return 200, {"queue": name, "paused": verb == "pause"}


def _item(index: int, item: dict[str, Any]) -> dict[str, Any]:
    done = {"index": index, "status": 202, "jobId": NEW_JOB, "eventId": EVENT, "replayed": False}
    if item["type"] == "unknown":
        status, why = problem(
            422, "unknown-job-type", "The job type is not known", "no processor has registered it"
        )
        return {**done, "status": status, "jobId": None, "eventId": None, "problem": why}
    return {**done, "problem": None}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def _answer(self, status: int, answer: Any) -> None:
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _refused(self) -> bool:
        if self.headers.get("authorization") != "Bearer wrong":
            return False
        self._answer(*problem(401, "unauthorized", "A key is needed", "this key is not known"))
        return True

    def do_GET(self) -> None:
        if self._refused():
            return
        where = urlsplit(self.path)
        if where.path == "/events/stream":
            self._stream(parse_qs(where.query))
        else:
            self._answer(*read(where.path, parse_qs(where.query)))

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if self._refused():
            return
        if (self.path, body) == ("/jobs", b"{}"):
            self._answer(422, {"title": "The job is not as its contract says", "status": 422})
            return
        self._answer(*changed(self.path, json.loads(body) if body else {}))

    def _stream(self, query: dict[str, list[str]]) -> None:
        types = query.get("type", [""])[0].split(",")
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        self.close_connection = True
        for one in RECORDED["events"]:
            if types == [""] or one["event"]["type"] in types:
                data = json.dumps(one["event"])
                try:
                    self.wfile.write(f"id: {one['position']}\ndata: {data}\n\n".encode())
                except OSError:
                    return  # it has seen enough

    def log_message(self, format: str, *args: object) -> None: ...


@contextmanager
def recorded_system() -> Iterator[str]:
    """Its URL, for as long as the block lasts."""
    with served_by(_Handler) as url:
        yield url
