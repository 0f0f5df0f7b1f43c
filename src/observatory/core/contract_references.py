"""Following references between contract documents that are already loaded.

Rules of this file: a reference is resolved as RFC 3986 says, against the document's own URI, and
its fragment is a JSON Pointer (RFC 6901). Nothing is ever fetched; what is not among the documents
does not exist.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple
from urllib.parse import unquote, urldefrag, urljoin

CONTRACTS_URI: Final = "https://observatory.example/contracts/"
"""Base of every schema's ``$id``: it names contracts and is never fetched. The code has it from
here only."""


class Located(NamedTuple):
    """A value inside a document, and where it lies."""

    value: Any
    document_uri: str
    pointer: str

    @property
    def uri(self) -> str:
        """The absolute URI of the value."""
        return f"{self.document_uri}#{self.pointer}"


@dataclass(frozen=True, slots=True)
class Documents:
    """Documents by absolute URI, without fragment."""

    by_uri: Mapping[str, Any]

    def resolve(self, reference: str, base_uri: str) -> Located:
        """Find what a reference in the document `base_uri` points at.

        Raises:
            LookupError: the document is not among these, or has nothing at the pointer.
        """
        uri, fragment = urldefrag(urljoin(base_uri, reference))
        if uri not in self.by_uri:
            raise LookupError(f"{reference} leads to {uri or 'nowhere'}, which is not a contract")
        pointer = unquote(fragment)
        return Located(at_pointer(self.by_uri[uri], pointer), uri, pointer)


def at_pointer(document: Any, pointer: str) -> Any:
    """The value at a JSON Pointer.

    Raises:
        LookupError: there is none.
    """
    value: Any = document
    for token in pointer.split("/")[1:] if pointer else []:
        name = token.replace("~1", "/").replace("~0", "~")
        try:
            value = value[int(name)] if isinstance(value, list) else value[name]  # pyright: ignore[reportUnknownVariableType]
        except (KeyError, IndexError, ValueError, TypeError):
            raise LookupError(f"there is nothing at {pointer}") from None
    if pointer and not pointer.startswith("/"):
        raise LookupError(f"{pointer} is not a JSON Pointer; anchors are not used in contracts")
    return value  # pyright: ignore[reportUnknownVariableType]


def child(pointer: str, *names: str | int) -> str:
    """The pointer of something deeper, each name escaped as RFC 6901 says."""
    escaped = (str(name).replace("~", "~0").replace("/", "~1") for name in names)
    return "/".join((pointer, *escaped))


def walk(value: Any, pointer: str = "") -> Iterator[tuple[str, Any]]:
    """Every value inside a JSON value with its pointer, itself first."""
    yield pointer, value
    items: Any = ()
    if isinstance(value, dict):
        items = value.items()  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
    elif isinstance(value, list):
        items = enumerate(value)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    for name, inner in items:
        yield from walk(inner, child(pointer, name))
