"""The biller's ledger as tables. Amounts are whole paise, times are microseconds of the plan.

The uniqueness of keys is not decoration: it is what "exactly once" rests on when all else fails.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Column, ForeignKey, Integer, MetaData, Table, Text

LEDGER: Final = MetaData()
# SQLite numbers rows by itself only when the key is called INTEGER; elsewhere 64 bits are wanted.
_SERIAL: Final = BigInteger().with_variant(Integer, "sqlite")

callbacks: Final = Table(
    "callbacks", LEDGER,
    Column("sequence", _SERIAL, primary_key=True, autoincrement=True),
    Column("event_id", Text, unique=True, nullable=False),
    Column("body_sha256", Text, nullable=False),
    Column("transaction_id", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("effect", Text, nullable=False),
    Column("received_us", BigInteger, nullable=False),
)  # fmt: skip
"""Every callback that was accepted, in order, with what it did: ``credited``, ``refund_due``,
``failed``, or ``none`` when the payment had already come further."""

payments: Final = Table(
    "payments", LEDGER,
    Column("transaction_id", Text, primary_key=True),
    Column("rrn", Text, unique=True),
    Column("bill_number", Text, nullable=False),
    Column("amount_paise", BigInteger, nullable=False),
    Column("payer_vpa", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("posted_us", BigInteger, nullable=False),
)  # fmt: skip
"""One row a transaction; ``status`` is ``FAILED``, ``CREDITED`` or ``REFUND_DUE`` with a reason."""

bills: Final = Table(
    "bills", LEDGER,
    Column("bill_number", Text, primary_key=True),
    Column("consumer_number", Text, nullable=False),
    Column("amount_paise", BigInteger, nullable=False),
    Column("paid_paise", BigInteger, nullable=False),
    Column("transaction_id", Text, ForeignKey("payments.transaction_id"), unique=True,
           nullable=False),
)  # fmt: skip
"""Bills that have been paid, each by one payment. An open bill follows from its number and has no
row until money touches it."""

lines: Final = Table(
    "lines", LEDGER,
    Column("transaction_id", Text, ForeignKey("payments.transaction_id"), primary_key=True),
    Column("account", Text, primary_key=True),
    Column("amount_paise", BigInteger, nullable=False),
)  # fmt: skip
"""Postings: two lines a payment that sum to zero, a debit above and a credit below it."""

receipts: Final = Table(
    "receipts", LEDGER,
    Column("receipt_number", Text, primary_key=True),
    Column("transaction_id", Text, ForeignKey("payments.transaction_id"), unique=True,
           nullable=False),
)  # fmt: skip

outbox: Final = Table(
    "outbox", LEDGER,
    Column("sequence", _SERIAL, primary_key=True, autoincrement=True),
    Column("transaction_id", Text, ForeignKey("payments.transaction_id"), unique=True,
           nullable=False),
    Column("phone", Text, nullable=False),
    Column("template_id", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("trace", Text, nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Column("sent_us", BigInteger),
)  # fmt: skip
"""SMS that the biller owes; ``sent_us`` is empty until the gateway has taken the message over."""

alarms: Final = Table(
    "alarms", LEDGER,
    Column("sequence", _SERIAL, primary_key=True, autoincrement=True),
    Column("kind", Text, nullable=False),
    Column("event_id", Text, nullable=False),
    Column("transaction_id", Text, nullable=False),
    Column("raised_us", BigInteger, nullable=False),
)  # fmt: skip
"""Authentic callbacks that contradict what is known; a person has to look."""

RECEIVABLE: Final = "upi_receivable"
"""What the payee PSP owes the biller until settlement."""
CONSUMERS: Final = "consumer_dues"
"""What consumers owe; a payment lowers it."""
REFUNDS: Final = "refunds_payable"
"""Money that came without a bill to credit, and goes back."""
