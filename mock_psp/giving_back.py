"""Posting a refund: money that the PSP has given back leaves the books as it came.

Money without a bill to credit waits in ``refunds_payable`` and leaves it. If somebody has given
back a payment that was credited, the consumer owes it again; once all of it is back, the bill is
open again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import sqlalchemy as sa

from fewseconds.identity import rupees
from mock_psp import schema as t
from mock_psp import templates
from mock_psp.posting import Conflict, line

if TYPE_CHECKING:
    from typing import Any


class Refunded(NamedTuple):
    """The PSP has given money back."""

    event_id: str
    body_sha256: str
    psp_refund_id: str
    transaction_id: str
    amount_paise: int
    at_us: int


def give_back(connection: sa.Connection, order: Refunded) -> bool | Conflict:
    """Post a refund, once; False if it is known, or of a payment that is not the biller's.

    One that contradicts what is known is refused, and an alarm is raised. Refunds are few, so they
    are posted one by one; the caller's transaction makes them durable.
    """
    name = order.transaction_id
    payment = connection.execute(
        sa.select(t.payments).where(t.payments.c.transaction_id == name)
    ).one_or_none()
    if payment is None:
        return False
    found = connection.execute(
        sa.select(t.refunds.c.transaction_id, t.refunds.c.amount_paise).where(
            t.refunds.c.psp_refund_id == order.psp_refund_id
        )
    ).first()
    known = None if found is None else (found.transaction_id, found.amount_paise)
    kind = _contradiction(connection, order, payment, known)
    if kind:
        return _alarm(connection, order, kind)
    if known is not None:
        return False
    account = t.CONSUMERS
    if payment.status == "REFUND_DUE":
        account = t.REFUNDS
        whole = _processed(connection, order) >= payment.amount_paise
    else:
        whole = _undone(connection, order, payment)
    connection.execute(
        sa.insert(t.lines),
        [
            line(order.psp_refund_id, name, account, order.amount_paise),
            line(order.psp_refund_id, name, t.RECEIVABLE, -order.amount_paise),
        ],
    )
    connection.execute(
        sa.insert(t.callbacks),
        {
            "event_id": order.event_id, "body_sha256": order.body_sha256, "transaction_id": name,
            "status": "REFUND", "effect": "refunded" if whole else "none",
            "received_us": order.at_us,
        },
    )  # fmt: skip
    _tell(connection, order, payment)
    if whole:
        connection.execute(
            sa.update(t.payments)
            .where(t.payments.c.transaction_id == name)
            .values(status="REFUNDED")
        )
    return True


def _contradiction(
    connection: sa.Connection,
    order: Refunded,
    payment: sa.Row[Any],
    known: tuple[str, int] | None,
) -> str:
    """What about a refund cannot be, in the words of the alarm; empty if it can."""
    body = connection.execute(
        sa.select(t.callbacks.c.body_sha256).where(t.callbacks.c.event_id == order.event_id)
    ).scalar_one_or_none()
    if body not in (None, order.body_sha256):
        return "event_with_another_body"
    if known is not None:
        same = known == (order.transaction_id, order.amount_paise)
        return "" if same else "refund_with_other_facts"
    if payment.status == "FAILED":
        return "refund_of_a_failed_payment"
    given = _given(connection, order.transaction_id)
    return "refund_beyond_the_payment" if given + order.amount_paise > payment.amount_paise else ""


def _alarm(connection: sa.Connection, order: Refunded, kind: str) -> Conflict:
    connection.execute(
        sa.insert(t.alarms),
        {
            "kind": kind, "event_id": order.event_id, "transaction_id": order.transaction_id,
            "raised_us": order.at_us,
        },
    )  # fmt: skip
    return Conflict(kind)


def _tell(connection: sa.Connection, order: Refunded, payment: sa.Row[Any]) -> None:
    """The SMS about the refund, to where the one about the payment went."""
    first = connection.execute(
        sa.select(t.outbox.c.phone).where(t.outbox.c.reference == order.transaction_id)
    ).first()
    if first is None:
        return
    text = templates.filled(
        templates.REFUNDED, rupees(order.amount_paise), payment.rrn or "", payment.bill_number[:16],
        order.psp_refund_id,
    )  # fmt: skip
    connection.execute(
        sa.insert(t.outbox),
        {
            "transaction_id": order.transaction_id, "reference": order.psp_refund_id,
            "phone": first.phone, "template_id": templates.REFUNDED, "text": text, "trace": "",
            "created_us": order.at_us,
        },
    )  # fmt: skip


def _processed(connection: sa.Connection, order: Refunded) -> int:
    """Note that the refund that was due has been made; how much has been given back."""
    noted = connection.execute(
        sa.update(t.refunds)
        .where(
            t.refunds.c.transaction_id == order.transaction_id,
            t.refunds.c.psp_refund_id.is_(None),
            t.refunds.c.amount_paise == order.amount_paise,
        )
        .values(psp_refund_id=order.psp_refund_id, processed_us=order.at_us)
    )
    if not noted.rowcount:
        # Somebody has given back a part, which is not the refund that is due.
        _made(connection, order)
    return _given(connection, order.transaction_id)


def _undone(connection: sa.Connection, order: Refunded, payment: sa.Row[Any]) -> bool:
    """A credited payment goes back, wholly or in part; whether all of it has."""
    _made(connection, order)
    given = _given(connection, order.transaction_id)
    mine = t.bills.c.transaction_id == order.transaction_id
    if given >= payment.amount_paise:
        connection.execute(sa.delete(t.bills).where(mine))
        return True
    connection.execute(
        sa.update(t.bills).where(mine).values(paid_paise=payment.amount_paise - given)
    )
    return False


def _made(connection: sa.Connection, order: Refunded) -> None:
    """A refund that the biller has not ordered."""
    connection.execute(
        sa.insert(t.refunds),
        {
            "refund_id": order.psp_refund_id, "transaction_id": order.transaction_id,
            "amount_paise": order.amount_paise, "reason": "by_merchant",
            "psp_refund_id": order.psp_refund_id, "due_us": order.at_us,
            "processed_us": order.at_us,
        },
    )  # fmt: skip


def _given(connection: sa.Connection, transaction_id: str) -> int:
    total = sa.select(sa.func.coalesce(sa.func.sum(t.refunds.c.amount_paise), 0)).where(
        t.refunds.c.transaction_id == transaction_id, t.refunds.c.processed_us.is_not(None)
    )
    return int(connection.execute(total).scalar_one())
