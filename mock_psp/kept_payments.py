"""The payments that a payer side remembers: the latest in memory, all older ones in a file.

Payers ask about the payment they have just made; but whoever asks again for one that was made long
ago must get that payment and not a second one. So payments that have come to their end are laid
aside, a line of JSON each, in a file that has no name and is gone with the process; after a restart
they come out of the journal.
"""

from __future__ import annotations

import os
import tempfile
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

import msgspec

from fewseconds.contracts import PayRequest, Trace
from mock_psp.compact import Index
from mock_psp.line_file import line_at, placed
from mock_psp.messages import Passed
from mock_psp.payments import PaymentOutcome, PaymentStatus, Transaction
from mock_psp.walk import Journey

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mock_psp.world import World

LATEST_MAX: Final = 10_000
"""Payments in memory, some 3 KB each: a minute's at the highest rate that the service bears."""


class _Aside(msgspec.Struct, frozen=True, omit_defaults=True):
    """A payment that has come to its end, as it stands in the file; the PIN does not."""

    transaction_id: str
    request: PayRequest
    trace: Trace
    events: list[tuple[str, str]]
    status: PaymentStatus
    code: str
    rrn: str
    outcome: PaymentOutcome
    debited: bool
    credited: bool
    reversed: bool
    paid_s: int
    passed: tuple[Passed, ...]
    shown: Passed | None


class KeptPayments:
    """All payments of a run."""

    def __init__(self, world: World) -> None:
        """None yet."""
        self._world = world
        self._latest: OrderedDict[str, Transaction] = OrderedDict()
        self._places = Index()
        self._file = tempfile.TemporaryFile(dir=world.folder.root, buffering=0)  # noqa: SIM115
        self._end = 0
        self._encoder = msgspec.json.Encoder()

    def add(self, transaction: Transaction) -> None:
        """Remember one more."""
        self._latest[transaction.transaction_id] = transaction
        # Two go for one that comes, so that those which had to stay do not make it grow for good.
        for _ in range(min(len(self._latest) - LATEST_MAX, 2)):
            _, oldest = self._latest.popitem(last=False)
            if oldest.status == "PENDING":
                # Its fate is open, and its legs still write it down here.
                self._latest[oldest.transaction_id] = oldest
            else:
                self._lay_aside(oldest)

    def update(self, transactions: Mapping[str, Transaction]) -> None:
        """Remember what a journal held."""
        for transaction in transactions.values():
            self.add(transaction)

    def get(self, name: str) -> Transaction | None:
        """The payment of that name; one that was laid aside is a copy."""
        latest = self._latest.get(name)
        if latest is not None:
            return latest
        found = (self._line(place) for place in self._places.numbers(name))
        aside = next((one for one in found if one.transaction_id == name), None)
        return None if aside is None else self._taken_up(aside)

    def close(self) -> None:
        """Give the file up."""
        self._file.close()

    def _lay_aside(self, done: Transaction) -> None:
        journey = done.journey
        line = self._encoder.encode(
            _Aside(
                done.transaction_id, msgspec.structs.replace(done.request, pin=""),
                journey.trace("pay", done.attempt), sorted(journey.events), done.status, done.code,
                done.rrn, done.outcome, done.debited, done.credited, done.reversed,
                done.paid_s, done.visits(), done.shown,
            )
        )  # fmt: skip
        self._places.add(done.transaction_id, placed(self._end, len(line)))
        self._end += os.pwrite(self._file.fileno(), line, self._end)

    def _line(self, place: int) -> _Aside:
        return msgspec.json.decode(line_at(self._file.fileno(), place), type=_Aside)

    def _taken_up(self, aside: _Aside) -> Transaction | None:
        route = self._world.route(aside.trace.kind)
        if route is None:
            return None
        journey = Journey(route, aside.trace.journey_id, self._world.traits(aside.trace))
        journey.events.update(aside.events)
        found = Transaction(aside.transaction_id, aside.request, journey, aside.trace.attempt)
        found.status, found.code, found.rrn = aside.status, aside.code, aside.rrn
        found.outcome, found.debited = aside.outcome, aside.debited
        found.credited, found.reversed = aside.credited, aside.reversed
        found.paid_s, found.shown = aside.paid_s, aside.shown
        found.passed, found.noted = list(aside.passed), len(aside.passed)
        return found
