"""One request and its answer: when it may be sent again, and what its status means.

A request whose outcome is unknown is repeated only where that cannot do harm: a read, a submission
with an Idempotency-Key, or a connection that was never made.
"""

import random
import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeAlias, TypeVar, cast

import httpx
import msgspec

from observatory.client.errors import Conflict, NotFound, Refused, Unavailable, Unreachable
from observatory.client.records import Json

T = TypeVar("T")


@dataclass(frozen=True)
class Request:
    """What is to be sent, and whether sending it twice is harmless."""

    method: str
    path: str
    params: Mapping[str, str] = field(default_factory=dict[str, str])
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    content: bytes | None = None
    timeout_s: float = 30.0
    repeatable: bool = True
    again_after_silence: bool = True
    """Whether it is sent again also where nobody answered in time. Another connection may lead to
    somebody who does; a person has waited long enough."""
    pause_s: float = 0.0
    """How long to wait before it is sent."""


_FOREIGN_STATUSES: Final = (404, 405, 501)
"""With these any server refuses a path that it has not; an observatory adds a problem. What stands
before one, such as a proxy, may answer others without."""

Answer: TypeAlias = httpx.Response | httpx.TransportError
Steps: TypeAlias = Generator[Request, Answer, T]
"""An operation: yields requests, is sent what came back, returns its result."""


def exchange(request: Request, patience_s: float) -> Steps[httpx.Response]:
    """Send, and send again while that is safe and patience lasts; then read the status."""
    deadline: float | None = None
    pause_s = 0.05
    while True:
        answer = yield request
        again_s = _again_after(request, answer, pause_s)
        # Counted from the first failure: an answer that took long has not used up any patience.
        now = time.monotonic()
        deadline = now + patience_s if deadline is None else deadline
        if again_s is None or now + again_s > deadline:
            return checked(answer)
        request = replace(request, pause_s=again_s)
        pause_s = min(1.0, pause_s * 2)


def _again_after(request: Request, answer: Answer, pause_s: float) -> float | None:
    """Seconds until the request may be repeated; None where it must not or need not be."""
    # Spread out, so that clients cut off together do not come back together.
    pause_s *= random.uniform(0.5, 1.0)  # noqa: S311 - not a secret
    if isinstance(answer, httpx.TimeoutException) and not request.again_after_silence:
        return None
    if isinstance(answer, httpx.ConnectError | httpx.ConnectTimeout):
        return pause_s  # never sent, so no harm whatever it was
    if not request.repeatable:
        return None
    if isinstance(answer, httpx.TransportError):
        return None if isinstance(answer, httpx.UnsupportedProtocol) else pause_s
    if answer.status_code not in (429, 503):
        return None
    told = answer.headers.get("retry-after", "")
    return max(pause_s, float(told)) if told.isdigit() else pause_s


def checked(answer: Answer) -> httpx.Response:
    """The response, if its status is a yes; else the error it stands for."""
    if isinstance(answer, httpx.TransportError):
        raise unreachable(answer) from answer
    if answer.status_code < 400:
        return answer
    status = answer.status_code
    if status in _FOREIGN_STATUSES and not isinstance(_document(answer), dict):
        told = f"{answer.url} answered HTTP {status} {answer.reason_phrase}"
        raise _another(f"{told}, and not as an observatory does; is it one that listens there?")
    kinds = {404: NotFound, 409: Conflict}
    kind = Unavailable if status >= 500 else kinds.get(status, Refused)
    raise kind(_problem(answer), status=status)


def unreachable(error: httpx.TransportError) -> Unreachable:
    """The client's error for httpx's."""
    # A transport error raised outside a request has none, and httpx answers that with an error.
    try:
        url = str(error.request.url.copy_with(path="/", query=None))
    except RuntimeError:
        url = "the server"
    reason = str(error) or type(error).__name__
    return Unreachable(f"{url} does not answer ({reason}); is `observatory up` running there?")


def _another(told: str) -> Unreachable:
    error = Unreachable(told)
    error.by_another = True
    return error


def _document(response: httpx.Response) -> Any:
    try:
        return msgspec.json.decode(response.content)
    except msgspec.DecodeError:
        return None


def _problem(response: httpx.Response) -> Json:
    body = _document(response)
    if isinstance(body, dict):
        return _of_checks(body)  # pyright: ignore[reportUnknownArgumentType] - decoded JSON
    return {"title": f"HTTP {response.status_code} {response.reason_phrase}"}


def _of_checks(body: Json) -> Json:
    """What a probe of readiness answers, as a problem; any other document as it is."""
    checks = body.get("checks")
    if not isinstance(checks, dict):
        return body
    failing = [
        f"{name} ({one.get('detail') or 'fails'})"
        for name, one in cast("dict[str, Json]", checks).items()
        if not one.get("ok")
    ]
    return {"title": "not ready", "detail": ", ".join(failing)}


def body_of(response: httpx.Response) -> Any:
    """The decoded JSON."""
    try:
        return msgspec.json.decode(response.content)
    except msgspec.DecodeError as error:
        raise _another(
            f"{response.url} answered something that is not JSON ({error}); "
            "is it an observatory that listens there?"
        ) from error
