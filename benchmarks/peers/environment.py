"""An environment of their own for the peers, and for what draws the plot."""

import hashlib
import subprocess
import venv
from pathlib import Path

_HOME = Path(__file__).parent


def peers_python() -> Path:
    """Its Python; made when it is first needed, or when other versions are wanted."""
    folder, requirements = _HOME / ".venv", _HOME / "requirements.txt"
    python, complete = folder / "bin" / "python", folder / "complete"
    wanted = hashlib.sha256(requirements.read_bytes()).hexdigest()
    if not complete.exists() or complete.read_text() != wanted:
        venv.create(folder, with_pip=True, clear=True)
        install = [python, "-m", "pip", "install", "-q", "-r", requirements]
        subprocess.run(install, check=True)
        complete.write_text(wanted)
    return python
