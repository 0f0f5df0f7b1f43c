"""Errors over HTTP: problem details (RFC 9457) for everything that is not answered."""

import re
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import structlog
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Route

from observatory.core.errors import PROBLEM_BASE, MethodNotAllowed, NotFound, Problem

_log = structlog.get_logger(__name__)


def problem_document(problem: Problem, instance: str, request_id: str | None) -> dict[str, Any]:
    """The members of a problem document."""
    document: dict[str, Any] = {
        "type": PROBLEM_BASE + problem.slug,
        "title": problem.title,
        "status": problem.status,
        "detail": problem.detail,
        "instance": instance,
        "requestId": request_id,
    }
    if problem.faults:
        document["errors"] = [{"pointer": p, "detail": d} for p, d in problem.faults]
    return document


def problem_response(problem: Problem, path: str, request_id: str | None) -> Response:
    """A response that tells a problem."""
    headers: dict[str, str] = {"Cache-Control": "no-store"}
    if problem.retry_after_s is not None:
        headers["Retry-After"] = str(problem.retry_after_s)
    elif problem.status == 503:
        headers["Retry-After"] = "1"
    if problem.status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="observatory"'
    return Response(
        msgspec.json.encode(problem_document(problem, path, request_id)),
        problem.status,
        headers,
        "application/problem+json",
    )


def _request_id(request: Request) -> str | None:
    return request.scope.get("observatory.correlation_id")


async def on_problem(request: Request, error: Exception) -> Response:
    """Answer one of our own errors."""
    assert isinstance(error, Problem), "registered for problems only"
    return problem_response(error, request.url.path, _request_id(request))


async def on_unexpected(request: Request, error: Exception) -> Response:
    """Answer what should not have happened; the details go to the log, not to the caller."""
    _log.error("http.unexpected", path=request.url.path, error=repr(error))
    problem = Problem("something went wrong here; the log of this service says what")
    return problem_response(problem, request.url.path, _request_id(request))


def http_exception_handler(routes: Sequence[BaseRoute]) -> Any:
    """A handler for Starlette's own errors that knows which methods a path has."""

    async def handle(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException), "registered for HTTPException only"
        path = request.url.path
        allowed = sorted({method for route in routes for method in _methods(route, request)})
        known = bool(allowed) and error.status_code in (404, 405)
        if known and request.method in allowed:
            # Only where a service of the origin runs alone does a request come to the wrong one.
            text = (
                f"{path[:200]} is answered by another service of this system, not by this one; "
                "the edge leads each request to the right one"
            )
            return problem_response(NotFound(text), path, _request_id(request))
        if known:
            text = f"{path} answers {', '.join(allowed)}, not {request.method}"
            response = problem_response(MethodNotAllowed(text), path, _request_id(request))
            response.headers["Allow"] = ", ".join(allowed)
            return response
        if error.status_code == 404:
            problem: Problem = NotFound(_nothing_at(path, routes))
        else:
            problem = Problem(error.detail)
        return problem_response(problem, path, _request_id(request))

    return handle


_NO_PAGE: Final = (
    "the page is not built: run `npm install` and `npm run build` in web/, or scripts/demo, and "
    "start again; the API is described at /docs"
)
_JOB_PATH: Final = re.compile(r"/jobs/([^/]+)(/(events|attempts|logs|cancel|retry))?\Z")


def _nothing_at(path: str, routes: Sequence[BaseRoute]) -> str:
    if not any(isinstance(route, Route) and route.path == "/docs" for route in routes):
        return f"there is no {path[:200]} here"  # a service without an interface
    if path == "/":
        return _NO_PAGE
    hint = "a job id is a UUID" if _JOB_PATH.match(path) else "see /docs"
    return f"there is no {path[:200]} here; {hint}"


def _methods(route: BaseRoute, request: Request) -> set[str]:
    match, _ = route.matches(request.scope)
    if match is Match.NONE or not isinstance(route, Route):
        return set()
    return route.methods or set()


def exception_handlers(routes: Sequence[BaseRoute]) -> dict[Any, Any]:
    """What an application passes to Starlette."""
    return {
        Problem: on_problem,
        HTTPException: http_exception_handler(routes),
        Exception: on_unexpected,
    }
