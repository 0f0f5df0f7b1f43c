"""Every panel leads on: to the runbooks of its alerts, and to views that the page has."""

import re
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import pytest

from monitoring import dashboards, provisioning
from monitoring.__main__ import HERE
from monitoring.rules import names
from observatory.core.alert import WATCHDOG
from observatory.settings import runbooks

PAGE: Final = "https://jobs.example.com"
ADDRESSES: Final = (HERE.parent / "web/src/address.ts").read_text()


def views() -> set[str]:
    """The first words of the addresses that the page understands."""
    (plain,) = re.findall(r"PLAIN_VIEWS = \[(.*?)\]", ADDRESSES)
    return {"", *re.findall(r'"(\w+)"', plain), *re.findall(r'first === "(\w+)"', ADDRESSES)}


def filters() -> set[str]:
    """What jobs can be filtered by in such an address."""
    (texts,) = re.findall(r"const TEXTS = \[(.*?)\]", ADDRESSES, re.DOTALL)
    return {"state", *re.findall(r'"(\w+)"', texts)}


def panels() -> dict[str, dict[str, Any]]:
    return {
        f"{board.uid}: {panel['title']}": panel
        for board in dashboards.ALL
        for panel in provisioning.document(board, PAGE)["panels"]
    }


def resolves(url: str) -> bool:
    """Whether the page, or the read model behind it, has something to show there."""
    parts = urlsplit(url)
    if f"{parts.scheme}://{parts.netloc}" != PAGE:
        return False
    if parts.path.startswith("/runbooks/"):
        return parts.path.removeprefix("/runbooks/") in runbooks.names()
    view, _, query = parts.fragment.removeprefix("/").partition("?")
    return parts.path == "/" and view in views() and set(parse_qs(query)) <= filters()


@pytest.mark.parametrize("name", panels())
def test_a_panel_leads_to_what_there_is(name: str) -> None:
    links = [link["url"] for link in panels()[name]["links"]]
    assert links
    assert [url for url in links if not resolves(url)] == []


@pytest.mark.parametrize(
    "path",
    ["/runbooks/ObservatoryNothing", "/#/nothing", "/#/jobs?colour=red", "/nothing", "/jobs"],
)
def test_what_is_nowhere_is_found_out(path: str) -> None:
    assert not resolves(PAGE + path)


def test_each_alert_has_a_panel_that_leads_to_its_runbook() -> None:
    led_to = {link["title"] for panel in panels().values() for link in panel["links"]}
    assert set(names()) - led_to == {WATCHDOG.name}
