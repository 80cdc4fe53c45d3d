"""The merchant's side over HTTP: basic authentication, pages, errors as Razorpay has them."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

import msgspec
from litestar import Response, Router, get, post
from litestar.exceptions import HTTPException
from litestar.params import Parameter

from fewseconds.errors import MalformedError
from mock_psp import merchant_contract as m
from mock_psp.described import JSON, MERCHANT_KEY, described
from mock_psp.merchant import Merchant, MerchantError, webhook_of
from mock_psp.web import HttpRequest, body_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mock_psp.spec import Secrets

PAGE: Final = 10
PAGE_MAX: Final = 100
RECON_PAGE: Final = 1000
T = TypeVar("T")
Count = Annotated[int, Parameter(ge=1, le=PAGE_MAX)]
Skip = Annotated[int, Parameter(ge=0)]
Since = Annotated[int | None, Parameter(query="from", ge=0)]
Until = Annotated[int | None, Parameter(query="to", ge=0)]

_described: Final = partial(
    described, refuses=(400,), needs=MERCHANT_KEY, error=m.MerchantProblem, error_type=JSON
)
"""An operation of the merchant's API."""


def check_key(request: HttpRequest, secrets: Secrets) -> None:
    """Refuse a caller without the merchant's key; comparisons take the same time wherever."""
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    try:
        pair = base64.b64decode(given, validate=True) if scheme.lower() == "basic" else b""
    except (binascii.Error, ValueError):
        pair = b""
    wanted = f"{secrets.merchant_key_id}:{secrets.merchant_key_secret}".encode()
    if not hmac.compare_digest(pair, wanted):
        raise MerchantError("Authentication failed", status=401)


def _merchant(request: HttpRequest) -> Merchant:
    merchant: Merchant = request.app.state.payer.merchant
    check_key(request, request.app.state.payer.world.secrets)
    return merchant


async def _read(request: HttpRequest, kind: type[T]) -> T:
    try:
        return await body_of(request, kind)
    except MalformedError as error:
        raise MerchantError(str(error), field=error.place) from None


def _page(
    items: Iterable[T], count: int, skip: int, since: int | None, until: int | None
) -> list[T]:
    """The part of a list, newest first, that was asked for."""
    chosen = []
    for item in items:
        created: Any = getattr(item, "created_at", None) or getattr(item, "created_s", 0)
        if (since is None or created >= since) and (until is None or created <= until):
            if skip > 0:
                skip -= 1
                continue
            chosen.append(item)
            if len(chosen) == count:
                break
    return chosen


@post("/payments/qr_codes", status_code=200, operation_class=_described(m.QrCodeRequest))
async def create_code(request: HttpRequest) -> m.QrCode:
    """Make a QR code."""
    merchant = _merchant(request)
    return merchant.create(await _read(request, m.QrCodeRequest))


@get("/payments/qr_codes", operation_class=_described(), sync_to_thread=False)
def codes(
    request: HttpRequest, count: Count = PAGE, skip: Skip = 0,
    since: Since = None,
    until: Until = None,
    customer_id: str | None = None, payment_id: str | None = None,
) -> m.QrCodes:  # fmt: skip
    """All QR codes, newest first."""
    merchant = _merchant(request)
    items = [merchant.code(name) for name in reversed(merchant.book.codes)]
    if customer_id is not None:
        items = [code for code in items if code.customer_id == customer_id]
    if payment_id is not None:
        wanted = merchant.book.code_of(merchant.paid(payment_id))
        items = [code for code in items if code.id == wanted]
    page = _page(items, count, skip, since, until)
    return m.QrCodes(page, len(page))


@get("/payments/qr_codes/{name:str}", operation_class=_described(), sync_to_thread=False)
def code(request: HttpRequest, name: str) -> m.QrCode:
    """One QR code."""
    return _merchant(request).code(name)


@post(
    "/payments/qr_codes/{name:str}/close",
    operation_class=_described(),
    status_code=200,
    sync_to_thread=False,
)
def close_code(request: HttpRequest, name: str) -> m.QrCode:
    """Close a QR code: nobody can pay it any more."""
    return _merchant(request).shut(name)


@get("/payments/qr_codes/{name:str}/payments", operation_class=_described(), sync_to_thread=False)
def code_payments(
    request: HttpRequest, name: str, count: Count = PAGE, skip: Skip = 0,
    since: Since = None,
    until: Until = None,
) -> m.MerchantPayments:  # fmt: skip
    """The payments of a QR code, newest first."""
    merchant = _merchant(request)
    found = merchant.book.payments(count, skip, since, until, merchant.code(name).id)
    page = [merchant.payment_of(one) for one in found]
    return m.MerchantPayments(page, len(page))


@get("/payments", operation_class=_described(), sync_to_thread=False)
def payments(
    request: HttpRequest, count: Count = PAGE, skip: Skip = 0,
    since: Since = None,
    until: Until = None,
) -> m.MerchantPayments:  # fmt: skip
    """All payments, also failed ones, newest first."""
    merchant = _merchant(request)
    found = merchant.book.payments(count, skip, since, until, None)
    page = [merchant.payment_of(one) for one in found]
    return m.MerchantPayments(page, len(page))


@get("/payments/{name:str}", operation_class=_described(), sync_to_thread=False)
def payment(request: HttpRequest, name: str) -> m.MerchantPayment:
    """One payment."""
    merchant = _merchant(request)
    return merchant.payment_of(merchant.paid(name))


@post(
    "/payments/{name:str}/refund", status_code=200, operation_class=_described(m.RefundRequest)
)  # fmt: skip
async def refund_payment(request: HttpRequest, name: str) -> m.Refund:
    """Give back a payment, or a part of it."""
    return await _refund(request, name)


@post("/refunds", status_code=200, operation_class=_described(m.RefundRequest))
async def create_refund(request: HttpRequest) -> m.Refund:
    """Give back the payment that the body names, or a part of it."""
    return await _refund(request, None)


async def _refund(request: HttpRequest, name: str | None) -> m.Refund:
    merchant = _merchant(request)
    asked = await _read(request, m.RefundRequest)
    key = request.headers.get(m.IDEMPOTENCY_HEADER, "")
    if key and len(key) < m.IDEMPOTENCY_LENGTH_MIN:
        raise MerchantError("The idempotency key should have at least 10 characters")
    return merchant.refund(name or asked.payment_id or "", asked, key)


@get("/refunds", operation_class=_described(), sync_to_thread=False)
def refunds(
    request: HttpRequest, count: Count = PAGE, skip: Skip = 0,
    since: Since = None,
    until: Until = None,
) -> m.Refunds:  # fmt: skip
    """All refunds, newest first."""
    found = reversed(_merchant(request).book.refunds.values())
    page = _page(found, count, skip, since, until)
    return m.Refunds(page, len(page))


@get("/refunds/{name:str}", operation_class=_described(), sync_to_thread=False)
def refund(request: HttpRequest, name: str) -> m.Refund:
    """One refund."""
    found = _merchant(request).book.refunds.get(name)
    if found is None:
        raise MerchantError("The id provided does not exist")
    return found


@get("/payments/{name:str}/refunds", operation_class=_described(), sync_to_thread=False)
def payment_refunds(request: HttpRequest, name: str) -> m.Refunds:
    """The refunds of a payment."""
    merchant = _merchant(request)
    wanted = merchant.paid(name).id
    found = [one for one in merchant.book.refunds.values() if one.payment_id == wanted]
    return m.Refunds(found, len(found))


@get("/settlements/recon/combined", operation_class=_described())
async def settlement(
    request: HttpRequest,
    year: Annotated[int, Parameter(ge=2000, le=2999)],
    month: Annotated[int, Parameter(ge=1, le=12)],
    day: Annotated[int | None, Parameter(ge=1, le=31)] = None,
    count: Annotated[int, Parameter(ge=1, le=RECON_PAGE)] = RECON_PAGE,
    skip: Skip = 0,
) -> m.Recon:
    """The settlement file of a day or a month: every payment and refund that was settled."""
    merchant = _merchant(request)
    found = await asyncio.to_thread(merchant.recon, year, month, day)
    page = found[skip : skip + count]
    return m.Recon(page, len(page))


@post("/webhooks", status_code=200, operation_class=_described(m.WebhookRequest))
async def subscribe(request: HttpRequest) -> m.Webhook:
    """Have events sent to an address on this machine."""
    merchant = _merchant(request)
    return merchant.subscribe(await _read(request, m.WebhookRequest))


@get("/webhooks", operation_class=_described(), sync_to_thread=False)
def webhooks(request: HttpRequest) -> m.Webhooks:
    """Where events are sent."""
    found = [webhook_of(one) for one in _merchant(request).book.endpoints.values()]
    return m.Webhooks(found, len(found))


@post(
    "/webhooks/{name:str}/disable",
    operation_class=_described(),
    status_code=200,
    sync_to_thread=False,
)
def unsubscribe(request: HttpRequest, name: str) -> m.Webhook:
    """Send nothing more to an address."""
    return _merchant(request).unsubscribe(name)


def problem(_: HttpRequest, error: MerchantError) -> Response[bytes]:
    """An error as Razorpay writes it."""
    headers = {"www-authenticate": "Basic"} if error.status == 401 else {}  # noqa: PLR2004
    return Response(
        msgspec.json.encode(error.body), status_code=error.status, headers=headers,
        media_type="application/json",
    )  # fmt: skip


def unreadable(request: HttpRequest, error: MalformedError) -> Response[bytes]:
    """What a code cannot be made from (a name that does not print) as Razorpay would say it."""
    return problem(request, MerchantError(str(error), field=error.place))


def malformed(request: HttpRequest, error: HTTPException) -> Response[bytes]:
    """What Litestar refuses (a query parameter, a path) as Razorpay would say it."""
    extra = error.extra if isinstance(error.extra, list) else []
    field = str(extra[0].get("key", "")) if extra else ""
    what = str(extra[0].get("message", "")) if extra else str(error.detail)
    return problem(request, MerchantError(what, field=field, status=error.status_code))


def router() -> Router:
    """All of it, under ``/v1``."""
    return Router(
        "/v1",
        route_handlers=[
            create_code, codes, code, close_code, code_payments, payments, payment, refund_payment,
            create_refund, refunds, refund, payment_refunds, settlement, subscribe, webhooks,
            unsubscribe,
        ],
        exception_handlers={
            MerchantError: problem, MalformedError: unreadable, HTTPException: malformed,
        },
    )  # fmt: skip
