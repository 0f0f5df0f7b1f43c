"""Who may do what: every route with every key, and what is said of a key."""

import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from observatory import Observatory
from observatory.asgi.correlation import Correlation
from observatory.asgi.keys import OPEN, SCOPES, Guard, new_key, read_keys
from observatory.asgi.page import page_routes
from observatory.asgi.routes import ScopedRoute, application
from observatory.assembly.system import running
from observatory.core.errors import ConfigurationError
from observatory.settings import Settings
from real import RunningSystem, running_system, until
from services.bad_input import CONTRACTS, GOOD, JOBS, refused


def _expected(operation: dict[str, Any], scopes: set[str] | None) -> set[int] | None:
    """Statuses that this key must get, or None where it must be let in."""
    demands = operation["security"]
    needed = next((set(d["bearer"]) for d in demands if "bearer" in d), None)
    if needed is None:
        return None
    if scopes is None:
        return {401}
    return None if needed & scopes or "admin" in scopes else {403}


def test_every_route_asks_for_its_scope(tmp_path: Path) -> None:
    """Every operation of both OpenAPI documents × every key."""
    kept: list[str] = []
    holders: dict[str, tuple[str | None, set[str] | None]] = {
        "nobody": (None, None),
        "a stranger": (new_key("stranger", ["admin"])[0], None),
    }
    for scopes in (["read"], ["submit"], ["operate"], ["admin"], ["read", "submit", "operate"]):
        secret, entry = new_key("-".join(scopes), scopes)
        kept.append(entry)
        holders["+".join(scopes)] = (secret, set(scopes))
    with running_system(JOBS, tmp_path, OBSERVATORY_API_KEYS=",".join(kept)) as system:
        documents = [
            json.loads((CONTRACTS / "openapi" / name).read_text())
            for name in ("gateway.v1.json", "read-model.v1.json")
        ]
        for path in set(documents[0]["paths"]) & set(documents[1]["paths"]):
            documents[0]["paths"][path].pop("get", None)  # on one origin the read model answers
        wrong: list[str] = []
        tried = 0
        for document in documents:
            for path, methods in document["paths"].items():
                for method, operation in methods.items():
                    if method not in ("get", "post", "put", "delete"):
                        continue
                    if "security" not in operation:
                        operation["security"] = document["security"]
                    url = path.replace("{jobId}", "01a20a84-8c93-7013-b13e-869c8ff945a2")
                    url = (
                        url.replace("{queue}", "default")
                        .replace("{name}", "ObservatoryWatchdog")
                        .replace("{path}", "job.v1.json")
                        .replace("{contractPath}", "job.v1.json")
                    )
                    for holder, (secret, scopes) in holders.items():
                        status = _status(system, method, url, secret)
                        expected = _expected(operation, scopes)
                        tried += 1
                        if expected is None and status in (401, 403):
                            wrong.append(f"{holder}: {method} {path}: {status}, must be let in")
                        elif expected is not None and status not in expected:
                            wrong.append(f"{holder}: {method} {path}: {status}, not {expected}")
        assert not wrong, "\n".join(wrong)
        assert tried > 120, "vacuous: the documents name few operations"


def _status(system: RunningSystem, method: str, url: str, secret: str | None) -> int:
    headers = {"Authorization": f"Bearer {secret}"} if secret else {}
    with system.http.stream(method.upper(), url, headers=headers) as answer:
        if answer.status_code in (401, 403):
            answer.read()
            slug = {401: "unauthorized", 403: "forbidden"}[answer.status_code]
            refused(answer, answer.status_code, slug)
            if answer.status_code == 401:
                assert answer.headers["www-authenticate"].startswith("Bearer")
        return answer.status_code


def test_a_key_is_never_kept_shown_or_half_right(tmp_path: Path) -> None:
    secret, entry = new_key("ops", ["admin"])
    with running_system(JOBS, tmp_path, OBSERVATORY_API_KEYS=entry) as system:
        good = {"Authorization": f"Bearer {secret}"}
        assert system.http.get("/jobs", headers=good).status_code == 200
        assert system.http.get("/jobs", headers={"Authorization": f"bearer {secret}"}).is_success
        digest = entry.rpartition(":")[2]
        for header in (
            f"Basic {secret}",
            secret,
            "Bearer",
            f"Bearer {secret[:-1]}",
            f"Bearer {secret}x",
            f"Bearer {secret.upper()}",
            f"Bearer {digest}",
            f"Bearer {entry}",
            "Bearer \u00e9",
        ):
            answer = system.http.get("/jobs", headers={"Authorization": header.encode()})  # type: ignore[dict-item]
            refused(answer, 401, "unauthorized")
            assert secret not in answer.text
        for url in (f"/jobs?key={secret}", f"/jobs?access_token={secret}"):
            assert system.http.get(url).status_code == 401
        # A slash at the end does not lead round an operator's scope.
        submit_only = system.http.post("/jobs/x/cancel/", headers=good)
        assert submit_only.status_code == 404
        job_id = system.http.post("/jobs", json=GOOD, headers=good).json()["jobId"]
        until(lambda: system.http.get(f"/jobs/{job_id}", headers=good).json()["finishedAt"])
        assert system.stop() == 0
        assert secret not in system.output
        for file in system.data.rglob("*"):
            if file.is_file():
                assert secret.encode() not in file.read_bytes(), file


def test_idempotency_keys_of_two_holders_never_meet(tmp_path: Path) -> None:
    (one, first), (two, second) = new_key("one", ["submit"]), new_key("two", ["submit"])
    with running_system(JOBS, tmp_path, OBSERVATORY_API_KEYS=f"{first},{second}") as system:
        ids = set()
        for secret in (one, two, one):
            headers = {"Authorization": f"Bearer {secret}", "Idempotency-Key": "same"}
            answer = system.http.post("/jobs", json=GOOD, headers=headers)
            assert answer.status_code == 202
            ids.add(answer.json()["jobId"])
        assert len(ids) == 2


@pytest.mark.parametrize(("keys", "told"), [("", "without keys"), (" , ", "holds no key")])
def test_without_keys_it_listens_on_loopback_only(tmp_path: Path, keys: str, told: str) -> None:
    with running_system(
        JOBS, tmp_path, arguments=["--host", "0.0.0.0"], start=False, OBSERVATORY_API_KEYS=keys
    ) as system:
        system.start(wait=False)
        assert system.wait_until_ended(timeout_s=15) != 0
        assert told in system.output
        assert "Traceback" not in system.output


@pytest.mark.parametrize(
    "text", [",", " ", "\n", " , ,", "a:read:" + "x" * 64, "a:read:" + "é" * 64]
)
def test_keys_that_hold_no_key_are_refused(text: str) -> None:
    with pytest.raises(ConfigurationError):
        read_keys(text)


def test_no_keys_are_none() -> None:
    assert read_keys("") == ()


@pytest.mark.parametrize(
    ("server", "status"),
    [("127.0.0.1", 204), ("127.0.0.9", 204), ("[::1]", 204), ("localhost", 204),
     ("192.0.2.7", 403), ("[::ffff:192.0.2.7]", 403), ("observatory.example", 403)],
)  # fmt: skip
async def test_without_keys_only_what_came_over_loopback_is_answered(
    server: str, status: int
) -> None:
    """Whatever the Host header says."""
    client = client_of(Guard(application([a_route("/jobs", "read")]), ()), server)
    answer = await client.get("/jobs", headers={"Host": "127.0.0.1"})
    assert answer.status_code == status


async def test_without_keys_a_connection_that_came_from_nowhere_is_refused() -> None:
    guard = Guard(application([a_route("/jobs", "read")]), ())

    async def serverless(scope: Any, receive: Any, send: Any) -> None:
        await guard({**scope, "server": None}, receive, send)

    assert (await client_of(serverless, "127.0.0.1").get("/jobs")).status_code == 403


@pytest.mark.parametrize(
    ("headers", "status"),
    [({"Host": "[::1"}, 400), ({"Host": "[bad]"}, 400), ({"Origin": "http://[::1"}, 403)],
)  # fmt: skip
async def test_a_host_or_origin_that_cannot_be_read_is_a_problem(
    headers: dict[str, str], status: int
) -> None:
    guard = Guard(application([a_route("/jobs", "submit", method="POST")]), ())
    answer = await client_of(Correlation(guard), "127.0.0.1").post("/jobs", headers=headers)
    slug = {400: "malformed-request", 403: "forbidden"}[status]
    refused(answer, status, slug)


PAGE_HTML = "<!doctype html><title>The page</title>"


def guarded(
    folder: Path, routes: list[ScopedRoute], *scopes: str
) -> tuple[httpx.AsyncClient, dict[str, str]]:
    """An application with a page behind a guard, and the headers of its one key."""
    (folder / "assets").mkdir()
    (folder / "index.html").write_text(PAGE_HTML)
    (folder / "assets/page-1.js").write_text("0")
    (folder / "secret.txt").write_text("s")
    secret, entry = new_key("reader", scopes)
    guard = Guard(application([*page_routes(folder), *routes]), read_keys(entry))
    return client_of(guard), {"Authorization": f"Bearer {secret}"}


def client_of(app: ASGIApp, host: str = "observatory.example") -> httpx.AsyncClient:
    """A client whose connections seem to arrive at a host."""
    transport = httpx.ASGITransport(app=app)
    return httpx.AsyncClient(transport=transport, base_url=f"http://{host}")


async def answer_with_nothing(request: Request) -> Response:
    return Response(status_code=204)


def a_route(path: str, *scopes: str, method: str = "GET") -> ScopedRoute:
    return ScopedRoute(path, answer_with_nothing, method=method, scopes=scopes)


async def test_a_browser_may_fetch_the_page_without_a_key_and_nothing_else(tmp_path: Path) -> None:
    jobs = [a_route("/jobs", "read"), a_route("/jobs", "submit", method="POST")]
    client, key = guarded(tmp_path, jobs, "admin")
    assert (await client.get("/")).text == PAGE_HTML
    assert (await client.get("/assets/page-1.js")).text == "0"
    assert (await client.head("/")).status_code == 200
    assert (await client.get("/assets/none.js")).status_code == 404
    for path in ("/jobs", "/secret.txt", "/assets", "/assets/../jobs", "/docs"):
        assert (await client.get(path)).status_code == 401, path
    for path in ("/", "/assets/page-1.js", "/jobs"):
        assert (await client.post(path)).status_code == 401, path
    assert (await client.get("/jobs", headers=key)).status_code == 204


async def test_a_page_that_was_not_built_is_told() -> None:
    app = Guard(application([a_route("/docs", "read")]), ())
    answer = await client_of(app, "127.0.0.1").get("/")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    for word in ("not built", "npm run build", "scripts/demo", "/docs"):
        assert word in answer.json()["detail"]


def test_a_route_that_does_not_say_its_scope_cannot_be() -> None:
    with pytest.raises(TypeError, match="does not say which scope"):
        application([Route("/jobs", answer_with_nothing)])
    for scopes in ((), ("everything",)):
        with pytest.raises(ValueError, match="must have scopes"):
            a_route("/jobs", *scopes)


async def test_a_route_is_shut_to_who_did_not_pass_the_guard() -> None:
    client = client_of(application([a_route("/jobs", "read")]))
    assert (await client.get("/jobs")).status_code == 401


NOT_A_PARAMETER = "?nonsense=1"
"""Refused by every route once it has let the caller in, so that trying it does nothing."""


def _routes_of(app: Any) -> list[ScopedRoute]:
    while not hasattr(app, "routes"):
        app = app.app
    return list(app.routes)


def _url(path: str) -> str:
    for name, value in (
        ("{job_id:job_id}", "01a20a84-8c93-7013-b13e-869c8ff945a2"),
        ("{queue:queue}", "default"),
        ("{path:path}", "job.v1.json"),
        ("{name}", "ObservatoryOutboxStuck"),
    ):
        path = path.replace(name, value)
    assert "{" not in path, "the test does not know what to put there"
    return path


async def test_every_route_lets_in_who_has_its_scope_under_its_own_path_only(
    tmp_path: Path,
) -> None:
    """Taken from the applications themselves: whatever routes they have, each with each scope."""
    page = tmp_path / "page"
    page.mkdir()
    (page / "index.html").write_text(PAGE_HTML)
    made = {scope: new_key(scope, [scope]) for scope in SCOPES}
    keys: dict[str, dict[str, str]] = {
        scope: {"Authorization": f"Bearer {secret}"} for scope, (secret, _) in made.items()
    }
    keys["nothing"] = {}
    settings = Settings(data=tmp_path / "data", api_keys=",".join(e for _, e in made.values()))
    wrong: list[str] = []
    tried = 0
    async with running(Observatory(), settings, page=page) as system:
        for app in (system.gateway_app, system.read_model_app):
            for route in _routes_of(app):
                url = _url(route.path)
                for method in sorted(route.methods or ()):
                    for holder, headers in keys.items():
                        query = "" if url == "/" else NOT_A_PARAMETER
                        client = client_of(app)
                        answer = await client.request(method, url + query, headers=headers)
                        let_in = holder == "admin" or bool(route.scopes & {OPEN, holder})
                        if let_in == (answer.status_code in (401, 403)):
                            wrong.append(f"{holder}: {method} {url}: {answer.status_code}")
                        answer = await client.request(method, url + "%0A" + query, headers=headers)
                        if answer.status_code != 404:
                            wrong.append(f"{holder}: {method} {url}%0A: {answer.status_code}")
                        tried += 1
        both = [*_routes_of(system.gateway_app), *_routes_of(system.read_model_app)]
        opened = {"/", "/livez", "/readyz", "/healthz", "/runbooks/{name}"}
        assert {r.path for r in both if OPEN in r.scopes} == opened
    assert not wrong, "\n".join(wrong)
    assert tried > 200, "vacuous: the applications have few routes"


async def test_the_scope_of_each_route_is_that_of_its_contract(tmp_path: Path) -> None:
    async with running(Observatory(), Settings(data=tmp_path / "data")) as system:
        for app, name in (
            (system.gateway_app, "gateway.v1.json"),
            (system.read_model_app, "read-model.v1.json"),
        ):
            document = json.loads((CONTRACTS / "openapi" / name).read_text())
            promised: dict[tuple[str, str], set[str]] = {}
            for path, methods in document["paths"].items():
                for method, operation in methods.items():
                    if method in ("get", "post", "put", "delete"):
                        demands = operation.get("security", document["security"])
                        scopes = {scope for d in demands for scope in d.get("bearer", ())}
                        shape = re.sub(r"{.*?}", "{}", path)
                        promised[shape, method.upper()] = scopes or {OPEN}
            declared = {
                (re.sub(r"{.*?}", "{}", route.path), method): set(route.scopes)
                for route in _routes_of(app)
                for method in (route.methods or set()) - {"HEAD"}
            }
            assert declared == promised


async def test_a_key_that_may_submit_cannot_operate_by_the_end_of_a_path(tmp_path: Path) -> None:
    secret, entry = new_key("submitter", ["submit"])
    settings = Settings(data=tmp_path / "data", api_keys=entry, allow_unknown_types=True)
    async with running(Observatory(), settings) as system:
        client = client_of(system.app)
        client.headers["Authorization"] = f"Bearer {secret}"
        job = (await client.post("/jobs", json={"type": "t", "delaySeconds": 1000})).json()
        for path in (
            f"/jobs/{job['jobId']}/cancel",
            f"/jobs/{job['jobId']}/retry",
            "/queues/default/pause",
            "/queues/default/resume",
        ):
            assert (await client.post(path)).status_code == 403, path
            for end in ("%0A", "%0D", "%00", "/", "%20", "?", "%2F"):
                assert (await client.post(path + end)).status_code in (403, 404), path + end
        assert await system.store.paused_queues() == {}
