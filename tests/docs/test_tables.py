"""Tables that follow from the code say what the code says.

Run as a program, this file writes the table of the settings.
"""

import itertools
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from documents import ROOT
from pydantic import SecretStr

from observatory.core import errors
from observatory.core.aggregates import BOUNDS_US
from observatory.core.errors import Problem
from observatory.interfaces.cli.exit_codes import ExitCode
from observatory.interfaces.cli.main import COMMANDS
from observatory.services.processor.run import MESSAGE_CHARS_MAX, TRACEBACK_CHARS_MAX
from observatory.settings import Settings

OPERATING = ROOT / "docs" / "guide" / "operating.md"
REFERENCE = ROOT / "docs" / "reference"

_BEGIN, _END = "<!-- settings -->\n", "<!-- end of settings -->"


def settings_table() -> str:
    """The settings as a Markdown table."""
    lines = ["| variable | default | meaning |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        lines.append(
            f"| `OBSERVATORY_{name.upper()}` | {_default(field.default)} | {field.description} |"
        )
    return "\n".join(lines) + "\n"


def _default(value: Any) -> str:
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if isinstance(value, bool):
        value = str(value).lower()
    if isinstance(value, float):
        value = f"{value:g}"
    return "" if value in (None, "") else f"`{value}`"


def _problems() -> dict[str, type[Problem]]:
    found = {
        c.slug: c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, Problem)
    }
    return {Problem.slug: Problem} | found


def _problems_of_the_edge() -> list[tuple[str, int]]:
    """What nginx tells without asking a service."""
    text = (ROOT / "edge" / "nginx.conf.template").read_text()
    found = re.findall(r'"type":"[^"]+/problems/([a-z-]+)","title":"[^"]+","status":(\d+)', text)
    assert len(found) > 5
    return [(slug, int(status)) for slug, status in found]


def _sections(path: Path) -> dict[str, str]:
    parts = re.split(r"^## (.+)$", path.read_text(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_the_limits_of_an_error_are_those_of_the_processor() -> None:
    told = (
        f"{MESSAGE_CHARS_MAX:,} characters of its message, {TRACEBACK_CHARS_MAX:,} of its traceback"
    )
    assert told in OPERATING.read_text()


def test_every_setting_is_in_the_table() -> None:
    _, _, rest = OPERATING.read_text().partition(_BEGIN)
    table, _, _ = rest.partition(_END)

    assert table == settings_table(), "run tests/docs/test_tables.py to write it"


def test_every_problem_has_a_cause_and_a_cure() -> None:
    sections = _sections(REFERENCE / "problems.md")
    statuses = {slug: problem.status for slug, problem in _problems().items()}
    of_edge = dict(_problems_of_the_edge())

    assert {slug: statuses[slug] for slug in of_edge.keys() & statuses} == {
        slug: of_edge[slug] for slug in of_edge.keys() & statuses
    }
    statuses |= of_edge
    assert set(sections) == set(statuses)
    for slug, text in sections.items():
        assert text.strip().startswith(str(statuses[slug])), slug
        assert "**Cause:**" in text, slug
        assert "**Cure:**" in text or (slug == "internal-error" and "report" in text), slug


def test_every_event_type_is_in_the_table() -> None:
    shown = set(re.findall(r"^\| `([a-z]+\.[a-z_]+)`", (REFERENCE / "events.md").read_text(), re.M))
    contracts = (ROOT / "contracts" / "events").glob("*.v*.json")

    assert shown == {path.name.partition(".v")[0] for path in contracts}


def test_every_route_is_in_the_table() -> None:
    text = (REFERENCE / "http.md").read_text()
    shown = set(re.findall(r"^\| `([A-Z]+ /[^`]*)` \|", text, re.MULTILINE))
    routes: set[str] = set()
    for name in ("gateway", "read-model"):
        document = json.loads((ROOT / "contracts" / "openapi" / f"{name}.v1.json").read_text())
        for path, methods in document["paths"].items():
            routes |= {
                f"{m.upper()} {path}" for m in methods if m in {"get", "post", "put", "delete"}
            }

    assert shown == routes


def test_every_decision_is_listed() -> None:
    folder = ROOT / "docs" / "decisions"
    pages = {path.name for path in folder.glob("0*.md")}

    assert set(re.findall(r"\((0[^)]+)\)", (folder / "README.md").read_text())) == pages


def test_the_picture_of_the_lifecycle_is_of_the_table_in_the_code() -> None:
    script = ROOT / "scripts" / "draw_lifecycle.py"

    checked = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True)

    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_error_bound_of_percentiles_is_what_the_decision_says() -> None:
    widest = max(upper / lower for lower, upper in itertools.pairwise(BOUNDS_US))

    assert widest == 1.25
    assert (BOUNDS_US[0], BOUNDS_US[-1] // 3_600_000_000) == (100, 222)


def test_the_reference_of_the_command_line_names_every_command_and_exit_code() -> None:
    text = (REFERENCE / "cli.md").read_text()
    first, _, second = text.partition("## What holds everywhere")
    rows = re.findall(r"^\| (`.+) \|", first, re.MULTILINE)
    named = {name.split()[0] for row in rows for name in re.findall(r"`([^`]+)`", row)}
    assert {command.name for command in COMMANDS} <= named

    codes = re.findall(r"^\| (\d[\d, ]*) \|", second, re.MULTILINE)
    assert [int(code) for row in codes for code in row.split(", ")] == [*ExitCode]


def _write() -> None:
    before, _, rest = OPERATING.read_text().partition(_BEGIN)
    _, _, after = rest.partition(_END)
    OPERATING.write_text(before + _BEGIN + settings_table() + _END + after)


if __name__ == "__main__":
    _write()
