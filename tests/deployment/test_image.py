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

    assert len(syncs) == 1
    assert all("--frozen" in one and "--no-dev" in one for one in syncs)
    # Nothing but the wheel itself, and nothing that it depends on, comes by another way.
    assert re.findall(r"pip install (.+)", DOCKERFILE) == [
        "--python /opt/observatory/bin/python --no-deps --compile-bytecode /wheels/*.whl"
    ]


def test_what_the_wheel_is_built_with_is_locked_by_hashes() -> None:
    (build,) = re.findall(r"uv build (.+?) \\$", DOCKERFILE, re.MULTILINE)
    assert "--require-hashes --build-constraints build-constraints.txt" in build
    locked = (ROOT / "build-constraints.txt").read_text().replace("\\\n", " ")
    pinned = {
        found[1]: found[2].count("--hash=sha256:")
        for found in re.finditer(r"^([a-z-]+)==(.+)$", locked, re.MULTILINE)
    }

    wanted = {re.split(r"[^a-z-]", one)[0] for one in PROJECT["build-system"]["requires"]}
    assert wanted <= pinned.keys()
    assert min(pinned.values()) >= 1
    sent = re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    assert "build-constraints.txt" in sent


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
