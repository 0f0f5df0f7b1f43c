"""Every alert has a runbook, and what a runbook says to type exists."""

import re
import subprocess
import sys

import pytest

from monitoring.__main__ import HERE
from monitoring.rules import names
from observatory.settings import runbooks

FOLDER = HERE.parent / "docs" / "runbooks"
HEADINGS = ["## What it means", "## Confirm", "## Mend"]


def test_each_alert_has_a_runbook_and_each_runbook_an_alert() -> None:
    assert sorted(path.stem for path in FOLDER.glob("*.md")) == sorted(names())
    assert runbooks.names() == sorted(names())


@pytest.mark.parametrize("name", names())
def test_a_runbook_says_what_it_means_how_to_confirm_and_how_to_mend(name: str) -> None:
    text = (FOLDER / f"{name}.md").read_text()
    assert text.startswith(f"# {name}\n")
    assert re.findall(r"^## .*$", text, re.MULTILINE) == HEADINGS
    for other in re.findall(r"\]\(([^)]*)\)", text):
        assert (FOLDER / other).is_file(), other
    settings = set(re.findall(r"OBSERVATORY_[A-Z_]+", text)) - {"OBSERVATORY_URL"}
    assert settings <= known_settings()


def known_settings() -> set[str]:
    from observatory.settings import Settings

    return {f"OBSERVATORY_{field.upper()}" for field in Settings.model_fields}


def test_a_runbook_names_no_file_of_the_sources() -> None:
    # Who is woken has the running system, and no clone of the repository.
    named = re.compile(r"[\w./-]+\.py\b|python -m \S+")
    assert not [
        (p.name, found) for p in FOLDER.glob("*.md") if (found := named.findall(p.read_text()))
    ]


def test_what_rabbitmqctl_is_asked_of_queues_names_their_virtual_host() -> None:
    # Else it looks into `/`, and finds nothing.
    of_one = re.compile(r"rabbitmqctl\s+(?:list_queues|list_consumers|purge_queue)\b[^`\n]*")
    asked = [(p, line) for p in FOLDER.glob("*.md") for line in of_one.findall(p.read_text())]
    assert len(asked) > 4, "vacuous"
    for path, line in asked:
        assert "--vhost VHOST" in line, path.name
        assert "`VHOST` is the virtual host of `OBSERVATORY_SPINE_URL`" in path.read_text()


def commands() -> list[str]:
    """`observatory …` as the runbooks have it, in blocks and within lines."""
    found: set[str] = set()
    for path in FOLDER.glob("*.md"):
        for line in re.findall(r"observatory [a-z][^`#\n]*", path.read_text()):
            words = line.split("&")[0].split()[1:]
            if words[0] != "processor":
                found.add(" ".join(words))
    return sorted(found)


@pytest.mark.parametrize("command", commands())
def test_a_command_of_a_runbook_is_understood(command: str) -> None:
    # Nobody listens there: an understood command says that, a wrong one that it is wrong.
    asked = ["--url", "http://127.0.0.1:9"] if command != "doctor" else []
    done = subprocess.run(
        [sys.executable, "-m", "observatory.interfaces.cli.main", *command.split(), *asked],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode != 2, done.stderr
