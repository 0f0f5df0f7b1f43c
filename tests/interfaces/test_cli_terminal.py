"""What a job says does nothing to the terminal that shows it, and reads as people say it."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from command_line import JOBS, cli, terminal_output

from observatory.interfaces.cli.output import ran, safe, seconds
from real import RunningSystem, running_system


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSystem]:
    with running_system(JOBS, tmp_path_factory.mktemp("cli")) as running:
        yield running


@pytest.mark.parametrize("char", ["\x1b", "\x9b", "\x07", "\x00", "\u202e", "\u2066", "\u200b"])
def test_characters_that_a_terminal_obeys_are_shown(char: str) -> None:
    assert char not in safe(f"a{char}b")
    assert safe(f"a{char}b").startswith("a\\")


def test_ordinary_text_stays_as_it_is() -> None:
    assert safe("Grüße, 世界 🚀 عربى") == "Grüße, 世界 🚀 عربى"
    assert safe("a\n\tb", lines=True) == "a\n\tb"
    assert safe("\ud800") == "\\ud800"


def hostile_output(system: RunningSystem) -> list[str]:
    job = json.loads(cli("submit", "hostile", "--wait", "--json", url=system.url).stdout)["id"]
    calls = [
        ["jobs", "show", job],
        ["jobs", "list", "--state", "failed"],
        ["events", "--type", "job.failed"],
        ["jobs", "show", job, "--json"],
        ["events", "--type", "job.failed", "--json"],
    ]
    return [cli(*call, url=system.url).stdout for call in calls]


def test_letters_of_a_payload_are_printed_as_they_are(system: RunningSystem) -> None:
    text = "é€𝄞 \u202e"
    shown = cli("submit", "echo", f"text={text}", "--wait", url=system.url, PYTHONUTF8="1")
    assert 'payload      {"text": "é€𝄞 \\u202e"}\n' in shown.stdout
    assert 'result       "é€𝄞 \\u202e"\n' in shown.stdout
    ascii_only = cli("submit", "echo", "text=é", "--wait", url=system.url, PYTHONIOENCODING="ascii")
    assert 'payload      {"text": "\\xe9"}\n' in ascii_only.stdout


def test_no_command_passes_control_codes_of_a_job_on(system: RunningSystem) -> None:
    for output in hostile_output(system):
        assert "gnitrevni" in output
        assert not set(output) & {"\x1b", "\x9b", "\x07", "\u202e"}


def test_colour_is_for_terminals_that_want_it(system: RunningSystem) -> None:
    cli("submit", "double", "n=1", "--wait", url=system.url)
    assert "\x1b[" in terminal_output("stats", url=system.url)
    assert "\x1b[" not in terminal_output("stats", url=system.url, NO_COLOR="1")
    assert "\x1b[" not in cli("stats", url=system.url, FORCE_COLOR="1").stdout


def test_durations_read_as_people_say_them() -> None:
    said = {
        None: "-", 0.0: "0.0 ms", 0.0012: "1.2 ms", 0.0999: "99.9 ms", 0.09996: "100 ms",
        0.4492: "449 ms", 0.9994: "999 ms", 0.9996: "1.00 s", 1.5: "1.50 s", 9.996: "10.0 s",
        29.17: "29.2 s", 119.94: "119.9 s", 119.96: "2 min 00 s", 125: "2 min 05 s",
        7200: "2 h 00 min", 93_600: "1 d 2 h",
    }  # fmt: skip
    assert {value: seconds(value) for value in said} == said


def test_how_long_a_lost_run_took_is_not_claimed() -> None:
    told = {one: ran({"outcome": one, "runSeconds": 517}) for one in ("failed", "lost", None)}
    assert told == {"failed": "8 min 37 s", "lost": "(8 min 37 s)", None: "8 min 37 s"}
