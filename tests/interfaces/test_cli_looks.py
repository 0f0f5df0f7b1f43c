"""How each command looks: its table, its JSON and its error, kept in `golden/`.

Commands that ask a system ask one that answers as recorded (`recorded.py`), so that times, ages and
ids are the same in every run; for those that serve, serving itself is replaced. `gate` asks a real
embedded system, whose numbers are blotted out. That commands work with a real system is in the other
files.

To write them anew: OBSERVATORY_WRITE_GOLDEN=1 pytest tests/interfaces/test_cli_looks.py
"""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import jsonschema
import pytest
from cyclopts import App
from recorded import ABSENT, JOB, RECORDED, WRITTEN, recorded_system
from referencing import Registry, Resource

from observatory.asgi import keys
from observatory.assembly import migration, serving
from observatory.interfaces.cli import doctor
from observatory.interfaces.cli.main import COMMANDS, application, front_page, run
from real import running_system

GOLDEN: Final = Path(__file__).parent / "golden"
CONTRACTS: Final = Path(__file__).parents[2] / "contracts"
WRITE: Final = bool(os.environ.get("OBSERVATORY_WRITE_GOLDEN"))

LINES: Final = """\
{"type": "source.analyze", "payload": {"path": "ast.py"}}
{"type": "unknown"}
[1]
"""


class Look(NamedTuple):
    """A command: how it is called well, and how it is called so that it refuses."""

    good: str
    bad: str
    stdin: str = ""
    blot: bool = False
    """Its numbers differ from run to run."""
    more: tuple[str, ...] = ()
    """Other calls that are kept, too."""


WRONG: Final = "--key wrong"

ASKING: Final = {
    "submit": Look(
        "submit source.analyze path=ast.py",
        "submit unknown",
        LINES,
        more=("submit - --idempotency-key run", "submit - --idempotency-key run --json"),
    ),
    "jobs list": Look("jobs list --limit 2", f"jobs list {WRONG}"),
    "jobs show": Look(f"jobs show {JOB}", f"jobs show {ABSENT}"),
    "jobs logs": Look(f"jobs logs {JOB}", f"jobs logs {ABSENT}"),
    "jobs tail": Look("jobs tail --state completed --limit 2", "jobs tail --limit 0"),
    "jobs export": Look(
        "jobs export --format csv --limit 2",
        f"jobs export {WRONG}",
        more=("jobs export --limit 1",),
    ),
    "jobs cancel": Look(f"jobs cancel {JOB} --reason typo", f"jobs cancel {ABSENT}"),
    "jobs retry": Look(
        f"jobs retry {JOB}",
        f"jobs retry {ABSENT}",
        more=(f"jobs retry {JOB} --payload '{{\"path\": \"ast.py\"}}'",),
    ),
    "jobs retry-all": Look("jobs retry-all --type source.analyze -y", "jobs retry-all"),
    "jobs cancel-all": Look("jobs cancel-all --queue analysis --dry-run", "jobs cancel-all"),
    "queues list": Look("queues list", f"queues list {WRONG}"),
    "queues pause": Look("queues pause analysis", "queues pause nowhere"),
    "queues resume": Look("queues resume analysis", f"queues resume analysis {WRONG}"),
    "failures": Look("failures --limit 20", "failures --limit 0"),
    "workers": Look("workers", f"workers {WRONG}"),
    "alerts": Look("alerts", f"alerts {WRONG}"),
    "stats": Look(
        "stats", "stats --every 1", more=("stats --watch --every 0.1 --times 2",)
    ),
    "events": Look("events --limit 3", "events --follow --cursor x"),
    "contracts list": Look("contracts list", f"contracts list {WRONG}"),
    "contracts show": Look("contracts show source.analyze", "contracts show nowhere"),
    "doctor": Look("doctor", "doctor --port many", blot=True),
    "bench": Look(
        "bench --type source.analyze --payload '{\"path\": \"a\"}' --jobs 3 --no-end --connections 1",
        "bench --type unknown",
        blot=True,
    ),
}  # fmt: skip

SERVING: Final = {
    "up": Look("up jobs.py", "up missing"),
    "gateway": Look("gateway --port 8081", "gateway --port 70000"),
    "processor": Look("processor jobs.py", "processor missing"),
    "metrics-engine": Look("metrics-engine", "metrics-engine --port 70000"),
    "read-model": Look("read-model", "read-model --port 70000"),
}

ALONE: Final = {
    "migrate": Look("migrate", "migrate --nonsense"),
    "keys new": Look("keys new ci --scope submit", "keys new 'no name'"),
    "contracts check": Look("contracts check contracts", "contracts check nowhere"),
    "completion": Look("completion fish", "completion tcsh"),
}

GATE: Final = {
    "gate": Look("gate --type double --jobs 2", "gate --type double --jobs 0", blot=True)
}

WITHOUT: Final = {
    "tui": "draws a screen; test_tui_looks.py keeps those",
}

JOBS: Final = """
from observatory import Observatory

app = Observatory()

@app.job("double")
def double(n: int = 1) -> int:
    return 2 * n
"""

# ----------------------------------------------------------------------------- what is kept


def called(
    line: str, look: Look, url: str | None, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> str:
    """A call as it is kept: the line, what it prints, what it complains, and its exit code."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(look.stdin.encode())))
    code = run([*shlex.split(line), *(["--url", url] if url else [])])
    printed, complained = (steady(text, url, look) for text in capsys.readouterr())
    complained = "".join(f"2> {one}\n" for one in complained.splitlines())
    return f"$ observatory {line}\n{printed}{complained}exit {int(code)}\n"


def steady(text: str, url: str | None, look: Look) -> str:
    """What a command says, the same in every run and every place."""
    text = text.replace(str(Path.cwd()), "/here")
    if url:
        text = text.replace(url.removeprefix("http://"), "127.0.0.1:8080")
    return blotted(text) if look.blot else text


def blotted(text: str) -> str:
    """Without what differs from run to run: numbers, how wide they make a column, bars."""
    text = re.sub(r'"histogram": \[[^]]*\]', '"histogram": […]', text)
    text = re.sub(r"(  - upTo: .*\n    count: .*\n)+", "  …\n", text)
    text = re.sub(r"(  up to .*\n)+", "  up to …\n", text)
    text = re.sub(r"\b\d[\d,]*(\.\d+)*(e-\d+)?\b( (ms|s|µs)\b)?", "N", text)
    text = re.sub(r"the last is \w+", "the last is …", text)
    return re.sub(r"(?<=\S) {2,}", "  ", text)


def assert_as_kept(command: str, parts: list[str]) -> None:
    file = GOLDEN / f"{command.replace(' ', '-')}.txt"
    found = "\n".join(parts)
    if WRITE:
        file.write_text(found)
    assert found == file.read_text()


@pytest.fixture(autouse=True)
def same_surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith("OBSERVATORY_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "80")
    (tmp_path / "jobs.py").write_text(JOBS)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with recorded_system() as url:
        yield url


@pytest.fixture
def keep(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[str, Look, str | None], None]:
    def keep(command: str, look: Look, url: str | None) -> None:
        # A form that would do the thing twice is harmless where nothing is done.
        lines = [look.good, f"{look.good} -o json", f"{look.good} -o yaml", *look.more]
        lines += [look.bad, f"{look.bad} --json"]
        assert_as_kept(command, [called(line, look, url, monkeypatch, capsys) for line in lines])

    return keep


# ---------------------------------------------------------------------------- the commands


@pytest.mark.parametrize("command", ASKING)
def test_what_asks_a_system(
    command: str, url: str, keep: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    if command == "doctor":
        # This machine's Python, SQLite and disk are not to be seen.
        python, sqlite, disk = doctor.python_version, doctor.sqlite_version, shutil.disk_usage(".")
        monkeypatch.setattr(doctor, "python_version", lambda _: python((3, 13, 0)))
        monkeypatch.setattr(doctor, "sqlite_version", lambda _: sqlite((3, 40, 1)))
        monkeypatch.setattr(shutil, "disk_usage", lambda _: disk._replace(free=5 * 1024**3))
    keep(command, ASKING[command], url)


@pytest.mark.parametrize("command", SERVING)
def test_what_serves(
    command: str, keep: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def served(*_: Any, on_ready: Any, on_stopping: Any, **__: Any) -> int:
        on_ready("http://127.0.0.1:8080/")
        on_stopping(1)
        return 0

    monkeypatch.setattr(serving, "serve", served)
    monkeypatch.setattr(os, "getpid", lambda: 4242)
    monkeypatch.setenv("OBSERVATORY_STORE_URL", "postgresql://me:secret@db.example:5432/jobs")
    monkeypatch.setattr("observatory.interfaces.cli.serving.built_page", lambda: Path("page"))
    monkeypatch.setattr("observatory.interfaces.cli.up.built_page", lambda: Path("page"))
    keep(command, SERVING[command], None)


@pytest.mark.parametrize("command", ALONE)
def test_what_needs_no_system(
    command: str, keep: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migration, "migrate_store", lambda _: "0005")
    monkeypatch.setattr(keys, "new_key", lambda name, scopes: ("obs_ci_secret", "ci:submit:5ec…"))
    # That of cyclopts is long, and names every option; test_cli_completion.py has it read.
    monkeypatch.setattr(App, "generate_completion", lambda _, shell: f"# completes in {shell}\n")
    if command == "migrate":
        monkeypatch.setenv("OBSERVATORY_STORE_URL", "postgresql://me:secret@db.example/jobs")
    folder = Path("contracts") / "events"
    folder.mkdir(parents=True)
    (folder / "bad.v1.json").write_text('{"type": "nonsense"}')
    keep(command, ALONE[command], None)


def test_the_gate(tmp_path: Path, keep: Callable[..., None]) -> None:
    (tmp_path / "system").mkdir()
    with running_system(JOBS, tmp_path / "system") as system:
        keep("gate", GATE["gate"], system.url)


def on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("NO_COLOR", "1")


def test_a_narrow_terminal_breaks_no_id_and_cuts_the_error_alone(
    url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(["jobs", "list", "--json", "--url", url])
    ids = [job["id"] for job in json.loads(capsys.readouterr().out)["items"]]
    run(["failures", "--json", "--url", url])
    ids += [group["fingerprint"] for group in json.loads(capsys.readouterr().out)["items"]]
    on_a_terminal(monkeypatch)
    for command in (["jobs", "list"], ["failures"]):
        run([*command, "--url", url])
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert ids
    assert [
        line.split()[0] for line in lines if line.split()[0] not in ("ID", "FINGERPRINT")
    ] == ids
    assert max(map(len, lines)) <= 80
    assert "CREATED; -o json has all" in err


def test_a_narrow_terminal_breaks_no_name_of_an_alert_and_cuts_what_it_says(
    url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    on_a_terminal(monkeypatch)
    run(["alerts", "--url", url])
    out, err = capsys.readouterr()
    told = {line.split()[1]: line for line in out.splitlines()[1:3]}
    assert set(told) == {"ObservatoryNoProcessors", "ObservatoryBacklogGrowing"}
    assert max(map(len, told.values())) <= 80
    assert told["ObservatoryBacklogGrowing"].rstrip().endswith("…")
    assert err == "too narrow for RUNBOOK; -o json has all\n"


def test_the_front_page() -> None:
    assert_as_kept("observatory", [front_page()])


def test_every_command_is_kept() -> None:
    app = application()

    def leaves(names: tuple[str, ...], of: App) -> Iterator[str]:
        below = [name for name in of if not name.startswith("-")]
        if not below:
            yield " ".join(names)
        for name in below:
            yield from leaves((*names, name), of[name])

    every = {leaf for command in COMMANDS for leaf in leaves((command.name,), app[command.name])}
    assert every == {*ASKING, *SERVING, *ALONE, *GATE, *WITHOUT}


def test_nothing_that_is_kept_holds_a_control_code() -> None:
    for file in GOLDEN.glob("*.txt"):
        assert not set(file.read_text()) & {"\x1b", "\x9b", "\x07", "\r"}, file.name


SCHEMAS: Final = {
    "/alerts": "http/alerts.v1",
    f"/jobs/{JOB}/logs": "http/job-logs.v1",
    "/contracts": "http/contract-list.v1",
    "/readyz": "http/health.v1",
    "/system": "http/system.v1",
}


def test_what_is_written_down_is_what_the_api_answers() -> None:
    documents = [json.loads(path.read_text()) for path in CONTRACTS.rglob("*.json")]
    registry: Registry[Any] = Registry().with_resources(
        (one["$id"], Resource.from_contents(one)) for one in documents if "$id" in one
    )
    assert set(SCHEMAS) == {path for path in WRITTEN if not path.startswith("/contracts/")}
    for path, name in SCHEMAS.items():
        schema = json.loads((CONTRACTS / f"{name}.json").read_text())
        jsonschema.Draft202012Validator(schema, registry=registry).validate(WRITTEN[path])
    assert RECORDED["events"]
