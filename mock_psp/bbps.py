"""The biller's side of BBPS: bills are fetched and paid by a bill-payment platform.

Paths, fields and errors are those that Setu publishes for billers (docs.setu.co, BBPS, *fetch and
pay*): a platform whose request got no answer within 30 s sends the identical body again, and must
get 200 again; the same reference with another body is a ``duplicate-request``. The platform shows a
token, because a receipt is money.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import logging
import re
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec
from litestar import Response, post
from sqlalchemy.exc import SQLAlchemyError

from fewseconds import journey as j
from fewseconds.contracts import BillQuery, Callback, Paise
from fewseconds.errors import MalformedError
from fewseconds.identity import IST
from fixtures.tariff import payable
from mock_psp.described import JSON, PLATFORM_TOKEN, described
from mock_psp.posting import Conflict, Notice
from mock_psp.web import HttpRequest, body_of

if TYPE_CHECKING:
    from fewseconds.contracts import Acknowledged
    from fewseconds.identity import Bill
    from mock_psp.biller import Biller

REFERENCE: Final = re.compile(r"[A-Za-z0-9]{4,35}")
log = logging.getLogger(__name__)
ERRORS: Final = {
    "unknown_bill": (400, "customer-not-found"),
    "already_paid": (400, "bill-already-fulfilled"),
    "expired": (400, "bill-expired"),
    "wrong_amount": (400, "incorrect-amount"),
    "event_with_another_body": (425, "duplicate-request"),
    "transaction_with_other_facts": (425, "duplicate-request"),
    "reference_of_another_transaction": (425, "duplicate-request"),
}
"""Why a receipt is refused: HTTP status and code."""


class CustomerIdentifier(msgspec.Struct, frozen=True, rename="camel"):
    """A field that names the customer."""

    attribute_name: str
    attribute_value: str


class FetchRequest(msgspec.Struct, frozen=True, rename="camel"):
    """What does this customer owe?"""

    customer_identifiers: list[CustomerIdentifier]


class Money(msgspec.Struct, frozen=True, rename="camel"):
    """Whole paise."""

    value: Paise
    currency_code: Literal["INR"] = "INR"


class PaymentDetails(msgspec.Struct, frozen=True, rename="camel"):
    """How a bill was paid at the platform."""

    amount_paid: Money
    bill_amount: Money
    platform_transaction_ref_id: str = msgspec.field(name="platformTransactionRefID")
    unique_payment_ref_id: str = msgspec.field(name="uniquePaymentRefID")
    instrument: str
    transaction_timestamp: str = ""


class ReceiptRequest(msgspec.Struct, frozen=True, rename="camel"):
    """A bill has been paid at the platform; the biller is to give the receipt."""

    biller_bill_id: str = msgspec.field(name="billerBillID")
    platform_bill_id: str = msgspec.field(name="platformBillID")
    payment_details: PaymentDetails


class PlatformRefusal(msgspec.Struct, frozen=True):
    """How the platform's requests are refused."""

    status: int
    success: Literal[False]
    error: dict[str, str]


_described: Final = partial(described, needs=PLATFORM_TOKEN, error=PlatformRefusal, error_type=JSON)


def _refused(status: int, code: str, detail: str) -> Response[dict[str, Any]]:
    error = {"code": code, "title": code.replace("-", " ").capitalize(), "detail": detail}
    return Response({"status": status, "success": False, "error": error}, status_code=status)


def _allowed(request: HttpRequest, biller: Biller) -> bool:
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    wanted = biller.world.secrets.bbps_token
    return scheme.lower() == "bearer" and hmac.compare_digest(given.encode(), wanted.encode())


@post("/bills/fetch", status_code=200, operation_class=_described(FetchRequest, refuses=(503,)))
async def fetch(request: HttpRequest) -> Response[dict[str, Any]]:
    """What a customer owes, by consumer number."""
    biller: Biller = request.app.state.biller
    if not _allowed(request, biller):
        return _refused(401, "unauthorized", "show the platform's token")
    try:
        asked = await body_of(request, FetchRequest)
    except MalformedError as error:
        return _refused(400, "invalid-request", str(error))
    number = next((one.attribute_value for one in asked.customer_identifiers), "")
    answer = biller.details(BillQuery(consumer_number=number))
    if answer.outcome != j.OK:
        return _refused(400, "customer-not-found", "no customer has that number")
    bill = biller.bill(answer.value.bill_number)
    customer = {"name": answer.value.customer_name}
    try:
        paid = bill is not None and biller.ledger.paid_by(bill.number) is not None
    except SQLAlchemyError:
        log.exception("the ledger did not answer")
        return _refused(503, "biller-unavailable", "the ledger does not answer; ask again")
    if bill is None or paid:
        details: dict[str, Any] = {"billFetchStatus": "NO_OUTSTANDING", "bills": []}
    else:
        details = {"billFetchStatus": "AVAILABLE", "bills": [_shown(biller, bill)]}
    data = {"customer": customer, "billDetails": details}
    return Response({"status": 200, "success": True, "data": data})


@post(
    "/bills/fetchReceipt",
    status_code=200,
    operation_class=_described(ReceiptRequest, refuses=(425, 503)),
)
async def receipt(request: HttpRequest) -> Response[dict[str, Any]]:
    """The receipt of a bill that was paid at the platform; the same one if it is asked again."""
    biller: Biller = request.app.state.biller
    if not _allowed(request, biller):
        return _refused(401, "unauthorized", "show the platform's token")
    body = await request.body()
    try:
        asked = await body_of(request, ReceiptRequest)
        _check(asked)
    except MalformedError as error:
        return _refused(400, "invalid-request", str(error))
    try:
        result = await biller.ledger.post(_notice(biller, asked, body))
    except SQLAlchemyError:
        log.exception("the ledger did not take a posting")
        return _refused(503, "biller-unavailable", "the ledger did not take it; ask again")
    if isinstance(result, Conflict):
        status, code = ERRORS[result.reason]
        return _refused(status, code, result.reason.replace("_", " "))
    biller.relay.wake()
    return Response({"status": 200, "success": True, "data": {"receipt": _proof(result)}})


def _check(asked: ReceiptRequest) -> None:
    details = asked.payment_details
    for name, value in (
        ("uniquePaymentRefID", details.unique_payment_ref_id),
        ("platformTransactionRefID", details.platform_transaction_ref_id),
    ):
        if REFERENCE.fullmatch(value) is None:
            raise MalformedError(name, "is not 4 to 35 letters and digits")
    if details.amount_paid.value <= 0:
        raise MalformedError("amountPaid", "is not above 0")


def _notice(biller: Biller, asked: ReceiptRequest, body: bytes) -> Notice:
    details = asked.payment_details
    callback = Callback(
        f"bbps_{details.unique_payment_ref_id}", details.unique_payment_ref_id,
        details.platform_transaction_ref_id, "SUCCESS", "00", asked.biller_bill_id,
        details.amount_paid.value, f"{details.instrument.lower()}@bbps",
    )  # fmt: skip
    return biller.notice(callback, hashlib.sha256(body).hexdigest(), channel="bbps")


def _shown(biller: Biller, bill: Bill) -> dict[str, Any]:
    due = payable(bill, biller.world.clock.today(), biller.world.scenario.billing)
    return {
        "billerBillID": bill.number,
        "generatedOn": dt.datetime.combine(bill.issued_on, dt.time(), IST).isoformat(),
        "dueDate": bill.due_on.isoformat(),
        "recurrence": "MONTHLY",
        "amountExactness": "EXACT",
        "customerAccount": {"id": bill.consumer},
        "aggregates": {
            "total": {
                "displayName": "Total outstanding",
                "amount": {"value": due.amount_paise, "currencyCode": "INR"},
            }
        },
    }


def _proof(result: Acknowledged) -> dict[str, str]:
    return {"id": result.receipt_number, "date": dt.datetime.now(IST).isoformat()}
