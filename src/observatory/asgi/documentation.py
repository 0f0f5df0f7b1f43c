"""``/openapi.json`` and ``/docs``: the contract of an interface, as it is and as a page.

The page is made here, of plain HTML, because nothing may be fetched from elsewhere to show it.
"""

from collections.abc import Iterable, Mapping
from html import escape
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from observatory.asgi.parameters import Parameters
from observatory.asgi.routes import ScopedRoute

_METHODS: Final = ("get", "post", "put", "delete")

_STYLE: Final = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
summary { cursor: pointer; padding: .3rem 0 } code, pre { font-family: ui-monospace, monospace }
b { display: inline-block; min-width: 4rem } table { border-collapse: collapse; margin: .5rem 1rem }
td, th { text-align: left; padding: .15rem 1rem .15rem 0; vertical-align: top }
@media (prefers-color-scheme: dark) {
  body { background: #14171c; color: #e6e8eb } a { color: #7cb7ff }
}
"""

_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
"""The page has one style of ours and no script at all."""


def documentation_routes(
    scopes: Iterable[str], document: Mapping[str, Any], *others: Mapping[str, Any]
) -> list[ScopedRoute]:
    """The routes that show an OpenAPI document to who has one of the scopes; the page shows the
    `others` below it."""
    encoded = msgspec.json.encode(document)
    page = _page(document, *others)

    async def openapi(request: Request) -> Response:
        Parameters(request, ())
        return Response(encoded, media_type="application/json")

    async def docs(request: Request) -> Response:
        Parameters(request, ())
        headers = {"Content-Security-Policy": _POLICY, "X-Content-Type-Options": "nosniff"}
        return Response(page, media_type="text/html; charset=utf-8", headers=headers)

    return [
        ScopedRoute("/openapi.json", openapi, method="GET", scopes=scopes),
        ScopedRoute("/docs", docs, method="GET", scopes=scopes),
    ]


def _page(*documents: Mapping[str, Any]) -> str:
    title = escape(documents[0]["info"]["title"])
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style>'
        + "".join(_interface(document) for document in documents)
        + f'<p><a href="openapi.json">openapi.json</a> is the whole contract of {title}.</p></html>'
    )


def _interface(document: Mapping[str, Any]) -> str:
    info = document["info"]
    operations = "".join(
        _operation(document, method, path, item[method])
        for path, item in document["paths"].items()
        for method in _METHODS
        if method in item
    )
    return (
        f"<h1>{escape(info['title'])} {escape(info['version'])}</h1>"
        f"<p>{escape(info.get('description', ''))}</p>{operations}"
    )


def _operation(document: Mapping[str, Any], method: str, path: str, operation: Any) -> str:
    parameters = "".join(
        f"<tr><td><code>{escape(p['name'])}</code><td>{escape(p['in'])}"
        f"<td>{escape(p.get('description', ''))}"
        for p in (_followed(document, p) for p in operation.get("parameters", []))
    )
    answers = "".join(
        f"<tr><td>{escape(status)}<td>{escape(_followed(document, r).get('description', ''))}"
        for status, r in operation["responses"].items()
    )
    return (
        f"<details><summary><b>{method.upper()}</b> <code>{escape(path)}</code> "
        f"{escape(operation.get('summary', ''))}</summary>"
        f"<p>{escape(operation.get('description', ''))}</p>"
        + (f"<table><tr><th>Parameter<th>In<th>{parameters}</table>" if parameters else "")
        + f"<table><tr><th>Status<th>{answers}</table></details>"
    )


def _followed(document: Mapping[str, Any], node: Any) -> Any:
    reference = node.get("$ref")
    if reference is None:
        return node
    found: Any = document
    for token in reference.removeprefix("#/").split("/"):
        found = found[token.replace("~1", "/").replace("~0", "~")]
    return found
