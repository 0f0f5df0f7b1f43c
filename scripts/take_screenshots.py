"""Take the pictures of the documents: the page of a running demo, in Debian's Chromium.

    .venv/bin/python scripts/take_screenshots.py

Starts the demo on a free port and a temporary folder, waits until it has work behind it, and writes
one picture for each view in docs/guide/page.md; with `--look DIR`, every view in three
widths and both themes into a folder, to be looked at.
"""

import argparse
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
from playwright.sync_api import Browser, Page, ViewportSize, sync_playwright

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs" / "images"
CHROMIUM = "/usr/bin/chromium"


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_for_failures(url: str) -> None:
    """Wait until some jobs have failed and half of the demo is done."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            states = httpx.get(f"{url}/stats", trust_env=False).json()["states"]
            failed = httpx.get(f"{url}/jobs?state=failed&limit=1", trust_env=False).json()["items"]
            if failed and states["completed"] > 900:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.5)
    raise SystemExit("the demo did not get far enough in two minutes")


def views(url: str) -> dict[str, str]:
    """The addresses of the views, by the names of their pictures."""
    failed = httpx.get(f"{url}/jobs?state=failed&limit=1", trust_env=False).json()["items"][0]["id"]
    return {
        "overview": "#/",
        "jobs": "#/jobs?state=retrying,failed",
        "job": f"#/jobs/{failed}",
        "failures": "#/failures",
        "queues": "#/queues",
        "workers": "#/workers",
        "events": "#/events",
        "contracts": "#/contracts",
        "contract": "#/contracts/http/job-submission.v1.json",
        "system": "#/system",
    }


SHOWN = ("overview", "jobs", "job", "failures", "queues", "system")
"""Those in the documents."""


def shoot(page: Page, address: str, file: Path, *, whole: bool = False) -> None:
    page.goto(address)
    page.wait_for_timeout(2500)
    file.parent.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=file, full_page=whole)
    print(f"wrote {file}")


def look(browser: Browser, url: str, folder: Path) -> None:
    """Every view in every width and theme."""
    for width in (1440, 1024, 390):
        for scheme in ("light", "dark"):
            size: ViewportSize = {"width": width, "height": 900}
            page = browser.new_page(viewport=size, color_scheme=scheme)  # type: ignore[arg-type]
            for name, address in views(url).items():
                shoot(page, f"{url}/{address}", folder / f"{name}-{width}-{scheme}.png", whole=True)
            page.close()


def main() -> None:
    parser = argparse.ArgumentParser(description="Take the pictures of the documents.")
    parser.add_argument("--look", type=Path, help="all of them into this folder instead")
    wanted = parser.parse_args()
    url = f"http://127.0.0.1:{(port := free_port())}"
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        command = [sys.executable, "-m", "observatory.interfaces.cli.main", "up", "--demo"]
        demo = subprocess.Popen(
            [*command, "--port", str(port), "--data", folder],
            stdout=subprocess.DEVNULL,
            env=os.environ | {"NO_COLOR": "1", "OBSERVATORY_CANARY_SECONDS": "5"},
        )
        try:
            wait_for_failures(url)
            browser = playwright.chromium.launch(
                executable_path=CHROMIUM, args=["--no-sandbox", "--disable-quic"]
            )
            if wanted.look:
                look(browser, url, wanted.look)
            else:
                page = browser.new_page(viewport={"width": 1440, "height": 1000})
                for name in SHOWN:
                    shoot(page, f"{url}/{views(url)[name]}", IMAGES / f"{name}.png")
            browser.close()
        finally:
            demo.terminate()
            demo.wait(30)


if __name__ == "__main__":
    main()
