"""The biller's back office over HTTP: refunds that were made, codes of bills, books compared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import aiohttp
import msgspec
from litestar import post

from fewseconds.contracts import (
    BILLER_CODES,
    BILLER_RECONCILE,
    BILLER_REFUNDS,
    BILLER_SWEEP,
    BillCode,
    BillQuery,
)  # fmt: skip
from mock_psp.books_contract import Reconciled, SettlementDay, Swept
from mock_psp.clock import wall_s
from mock_psp.described import RUN_TOKEN, SIGNED, described
from mock_psp.merchant_client import RefundEvent, refunded
from mock_psp.posting import Conflict
from mock_psp.reconcile import reconciled
from mock_psp.web import HttpRequest, Refusal, body_of, check_token
from mock_psp.webhook import NotAuthenticError, checked_id

if TYPE_CHECKING:
    from mock_psp.biller import Biller


class Acceptance(msgspec.Struct, frozen=True):
    """A webhook has been taken."""

    news: bool
    """False if it was known, or about a payment that is none of the biller's."""


@post(
    BILLER_REFUNDS,
    status_code=200,
    operation_class=described(RefundEvent, refuses=(409, 503), needs=SIGNED),
)
async def refunds(request: HttpRequest) -> Acceptance:
    """A signed webhook: the payment service has given money back."""
    biller: Biller = request.app.state.biller
    body = await request.body()
    try:
        message_id = checked_id(request.headers, body, biller.world.secrets.keys(), wall_s())
        order = refunded(message_id, body, biller.world.clock.now_us())
    except NotAuthenticError as error:
        raise Refusal(401, "Not authentic", str(error)) from None
    except (msgspec.DecodeError, KeyError) as error:
        raise Refusal(400, "Malformed", str(error)) from None
    news = await biller.given_back(order)
    if isinstance(news, Conflict):
        raise Refusal(409, "Conflict", news.reason)
    return Acceptance(news)


@post(BILLER_CODES, status_code=200, operation_class=described(BillQuery, refuses=(404, 409)))
async def bill_code(request: HttpRequest) -> BillCode:
    """The QR code of a bill: issued again whenever the amount has changed."""
    biller: Biller = request.app.state.biller
    return biller.code(await body_of(request, BillQuery))


@post(
    BILLER_RECONCILE,
    status_code=200,
    operation_class=described(SettlementDay, refuses=(502, 503), needs=RUN_TOKEN),
)
async def reconciliation(request: HttpRequest) -> Reconciled:
    """Compare the settlement file with the ledger: every break is listed, none is mended."""
    biller: Biller = request.app.state.biller
    check_token(request, biller.world.secrets.token)
    day = await body_of(request, SettlementDay)
    try:
        return await reconciled(biller.merchant, biller.ledger, day)
    except aiohttp.ClientError as error:
        raise Refusal(502, "A party failed", type(error).__name__) from None


@post(BILLER_SWEEP, status_code=200, operation_class=described(refuses=(502, 503), needs=RUN_TOKEN))
async def sweep(request: HttpRequest) -> Swept:
    """Look now for payments whose callback never came, however young, and post them."""
    biller: Biller = request.app.state.biller
    check_token(request, biller.world.secrets.token)
    try:
        return await biller.sweeper.sweep(settling_s=0)
    except aiohttp.ClientError as error:
        raise Refusal(502, "A party failed", type(error).__name__) from None


handlers: Final[list[Any]] = [refunds, bill_code, reconciliation, sweep]
