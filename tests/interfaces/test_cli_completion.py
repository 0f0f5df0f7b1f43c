"""`observatory completion`: the shells themselves complete, and read the scripts."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess

import pytest
from command_line import cli

from observatory.interfaces.cli.main import COMMANDS

SHELLS = ("bash", "zsh", "fish")


@pytest.fixture(scope="module")
def scripts() -> dict[str, str]:
    answers = {shell: cli("completion", shell) for shell in SHELLS}
    assert {answer.returncode for answer in answers.values()} == {0}
    return {shell: answer.stdout for shell, answer in answers.items()}


def completed(script: str, line: str) -> list[str]:
    """What bash offers at the end of a line, asked as Tab asks it."""
    words = [*shlex.split(line), ""] if line.endswith(" ") else shlex.split(line)
    ask = (
        f"COMP_WORDS=({' '.join(map(shlex.quote, words))}); COMP_CWORD={len(words) - 1}\n"
        f"COMP_LINE={shlex.quote(line)}; COMP_POINT={len(line)}\n"
        "function=$(complete -p observatory | sed 's/.*-F \\([^ ]*\\).*/\\1/')\n"
        '"$function" observatory\nprintf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    answer = subprocess.run(
        ["bash", "--norc", "-c", f"{script}\n{ask}"], capture_output=True, text=True, timeout=20
    )
    assert answer.stderr == ""
    return answer.stdout.split()


@pytest.mark.parametrize(
    ("line", "some"),
    [
        ("observatory ", {command.name for command in COMMANDS}),
        ("observatory jo", {"jobs"}),
        ("observatory jobs ", {"list", "show", "tail", "cancel", "retry", "export", "logs"}),
        ("observatory jobs list --st", {"--state"}),
        ("observatory jobs list --state ", {"queued", "failed", "cancelled"}),
        ("observatory stats -o ", {"table", "json", "yaml"}),
        ("observatory completion ", set(SHELLS)),
    ],
)
def test_bash_completes(scripts: dict[str, str], line: str, some: set[str]) -> None:
    offered = completed(scripts["bash"], line)
    assert some <= set(offered)
    assert all(one.startswith(line.split(" ")[-1]) for one in offered)


@pytest.mark.parametrize("shell", SHELLS)
def test_each_script_knows_every_command_and_is_read_by_its_shell(
    scripts: dict[str, str], shell: str
) -> None:
    script = scripts[shell]
    for word in (*(command.name for command in COMMANDS), "retry-all", "idempotency-key"):
        assert word in script
    if shutil.which(shell):
        read = subprocess.run([shell, "-n"], input=script, capture_output=True, text=True)
        assert (read.returncode, read.stderr) == (0, "")


def test_a_program_gets_the_same_script(scripts: dict[str, str]) -> None:
    told = json.loads(cli("completion", "bash", "--json").stdout)
    assert told == {"shell": "bash", "script": scripts["bash"]}


def test_another_shell_is_2() -> None:
    answer = cli("completion", "tcsh")
    assert answer.returncode == 2
    assert '"bash", "zsh", "fish"' in answer.stderr
