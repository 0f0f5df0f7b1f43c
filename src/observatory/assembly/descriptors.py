"""Telling that a process has used up its file descriptors: nothing else would say so.

A connection that cannot be given one is closed by the event loop without a word, so that clients
see a system that hangs up, and its log is silent.
"""

import errno
import os
import resource
from typing import Final

import structlog

from observatory.runtime.loop import Loop

_log = structlog.get_logger(__name__)

_LOOK_S: Final = 1.0


class Descriptors:
    """Looks whether another one could be had, and logs once when that changes for the worse."""

    def __init__(self) -> None:
        self._used_up = False
        self.loop = Loop("descriptors", self._look, _LOOK_S)

    async def _look(self) -> None:
        try:
            os.close(os.open(os.devnull, os.O_RDONLY))
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE):
                raise
            if not self._used_up:
                limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
                _log.error("process.descriptors_used_up", limit=limit, error=error.strerror)
            self._used_up = True
        else:
            self._used_up = False
