"""A night's work in the terminal: the real program in tmux, against a real system.

What it shows is in `docs/guide/terminal.md`; to write it anew:
OBSERVATORY_WRITE_SCREENS=1 pytest tests/interfaces/test_tui_session.py -k shared
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from development.installation import tmux
from real import RunningSystem, environment, running_system, until
from shapes import on_both_shapes

pytestmark = on_both_shapes

GUIDE: Final = Path(__file__).parents[2] / "docs" / "guide" / "terminal.md"
COLUMNS: Final = 100
LINES: Final = 24
EMPTY: Final = r"\n(?:[ ▌▍▐]*\n){3,}"
EMPTY_ONE: Final = "\n\n"
"""Lines on which nothing stands are not all shown in the guide."""

JOBS = """
import json
from pathlib import Path
from observatory import Observatory

app = Observatory()
PRICES = Path("prices.json")

def price_of(article: str) -> int:
    return json.loads(PRICES.read_text())[article]

@app.job("invoice.total", queue="billing", max_attempts=1)
def total(article: str, count: int) -> int:
    return price_of(article) * count

@app.job("mail.send", queue="mail")
def send(to: str) -> str:
    return f"sent to {to}"
"""


class Terminal:
    """A terminal of its own, with one program in it."""

    def __init__(self, file: Path) -> None:
        self._tmux = [str(tmux()), "-S", str(file), "-f", "/dev/null"]

    def run(self, command: list[str], settings: dict[str, str]) -> None:
        """Start the program."""
        size = ["-x", str(COLUMNS), "-y", str(LINES)]
        subprocess.run(
            [*self._tmux, "new-session", "-d", *size, *command],
            env=settings,
            check=True,
            timeout=30,
        )

    def press(self, *keys: str) -> None:
        """Send keys, by the names that tmux gives them; what is no name is typed."""
        subprocess.run([*self._tmux, "send-keys", *keys], check=True, timeout=30)

    @property
    def screen(self) -> str:
        """What stands on it."""
        captured = subprocess.run(
            [*self._tmux, "capture-pane", "-p"], capture_output=True, text=True, timeout=30
        )
        return "\n".join(line.rstrip() for line in captured.stdout.splitlines())

    def shows(self, *texts: str) -> str:
        """The screen, once all of these stand on it."""
        until(
            lambda: all(text in self.screen for text in texts),
            timeout_s=30,
            why=lambda: f"{texts} is not on the screen:\n{self.screen}",
        )
        return self.screen

    @property
    def ended(self) -> bool:
        """Whether the program has ended: the terminal is closed with it."""
        found = subprocess.run([*self._tmux, "has-session"], capture_output=True, timeout=30)
        return found.returncode != 0

    def close(self) -> None:
        """End whatever runs in it."""
        subprocess.run([*self._tmux, "kill-server"], capture_output=True, timeout=30)


@contextmanager
def view_of(system: RunningSystem, folder: Path) -> Iterator[Terminal]:
    """`observatory tui` of a system."""
    terminal = Terminal(folder / "tmux")
    command = [sys.executable, "-m", "observatory.interfaces.cli.main", "tui"]
    settings = environment(TERM="xterm-256color", LANG="C.UTF-8", LC_ALL="C.UTF-8", TZ="UTC")
    settings.pop("NO_COLOR")
    try:
        terminal.run([*command, "--url", system.url], settings)
        yield terminal
    finally:
        terminal.close()


def test_from_a_failing_job_to_its_repair(tmp_path: Path) -> None:
    with running_system(JOBS, tmp_path) as system:
        for number in range(12):
            payload = {"to": f"reader-{number}@example.com"}
            assert submitted(system, "mail.send", payload)
        failing = submitted(system, "invoice.total", {"article": "tea", "count": 3})
        until(lambda: state(system, failing) == "failed")
        until(lambda: system.http.get("/stats").json()["states"]["completed"] == 12)
        with view_of(system, tmp_path) as terminal:
            scenes = {
                "What is failing? It opens with the overview.": terminal.shows(
                    "completed 12", "failed 1", "FileNotFoundError", " live  "
                )
            }
            terminal.press("2", "/")
            terminal.press("-l", "state:failed type:invoice.total")
            terminal.press("Enter")
            until(lambda: "mail.send" not in terminal.screen, why=lambda: terminal.screen)
            scenes["`2` shows the jobs, `/` and `state:failed type:invoice.total` those in question."] = (
                terminal.shows("state:failed type:invoice.total", "✖ failed", "FileNotFoundError")
            )  # fmt: skip
            terminal.press("t")
            scenes["`t` shows the traceback of the job under the cursor."] = terminal.shows(
                "Traceback (most recent call last)", "price_of", "r Retry"
            )
            (tmp_path / "prices.json").write_text('{"tea": 5}')
            terminal.press("Escape")
            terminal.shows("✖ failed", "7 Alerts")
            terminal.press("Enter")
            terminal.shows("Summary", "failures      1", "r Retry")
            terminal.press("r")
            scenes[
                "The missing file is put back; `escape`, `enter` and `r` run the job again, once `y` says so."
            ] = terminal.shows("[y] yes", failing, "y Yes")
            terminal.press("y")
            until(lambda: state(system, failing) == "completed")
            # The story, with the run that failed and the one that did not.
            scenes["It completes under the reader's eyes."] = terminal.shows(
                "✔ completed", "2 (limit: 1 failed attempt)", "r Retry"
            )
            assert system.http.get(f"/jobs/{failing}").json()["result"] == 15
            terminal.press("q")
            until(lambda: terminal.ended, why=lambda: f"q does not end it:\n{terminal.screen}")
    names = {
        system.url: "http://127.0.0.1:8080",
        str(tmp_path): "/srv/shop",
        sys.base_prefix: "/usr",
        f"{socket.gethostname()}:": "shop-1:",
    }
    told(scenes, names)


def submitted(system: RunningSystem, job_type: str, payload: dict[str, object]) -> str:
    """The id of a job that was accepted."""
    answer = system.http.post("/jobs", json={"type": job_type, "payload": payload})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["jobId"])


def state(system: RunningSystem, job: str) -> str:
    """Where a job is in its life."""
    return str(system.http.get(f"/jobs/{job}").json()["state"])


def told(scenes: dict[str, str], names: dict[str, str]) -> None:
    """The guide shows these scenes, in this order; the captures in it are of such a run.

    names: what is called otherwise in the guide, as it is of the machine that wrote it.
    """
    if os.environ.get("OBSERVATORY_WRITE_SCREENS"):
        text = "\n\n".join(
            f"{heading}\n\n```text\n{re.sub(EMPTY, EMPTY_ONE, screen).rstrip()}\n```"
            for heading, screen in scenes.items()
        )
        for here, there in names.items():
            text = text.replace(here, there)
        head, _, rest = GUIDE.read_text().partition("<!-- a session -->\n")
        tail = rest.partition("<!-- end of the session -->")[2]
        GUIDE.write_text(
            f"{head}<!-- a session -->\n{text}\n<!-- end of the session -->{tail}"
        )  # fmt: skip
    session = re.search(r"<!-- a session -->(.*)<!-- end", GUIDE.read_text(), re.DOTALL)
    assert session, f"{GUIDE.name} has no place for the session"
    places = [session[1].find(heading) for heading in scenes]
    assert -1 not in places, "the guide tells of another session"
    assert places == sorted(places), "the guide tells it in another order"
