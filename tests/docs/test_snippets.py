"""The commands and programs of the documents work: marked ones are run, the others are parsed."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from documents import ROOT, Block, blocks, documents

from real import RunningSystem, running_system

_ADDRESS_IN_DOCUMENTS = "http://127.0.0.1:8080"

_ALL = [block for path in documents() for block in blocks(path)]


def _where(block: Block) -> str:
    return block.where


@contextmanager
def _served(document: Path, folder: Path) -> Iterator[RunningSystem]:
    """What a reader has before the first marked block: the files written, the command running."""
    arguments: list[str] = []
    for block in blocks(document):
        if block.mark == "file":
            assert block.name is not None
            (folder / block.name).write_text(block.text)
        elif block.mark == "serve":
            command = shlex.split(block.text)
            assert command[:2] == ["observatory", "up"]
            arguments = command[2:]
    with running_system(None, folder, arguments=arguments) as system:
        (folder / ".observatory").symlink_to(system.data)
        yield system


def _run(block: Block, system: RunningSystem) -> None:
    text = block.text.replace(_ADDRESS_IN_DOCUMENTS, system.url)
    command = ["bash", "-euo", "pipefail", "-c", text]
    if block.language == "python":
        command = [sys.executable, "-W", "error", "-c", text]
    bin = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{bin}{os.pathsep}{os.environ['PATH']}"}
    environment |= {"OBSERVATORY_URL": system.url, "NO_COLOR": "1", "no_proxy": "*"}
    done = subprocess.run(
        command, cwd=system.folder, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, f"{block.where}\n{done.stdout}\n{done.stderr}"


@pytest.mark.parametrize(
    "name", ["README.md", "docs/guide/getting-started.md", "docs/guide/tracing.md"]
)
def test_what_a_newcomer_is_told_to_run_works(name: str, tmp_path: Path) -> None:
    marked = [block for block in blocks(ROOT / name) if block.mark == "run"]
    assert marked

    with _served(ROOT / name, tmp_path) as system:
        for block in marked:
            _run(block, system)


def test_what_an_operator_is_told_to_run_works(tmp_path: Path) -> None:
    with _served(ROOT / "docs" / "guide" / "getting-started.md", tmp_path) as system:
        accepted = system.http.post(
            "/jobs", json={"type": "text.count", "payload": {"text": "kept"}}
        ).json()
        for block in blocks(ROOT / "docs" / "guide" / "operating.md"):
            if block.mark == "run":
                _run(block, system)

    restored = tmp_path / "restored"
    (restored / "data").mkdir(parents=True)
    (tmp_path / "backup.db").rename(restored / "data" / "observatory.db")
    (restored / "my_jobs.py").write_text((tmp_path / "my_jobs.py").read_text())
    with running_system(None, restored, arguments=["my_jobs"]) as system:
        job = system.http.get(f"/jobs/{accepted['jobId']}", headers={"Prefer": "wait=10"}).json()
        assert job["state"] == "completed"


def test_what_the_reference_of_the_command_line_runs_works(tmp_path: Path) -> None:
    marked = [b for b in blocks(ROOT / "docs" / "reference" / "cli.md") if b.mark == "run"]
    assert marked

    with _served(ROOT / "docs" / "guide" / "getting-started.md", tmp_path) as system:
        for block in marked:
            _run(block, system)


@pytest.mark.parametrize("block", [b for b in _ALL if b.language == "python"], ids=_where)
def test_python_parses(block: Block) -> None:
    compile(block.text, block.where, "exec")


@pytest.mark.parametrize("block", [b for b in _ALL if b.language == "bash"], ids=_where)
def test_bash_parses(block: Block) -> None:
    parsed = subprocess.run(
        ["bash", "-n"], input=block.text, capture_output=True, text=True, check=False
    )
    assert parsed.returncode == 0, parsed.stderr

    scripts = [word for word in block.text.split() if word.startswith("scripts/")]
    assert all(os.access(ROOT / script, os.X_OK) for script in scripts)


def test_every_mark_is_known() -> None:
    assert {block.mark for block in _ALL} <= {None, "file", "serve", "run", "reload"}


def test_every_target_of_the_makefile_is_there_once() -> None:
    text = (ROOT / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (.+)$", text, re.MULTILINE)
    assert phony is not None
    told = {
        target
        for path in documents()
        for target in re.findall(r"(?:^|`)make ([a-z-]+)(?:$|`)", path.read_text(), re.MULTILINE)
    }
    assert len(told) > 2, "vacuous: the documents name no target"

    planned = subprocess.run(
        ["make", "-n", *phony[1].split(), *told], cwd=ROOT, capture_output=True, text=True
    )

    assert (planned.returncode, planned.stderr) == (0, "")
    assert sorted(re.findall(r"^([a-z-]+):", text, re.MULTILINE)) == sorted(phony[1].split())
