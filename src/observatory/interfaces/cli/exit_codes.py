"""What the exit status of `observatory` means. Scripts rely on these; they do not change."""

from enum import IntEnum


class ExitCode(IntEnum):
    """The exit status of a command."""

    OK = 0
    FAILED = 1
    """A job failed, a check did, or standard output cannot be written."""
    USAGE = 2
    """The command line, a setting, the key or the input must change: so it was refused, and would
    be again."""
    NOT_FOUND = 3
    CONFLICT = 4
    """The state of the job or queue does not allow it."""
    UNAVAILABLE = 5
    """Nothing answers at the URL, or what answers cannot do it now (429 and every 5xx, as when the
    system drains, its store is away or its backlog is full): the same may work later."""
    NOT_ENDED = 6
    """The job had not ended in the time given to wait for it; it goes on."""
    INTERRUPTED = 130
    """Ctrl-C, as shells count it: 128 + SIGINT."""
    PIPE_CLOSED = 141
    """Whoever read the output has gone (`| head`): 128 + SIGPIPE."""
