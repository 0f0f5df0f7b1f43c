"""What `observatory doctor` finds: a verdict, and what to do about it."""

from typing import Final, NamedTuple


class Finding(NamedTuple):
    """One line of the report."""

    verdict: str
    subject: str
    detail: str
    advice: str = ""


def sound(findings: list[Finding]) -> bool:
    """Whether nothing fails."""
    return all(finding.verdict != "FAIL" for finding in findings)


LARGEST_DIFFERENCE_S: Final = 2.0
"""Two clocks that differ by more make `--since 1m` and the times of logs hard to understand. What
is due, late or dead is decided by the store's clock alone, whatever the others say."""


def clocks(subject: str, ahead_s: float, within_s: float) -> Finding:
    """A clock against this machine's.

    Args:
        subject: whose clock it is.
        ahead_s: it less this machine's, in seconds.
        within_s: how long it took to ask, which is how far off that may be.
    """
    if abs(ahead_s) <= within_s:
        return Finding("PASS", subject, f"as this machine's, to within {within_s:.3f} s")
    words = f"{abs(ahead_s):.3f} s {'ahead of' if ahead_s > 0 else 'behind'} this machine's"
    if abs(ahead_s) - within_s > LARGEST_DIFFERENCE_S:
        advice = "have both follow a time server (chrony, systemd-timesyncd); `date -u` tells each"
        return Finding("WARN", subject, words, advice)
    return Finding("PASS", subject, words)
