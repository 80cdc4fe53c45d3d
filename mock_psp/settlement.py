"""The settlement file: what came in and went out on a day is settled at the following midnight."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from fewseconds.identity import IST
from mock_psp.journal import Entry, entries
from mock_psp.merchant_contract import ReconItem, payment_id, public_id

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def settled_at(created_s: int) -> int:
    """When money that moved at ``created_s`` is settled: the midnight (IST) that ends that day."""
    day = dt.datetime.fromtimestamp(created_s, IST).date() + dt.timedelta(days=1)
    return int(dt.datetime.combine(day, dt.time(), IST).timestamp())


def recon(
    journal: Path,
    now_s: int,
    date: tuple[int, int, int | None],
    codes: Mapping[str, str],
) -> list[ReconItem]:
    """The lines of the settlements of one day (or of a month), in the order of the journal.

    ``date`` is year, month and day (None: all of the month); ``codes`` has the ids of the QR codes
    that the merchant has made, by the references of their links.
    """
    items = []
    year, month, day = date
    for entry in entries(journal):
        if entry.entry not in ("credit", "refund"):
            continue
        settled_s = settled_at(entry.created_s)
        on = dt.datetime.fromtimestamp(settled_s, IST).date()
        if settled_s > now_s or (on.year, on.month) != (year, month):
            continue
        if day is None or on.day == day:
            items.append(_item(entry, settled_s, on, codes.get(entry.bill_number)))
    return items


def _item(entry: Entry, settled_s: int, date: dt.date, code: str | None) -> ReconItem:
    name, incoming = payment_id(entry.transaction_id), entry.entry == "credit"
    return ReconItem(
        entity_id=name if incoming else entry.reference, type="payment" if incoming else "refund",
        debit=0 if incoming else entry.amount_paise, credit=entry.amount_paise if incoming else 0,
        amount=entry.amount_paise, created_at=entry.created_s, settled_at=settled_s,
        settlement_id=public_id("setl", date), settlement_utr=f"{settled_s}fws",
        payment_id=None if incoming else name, description="UPI payment", rrn=entry.rrn,
        upi_transaction_id=entry.transaction_id, qr_code_id=code, reference=entry.bill_number,
    )  # fmt: skip
