"""Lists of the read API from the command line: page after page, and where a cut one goes on."""

import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from observatory.client import Client

PAGE_MAX: Final = 200
"""Items of one answer; more are read page by page."""


class Listing:
    """The items of a list, read while they are asked for."""

    def __init__(
        self,
        client: "Client",
        path: str,
        params: Mapping[str, str],
        *,
        limit: int | None,
        cursor: str | None = None,
    ) -> None:
        """See a list.

        Args:
            client: who reads it.
            path: of the list.
            params: its filters.
            limit: how many items at most; None for all.
            cursor: where an earlier list with the same filters was cut.
        """
        self.next = cursor
        """After the last item: the cursor to go on with, or None where the list is whole."""
        self._client = client
        self._path = path
        self._params = dict(params)
        self._limit = limit

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Each item."""
        left = self._limit
        while True:
            if self.next is not None:
                self._params["cursor"] = self.next
            self._params["limit"] = str(PAGE_MAX if left is None else min(PAGE_MAX, left))
            operations = self._client.operations
            page, self.next = self._client.run(operations.page(self._path, self._params))
            yield from page
            if left is not None:
                left -= len(page)
            if self.next is None or left == 0:
                return

    def tell_of_more(self) -> None:
        """Say on stderr, where it disturbs no reader of the list, that it was cut."""
        if self.next is not None:
            sys.stdout.flush()
            print(f"there are more: {going_on(self._params, self.next)} goes on", file=sys.stderr)


def going_on(params: Mapping[str, str], cursor: str) -> str:
    """The options with which a list goes on, beside those that were typed. A cursor is for the very
    same filters, and a span back from now would be another time."""
    times = [f"--{name} {params[name]}" for name in ("since", "until") if name in params]
    return " ".join((*times, f"--cursor {cursor}"))
