"""compose.yaml as Compose reads it: variables of the environment put in place, each a value or an error."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from rendering import Document, parsed

_VARIABLE: Final = re.compile(r"\$\{([A-Z_]+)(?::\?([^}]*))?\}|\$\$")


class Unset(Exception):
    """A variable that must be set is not; the text is what the file says of it."""


def composed(file: Path, variables: Mapping[str, str]) -> Document:
    """A file of Compose with its variables put in place. Raises Unset."""
    return _filled(parsed(file.read_text()), variables)


def _filled(node: Any, variables: Mapping[str, str]) -> Any:
    if isinstance(node, dict):
        return {name: _filled(one, variables) for name, one in node.items()}  # pyright: ignore[reportUnknownVariableType]
    if isinstance(node, list):
        return [_filled(one, variables) for one in node]  # pyright: ignore[reportUnknownVariableType]
    if not isinstance(node, str):
        return node

    def value(found: re.Match[str]) -> str:
        if found[0] == "$$":
            return "$"
        if not variables.get(found[1]):
            raise Unset(f"{found[1]} {found[2]}")
        return variables[found[1]]

    return _VARIABLE.sub(value, node)


def read_environment(file: Path) -> dict[str, str]:
    """The variables of an .env that needs no quotes."""
    given = (one for one in file.read_text().splitlines() if not one.startswith("#"))
    return dict(one.split("=", 1) for one in given)
