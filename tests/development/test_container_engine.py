"""A private engine leaves nothing behind, and where none can be had the reason is said in a line."""

import os
from pathlib import Path

import pytest

from development import installation
from development.container_engine import EngineUnavailable, private_engine
from development.image_bases import bases_of

ROOT = Path(__file__).parents[2]


def test_nothing_is_left_of_it() -> None:
    try:
        with private_engine() as engine:
            folder = Path(engine.environment["DOCKER_HOST"].removeprefix("unix://")).parent
            assert engine.docker("info", "--format", "{{.DockerRootDir}}") == str(folder / "data")
    except EngineUnavailable as unavailable:
        pytest.skip(str(unavailable))

    assert not folder.exists()
    assert str(folder) not in Path("/proc/self/mountinfo").read_text()
    commands = (one / "cmdline" for one in Path("/proc").glob("[0-9]*"))
    assert not any(str(folder).encode() in read(one) for one in commands)


def read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError:
        return b""


def test_without_root_that_is_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)

    with pytest.raises(EngineUnavailable, match="root"), private_engine():
        pass


def test_a_daemon_that_does_not_start_says_why(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = tmp_path / "dockerd"
    broken.write_text("#!/bin/sh\necho first; echo 'failed to start daemon: no overlay'; exit 1\n")
    broken.chmod(0o755)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(installation, "dockerd", lambda: broken)
    monkeypatch.setattr(installation, "install", lambda _: [])  # pyright: ignore[reportUnknownLambdaType]

    with pytest.raises(EngineUnavailable, match=r"^dockerd: .+\Z") as told, private_engine():
        pass

    if os.getuid() == 0:
        assert "no overlay" in str(told.value)


def test_every_base_of_the_dockerfile_is_found() -> None:
    names = [one.partition(":")[0].rpartition("/")[2] for one in bases_of(ROOT / "Dockerfile")]

    assert sorted(names) == ["node", "python", "uv"]
