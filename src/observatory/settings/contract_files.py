"""Where the contracts lie, and how they are read.

The one rule: the copy inside the installed package, ``observatory/contracts``, if it is there;
otherwise the repository's own ``contracts/``, two folders above the package (an editable install).
"""

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import observatory
from observatory.core.contract_tree import VERSIONS
from observatory.core.errors import ConfigurationError


def default_directory() -> Path:
    """The folder of the contracts this code was made with.

    Raises:
        ConfigurationError: the installation has none.
    """
    packaged = Path(str(files(observatory) / "contracts"))
    # The package is always a folder on disk: it carries migrations, which are read by path too.
    beside = Path(str(observatory.__file__)).parents[2] / "contracts"
    for directory in (packaged, beside):
        if directory.is_dir():
            return directory
    raise ConfigurationError(f"no contracts at {packaged} or {beside}: the installation is damaged")


def load(directory: Path | None = None) -> dict[str, Any]:
    """Read a tree of contracts: path below the folder → decoded JSON, ``VERSIONS.md`` as text.

    Raises:
        ConfigurationError: the folder is missing, or a file in it is not JSON in UTF-8.
    """
    root = default_directory() if directory is None else directory
    if not root.is_dir():
        raise ConfigurationError(f"{root} is not a folder of contracts")
    tree = {
        file.relative_to(root).as_posix(): _read_json(file) for file in sorted(root.rglob("*.json"))
    }
    versions = root / VERSIONS
    if versions.is_file():
        tree[VERSIONS] = versions.read_text(encoding="utf-8")
    return tree


def _read_json(file: Path) -> Any:
    try:
        return json.loads(file.read_bytes())
    except ValueError as error:
        raise ConfigurationError(f"{file} is not JSON: {error}") from error
