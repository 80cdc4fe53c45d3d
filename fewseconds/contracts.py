"""The HTTP messages that the load generator and the mock services both speak, as JSON.

Paths are constants here, so that a client and a server cannot disagree about them. Amounts are
whole paise, dates are ISO 8601. Errors are problem details (RFC 9457).
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import hmac
from typing import Annotated, Final, Literal

import msgspec

from fewseconds import identity

RESOLVE: Final = "/upi/v1/resolve"
PAY: Final = "/upi/v1/pay"
PAYMENTS: Final = "/upi/v1/payments"
"""``GET {PAYMENTS}/{transaction_id}``: what has become of a payment."""
BILLER_RESOLVE: Final = "/biller/v1/bills/resolve"
BILLER_AUTHORISE: Final = "/biller/v1/payments/authorise"
BILLER_CALLBACK: Final = "/biller/v1/callbacks/upi"
BILLER_REFUNDS: Final = "/biller/v1/callbacks/refunds"
BILLER_CODES: Final = "/biller/v1/bills/qr"
BILLER_RECONCILE: Final = "/biller/v1/reconciliations"
BILLER_SWEEP: Final = "/biller/v1/sweeps"
BILLER_RECEIPTS: Final = "/biller/v1/receipts"
"""``GET {BILLER_RECEIPTS}/{transaction_id}``."""
SMS_SEND: Final = "/sms/v1/messages"
"""``GET {SMS_SEND}/{message_id}``: what became of a message."""
INBOX: Final = "/handset/v1/inbox"
"""``GET {INBOX}/{phone}?reference=…&wait_ms=…``: long poll; needs the test token."""
PORTAL_REGISTER: Final = "/portal/v1/accounts"
PORTAL_LOG_IN: Final = "/portal/v1/sessions"
PORTAL_FORGOTTEN: Final = "/portal/v1/password-resets"
PORTAL_RESET: Final = "/portal/v1/passwords"
PORTAL_BILL: Final = "/portal/v1/bills/current"
FAULTS: Final = "/test/v1/faults"
CALENDAR: Final = "/test/v1/calendar"
"""``POST``: move the calendar of what takes hours and days; needs the test token."""
HEALTH: Final = "/health"
READY: Final = "/ready"
METRICS: Final = "/metrics"

TRACE_HEADER: Final = "fewseconds-journey"
TOKEN_HEADER: Final = "fewseconds-token"  # noqa: S105 - the name of a header
IDEMPOTENCY_HEADER: Final = "idempotency-key"
"""For payers without a trace: the same key is the same payment, whatever became of it."""
FORCE_HEADER: Final = "fewseconds-force"
"""UPI response code that the payer's bank is to give to a payment; needs the test token."""
SIGNATURE_HEADERS: Final = ("webhook-id", "webhook-timestamp", "webhook-signature")
REPLAY_WINDOW_S: Final = 300
"""Tolerated age of a callback: the default of the Standard Webhooks specification."""

PAISE_MAX: Final = 10**12
"""No amount in a request is larger: a thousand crore rupees, beyond any bill, while sums of
millions of them fit into the 64 bits of a database."""
Paise = Annotated[int, msgspec.Meta(ge=-PAISE_MAX, le=PAISE_MAX)]


class Trace(msgspec.Struct, frozen=True):
    """Which attempt of which journey a request belongs to; travels in :data:`TRACE_HEADER`."""

    kind: str
    journey_id: int
    step: str
    leg: int
    attempt: int
    app: str = ""
    bank: str = ""
    medium: str = ""
    scanner: str = ""
    operator: str = ""

    def header(self) -> str:
        """The value of the header."""
        return msgspec.json.encode(self).decode()

    @classmethod
    def read(cls, header: str | None) -> Trace | None:
        """Read the header's value; a missing or broken one is no trace at all."""
        if not header:
            return None
        try:
            return _TRACE.decode(header)
        except (msgspec.DecodeError, msgspec.ValidationError):
            return None


_TRACE: Final = msgspec.json.Decoder(Trace)


class ResolveRequest(msgspec.Struct, frozen=True):
    """What the app sends after a scan (or after the consumer number was typed)."""

    app: str
    scanned: str = ""
    consumer_number: str = ""


class BillDetails(msgspec.Struct, frozen=True):
    """What the screen shows before Pay."""

    bill_number: str
    consumer_number: str
    customer_name: str
    """Masked."""
    amount_paise: int
    due_on: dt.date
    payee_vpa: str
    payee_name: str
    verified: bool = False
    """The QR's signature was checked and holds."""


class PayRequest(msgspec.Struct, frozen=True):
    """The consumer pressed Pay and typed the PIN."""

    app: str
    payer_vpa: str
    payer_bank: str
    payee_vpa: str
    bill_number: str
    amount_paise: Paise
    pin: str
    """Empty if the money comes out of a wallet, which asks for none."""
    scanned: str = ""
    from_gallery: bool = False
    """The code was a picture in the phone, not before its camera."""
    funding: Literal["account", "wallet"] = "account"


class Payment(msgspec.Struct, frozen=True):
    """What the payer's app says about a payment."""

    transaction_id: str
    status: Literal["SUCCESS", "FAILURE", "PENDING"]
    code: str
    """UPI response code; ``00`` for success, ``01`` while it is under way."""
    amount_paise: int
    bill_number: str
    rrn: str = ""
    message: str = ""
    outcome: Literal["", "ok", "declined", "timed_out", "error", "unfinished"] = ""
    """What the attempt came to, in the words of ``journey.OUTCOMES``, if the payer side says so."""


class BillQuery(msgspec.Struct, frozen=True):
    """Payee PSP to biller: one of the two is given."""

    bill_number: str = ""
    consumer_number: str = ""
    amount_paise: Paise = 0
    """What the scanned code asks for; 0 when nothing was scanned."""
    unpaid: bool = False
    """Only a bill that nobody has paid yet will do: a page that lists what is open asks so."""


class BillCode(msgspec.Struct, frozen=True):
    """The QR code of a bill as it has to be shown now."""

    bill_number: str
    link: str
    """The signed link; the same as before unless the amount has changed."""
    amount_paise: int
    valid_until: dt.date
    """The last day on which this amount is right."""
    terms: Literal["early", "due", "late"]


class Authorisation(msgspec.Struct, frozen=True):
    """Payee PSP to biller: may this payment go ahead (ReqAuthDetails)?"""

    transaction_id: str
    bill_number: str
    amount_paise: Paise


class Authorised(msgspec.Struct, frozen=True):
    """The biller's answer; a refusal carries a UPI response code."""

    approved: bool
    code: str = "00"
    reason: str = ""


class Callback(msgspec.Struct, frozen=True):
    """Payee PSP to biller, signed: a payment reached its end."""

    event_id: str
    transaction_id: str
    rrn: str
    status: Literal["SUCCESS", "FAILURE"]
    code: str
    bill_number: str
    amount_paise: Paise
    payer_vpa: str


class Acknowledged(msgspec.Struct, frozen=True):
    """The biller has the payment on durable storage."""

    transaction_id: str
    receipt_number: str
    duplicate: bool
    """True if this callback had been processed before."""
    posting: Literal["credited", "refund_due", "refunded", "none"]
    """``refund_due``: the bill could not be credited, so the money goes back."""


class Receipt(msgspec.Struct, frozen=True):
    """Proof of a payment."""

    receipt_number: str
    transaction_id: str
    rrn: str
    bill_number: str
    amount_paise: int
    posting: Literal["credited", "refund_due", "refunded"]


class SmsRequest(msgspec.Struct, frozen=True):
    """Biller to SMS gateway."""

    to: str
    sender: str
    """DLT header with its suffix, such as ``BESTMU-S``."""
    entity_id: str
    template_id: str
    text: str
    reference: str
    """The biller's own id of the message: the transaction id. Sent twice, it is one message;
    another message with it is a conflict (409)."""
    report_url: str = ""
    """Where to tell what became of the message (:class:`SmsReport`); nowhere if empty."""


class SmsReport(msgspec.Struct, frozen=True):
    """SMS gateway to whoever sent a message: what became of it."""

    message_id: str
    reference: str
    state: Literal["DELIVRD", "UNDELIV"]
    """As in the receipts of SMPP 3.4, appendix B."""
    code: str
    at_us: int
    """On the plan's clock."""


class SmsState(msgspec.Struct, frozen=True):
    """What became of a message so far."""

    message_id: str
    state: str
    """``ACCEPTD``, ``DELIVRD`` or ``UNDELIV``."""


class SmsAccepted(msgspec.Struct, frozen=True):
    """The gateway has taken the message over."""

    message_id: str


class InboxMessage(msgspec.Struct, frozen=True):
    """A message on a handset."""

    message_id: str
    reference: str
    sender: str
    text: str


class Inbox(msgspec.Struct, frozen=True):
    """The messages of a handset that match the question."""

    messages: tuple[InboxMessage, ...]


class PortalAccount(msgspec.Struct, frozen=True):
    """Register at the old portal."""

    login: str
    password: str
    consumer_number: str


class PortalRegistered(msgspec.Struct, frozen=True):
    """The portal has the account."""

    login: str


class PortalLogIn(msgspec.Struct, frozen=True):
    """Log in at the old portal."""

    login: str
    password: str


class PortalForgotten(msgspec.Struct, frozen=True):
    """Somebody cannot log in."""

    login: str


class PortalReset(msgspec.Struct, frozen=True):
    """A new password, with the code that came by SMS."""

    login: str
    code: str
    password: str


class PortalSession(msgspec.Struct, frozen=True):
    """A portal session; its token goes into ``Authorization: Bearer …``."""

    token: str


class Problem(msgspec.Struct, frozen=True):
    """An error, as RFC 9457 writes it; ``code`` is the UPI response code where there is one."""

    type: str
    title: str
    status: int
    detail: str = ""
    code: str = ""
    outcome: str = ""
    """What the attempt came to, in the words of ``journey.OUTCOMES``, if to anything."""


def portal_password(seed: int, consumer: int) -> str:
    """What consumer ``consumer`` has as password at the portal; its login is its consumer number.

    Drawn, so that both sides know it; an account of that name needs no registration in the run.
    """
    return identity.transaction_id("pw", seed, consumer, 1)


def signature(secret: bytes, message_id: str, timestamp_s: int, body: bytes) -> str:
    """Sign a callback's raw body as the Standard Webhooks specification says: ``v1,<base64>``."""
    signed = b".".join((message_id.encode(), str(timestamp_s).encode(), body))
    return "v1," + base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest()).decode()


TECHNICAL_CODES: Final = frozenset((
    "96", "B3", "BT", "IR", "OC", "OD", "NO", "OR", "RB", "RR", "RP", "U08", "U09", "U20", "U26",
    "U27", "U28", "U31", "U32", "U33", "U53", "U67", "U68", "U78", "U80", "U82", "U85", "U86",
    "U87", "U88", "U89", "U90", "U91", "UB", "UP", "UT", "XT", "XU", "XY", "Y1", "HS",
))  # fmt: skip
"""UPI response codes that are the fault of a system rather than of the payer or the rules: the
technical declines of the public tables of HDFC SmartGateway, Juspay and NPCI's statistics."""


def outcome_of(payment: Payment) -> Literal["ok", "declined", "timed_out", "error", "unfinished"]:
    """What a payment's state means as the outcome of a step.

    A payer side that says ``outcome`` itself is believed. Else, a debit that timed out (U67) and
    was reversed is a time-out; any other technical code is an error; everything else that failed
    was declined.
    """
    if payment.outcome:
        return payment.outcome
    if payment.status == "SUCCESS":
        return "ok"
    if payment.status == "PENDING":
        return "unfinished"
    if payment.code == "U67":
        return "timed_out"
    return "error" if payment.code in TECHNICAL_CODES else "declined"
