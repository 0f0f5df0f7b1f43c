"""Take the pictures of the documents: the page of a running demo, in Debian's Chromium.

    .venv/bin/python scripts/take_screenshots.py

Starts the demo on a free port and a temporary folder, waits until it has work behind it, and writes
docs/images/overview.png.
"""

import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
from playwright.sync_api import Page, sync_playwright

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


def shoot(page: Page, address: str, name: str) -> None:
    page.goto(address)
    page.wait_for_timeout(4000)
    IMAGES.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=IMAGES / name)
    print(f"wrote {(IMAGES / name).relative_to(ROOT)}")


def main() -> None:
    url = f"http://127.0.0.1:{(port := free_port())}"
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        command = [sys.executable, "-m", "observatory.interfaces.cli.main", "up", "--demo"]
        demo = subprocess.Popen(
            [*command, "--port", str(port), "--data", folder],
            stdout=subprocess.DEVNULL,
            env=os.environ | {"NO_COLOR": "1"},
        )
        try:
            wait_for_failures(url)
            browser = playwright.chromium.launch(
                executable_path=CHROMIUM, args=["--no-sandbox", "--disable-quic"]
            )
            page = browser.new_page(viewport={"width": 1440, "height": 1000})
            shoot(page, f"{url}/", "overview.png")
            browser.close()
        finally:
            demo.terminate()
            demo.wait(30)


if __name__ == "__main__":
    main()
