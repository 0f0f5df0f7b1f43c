"""Serving the built page: a folder of files, with headers that let nothing else run."""

import mimetypes
from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from observatory.asgi.keys import OPEN
from observatory.asgi.routes import ScopedRoute
from observatory.core.errors import NotFound

_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}


def page_routes(folder: Path) -> list[ScopedRoute]:
    """``/`` and ``/assets/…``; files are read once, and only those that were there at the start
    are served."""
    files = {
        file.relative_to(folder).as_posix(): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }

    async def serve(request: Request) -> Response:
        name = request.url.path.removeprefix("/") or "index.html"
        if name not in files:
            raise NotFound(f"there is no {name[:200]} here")
        kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
        # Assets carry a hash of their content in their names; the page that names them does not.
        kept = "no-cache" if name == "index.html" else "public, max-age=31536000, immutable"
        return Response(files[name], media_type=kind, headers=_HEADERS | {"Cache-Control": kept})

    paths = ["/", *(f"/{name}" for name in files if name != "index.html")]
    return [ScopedRoute(path, serve, method="GET", scopes=(OPEN,)) for path in paths]
