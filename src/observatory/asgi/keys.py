"""Who may do what: API keys with scopes, and the guards of an open loopback interface.

A key is 256 random bits, so a plain SHA-256 of it is kept; comparison takes constant time. Without
keys the interface is open to connections that came over loopback only, and then two doors a web
page could come through are shut: a foreign Host header (DNS rebinding) and a cross-site Origin on a
method that changes things.
"""

import hashlib
import hmac
import ipaddress
import re
import secrets
from collections.abc import Iterable
from typing import Final
from urllib.parse import urlsplit

import msgspec
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from observatory.asgi.problem import problem_response
from observatory.core.errors import (
    ConfigurationError,
    Forbidden,
    MalformedRequest,
    NotFound,
    Problem,
    Unauthorized,
)

SCOPES: Final = ("read", "submit", "operate", "admin")
OPEN: Final = "open"
"""The scope of what everybody may use; no key names it, and all who ask have it."""
LOOPBACK_NAMES: Final = frozenset({"localhost", "127.0.0.1", "::1", "[::1]"})
_READ_METHODS: Final = frozenset({"GET", "HEAD"})
_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_DIGEST: Final = re.compile(r"[0-9a-fA-F]{64}")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_RUNBOOK_PATH: Final = re.compile(r"/runbooks/[A-Za-z]{1,100}")
"""Linked from alerts, and the same in every installation: whoever is woken may read them."""
_OPEN_PATHS: Final = frozenset({"/livez", "/readyz", "/healthz"})
"""Probes carry no keys."""
_PAGE_PATH: Final = re.compile(r"/(?:assets/[A-Za-z0-9_.-]+)?")
"""The files of the page, which a browser asks for without a key, are the same for everybody and
hold nothing of any job; what the page shows it reads from the API, with a key."""


class Key(msgspec.Struct, frozen=True):
    """A key as it is kept: never the key itself."""

    name: str
    scopes: frozenset[str]
    digest: str


def new_key(name: str, scopes: Iterable[str]) -> tuple[str, str]:
    """Make a key: what its holder sends, and the entry for ``OBSERVATORY_API_KEYS``."""
    secret = f"obs_{name}_{secrets.token_urlsafe(32)}"
    return secret, f"{name}:{'+'.join(scopes)}:{_digest(secret)}"


def read_keys(text: str) -> tuple[Key, ...]:
    """Read ``name:scope+scope:sha256hex`` entries, separated by commas.

    Raises:
        ConfigurationError: an entry that is not of this form, or a text that is not empty and has
            none: who sets keys does not mean the interface to be open. The entry is not repeated
            in the text, in case a key itself was put there.
    """
    keys: list[Key] = []
    for number, entry in enumerate((part.strip() for part in text.split(",") if part.strip()), 1):
        name, _, rest = entry.partition(":")
        scopes_text, _, digest = rest.partition(":")
        scopes = frozenset(scopes_text.split("+"))
        if not name or not scopes <= set(SCOPES) or not _DIGEST.fullmatch(digest):
            raise ConfigurationError(
                f"OBSERVATORY_API_KEYS: entry {number} must read name:scope+scope:sha256hex "
                f"with scopes of {', '.join(SCOPES)}; `observatory keys` makes one"
            )
        keys.append(Key(name, scopes, digest.lower()))
    if text and not keys:
        raise ConfigurationError(
            "OBSERVATORY_API_KEYS is set and holds no key; `observatory keys` makes one. To use "
            "the system without keys, on loopback, leave it unset"
        )
    return tuple(keys)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


class Guard:
    """Finds out who asks, before anything is matched; a key that is not known gets no further.
    What they may do is asked by each route (`demand`)."""

    def __init__(self, app: ASGIApp, keys: tuple[Key, ...]) -> None:
        """Guard an application.

        Args:
            app: what is guarded; its routes say which scope they need.
            keys: the known keys; empty leaves the interface open, for loopback.
        """
        self.app = app
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] == "http":
            try:
                self._let_in(scope)
            except Problem as problem:
                response = problem_response(
                    problem, scope["path"], scope.get("observatory.correlation_id")
                )
                await response(scope, receive, send)
                return
        await self.app(scope, receive, send)

    def _let_in(self, scope: Scope) -> None:
        method, path, headers = scope["method"], scope["path"], Headers(scope=scope)
        if _CONTROL.search(path):
            # No route has one, and patterns are known to overlook a line's end.
            raise NotFound("no path here has a control character in it")
        granted: Iterable[str] = SCOPES
        if not self._keys:
            _check_local(scope, headers)
            scope["observatory.principal"] = "local"
        elif _is_open(method, path):
            granted = ()
        else:
            key = self._known(headers)
            scope["observatory.principal"], granted = key.name, key.scopes
        scope["observatory.granted"] = frozenset({*granted, OPEN})

    def _known(self, headers: Headers) -> Key:
        scheme, _, secret = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not secret:
            raise Unauthorized("send a key as `Authorization: Bearer …`")
        digest = _digest(secret.strip())
        found: Key | None = None
        for key in self._keys:  # every key is compared, so that time tells nothing
            if hmac.compare_digest(key.digest, digest):
                found = key
        if found is None:
            raise Unauthorized("this key is not known")
        return found


def demand(scope: Scope, scopes: frozenset[str]) -> None:
    """See that who asks has one of these scopes, or ``admin``.

    Raises:
        Unauthorized: no key was sent.
        Forbidden: the key has none of them.
    """
    if scope.get("observatory.granted", frozenset()) & {*scopes, "admin"}:
        return
    principal = scope.get("observatory.principal")
    if principal is None:
        raise Unauthorized("send a key as `Authorization: Bearer …`")
    needed = " or ".join(name for name in SCOPES if name in scopes)
    raise Forbidden(f"this needs the scope {needed}; key {principal!r} does not have it")


def _is_open(method: str, path: str) -> bool:
    if path in _OPEN_PATHS:
        return True
    told = _PAGE_PATH.fullmatch(path) or _RUNBOOK_PATH.fullmatch(path)
    return method in _READ_METHODS and told is not None


def _check_local(scope: Scope, headers: Headers) -> None:
    server = scope.get("server")
    if server is None or not _is_loopback(server[0]):
        # The Host header is the caller's to choose; where the connection arrived is not.
        raise Forbidden("without keys only connections over loopback are answered")
    try:
        host = urlsplit(f"//{headers.get('host', '')}").hostname
    except ValueError:
        raise MalformedRequest("the Host header cannot be read") from None
    if host not in LOOPBACK_NAMES:
        raise Forbidden("without keys only loopback names are answered; check the Host header")
    if scope["method"] in _SAFE_METHODS:
        return
    origin = headers.get("origin")
    if origin is not None and _authority(origin) != headers.get("host"):
        raise Forbidden("a page of another origin may not change anything here")
    if headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
        raise Forbidden("a page of another site may not change anything here")


def _is_loopback(address: str) -> bool:
    if address in LOOPBACK_NAMES:
        return True
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None)
    return (mapped or found).is_loopback


def _authority(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None
