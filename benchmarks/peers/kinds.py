"""Which jobs are measured, how many of them, and in which way."""

from argparse import ArgumentTypeError
from dataclasses import dataclass

SLOTS = 8
"""Jobs that each of the two worker processes runs at once where jobs take their time."""


@dataclass(frozen=True)
class Kind:
    """One kind of job."""

    name: str
    sleep_s: float
    jobs: int
    jobs_quick: int
    throughput: bool = True
    """Whether the figures are those of a system at its limit; else, how well slots are used."""
    latency: bool = False
    rounds_max: int = 100

    @property
    def slotted(self) -> bool:
        """Whether every contestant is given the same number of slots."""
        return self.sleep_s > 0


KINDS = (
    Kind("noop", 0.0, 10_000, 2_000, latency=True),
    Kind("10ms", 0.010, 4_000, 600),
    # Sleeping is no noisier in one round than in another.
    Kind("5s", 5.0, 80, 32, throughput=False, rounds_max=1),
)


def named(names: str) -> list[Kind]:
    """The kinds of a list separated by commas. Raises ArgumentTypeError."""
    known = {kind.name: kind for kind in KINDS}
    wanted = [name.strip() for name in names.split(",")]
    if unknown := [name for name in wanted if name not in known]:
        raise ArgumentTypeError(f"no such kind: {', '.join(unknown)}; there are {', '.join(known)}")
    return [known[name] for name in wanted]
