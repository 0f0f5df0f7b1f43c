"""Reading request bodies within limits, before anything is parsed."""

import asyncio
from typing import Final

from starlette.requests import ClientDisconnect, Request

from observatory.core.errors import MalformedJson, PayloadTooLarge, UnsupportedMediaType

_PAUSE_MAX_S: Final = 15.0
"""How long a body may pause before its sender is given up."""
_WHOLE_MAX_S: Final = 120.0
"""How long a body may take: one that comes byte by byte holds its memory no longer than this."""


async def read_body(request: Request, bytes_max: int) -> bytes:
    """The whole body.

    Raises:
        PayloadTooLarge: as soon as it is known; the rest is not read.
    """
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > bytes_max:
        raise PayloadTooLarge(f"the body has {declared} bytes; at most {bytes_max} are read")
    chunks: list[bytes] = []
    size = 0
    stream = aiter(request.stream())
    clock = asyncio.get_running_loop().time
    until = clock() + _WHOLE_MAX_S
    try:
        while True:
            async with asyncio.timeout(min(_PAUSE_MAX_S, until - clock())):
                chunk = await anext(stream, None)
            if chunk is None:
                return b"".join(chunks)
            size += len(chunk)
            if size > bytes_max:
                raise PayloadTooLarge(f"the body has more than the {bytes_max} bytes that are read")
            chunks.append(chunk)
    except ClientDisconnect:
        raise MalformedJson("the connection ended before the body did") from None
    except TimeoutError:
        raise MalformedJson(
            f"the body did not go on for {_PAUSE_MAX_S:g} seconds"
            if clock() < until
            else f"the body did not end within {_WHOLE_MAX_S:g} seconds"
        ) from None


def media_type(request: Request, *accepted: str) -> str:
    """The body's media type, without parameters.

    Raises:
        UnsupportedMediaType: none of those accepted, another charset, or an encoded body.
    """
    name, _, parameters = request.headers.get("content-type", "").partition(";")
    name = name.strip().lower()
    if name not in accepted:
        shown = f"{name[:100]!r}" if name else "nothing"
        raise UnsupportedMediaType(f"send {' or '.join(accepted)} as Content-Type, not {shown}")
    charset = parameters.strip().lower().removeprefix("charset=").strip('"')
    if charset and charset != "utf-8":
        raise UnsupportedMediaType("JSON is read as UTF-8 only (RFC 8259, section 8.1)")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise UnsupportedMediaType("compressed bodies are not read; send the JSON as it is")
    return name
