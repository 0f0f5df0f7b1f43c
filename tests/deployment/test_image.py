"""What of the Dockerfile can be known without an engine. Nothing here builds it or runs it."""

import re
import tomllib

from rendering import ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_its_stages_stand_on_versions() -> None:
    bases = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    copied = re.findall(r"--from=(\S+:\S+)", DOCKERFILE)

    assert len(bases) == 3
    for image in (*bases, *copied):
        assert re.search(r":\d+", image), image


def test_packages_are_those_of_the_lock() -> None:
    syncs = re.findall(r"uv sync (.+)", DOCKERFILE)

    assert len(syncs) == 2
    assert all("--frozen" in one and "--no-dev" in one for one in syncs)
    assert "pip install" not in DOCKERFILE


def test_it_ends_as_nobody_in_particular() -> None:
    last = DOCKERFILE.rpartition("FROM ")[2]

    assert re.search(r"^USER 10001:10001$", last, re.MULTILINE)
    assert re.search(r'^ENTRYPOINT \["observatory"\]$', last, re.MULTILINE)
    assert "/livez" in last
    assert PROJECT["project"]["version"] in last


def test_what_the_wheel_is_made_of_is_sent_to_the_builder() -> None:
    sent = re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    included = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]

    for path in (*included, PROJECT["project"]["readme"], *PROJECT["project"]["license-files"]):
        assert path in sent
        assert (ROOT / path).exists()
