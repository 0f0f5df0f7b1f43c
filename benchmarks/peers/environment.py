"""An environment of their own for the peers, and for what draws the plot."""

import hashlib
import importlib.util
import subprocess
import sys
import venv
from pathlib import Path

_HOME = Path(__file__).parent


def peers_python() -> Path:
    """Its Python; made when it is first needed, or when other versions are wanted."""
    folder, requirements = _HOME / ".venv", _HOME / "requirements.txt"
    python, complete = folder / "bin" / "python", folder / "complete"
    wanted = hashlib.sha256(requirements.read_bytes()).hexdigest()
    if not complete.exists() or complete.read_text() != wanted:
        # uv is where the project's own environment is; it takes a tenth of pip's time.
        with_uv = importlib.util.find_spec("uv") is not None
        venv.create(folder, with_pip=not with_uv, clear=True)
        install = (
            [sys.executable, "-m", "uv", "pip", "install", "--python", python]
            if with_uv
            else [python, "-m", "pip", "install"]
        )
        subprocess.run([*install, "-q", "-r", requirements], check=True)
        complete.write_text(wanted)
    return python
