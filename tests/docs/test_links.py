"""Every link within the repository leads somewhere, and every anchor exists."""

from pathlib import Path

import pytest
from documents import ROOT, anchors, documents, links

_MADE_BY_THE_DEMO = ROOT / "docs" / "images" / "overview.png"


@pytest.mark.parametrize("path", documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_links_resolve(path: Path) -> None:
    broken: list[str] = []
    for link in links(path):
        if link.startswith(("http://", "https://", "mailto:")):
            continue
        file, _, anchor = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        lost = not target.exists() and target != _MADE_BY_THE_DEMO
        if lost or (anchor and anchor not in anchors(target)):
            broken.append(link)

    assert not broken
