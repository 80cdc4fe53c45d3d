"""What a payment service knows for its merchant: QR codes, payments, refunds, webhooks.

QR codes, refunds and webhooks are kept in a file of snapshots, one JSON line each, only ever added;
the last one of an id counts. Payments are those of the journal, which holds every credit anyway, so
a payment costs nothing here but its place in memory; older ones are read from the journal again,
and the latest are at hand.
"""

from __future__ import annotations

import os
from array import array
from collections import Counter, OrderedDict
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from mock_psp.compact import Index
from mock_psp.journal import Entry, Journal, entries, payer_addresses, placed_entries
from mock_psp.line_file import opened, whole_lines
from mock_psp.merchant_contract import QrCode, Refund, payment_id
from mock_psp.payment_list import PaymentList

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from mock_psp.spec import Folder

PAYMENTS_MAX: Final = 20_000
"""Payments held in memory; an older one is looked up in the journal."""
T = TypeVar("T", bound=msgspec.Struct)


class Endpoint(msgspec.Struct, kw_only=True):
    """Where events are sent, and how."""

    id: str
    created_at: int
    url: str
    secret: str
    events: list[str]
    active: bool
    signature: str
    schedule: str


class Delivery(msgspec.Struct, kw_only=True):
    """One event on its way to one endpoint."""

    id: str
    endpoint: str
    event_id: str
    body: str
    done: bool = False


class Paid(msgspec.Struct, kw_only=True):
    """A payment attempt that reached its end at the banks."""

    transaction_id: str
    rrn: str
    amount_paise: int
    reference: str
    """``tr`` of the link: the number of a bill, or of a QR code that the merchant has made."""
    payer_vpa: str
    created_s: int
    code: str = "00"
    refunded_paise: int = 0

    @property
    def id(self) -> str:
        """The payment service's own id."""
        return payment_id(self.transaction_id)


class Book:
    """The payment service's records of its merchant."""

    def __init__(self, folder: Folder, journal: Journal, payer_of: Callable[[str], str]) -> None:
        """Read what a run before a restart has left, and go on with it.

        ``payer_of`` knows whose account a transaction is from.
        """
        self._folder, self._journal, self._payer_of = folder, journal, payer_of
        self.codes: OrderedDict[str, QrCode] = OrderedDict()
        self.refunds: OrderedDict[str, Refund] = OrderedDict()
        self.endpoints: OrderedDict[str, Endpoint] = OrderedDict()
        self.undelivered: OrderedDict[str, Delivery] = OrderedDict()
        self.by_reference: dict[str, str] = {}
        """``tr`` of a QR code's link → its id."""
        self.by_key: dict[str, tuple[str, str, int | None]] = {}
        """Idempotency key of a refund → refund, payment, and the amount that was asked for."""
        self._at_hand: dict[int, Paid] = {}
        """The latest payments by their numbers, …"""
        self._numbers: dict[str, int] = {}
        """… and those by their transactions."""
        self._ids = Index()
        """Payment id → number."""
        self._every = PaymentList()
        self._of_code: dict[str, array[int]] = {}
        """QR code → the numbers of its payments."""
        self._given_back: Counter[str] = Counter()
        """Payment id → what refunds of it come to."""
        for kind, found in _snapshots(folder.merchant):
            self._take(kind, found)
        self.latest: Paid | None = None
        """The last credit in the journal when the service was started …"""
        self.counted = True
        """… and whether its code, if it came through one, says so."""
        self._go_on_with(folder)
        self._descriptor = opened(folder.merchant)

    def _go_on_with(self, folder: Folder) -> None:
        taken: Counter[str] = Counter()
        for place, paid in _paid(folder):
            self.paid(paid, place)
            if paid.code == "00":
                self.latest = paid
                if paid.reference in self.by_reference:
                    taken[paid.reference] += 1
        code = None if self.latest is None else self.code_for(self.latest.reference)
        if code is not None:
            self.counted = code.payments_count_received >= taken[reference_of(code.id)]

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def deliveries(self) -> set[str]:
        """Ids of all deliveries that were ever begun; reads the whole file."""
        found = _snapshots(self._folder.merchant)
        return {line["data"]["id"] for kind, line in found if kind == "Delivery"}

    def write(self, entity: msgspec.Struct, *, key: str = "", asked: int | None = None) -> None:
        """Note the new state of something; ``key`` and ``asked`` belong to a refund."""
        kind = type(entity).__name__
        line: dict[str, Any] = {"kind": kind, "data": msgspec.to_builtins(entity)}
        if key:
            line |= {"key": key, "asked": asked}
        os.write(self._descriptor, msgspec.json.encode(line) + b"\n")
        self._take(kind, line)

    def paid(self, paid: Paid, place: int) -> None:
        """Hold a payment that the journal has been told of, at ``place``."""
        known = self._numbers.get(paid.transaction_id)
        if known is not None:
            # A failure that was shown before a kill and, with its reversal, again after it.
            self._at_hand[known] = paid
            return
        number, code = self._every.add(place, paid.created_s), self.code_of(paid)
        self._at_hand[number] = paid
        self._numbers[paid.transaction_id] = number
        if code is not None:
            self._of_code.setdefault(code, array("Q")).append(number)
        self._ids.add(paid.id, number)
        if len(self._at_hand) > PAYMENTS_MAX:
            oldest = self._at_hand.pop(number - PAYMENTS_MAX)
            del self._numbers[oldest.transaction_id]

    def payment(self, name: str) -> Paid | None:
        """The payment with that id of ours; None if there was none."""
        found = map(self._numbered, self._ids.numbers(name))
        return next((one for one in found if one.id == name), None)

    def given_back_paise(self, paid: Paid) -> int:
        """What the refunds of a payment come to, those that are ordered and not made included."""
        return self._given_back[paid.id]

    def unmade(self) -> list[Refund]:
        """Refunds that were ordered, and no money has moved; reads the whole journal."""
        if not self.refunds:
            return []
        made = {one.reference for one in entries(self._folder.journal) if one.entry == "refund"}
        return [one for name, one in self.refunds.items() if name not in made]

    def payments(
        self, count: int, skip: int, since_s: int | None, until_s: int | None, code: str | None
    ) -> list[Paid]:
        """A page of all payments (or of those of a QR code) from that time, newest first."""
        numbers: Sequence[int] = range(len(self._every))
        if code is not None:
            numbers = self._of_code.get(code, array("Q"))
        page = self._every.page(numbers, count, skip, since_s, until_s)
        return [self._numbered(one) for one in page]

    def code_of(self, paid: Paid) -> str | None:
        """The QR code that a payment came through, if the merchant has made it."""
        return self.by_reference.get(paid.reference)

    def code_for(self, reference: str) -> QrCode | None:
        """The QR code whose link has this ``tr``."""
        name = self.by_reference.get(reference)
        return None if name is None else self.codes[name]

    def _numbered(self, number: int) -> Paid:
        at_hand = self._at_hand.get(number)
        if at_hand is not None:
            return at_hand
        entry = self._journal.at(self._every.place(number))
        paid = _ended(entry, self._payer_of(entry.transaction_id), 0)
        paid.refunded_paise = self.given_back_paise(paid)
        return paid

    def _take(self, kind: str, line: dict[str, Any]) -> None:
        data = line["data"]
        if kind == "QrCode":
            code = msgspec.convert(data, QrCode)
            self.codes[code.id] = code
            self.by_reference[reference_of(code.id)] = code.id
        elif kind == "Refund":
            refund = msgspec.convert(data, Refund)
            self.refunds[refund.id] = refund
            self._given_back[refund.payment_id] += refund.amount
            if "key" in line:
                self.by_key[line["key"]] = (refund.id, refund.payment_id, line["asked"])
        elif kind == "Endpoint":
            endpoint = msgspec.convert(data, Endpoint)
            self.endpoints[endpoint.id] = endpoint
        else:
            delivery = msgspec.convert(data, Delivery)
            if delivery.done:
                self.undelivered.pop(delivery.id, None)
            else:
                self.undelivered[delivery.id] = delivery


def reference_of(code_id: str) -> str:
    """The ``tr`` of a QR code's link: letters and digits, at most 35."""
    return "QR" + code_id.removeprefix("qr_")


def _snapshots(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for line in whole_lines(path):
        found = msgspec.json.decode(line)
        yield found["kind"], found


def _paid(folder: Folder) -> Iterator[tuple[int, Paid]]:
    """The payments of a journal, in order, with their places and what was refunded of each."""
    refunded: Counter[str] = Counter()
    journal, payers = folder.journal, payer_addresses(folder.payers)
    for entry in entries(journal):
        if entry.entry == "refund":
            refunded[entry.transaction_id] += entry.amount_paise
    for place, entry in placed_entries(journal):
        if is_payment(entry):
            name = entry.transaction_id
            yield place, _ended(entry, payers.get(name, ""), refunded[name])


def _ended(entry: Entry, payer_vpa: str, refunded_paise: int) -> Paid:
    """The payment that an entry of the journal has ended."""
    return Paid(
        transaction_id=entry.transaction_id, rrn=entry.rrn, amount_paise=entry.amount_paise,
        reference=entry.bill_number, payer_vpa=payer_vpa, created_s=entry.created_s,
        code="00" if entry.entry == "credit" else entry.code, refunded_paise=refunded_paise,
    )  # fmt: skip


def is_payment(entry: Entry) -> bool:
    """Whether an entry ends a payment attempt: money that came, or a failure that was shown."""
    return entry.entry == "credit" or (entry.entry == "shown" and entry.status == "FAILURE")
