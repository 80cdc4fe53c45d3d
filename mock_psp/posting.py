"""The rules of posting: what a callback does to a ledger that already knows something.

Pure functions on plain values: the ledger reads what it knows about the keys of a batch, these
rules decide callback after callback, and the ledger writes the decided rows in one transaction.

A payment only moves forward: nothing → FAILED → CREDITED or REFUND_DUE. A success after a failure
is a late authorisation and counts; a failure after a success is stale and does not.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from fewseconds.contracts import Acknowledged, Callback
from fewseconds.identity import Bill, rupees
from mock_psp import templates
from mock_psp.schema import CONSUMERS, RECEIVABLE, REFUNDS

Row = dict[str, Any]


class Notice(msgspec.Struct, frozen=True):
    """One authentic callback, with what the biller knows about its bill."""

    callback: Callback
    body_sha256: str
    bill: Bill | None
    """The bill that is meant; None if there is no such bill."""
    phone: str
    trace: str
    """Header of the callback's trace, so that the SMS can carry it on; may be empty."""
    received_us: int
    amounts_paise: frozenset[int] = frozenset()
    """What the bill may have been paid with, as of its dates; its printed amount if empty."""
    expired: bool = False
    channel: Literal["upi", "bbps"] = "upi"
    """Over ``bbps`` money that cannot be credited is not taken: the platform gives it back."""


class Conflict(msgspec.Struct, frozen=True):
    """A callback that contradicts an earlier one: refused, and an alarm is raised."""

    reason: str


class Known(msgspec.Struct):
    """What the ledger knows about the keys of a batch; grows as the batch is decided."""

    bodies: dict[str, str] = {}
    """Event id → SHA-256 of the body it came with."""
    payments: dict[str, Row] = {}
    """Transaction id → its row of ``payments``."""
    references: dict[str, str] = {}
    """RRN → transaction id."""
    paid: set[str] = set()
    """Numbers of bills that are paid."""


class Decided(msgspec.Struct):
    """Rows to write, by table."""

    callbacks: list[Row] = []
    payments: list[Row] = []
    late: list[Row] = []
    """Rows of payments that are there as FAILED and are replaced."""
    bills: list[Row] = []
    lines: list[Row] = []
    receipts: list[Row] = []
    outbox: list[Row] = []
    refunds: list[Row] = []
    alarms: list[Row] = []


def decide(known: Known, notice: Notice, decided: Decided) -> Acknowledged | Conflict:
    """Decide one callback: add its rows to ``decided``, and what is known then to ``known``."""
    callback = notice.callback
    body = known.bodies.get(callback.event_id)
    if body is not None:
        if body == notice.body_sha256:
            return _acknowledged(known, callback, duplicate=True)
        return _alarm(decided, notice, "event_with_another_body")
    payment = known.payments.get(callback.transaction_id)
    if payment is not None and _contradicts(payment, callback):
        return _alarm(decided, notice, "transaction_with_other_facts")
    owner = known.references.get(callback.rrn, callback.transaction_id)
    if owner != callback.transaction_id:
        return _alarm(decided, notice, "reference_of_another_transaction")
    effect = _effect(known, notice, payment)
    if effect[0] == "refund_due" and notice.channel == "bbps":
        return Conflict(effect[1])
    known.bodies[callback.event_id] = notice.body_sha256
    decided.callbacks.append(
        {
            "event_id": callback.event_id,
            "body_sha256": notice.body_sha256,
            "transaction_id": callback.transaction_id,
            "status": callback.status,
            "effect": effect[0],
            "received_us": notice.received_us,
        }
    )
    if effect[0] != "none":
        _apply(known, notice, decided, effect)
    return _acknowledged(known, callback, duplicate=effect[0] == "none")


def receipt_number(rrn: str) -> str:
    """The number of the receipt for a payment: RRNs are unique, so these are."""
    return f"R{rrn}"


def _effect(known: Known, notice: Notice, payment: Row | None) -> tuple[str, str]:
    """What the callback does, and why if it is not the ordinary thing."""
    callback, bill = notice.callback, notice.bill
    if payment is not None and payment["status"] != "FAILED":
        return "none", ""
    if callback.status == "FAILURE":
        return ("failed", callback.code) if payment is None else ("none", "")
    if bill is None:
        return "refund_due", "unknown_bill"
    if callback.bill_number in known.paid:
        return "refund_due", "already_paid"
    if callback.amount_paise not in (notice.amounts_paise or {bill.amount_paise}):
        return "refund_due", "wrong_amount"
    if notice.expired:
        return "refund_due", "expired"
    return "credited", ""


def _contradicts(payment: Row, callback: Callback) -> bool:
    same = (
        payment["bill_number"] == callback.bill_number
        and payment["amount_paise"] == callback.amount_paise
    )
    rrn = payment["rrn"]
    return not same or (rrn is not None and callback.rrn not in ("", rrn))


def _apply(known: Known, notice: Notice, decided: Decided, effect: tuple[str, str]) -> None:
    """Rows of a payment that came further."""
    callback, name = notice.callback, notice.callback.transaction_id
    row = {
        "transaction_id": name,
        "rrn": callback.rrn or None,
        "bill_number": callback.bill_number,
        "amount_paise": callback.amount_paise,
        "payer_vpa": callback.payer_vpa,
        "channel": notice.channel,
        "status": effect[0].upper(),
        "reason": effect[1],
        "posted_us": notice.received_us,
    }
    if name in known.payments:
        # It may stand in this very batch as failed; then one row of it is enough.
        fresh = [
            index for index, new in enumerate(decided.payments) if new["transaction_id"] == name
        ]
        if fresh:
            decided.payments[fresh[0]] = row
        else:
            decided.late.append(row)
    else:
        decided.payments.append(row)
    known.payments[name] = row
    if callback.rrn:
        known.references[callback.rrn] = name
    if effect[0] == "failed":
        return
    _post(known, notice, decided, effect)


def _post(known: Known, notice: Notice, decided: Decided, effect: tuple[str, str]) -> None:
    """Money has come: two lines, a receipt, an SMS, and the bill if it is to be credited."""
    callback, bill = notice.callback, notice.bill
    name, amount_paise = callback.transaction_id, callback.amount_paise
    credited = effect[0] == "credited"
    other = CONSUMERS if credited else REFUNDS
    decided.lines += [
        line(name, name, RECEIVABLE, amount_paise), line(name, name, other, -amount_paise),
    ]  # fmt: skip
    if not credited:
        decided.refunds.append(
            {
                "refund_id": f"refund_{name}",
                "transaction_id": name,
                "amount_paise": amount_paise,
                "reason": effect[1],
                "due_us": notice.received_us,
            }
        )
    number = receipt_number(callback.rrn)
    decided.receipts.append({"receipt_number": number, "transaction_id": name})
    if credited and bill is not None:
        known.paid.add(bill.number)
        decided.bills.append(
            {
                "bill_number": bill.number,
                "consumer_number": bill.consumer,
                "amount_paise": amount_paise,
                "paid_paise": amount_paise,
                "transaction_id": name,
            }
        )
    if notice.phone:
        template_id, text = message(callback, bill, number, credited=credited)
        decided.outbox.append(
            {
                "transaction_id": name,
                "reference": name,
                "phone": notice.phone,
                "template_id": template_id,
                "text": text,
                "trace": notice.trace,
                "created_us": notice.received_us,
            }
        )


def line(posting: str, transaction_id: str, account: str, amount_paise: int) -> Row:
    """One line of a posting."""
    return {
        "posting": posting,
        "transaction_id": transaction_id,
        "account": account,
        "amount_paise": amount_paise,
    }


def message(
    callback: Callback, bill: Bill | None, receipt: str, *, credited: bool
) -> tuple[str, str]:
    """The SMS: its registered template, and its text of at most 160 GSM-7 characters."""
    amount, rrn = rupees(callback.amount_paise), callback.rrn
    if credited and bill is not None:
        values = amount, bill.consumer, bill.number, receipt, rrn
        return templates.RECEIPT, templates.filled(templates.RECEIPT, *values)
    number = callback.bill_number[:16]
    return templates.REFUND, templates.filled(templates.REFUND, amount, rrn, number)


def _acknowledged(known: Known, callback: Callback, *, duplicate: bool) -> Acknowledged:
    payment = known.payments[callback.transaction_id]
    posting: Literal["credited", "refund_due", "refunded", "none"] = "none"
    if payment["status"] != "FAILED":
        posting = payment["status"].lower()
    number = "" if posting == "none" else receipt_number(payment["rrn"])
    return Acknowledged(callback.transaction_id, number, duplicate, posting)


def _alarm(decided: Decided, notice: Notice, kind: str) -> Conflict:
    decided.alarms.append(
        {
            "kind": kind,
            "event_id": notice.callback.event_id,
            "transaction_id": notice.callback.transaction_id,
            "raised_us": notice.received_us,
        }
    )
    return Conflict(kind)
