#!/usr/bin/env python3
"""Make the passwords and keys that compose.yaml asks for, in .env beside it.

python3 scripts/write_environment.py [FILE]

A file that is there is kept: with other passwords the servers' data could not be read any more.
"""

import argparse
import os
import sys
from pathlib import Path

from kind_cluster import ROOT
from setup_cluster import CREDENTIALS, new_secrets


def lines() -> list[str]:
    """Every variable of compose.yaml, none with a value that needs an escape."""
    made = new_secrets()
    passwords = made["observatory-credentials"]
    keys = made["observatory-keys"]
    return [
        *(f"{name.upper()}_PASSWORD={passwords[name]}" for name in CREDENTIALS),
        f"API_KEYS={keys['entries']}",
        "# For the page, and as OBSERVATORY_API_KEY for the command line.",
        f"OPERATOR_KEY={keys['operator']}",
        f"READER_KEY={keys['reader']}",
    ]


def main() -> int:
    """Write; 1 where there is a file already."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", nargs="?", type=Path, default=ROOT / ".env")
    file: Path = parser.parse_args().file
    try:
        # Never readable by others, not even for a moment.
        made = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        print(f"{file} is there already, and is kept", file=sys.stderr)
        return 1
    with open(made, "w") as written:
        written.write("\n".join([*lines(), ""]))
    print(f"{file}: the key for the page is OPERATOR_KEY")
    return 0


if __name__ == "__main__":
    sys.exit(main())
