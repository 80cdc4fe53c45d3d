"""The biller as a merchant: it asks the payment service what any merchant may ask.

Refunds that are due are ordered here, and the answer says that they have been made. The payment
service tells of every refund by a webhook as well, to which the biller subscribes when it starts,
as any merchant would; one whose webhook never came is found by the sweep.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import logging
from typing import TYPE_CHECKING, Any, Final, TypeVar

import aiohttp
import msgspec

from fewseconds.contracts import BILLER_REFUNDS, Paise
from mock_psp import merchant_contract as m
from mock_psp.giving_back import Refunded

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from mock_psp.ledger import Ledger
    from mock_psp.world import World

AGAIN_S: Final = 1.0
"""Pause before the payment service is asked again when it did not answer."""
PAGE: Final = 100
MADE: Final = "processed"
"""State of a refund whose money has gone back."""
T = TypeVar("T")
log = logging.getLogger(__name__)


class RefundEvent(msgspec.Struct, frozen=True):
    """What a webhook about a refund says."""

    event: str
    payload: dict[str, dict[str, Any]]


class _Refund(msgspec.Struct, frozen=True):
    """What has to be known of a refund."""

    id: str
    amount: Paise


class Made(_Refund, frozen=True):
    """A refund as the payment service tells of it when it is asked."""

    payment_id: str
    status: str

    def order(self, source: str, transaction_id: str, at_us: int) -> Refunded:
        """What is to be posted; ``source`` says how it was learnt."""
        facts = hashlib.sha256(msgspec.json.encode(self)).hexdigest()
        return Refunded(f"{source}_{self.id}", facts, self.id, transaction_id, self.amount, at_us)


class _Page(msgspec.Struct, frozen=True):
    """A page of refunds, newest first."""

    items: list[Made]
    count: int


class _Payment(msgspec.Struct, frozen=True):
    """What has to be known of a payment that was refunded."""

    acquirer_data: dict[str, str]


class MerchantClient:
    """Calls to the payment service with the merchant's key."""

    def __init__(
        self, world: World, ledger: Ledger, post: Callable[[Refunded], Awaitable[object]]
    ) -> None:
        """Must be made where the event loop runs. ``post`` posts a refund that has been made."""
        self._world, self._ledger, self._last, self._post = world, ledger, 0, post
        self._base = world.spec.url("psp")
        secrets = world.secrets
        key = f"{secrets.merchant_key_id}:{secrets.merchant_key_secret}".encode()
        self._session = aiohttp.ClientSession(
            headers={"authorization": "Basic " + base64.b64encode(key).decode()},
            timeout=aiohttp.ClientTimeout(total=30),
        )
        self._tasks: set[asyncio.Task[None]] = set()
        self._start(self._subscribe())
        self.wake()

    async def close(self) -> None:
        """Leave what is under way to the next start."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._session.close()

    def wake(self) -> None:
        """Order every refund that has become due since the last time."""
        for due in self._ledger.due_refunds(self._last):
            self._last = due.sequence
            self._start(self._order(due.refund_id, due.transaction_id, due.amount_paise))

    async def payments(self, since_s: int) -> AsyncIterator[m.MerchantPayment]:
        """The payments since then, newest first, page by page to the last one.

        One that is made meanwhile moves the others back: they may come twice, none is left out.
        """
        skip = 0
        while True:
            query = {"from": since_s, "count": PAGE, "skip": skip}
            page = await self.get(m.PAYMENTS, m.MerchantPayments, query)
            for one in page.items:
                yield one
            if page.count < PAGE:
                return
            skip += PAGE

    async def refunds(self, since_s: int) -> AsyncIterator[Made]:
        """The refunds that were made since then, newest first."""
        skip = 0
        while True:
            query = {"from": since_s, "count": PAGE, "skip": skip}
            page = await self.get(m.REFUNDS, _Page, query)
            for one in page.items:
                if one.status == MADE:
                    yield one
            if page.count < PAGE:
                return
            skip += PAGE

    async def get(self, path: str, kind: type[T], query: Mapping[str, int] = {}) -> T:
        """Ask; raises aiohttp.ClientError if there is no answer, or not a good one."""
        async with self._session.get(self._base + path, params=dict(query)) as response:
            response.raise_for_status()
            return msgspec.json.decode(await response.read(), type=kind)

    async def _order(self, refund_id: str, transaction_id: str, amount_paise: int) -> None:
        """Order one refund; asked again, it is the same one."""
        path = f"{m.PAYMENTS}/{m.payment_id(transaction_id)}/refund"
        body = msgspec.json.encode(m.RefundRequest(amount=amount_paise, receipt=refund_id))
        status, answer = await self._insist(path, body, {m.IDEMPOTENCY_HEADER: refund_id})
        if status >= 300:  # noqa: PLR2004 - not one of the 2xx
            # It stays due; a person has to look, or the next start of the biller tries again.
            log.warning("a refund was not accepted", extra={"status": status})
            return
        made = msgspec.json.decode(answer, type=Made)
        if made.status == MADE:
            # Its webhook may have been given up before the biller asked again.
            await self._post(made.order("order", transaction_id, self._world.clock.now_us()))

    async def _subscribe(self) -> None:
        """Have the payment service tell of refunds, signed with the key of the callbacks."""
        key = base64.b64encode(self._world.secrets.keys()[0]).decode()
        asked = m.WebhookRequest(
            url=self._world.spec.url("biller") + BILLER_REFUNDS, secret=f"whsec_{key}",
            events=["refund.processed"], signature="standard-webhooks", schedule="juspay",
        )  # fmt: skip
        await self._insist(m.WEBHOOKS, msgspec.json.encode(asked), {})

    async def _insist(
        self, path: str, body: bytes, headers: Mapping[str, str]
    ) -> tuple[int, bytes]:
        """Post until there is an answer that will not change by itself; its status and body."""
        sent = {**headers, "content-type": "application/json"}
        while True:
            try:
                async with self._session.post(
                    self._base + path, data=body, headers=sent
                ) as response:
                    if response.status < 500:  # noqa: PLR2004 - not a fault over there
                        return response.status, await response.read()
            except (aiohttp.ClientError, TimeoutError):
                pass
            await asyncio.sleep(AGAIN_S)

    def _start(self, work: Any) -> None:  # noqa: ANN401 - a coroutine of any kind
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a call to the payment service broke off", exc_info=error)


def refunded(event_id: str, body: bytes, at_us: int) -> Refunded:
    """What a webhook of a refund orders; raises msgspec.DecodeError or KeyError if it is none."""
    told = msgspec.json.decode(body, type=RefundEvent)
    if told.event != "refund.processed":
        raise msgspec.ValidationError(f"event {told.event!r} is not awaited here")
    refund = msgspec.convert(told.payload["refund"]["entity"], _Refund)
    if refund.amount <= 0:
        raise msgspec.ValidationError(f"amount {refund.amount!r} is not above 0")
    payment = msgspec.convert(told.payload["payment"]["entity"], _Payment)
    return Refunded(
        event_id, hashlib.sha256(body).hexdigest(), refund.id,
        payment.acquirer_data["upi_transaction_id"], refund.amount, at_us,
    )  # fmt: skip
