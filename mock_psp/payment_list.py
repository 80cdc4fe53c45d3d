"""Every payment of a run in the order in which they ended, in sixteen bytes each.

A merchant may page through all of them, back to the first: a biller that was away for hours has to
find each one. The journal holds them anyway, so all that is kept here is where, and when it was.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class PaymentList:
    """Payments are numbered from 0 in the order in which they ended."""

    def __init__(self) -> None:
        """None yet."""
        self._places, self._created_s = array("Q"), array("Q")

    def __len__(self) -> int:
        """How many there are."""
        return len(self._places)

    def add(self, place: int, created_s: int) -> int:
        """Note one more, and where in the journal it stands; its number."""
        # A clock that is set back does not put a payment before those that are there already.
        latest_s = self._created_s[-1] if self._created_s else 0
        self._places.append(place)
        self._created_s.append(max(created_s, latest_s))
        return len(self._places) - 1

    def place(self, number: int) -> int:
        """Where in the journal a payment stands."""
        return self._places[number]

    def page(
        self,
        numbers: Sequence[int],
        count: int,
        skip: int,
        since_s: int | None,
        until_s: int | None,
    ) -> Sequence[int]:
        """Those of ``numbers`` (ascending) from that time, newest first; ``skip`` are passed over.

        What is added while somebody pages moves the others back: they come twice, none is left out.
        """
        when = self._created_s.__getitem__
        begin = 0 if since_s is None else bisect_left(numbers, since_s, key=when)
        end = len(numbers) if until_s is None else bisect_right(numbers, until_s, key=when)
        end = max(end - skip, begin)
        return numbers[max(end - count, begin) : end][::-1]
