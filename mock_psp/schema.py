"""The biller's ledger as tables. Amounts are whole paise, times are microseconds of the plan.

The uniqueness of keys is not decoration: it is what "exactly once" rests on when all else fails.
The same holds for the checks: no amount of 0 or less, no state that is not one.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Integer,
    MetaData,
    Table,
    Text,
)  # fmt: skip

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
    comment="every callback that was accepted, in order, with what it did: credited, refund_due, "
    "failed, or none when the payment had already come further",
)  # fmt: skip

payments: Final = Table(
    "payments", LEDGER,
    Column("transaction_id", Text, primary_key=True),
    Column("rrn", Text, unique=True),
    Column("bill_number", Text, nullable=False),
    Column("amount_paise", BigInteger, nullable=False),
    Column("payer_vpa", Text, nullable=False),
    Column("channel", Text, nullable=False, comment="upi or bbps: who told the biller"),
    Column("status", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("posted_us", BigInteger, nullable=False, comment="microseconds of the plan"),
    CheckConstraint("amount_paise > 0", name="payments_amount"),
    CheckConstraint(
        "status IN ('FAILED', 'CREDITED', 'REFUND_DUE', 'REFUNDED')", name="payments_status"
    ),
    comment="one row a transaction; its status has a reason unless it is the ordinary one",
)  # fmt: skip

bills: Final = Table(
    "bills", LEDGER,
    Column("bill_number", Text, primary_key=True),
    Column("consumer_number", Text, nullable=False),
    Column("amount_paise", BigInteger, nullable=False),
    Column("paid_paise", BigInteger, nullable=False),
    Column("transaction_id", Text, ForeignKey("payments.transaction_id"), unique=True,
           nullable=False),
    comment="bills that have been paid, each by one payment; an open bill follows from its number "
    "and has no row until money touches it",
)  # fmt: skip

lines: Final = Table(
    "lines", LEDGER,
    Column("posting", Text, primary_key=True, comment="the transaction, or the PSP's refund"),
    Column("account", Text, primary_key=True),
    Column("transaction_id", Text, ForeignKey("payments.transaction_id"), nullable=False),
    Column("amount_paise", BigInteger, nullable=False),
    comment="postings: two lines that sum to zero, a debit above and a credit below it",
)  # fmt: skip

receipts: Final = Table(
    "receipts", LEDGER,
    Column("receipt_number", Text, primary_key=True),
    Column("transaction_id", Text, ForeignKey("payments.transaction_id"), unique=True,
           nullable=False),
    comment="proof of a payment, one each",
)  # fmt: skip

outbox: Final = Table(
    "outbox", LEDGER,
    Column("sequence", _SERIAL, primary_key=True, autoincrement=True),
    Column("transaction_id", Text, ForeignKey("payments.transaction_id"), nullable=False),
    Column("reference", Text, unique=True, nullable=False,
           comment="the transaction, or the PSP's refund: one message each"),
    Column("phone", Text, nullable=False),
    Column("template_id", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("trace", Text, nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Column("sent_us", BigInteger),
    comment="SMS that the biller owes; sent_us is empty until the gateway has taken it over",
)  # fmt: skip

refunds: Final = Table(
    "refunds", LEDGER,
    Column("sequence", _SERIAL, primary_key=True, autoincrement=True),
    Column("refund_id", Text, unique=True, nullable=False, comment="the biller's own id of it"),
    Column("transaction_id", Text, ForeignKey("payments.transaction_id"), nullable=False),
    Column("amount_paise", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),
    Column("psp_refund_id", Text, unique=True),
    Column("due_us", BigInteger, nullable=False),
    Column("processed_us", BigInteger),
    CheckConstraint("amount_paise > 0", name="refunds_amount"),
    comment="money that goes back and why; psp_refund_id and processed_us are empty until the "
    "PSP has given it back",
)  # fmt: skip

alarms: Final = Table(
    "alarms", LEDGER,
    Column("sequence", _SERIAL, primary_key=True, autoincrement=True),
    Column("kind", Text, nullable=False),
    Column("event_id", Text, nullable=False),
    Column("transaction_id", Text, nullable=False),
    Column("raised_us", BigInteger, nullable=False),
    comment="authentic callbacks that contradict what is known; a person has to look",
)  # fmt: skip

runs: Final = Table(
    "runs", LEDGER,
    Column("name", Text, primary_key=True),
    comment="the run whose ledger this is: one row",
)  # fmt: skip

sweeps: Final = Table(
    "sweeps", LEDGER,
    Column("until_s", BigInteger, primary_key=True, comment="seconds since 1970"),
    comment="how far the last sweep that succeeded has looked for payments that nobody had told "
    "of, by the payment service's clock: one row, none before the first",
)  # fmt: skip

RECEIVABLE: Final = "upi_receivable"
"""What the payee PSP owes the biller until settlement."""
CONSUMERS: Final = "consumer_dues"
"""What consumers owe; a payment lowers it."""
REFUNDS: Final = "refunds_payable"
"""Money that came without a bill to credit, and goes back."""
