"""The biller's books against the payment service's: the sweep, and the settlement file.

The sweep looks for payments whose callback never came, and refunds whose webhook did not, and posts
them through the same rules. The reconciliation only compares: it lists every break and mends none.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
from collections import Counter
from typing import TYPE_CHECKING, Final

import aiohttp
import msgspec
import sqlalchemy as sa

from fewseconds.contracts import Callback
from fewseconds.identity import IST
from mock_psp import merchant_contract as m
from mock_psp import schema as t
from mock_psp.books_contract import Break, Reconciled, SettlementDay, Swept
from mock_psp.clock import wall_s
from mock_psp.settlement import settled_at

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping

    from mock_psp.ledger import Ledger
    from mock_psp.merchant_client import Made, MerchantClient

EVERY_S: Final = 60
"""How often the sweep comes by: *assumption*."""
SETTLING_S: Final = 30
"""A younger payment may still be called back in the ordinary way."""
CHUNK: Final = 500
TOGETHER: Final = 64
"""Payments that are posted at once; callbacks wait behind no more."""
"""So many payments are held at once, however many a sweep finds."""

_POSTED: Final = sa.select(t.payments.c.transaction_id).where(t.payments.c.status != "FAILED")
_GIVEN_BACK: Final = sa.select(t.refunds.c.psp_refund_id)

log = logging.getLogger(__name__)


class _Made(msgspec.Struct, frozen=True):
    """All that is asked of a payment or a refund here."""

    created_at: int
    captured: bool = True


class _Named(msgspec.Struct, frozen=True):
    """Which payment it is that was refunded."""

    acquirer_data: dict[str, str]
    qr_code_id: str | None = None


class Sweeper:
    """Looks for money that nobody has told of."""

    def __init__(
        self,
        client: MerchantClient,
        ledger: Ledger,
        post: Callable[[Callback], Awaitable[bool]],
        give_back: Callable[[Made, str], Awaitable[bool]],
    ) -> None:
        """``post`` posts what a callback would have said, and tells whether it was news.

        ``give_back`` does so with a refund of the transaction that it is told.
        """
        self._client, self._ledger = client, ledger
        self._post, self._give_back = post, give_back
        self.counts: Counter[str] = Counter(sweeps_ended=0, sweeps_broken_off=0, sweeps_posted=0)
        """A sweep that broke off has not seen everything; the next one begins where that one did.
        """
        self._task = asyncio.get_running_loop().create_task(self._rounds())

    async def close(self) -> None:
        """Come by no more."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def sweep(self, settling_s: int = SETTLING_S) -> Swept:
        """Post every captured payment that is older than ``settling_s`` and has not been posted.

        After that, every refund. Left out is what was paid to codes that the merchant made over the
        API, which have books of their own.
        It looks back to where the last one that succeeded had come, whichever process that was in,
        and the first one to the beginning of the run: a biller may have been away for hours.
        Raises aiohttp.ClientError if the payment service does not answer.
        """
        try:
            return await self._sweep(settling_s)
        except Exception:
            self.counts["sweeps_broken_off"] += 1
            raise

    async def _sweep(self, settling_s: int) -> Swept:
        until_s, now_s = self._ledger.looked_until_s(), wall_s()
        # By the other side's clock, so that it does not matter how far ours is from it: nothing
        # comes later that is older, and what was too young the last time is looked at again.
        since_s = max(until_s - SETTLING_S, 0)
        found: dict[str, m.MerchantPayment] = {}
        looked_at, posted = 0, list[str]()
        newest_s = now_s
        async for one in self._client.payments(since_s):
            # The newest come first; times are the other side's, so only their distance counts.
            until_s, newest_s = max(until_s, one.created_at), max(newest_s, one.created_at)
            if one.qr_code_id is not None:
                continue
            if one.captured and one.created_at <= newest_s - settling_s:
                found[one.acquirer_data["upi_transaction_id"]] = one
            if len(found) == CHUNK:
                looked_at += len(found)
                posted += await self._post_missing(found)
                found.clear()
        posted += await self._post_missing(found)
        refunded = await self._sweep_refunds(since_s)
        await self._ledger.looked(until_s)
        self.counts["sweeps_ended"] += 1
        self.counts["sweeps_posted"] += len(posted) + len(refunded)
        if posted or refunded:
            told = {"payments": len(posted), "refunds": len(refunded)}
            log.warning("the sweep posted what nobody had told", extra=told)
        return Swept(looked_at + len(found), tuple(posted), tuple(refunded))

    async def _post_missing(self, found: Mapping[str, m.MerchantPayment]) -> list[str]:
        """Post those of these payments that the ledger does not have; which were news."""
        held = self._held(_POSTED, t.payments.c.transaction_id, list(found))
        missing = [name for name in found if name not in held]
        posted: list[str] = []
        for begin in range(0, len(missing), TOGETHER):
            names = missing[begin : begin + TOGETHER]
            # They share the ledger's transactions; all have come to an end before one's error is.
            posts = (self._post(_callback(found[name])) for name in names)
            news = await asyncio.gather(*posts, return_exceptions=True)
            for one in news:
                if isinstance(one, BaseException):
                    raise one
            posted += [name for name, new in zip(names, news, strict=True) if new]
        return posted

    async def _sweep_refunds(self, since_s: int) -> list[str]:
        """Post what has been given back since then and nobody has told of; their ids."""
        found = {one.id: one async for one in self._client.refunds(since_s)}
        held = self._held(_GIVEN_BACK, t.refunds.c.psp_refund_id, list(found))
        news = []
        for name in reversed([name for name in found if name not in held]):
            made = found[name]
            payment = await self._client.get(f"{m.PAYMENTS}/{made.payment_id}", _Named)
            if payment.qr_code_id is not None:
                continue
            if await self._give_back(made, payment.acquirer_data["upi_transaction_id"]):
                news.append(name)
        return news

    def _held(
        self, known: sa.Select[tuple[str]], column: sa.Column[str], names: list[str]
    ) -> set[str]:
        """Which of these names the ledger has."""
        held: set[str] = set()
        for begin in range(0, len(names), CHUNK):
            rows = self._ledger.rows(known.where(column.in_(names[begin : begin + CHUNK])))
            held.update(row[0] for row in rows)
        return held

    async def _rounds(self) -> None:
        while True:
            await asyncio.sleep(EVERY_S)
            try:
                await self.sweep()
            except (aiohttp.ClientError, TimeoutError, msgspec.DecodeError) as error:
                log.warning(
                    "the sweep got no answer and has not seen everything",
                    extra={"error": type(error).__name__},
                )
            except Exception:
                # Whatever is wrong with what it found today, it has to come by again.
                log.exception("the sweep broke off")


async def reconciled(client: MerchantClient, ledger: Ledger, day: SettlementDay) -> Reconciled:
    """Compare the settlement file of a day (or a month) with the ledger; mends nothing.

    Raises aiohttp.ClientError if the payment service does not answer.
    """
    lines, skip = [], 0
    query = {"year": day.year, "month": day.month, **({"day": day.day} if day.day else {})}
    while True:
        page = await client.get(m.RECON, m.Recon, {**query, "count": 1000, "skip": skip})
        lines += page.items
        if page.count < 1000:  # noqa: PLR2004 - a full page
            break
        skip += page.count
    payments = ledger.rows(
        sa.select(t.payments.c.transaction_id, t.payments.c.amount_paise).where(
            t.payments.c.status != "FAILED", t.payments.c.channel == "upi"
        )
    )
    refunds = ledger.rows(sa.select(t.refunds).where(t.refunds.c.processed_us.is_not(None)))
    mine = [one for one in lines if one.qr_code_id is None]
    found: list[Break] = []
    seen: set[tuple[str, str]] = set()
    held = {row.transaction_id: row.amount_paise for row in payments}
    given = {row.psp_refund_id: row for row in refunds}
    matched = 0
    for one in mine:
        if (one.type, one.entity_id) in seen:
            found.append(Break("twice_in_file", one.upi_transaction_id, one.amount, 0))
            continue
        seen.add((one.type, one.entity_id))
        known = held.pop(one.upi_transaction_id, None) if one.type == "payment" else None
        if one.type == "refund":
            refund = given.pop(one.entity_id, None)
            known = None if refund is None else refund.amount_paise
        wrong = broken(one, known)
        found += wrong
        matched += not wrong
    unsettled = 0
    until_s = max((one.settled_at for one in mine), default=0)
    for name, amount_paise in held.items():
        created_s = await _created(client, f"{m.PAYMENTS}/{m.payment_id(name)}")
        if created_s is not None and not _due(created_s, day, until_s):
            unsettled += 1
        else:
            found.append(Break("not_in_file", name, 0, amount_paise))
    for row in given.values():
        created_s = await _created(client, f"{m.REFUNDS}/{row.psp_refund_id}")
        if created_s is not None and not _due(created_s, day, until_s):
            unsettled += 1
        else:
            found.append(Break("refund_not_in_file", row.transaction_id, 0, row.amount_paise))
    return Reconciled(len(mine), matched, unsettled, tuple(found))


def broken(line: m.ReconItem, known_paise: int | None) -> list[Break]:
    """What is wrong with a line of the file, if the ledger says ``known_paise`` (None: nothing)."""
    return list(_breaks(line, known_paise))


def _breaks(line: m.ReconItem, known_paise: int | None) -> Iterator[Break]:
    refund = line.type == "refund"
    if known_paise is None:
        kind = "refund_not_in_ledger" if refund else "not_in_ledger"
    elif known_paise != line.amount:
        kind = "refund_amount_differs" if refund else "amount_differs"
    elif line.settled_at != settled_at(line.created_at):
        kind = "wrong_day"
    else:
        return
    yield msgspec.convert(
        {
            "kind": kind, "transaction_id": line.upi_transaction_id, "file_paise": line.amount,
            "ledger_paise": known_paise or 0,
        },
        Break,
    )  # fmt: skip


async def _created(client: MerchantClient, path: str) -> int | None:
    """When a payment or refund was made, as the payment service knows it; None if it does not."""
    try:
        made = await client.get(path, _Made)
    except aiohttp.ClientResponseError as error:
        if error.status == 400:  # noqa: PLR2004 - no such thing, as Razorpay says it
            return None
        raise
    return made.created_at if made.captured else None


def _due(created_s: int, day: SettlementDay, until_s: int) -> bool:
    """Whether what was made then has to be in the file of that day or month.

    The file tells how far the other side's calendar has come.
    """
    settled_s = settled_at(created_s)
    date = dt.datetime.fromtimestamp(settled_s, IST).date()
    asked = (date.year, date.month) == (day.year, day.month) and day.day in (None, 0, date.day)
    return asked and settled_s <= until_s


def _callback(payment: m.MerchantPayment) -> Callback:
    """What the callback would have said."""
    name = payment.acquirer_data["upi_transaction_id"]
    return Callback(
        f"sweep_{name}", name, payment.acquirer_data["rrn"], "SUCCESS", "00", payment.reference,
        payment.amount, payment.vpa,
    )  # fmt: skip
