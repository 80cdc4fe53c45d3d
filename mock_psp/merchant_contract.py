"""The merchant's side of a payment service, in the public shape of Razorpay's QR Codes API.

Paths, fields and error codes are those of razorpay.com/docs/api (QR codes, payments, refunds,
settlements), so that Razorpay's own client libraries work here with another base URL. Amounts are
whole paise, times are seconds since 1970.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final, Literal

import msgspec

from fewseconds.identity import ALPHABET

PAYMENTS: Final = "/v1/payments"
QR_CODES: Final = "/v1/payments/qr_codes"
REFUNDS: Final = "/v1/refunds"
RECON: Final = "/v1/settlements/recon/combined"
WEBHOOKS: Final = "/v1/webhooks"
ACCOUNT: Final = "acc_FewSecondsBEST"
EVENTS: Final = (
    "qr_code.created", "qr_code.credited", "qr_code.closed", "payment.captured", "payment.failed",
    "refund.processed",
)  # fmt: skip
NOTES_MAX: Final = 15
TEXT_LENGTH_MAX: Final = 256
IDEMPOTENCY_HEADER: Final = "x-refund-idempotency"
IDEMPOTENCY_LENGTH_MIN: Final = 10

Notes = dict[str, str] | list[str]
"""Pairs of the merchant's own; an empty list where there are none, as Razorpay writes it."""


def public_id(prefix: str, *parts: object) -> str:
    """An id such as ``pay_29QQoUBi66xm2f``: 14 letters and digits that follow from the parts."""
    digest = hashlib.sha256("|".join(str(part) for part in (prefix, *parts)).encode()).digest()
    number, letters = int.from_bytes(digest[:16], "big"), []
    for _ in range(14):
        number, digit = divmod(number, len(ALPHABET))
        letters.append(ALPHABET[digit])
    return f"{prefix}_{''.join(letters)}"


def payment_id(transaction_id: str) -> str:
    """The payment service's own id of a UPI transaction."""
    return public_id("pay", transaction_id)


class QrCodeRequest(msgspec.Struct, frozen=True):
    """Make a QR code."""

    type: Literal["upi_qr"]
    usage: Literal["single_use", "multiple_use"]
    name: str = ""
    fixed_amount: bool = False
    payment_amount: int | None = None
    description: str | None = None
    customer_id: str | None = None
    close_by: int | None = None
    notes: Notes = []


class QrCode(msgspec.Struct, frozen=True, kw_only=True):
    """A QR code."""

    id: str
    entity: Literal["qr_code"] = "qr_code"
    created_at: int
    name: str
    usage: Literal["single_use", "multiple_use"]
    type: Literal["upi_qr"] = "upi_qr"
    image_url: str
    image_content: str
    """The link that the code carries, signed."""
    payment_amount: int | None
    status: Literal["active", "closed"] = "active"
    description: str | None
    fixed_amount: bool
    payments_amount_received: int = 0
    payments_count_received: int = 0
    notes: Notes = []
    customer_id: str | None = None
    close_by: int | None = None
    closed_at: int | None = None
    close_reason: Literal["on_demand", "paid"] | None = None
    tax_invoice: list[str] = []


class QrCodes(msgspec.Struct, frozen=True):
    """A page of QR codes, newest first."""

    items: list[QrCode]
    count: int
    entity: Literal["collection"] = "collection"


class MerchantPayment(msgspec.Struct, frozen=True, kw_only=True):
    """A payment as the merchant sees it."""

    id: str
    entity: Literal["payment"] = "payment"
    amount: int
    currency: Literal["INR"] = "INR"
    status: Literal["captured", "failed", "refunded"]
    order_id: str | None = None
    invoice_id: str | None = None
    international: bool = False
    method: Literal["upi"] = "upi"
    amount_refunded: int
    refund_status: Literal["partial", "full"] | None
    captured: bool
    description: str
    card_id: str | None = None
    bank: str | None = None
    wallet: str | None = None
    vpa: str
    email: str | None = None
    contact: str | None = None
    customer_id: str | None = None
    notes: Notes = []
    fee: int = 0
    tax: int = 0
    error_code: str | None
    error_description: str | None
    error_source: str | None
    error_step: str | None
    error_reason: str | None
    acquirer_data: dict[str, str]
    """``rrn`` and the 35-character ``upi_transaction_id``."""
    created_at: int
    upi: dict[str, str]
    qr_code_id: str | None = None
    reference: str
    """Not Razorpay's: the ``tr`` of the link, so the number of the bill."""


class MerchantPayments(msgspec.Struct, frozen=True):
    """A page of payments, newest first."""

    items: list[MerchantPayment]
    count: int
    entity: Literal["collection"] = "collection"


class RefundRequest(msgspec.Struct, frozen=True):
    """Give money back; all that is left of the payment if no amount is named."""

    amount: int | None = None
    payment_id: str | None = None
    speed: Literal["normal", "optimum"] = "normal"
    receipt: str | None = None
    notes: Notes = []


class Refund(msgspec.Struct, frozen=True, kw_only=True):
    """A refund."""

    id: str
    entity: Literal["refund"] = "refund"
    amount: int
    currency: Literal["INR"] = "INR"
    payment_id: str
    notes: Notes = []
    receipt: str | None = None
    acquirer_data: dict[str, str]
    created_at: int
    batch_id: str | None = None
    status: Literal["processed"] = "processed"
    speed_processed: Literal["normal"] = "normal"
    speed_requested: Literal["normal", "optimum"] = "normal"


class Refunds(msgspec.Struct, frozen=True):
    """A page of refunds, newest first."""

    items: list[Refund]
    count: int
    entity: Literal["collection"] = "collection"


class ReconItem(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the settlement file: a payment that came in or a refund that went out."""

    entity_id: str
    type: Literal["payment", "refund"]
    debit: int
    credit: int
    amount: int
    currency: Literal["INR"] = "INR"
    fee: int = 0
    tax: int = 0
    on_hold: bool = False
    settled: bool = True
    created_at: int
    settled_at: int
    settlement_id: str
    settlement_utr: str
    payment_id: str | None
    """Of a refund: the payment that it gives back."""
    description: str
    notes: str = ""
    method: Literal["upi"] = "upi"
    rrn: str
    upi_transaction_id: str
    qr_code_id: str | None = None
    """Not Razorpay's: the code that was paid, if the merchant had made it over the API."""
    reference: str
    """Not Razorpay's: the ``tr`` of the link, so the number of the bill."""


class Recon(msgspec.Struct, frozen=True):
    """What was settled on a day or in a month."""

    items: list[ReconItem]
    count: int
    entity: Literal["collection"] = "collection"


class WebhookRequest(msgspec.Struct, frozen=True):
    """Have events sent to an address."""

    url: str
    secret: str
    events: list[str] | dict[str, bool | int]
    active: bool = True
    signature: Literal["razorpay", "setu", "cashfree", "standard-webhooks"] = "razorpay"
    """Not Razorpay's: whose way to sign is imitated."""
    schedule: Literal["razorpay", "juspay", "cashfree", "setu"] = "razorpay"
    """Not Razorpay's: whose way to try again is imitated."""


class Webhook(msgspec.Struct, frozen=True, kw_only=True):
    """Where events are sent."""

    id: str
    entity: Literal["webhook"] = "webhook"
    created_at: int
    url: str
    events: list[str]
    active: bool
    signature: str
    schedule: str
    secret_exists: bool = True


class Webhooks(msgspec.Struct, frozen=True):
    """All webhooks."""

    items: list[Webhook]
    count: int
    entity: Literal["collection"] = "collection"


class MerchantProblem(msgspec.Struct, frozen=True):
    """What Razorpay answers instead of problem details."""

    error: dict[str, Any]
