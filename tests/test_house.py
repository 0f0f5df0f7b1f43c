"""The house keeps its walls: imports point one way, and no room is there that nobody planned."""

from pathlib import Path

import pytest
from importlinter.cli import lint_imports

ROOT = Path(__file__).parents[1]


def test_imports_point_one_way(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)

    code = lint_imports(config_filename=str(ROOT / "pyproject.toml"), cache_dir=None)

    assert code == 0, capsys.readouterr().out[-4000:]
