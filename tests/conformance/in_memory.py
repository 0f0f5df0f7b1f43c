"""Where the servers of a session keep their data."""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Final

_MEMORY: Final = Path("/dev/shm")
_ROOM_BYTES: Final = 4 << 30


def new_folder() -> Path:
    """A folder for what nobody needs after the session: in memory where there is much of it, as
    each of hundreds of tests would wait for the disk."""
    roomy = os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free > _ROOM_BYTES
    parent = _MEMORY if roomy else None
    folder = Path(tempfile.mkdtemp(prefix="observatory-conformance-", dir=parent))
    folder.chmod(0o755)  # as PostgreSQL, started by root, runs as somebody else
    return folder
