"""Every rule of the auditor, one by one: it holds for an honest run and breaks for its own fault.

The faults are planted in the tables that an audit reads, so that a rule cannot hide behind another.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest
import sqlalchemy as sa

from mock_psp.audit_rules import RULES
from mock_psp.audit_sources import NO_FILES, Session
from mock_psp.auditor import judged

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.mock_psp.conftest import Crashed

ONE: Final = "(SELECT max(transaction_id) FROM payments WHERE status = 'CREDITED')"
OTHER: Final = "(SELECT min(transaction_id) FROM payments WHERE status = 'CREDITED')"


def of(column: str, table: str = "payments") -> str:
    """A column of the payment that things happen to."""
    return f"(SELECT {column} FROM {table} WHERE transaction_id = {ONE})"


def refund(paise: str = "5", psp_refund_id: str = "'rfnd_X'", processed_us: str = "1") -> str:
    """A refund that the ledger notes."""
    columns = "refund_id, transaction_id, amount_paise, reason, psp_refund_id, due_us, processed_us"
    return (
        f"INSERT INTO refunds ({columns}) "
        f"VALUES ('refund_X', {ONE}, {paise}, 'by_merchant', {psp_refund_id}, 1, {processed_us})"
    )


def taken(event: str, name: str, effect: str) -> str:
    """A callback that the ledger says it has taken, after all others."""
    return (
        "INSERT INTO callbacks (sequence, event_id, body_sha256, transaction_id, status, effect) "
        f"VALUES (1000000, {event}, '', {name}, '', '{effect}')"
    )


def moved(entry: str, paise: str, reference: str = "''", name: str = ONE, status: str = "") -> str:
    """A line of the banks' journal."""
    return (
        "INSERT INTO journal (entry, transaction_id, amount_paise, reference, status, at_us) "
        f"VALUES ('{entry}', {name}, {paise}, {reference}, '{status}', 1)"
    )


def alarm(kind: str, event: str) -> str:
    """An alarm of the ledger."""
    return f"INSERT INTO alarms VALUES (1, '{kind}', {event}, {ONE}, 1)"


def accepted(reference: str, entry: str = "accepted") -> str:
    """A line of the gateway's log."""
    return (
        f"INSERT INTO messages (entry, message_id, reference) VALUES ('{entry}', 'm', {reference})"
    )


FAULTS: Final[dict[str, list[tuple[str, ...]]]] = {
    # The rule's full name → faults, each of one or more statements, and each breaks it by itself.
    "every posting has two lines that balance": [
        (f"DELETE FROM lines WHERE posting = {ONE} AND amount_paise < 0",),
        (f"UPDATE lines SET amount_paise = amount_paise + 1 WHERE posting = {ONE}",),
        (f"UPDATE lines SET amount_paise = amount_paise * 2 WHERE posting = {ONE}",),
    ],
    "every line belongs to a posted payment": [
        ("INSERT INTO lines VALUES ('nobody', 'consumer_dues', 'nobody', 5)",),
    ],
    "a bill is credited at most once": [
        (f"UPDATE payments SET bill_number = {of('bill_number')} WHERE transaction_id = {OTHER}",),
    ],
    "a bill is paid exactly when a payment is credited to it": [
        (f"DELETE FROM bills WHERE transaction_id = {ONE}",),
        (f"UPDATE payments SET status = 'FAILED' WHERE transaction_id = {ONE}",),
    ],
    "the amount on the bill is the amount credited": [
        (f"UPDATE bills SET paid_paise = paid_paise - 1 WHERE transaction_id = {ONE}",),
        (f"UPDATE bills SET amount_paise = amount_paise - 1 WHERE transaction_id = {ONE}",),
        (f"DELETE FROM printed WHERE bill_number = {of('bill_number')}",),
    ],
    "every posted payment has exactly one receipt, and nothing else has one": [
        (f"DELETE FROM receipts WHERE transaction_id = {ONE}",),
        (f"INSERT INTO receipts VALUES ('R2', {ONE})",),
        ("INSERT INTO receipts VALUES ('R2', 'nobody')",),
    ],
    "every reference number and every event is unique": [
        (f"UPDATE payments SET rrn = {of('rrn')} WHERE transaction_id = {OTHER}",),
        (taken(of("event_id", "callbacks"), ONE, "none"),),
    ],
    "a payment only moves forward": [
        (taken("'late'", ONE, "failed"),),
        (taken("'again'", ONE, "credited"),),
        (f"UPDATE payments SET status = 'REFUND_DUE' WHERE transaction_id = {ONE}",),
        (f"DELETE FROM callbacks WHERE transaction_id = {ONE}",),
    ],
    "a callback that contradicts an earlier one is an alarm, and changes nothing": [
        (alarm("event_with_another_body", "'nobody'"),),
        (alarm("reference_of_another_transaction", of("event_id", "callbacks")),),
    ],
    "the biller answers every copy of a callback in the same way": [
        (
            moved("acknowledged", "5", status="credited"),
            moved("acknowledged", "5", status="refund_due"),
        ),
    ],
    "nothing was written for a callback that the payment service did not send": [
        (taken("'forged'", "'FWSforged'", "none"),),
    ],
    "nothing that others may read holds a secret or personal data": [
        ("INSERT INTO leaks VALUES ('logs/psp.log', 3, 'a phone number')",),
    ],
    "money is conserved: what was debited was credited, reversed, or is under way": [
        (f"DELETE FROM journal WHERE entry = 'credit' AND transaction_id = {ONE}",),
        (f"DELETE FROM journal WHERE entry = 'debit' AND transaction_id = {ONE}",),
        (moved("debit", of("amount_paise")),),
        (moved("reversal", of("amount_paise")),),
        (f"UPDATE journal SET amount_paise = 1 WHERE entry = 'debit' AND transaction_id = {ONE}",),
    ],
    "no more is given back than was credited": [
        (moved("refund", f"1 + {of('amount_paise')}", "'r1'"),),
        (moved("refund", "5", "'r1'", "'nobody'"),),
        (moved("refund", "5", "'r1'"), moved("refund", "5", "'r1'")),
    ],
    "money that could not be credited has exactly one refund, with a reason": [
        (f"UPDATE payments SET status = 'REFUND_DUE' WHERE transaction_id = {ONE}",),
        (
            f"UPDATE payments SET status = 'REFUND_DUE' WHERE transaction_id = {ONE}",
            refund("5", "NULL", "NULL"),
        ),
        (refund(of("amount_paise"), "NULL", "NULL"),),
    ],
    "a refund in the ledger is a refund at the bank, with two lines that balance": [
        (refund(),),
        (
            refund(),
            f"INSERT INTO lines VALUES ('rfnd_X', 'a', {ONE}, 5), ('rfnd_X', 'b', {ONE}, -5)",
        ),
        (refund(), moved("refund", "5", "'rfnd_X'")),
    ],
    "every refund at the bank is in the ledger, at its amount": [
        (moved("refund", "5", "'rfnd_X'"),),
        (moved("refund", "5", "'rfnd_X'"), refund("4")),
        (moved("refund", "5", "'rfnd_X'"), refund("5", processed_us="NULL")),
    ],
    "what was credited at the bank is posted at the biller, rupee for rupee": [
        (f"UPDATE payments SET amount_paise = amount_paise - 1 WHERE transaction_id = {ONE}",),
        (f"DELETE FROM journal WHERE entry = 'credit' AND transaction_id = {ONE}",),
        (f"DELETE FROM payments WHERE transaction_id = {ONE}",),
    ],
    "every QR code of a merchant has received exactly what was credited through it": [
        ("INSERT INTO codes VALUES ('QRx', 5, 0)",),
        ("INSERT INTO codes VALUES ('QRx', 0, 1)",),
    ],
    "every acknowledged payment is posted": [
        (f"DELETE FROM payments WHERE transaction_id = {ONE}",),
        (f"UPDATE payments SET status = 'REFUND_DUE' WHERE transaction_id = {ONE}",),
    ],
    "every payment that a payer saw succeed was credited once": [
        ("INSERT INTO seen VALUES (-5)",),
        (moved("shown", "5", name="'nobody'", status="SUCCESS"),),
        (moved("credit", of("amount_paise")),),
    ],
    "every posted payment has exactly one SMS accepted by the gateway": [
        (f"DELETE FROM messages WHERE entry = 'accepted' AND reference = {ONE}",),
        (accepted(ONE),),
        (accepted("'nobody'"),),
    ],
    "every refund that was made is told to the payer in exactly one SMS": [
        (refund(),),
        (accepted("'twice'"), accepted("'twice'")),
    ],
    "no accepted SMS was swallowed by DLT scrubbing": [(accepted(ONE, "scrubbed"),)],
    "every accepted SMS ends once, as delivered, undelivered or scrubbed": [
        (f"DELETE FROM messages WHERE entry = 'delivered' AND reference = {ONE}",),
        (accepted(ONE, "undelivered"),),
        (accepted(ONE, "stopped"), accepted(ONE, "scrubbed")),
    ],
    "an SMS that is marked as sent was accepted by the gateway": [
        (
            f"UPDATE outbox SET sent_us = 1 WHERE reference = {ONE}",
            f"DELETE FROM messages WHERE entry = 'accepted' AND reference = {ONE}",
        ),
    ],
}
BY_NAME: Final = {rule.name: rule for rule in RULES}


@pytest.fixture
def session(crashed: Crashed) -> Iterator[Session]:
    """All that an audit of an honest run has read, in tables that can be changed."""
    found = Session()
    found.copy(sa.make_url(f"sqlite:///{crashed.folder.ledger}"))
    found.read_folder(crashed.folder)
    found.read_files(NO_FILES, crashed.folder)
    yield found
    found.sqlite.close()


def test_every_rule_has_a_fault_that_breaks_it() -> None:
    """No rule is there that nobody has seen break; a new one needs its fault here."""
    assert set(FAULTS) == set(BY_NAME)
    assert len(BY_NAME) == len(RULES)


@pytest.mark.parametrize("name", FAULTS)
def test_a_rule_breaks_for_each_of_its_faults(session: Session, name: str) -> None:
    """It holds before; each fault alone breaks it; and it holds again when the fault is gone."""
    for statements in FAULTS[name]:
        before = judged(session.sqlite, BY_NAME[name])
        assert (before.violations, before.first) == (0, ())
        session.sqlite.execute("SAVEPOINT honest")
        changed = sum(session.sqlite.execute(statement).rowcount for statement in statements)
        assert changed >= len(statements), statements
        assert judged(session.sqlite, BY_NAME[name]).violations >= 1, statements
        session.sqlite.execute("ROLLBACK TO honest")
