"""A page in a real Chromium that is watched: whatever it does that it should not is a fault."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from playwright.sync_api import ConsoleMessage, Page, expect

from real import RunningSystem, until

CHROMIUM = "/usr/bin/chromium"
CHROMIUM_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
LIVE_MS = 5_000
"""What happens in the system is on the page within this, without a reload."""
RECOVERY_MS = 15_000
"""The page promises 3 s, on a machine that does nothing else."""

JOBS = """
from observatory import JobContext, Observatory, Retry

app = Observatory()

@app.job("double")
def double(n: int) -> int:
    return 2 * n

@app.job("echo", queue="texts")
def echo(text: str, ctx: JobContext) -> str:
    ctx.log.info(text)
    return text

def inner(why: str) -> None:
    raise ValueError(why)

@app.job("break", max_attempts=1)
def break_it(why: str) -> None:
    inner(why)

@app.job("keep")
def keep(text: str, more: dict[str, int]) -> dict[str, int]:
    return more

@app.job("flaky", max_attempts=2, retry=Retry(base=0.05, cap=0.05))
def flaky(ctx: JobContext) -> str:
    if ctx.attempt == 1:
        raise RuntimeError("not yet")
    return "at last"
"""

HOSTILE = "<img src=x onerror=document.title='owned'><script>alert(1)</script>"
BIDI = "invoice\u202egnp.exe"
CONTROLS = "bell\u0007 escape\u001b[31m c1\u009b del\u007f zero\u200bwidth"

RECORD_VIOLATIONS = """
window.violations = [];
document.addEventListener('securitypolicyviolation', (event) =>
    window.violations.push(`${event.violatedDirective}: ${event.blockedURI}`));
"""

RECORD_TEXT = """
window.drawn = [];
const draw = CanvasRenderingContext2D.prototype.fillText;
CanvasRenderingContext2D.prototype.fillText = function (text, x, ...rest) {
    const width = this.measureText(text).width;
    const left = { left: x, start: x, center: x - width / 2 }[this.textAlign] ?? x - width;
    window.drawn.push({ text, left });
    return draw.call(this, text, x, ...rest);
};
"""
"""What is written on a canvas, and where it begins: a canvas cuts off what is left of 0."""


@dataclass
class Watched:
    """A page, and whatever it did that it should not have done."""

    page: Page
    origin: str
    faults: list[str] = field(default_factory=list)

    def on_console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.faults.append(f"console {message.type}: {message.text}")

    def on_request(self, request: Any) -> None:
        if not request.url.startswith(self.origin + "/"):
            self.faults.append(f"request to {request.url}")

    def open(self, address: str = "#/") -> Page:
        self.page.goto(f"{self.origin}/{address}")
        expect(self.page.locator(".connection")).to_have_attribute(
            "data-phase", "live", timeout=10_000
        )
        return self.page

    def assert_clean(self) -> None:
        self.faults += self.page.evaluate("window.violations")
        assert not self.faults, "\n".join(self.faults)


def submit(system: RunningSystem, job_type: str, **payload: Any) -> str:
    answer = system.http.post("/jobs", json={"type": job_type, "payload": payload})
    assert answer.status_code == 202, answer.text
    return answer.json()["jobId"]


def finished(system: RunningSystem, job_id: str) -> dict[str, Any]:
    def job() -> dict[str, Any] | None:
        read = system.http.get(f"/jobs/{job_id}").json()
        return read if read["state"] in ("completed", "failed", "cancelled") else None

    read = until(job)
    assert read is not None
    return read


def tile(page: Page, name: str) -> Any:
    return page.locator(f'[data-tile="{name}"]')
