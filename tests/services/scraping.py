"""What a scrape tells, read as Prometheus reads it."""

import re
from pathlib import Path
from typing import Final

import httpx
from prometheus_client.parser import text_string_to_metric_families

PREFIX: Final = "observatory_"
REFERENCE: Final = Path(__file__).parents[2] / "docs" / "reference" / "metrics.md"

Labels = dict[str, str]


class Scraped:
    """The samples of one scrape."""

    def __init__(self, text: str) -> None:
        families = list(text_string_to_metric_families(text))
        self.kinds = {family.name: family.type for family in families}
        self.samples = [s for family in families for s in family.samples]
        assert len(self.kinds) == len(families), "a family is told twice"
        keys = [(s.name, *sorted(s.labels.items())) for s in self.samples]
        assert len(set(keys)) == len(keys), "a series is told twice"

    def own(self) -> set[str]:
        """The families of this project, as they are documented."""
        return {
            name + "_total" * (kind == "counter")
            for name, kind in self.kinds.items()
            if name.startswith(PREFIX)
        }

    def of(self, name: str, **labels: str) -> list[tuple[Labels, float]]:
        """The samples of a name that have these labels, among others."""
        return [
            (s.labels, s.value)
            for s in self.samples
            if s.name == PREFIX + name and labels.items() <= s.labels.items()
        ]

    def value(self, name: str, **labels: str) -> float:
        """The one value of a name with these labels."""
        found = self.of(name, **labels)
        assert len(found) == 1, f"{name} {labels}: {found}"
        return found[0][1]

    def by(self, name: str, label: str, **labels: str) -> dict[str, float]:
        """The values of a name by one of its labels."""
        found = self.of(name, **labels)
        values = {given[label]: value for given, value in found}
        assert len(values) == len(found), f"{name} is not told apart by {label}"
        return values

    def series(self) -> int:
        """How many series of this project there are."""
        return sum(s.name.startswith(PREFIX) for s in self.samples)


async def scrape(http: httpx.AsyncClient) -> Scraped:
    """Ask ``/metrics``."""
    answer = await http.get("/metrics")
    assert answer.status_code == 200, answer.text
    return Scraped(answer.text)


def documented() -> dict[str, dict[str, str]]:
    """Every metric of the reference, with its row."""
    rows = re.findall(
        r"^\| `(observatory_[a-z_]+)` \| (\w+) \| ([^|]+) \|([^|]*)\| ([^|]+) \| [^|]+ \|$",
        REFERENCE.read_text(),
        re.MULTILINE,
    )
    return {
        name: {"type": kind, "unit": unit, "labels": labels, "told by": by}
        for name, kind, unit, labels, by in rows
    }
