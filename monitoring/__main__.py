"""Write the files of `monitoring/`, or say which are not as they would be written.

python -m monitoring [--check] [--page http://127.0.0.1:8080]
"""

import argparse
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml

from monitoring import dashboards, provisioning, scraping
from monitoring.rules import rules

HERE: Final = Path(__file__).parent
_BASE: Final = re.compile(
    r"https?://([\w.~%-]+|\[[\da-f:.]+\])(:\d+)?(/[\w.~%/+@:-]*)?", re.IGNORECASE | re.ASCII
)
_HEAD: Final = "# Written by `python -m monitoring`; change monitoring/*.py instead.\n"


def files(page: str) -> Iterator[tuple[Path, str]]:
    """Every file, by its path within the folder, and its text."""
    written = rules(page=page)
    documents: dict[str, Any] = {
        "prometheus/rules.yml": written,
        "kubernetes/rules.yml": scraping.prometheus_rule(written),
        "prometheus/embedded.yml": scraping.embedded(),
        "prometheus/services.yml": scraping.services(),
        "prometheus/compose.yml": scraping.compose(),
        "prometheus/kubernetes.yml": scraping.kubernetes(),
        "alertmanager/alertmanager.yml": scraping.alertmanager(),
        **provisioning.files(),
    }
    for path, document in documents.items():
        yield Path(path), _HEAD + dumped(document)
    for dashboard in dashboards.ALL:
        text = json.dumps(provisioning.document(dashboard, page), indent=2)
        yield Path(f"grafana/dashboards/{dashboard.uid}.json"), text + "\n"


def dumped(document: Any) -> str:
    """A document as YAML, in its own order."""
    return yaml.safe_dump(document, sort_keys=False, width=100)


def _address(text: str) -> str:
    """A base URL; what is written after it begins with a slash.

    Raises:
        argparse.ArgumentTypeError: a browser would not open it as a page.
    """
    if not _BASE.fullmatch(text):
        raise argparse.ArgumentTypeError(
            f"{text[:100]!r} is no address of a page; give one such as https://jobs.example.com"
        )
    return text.rstrip("/")


def main() -> int:
    """Write or check; 1 where a file is not as it would be written."""
    parser = argparse.ArgumentParser(prog="python -m monitoring", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing")
    parser.add_argument(
        "--page", type=_address, default="http://127.0.0.1:8080", help="where the page is served"
    )
    given = parser.parse_args()
    stale: list[str] = []
    for path, text in files(given.page):
        file = HERE / path
        if given.check:
            if not file.exists() or file.read_text() != text:
                stale.append(str(path))
            continue
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        print(file.relative_to(HERE.parent))
    if stale:
        print(f"not as `python -m monitoring` writes them: {', '.join(stale)}", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
