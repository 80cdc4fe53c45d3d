"""The bills that the mock biller knows: made from the seed, or a user's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fewseconds.own_bills import read_private
from fixtures import bills, consumers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fewseconds.identity import Bill
    from mock_psp.spec import RunSpec


class BillBook:
    """Bills by their numbers and by those of their consumers."""

    def __init__(self, spec: RunSpec) -> None:
        """Read the user's own bills, if the run has any; then there are no others."""
        self._issue = bills.Issue.of(spec.scenario, spec.seed)
        self._consumers = spec.scenario.consumers
        self._own: dict[str, Bill] | None = None
        self._by_consumer: dict[str, list[Bill]] = {}
        if spec.own_bills:
            own = read_private(spec.folder.bills)
            self._own = {bill.number: bill for bill in own}
            for bill in own:
                self._by_consumer.setdefault(bill.consumer, []).append(bill)

    def numbered(self, number: str) -> Bill | None:
        """The bill with that number; raises MalformedError if it cannot be one."""
        if self._own is not None:
            return self._own.get(number)
        bill = self._issue.numbered(number)
        return bill if bill.index < self._consumers else None

    def of_consumer(self, number: str) -> Sequence[Bill]:
        """The bills of a consumer, the first to be shown first; none if nobody has that number.

        Raises MalformedError if nobody can have it.
        """
        if self._own is not None:
            return self._by_consumer.get(number, ())
        index = consumers.index_of(number)
        return (self._issue.bill(index),) if index < self._consumers else ()
