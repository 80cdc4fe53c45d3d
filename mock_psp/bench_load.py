"""What the bench sends: callbacks and questions for wrk, and whole journeys."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import aiohttp
import msgspec

from fewseconds import contracts as c
from fewseconds.identity import transaction_id
from fixtures import bills, consumers, qr
from mock_psp.clock import wall_s

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SEED: Final = 7
AT_ONCE: Final = 24
TRAITS: Final = ("phonepe", "SBI", "placard", "zxing-cpp", "jio")


def write_callbacks(file: Path, count: int, key: bytes, first: int = 0) -> None:
    """Signed callbacks about the bills of consumers ``first`` and following, one a line."""
    timestamp_s = wall_s()
    with file.open("wb") as out:
        for index in range(first, first + count):
            bill, name = bills.bill(SEED, index), transaction_id("BEN", SEED, index, 1)
            body = msgspec.json.encode(
                c.Callback(
                    f"evt_{name}", name, f"{index:012d}", "SUCCESS", "00", bill.number,
                    bill.amount_paise, f"payer{index}@examplebank",
                )
            )  # fmt: skip
            signature = c.signature(key, f"evt_{name}", timestamp_s, body)
            signed = (f"evt_{name}", str(timestamp_s), signature)
            headers = dict(zip(c.SIGNATURE_HEADERS, signed, strict=True))
            out.write(_line(headers, body))


def write_resolves(file: Path, count: int) -> None:
    """Questions about scanned links, one a line."""
    with file.open("wb") as out:
        for index in range(count):
            link = qr.bill_uri(SEED, bills.bill(SEED, index))
            body = msgspec.json.encode(c.ResolveRequest("phonepe", link))
            out.write(_line({c.TRACE_HEADER: _trace(20_000 + index, "resolve")}, body))


async def journeys(urls: Mapping[str, str], token: str, first: int, count: int) -> None:
    """Walk whole journeys, some at once: scan, pay, wait for the SMS; raises if one goes wrong."""
    turns = asyncio.Semaphore(AT_ONCE)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def one(index: int) -> None:
            async with turns:
                await _journey(session, urls, token, index)

        await asyncio.gather(*(one(first + place) for place in range(count)))


async def _journey(
    session: aiohttp.ClientSession, urls: Mapping[str, str], token: str, index: int
) -> None:
    bill = bills.bill(SEED, index)
    asked = c.ResolveRequest("phonepe", qr.bill_uri(SEED, bill))
    headers = {c.TRACE_HEADER: _trace(index, "resolve")}
    async with session.post(
        urls["psp"] + c.RESOLVE, data=msgspec.json.encode(asked), headers=headers
    ) as response:
        details = msgspec.json.decode(await response.read(), type=c.BillDetails)
    request = c.PayRequest(
        "phonepe", f"payer{index}@examplebank", "SBI", details.payee_vpa, details.bill_number,
        details.amount_paise, "1234",
    )  # fmt: skip
    headers = {c.TRACE_HEADER: _trace(index, "pay")}
    async with session.post(
        urls["psp"] + c.PAY, data=msgspec.json.encode(request), headers=headers
    ) as response:
        payment = msgspec.json.decode(await response.read(), type=c.Payment)
    query = {"reference": payment.transaction_id, "wait_ms": "20000"}
    url = f"{urls['sms']}{c.INBOX}/{consumers.consumer(SEED, index).phone}"
    async with session.get(url, params=query, headers={c.TOKEN_HEADER: token}) as response:
        inbox = msgspec.json.decode(await response.read(), type=c.Inbox)
    if payment.status != "SUCCESS" or len(inbox.messages) != 1:
        raise RuntimeError(payment.code)


def _trace(index: int, step: str) -> str:
    return c.Trace("qr_ebill", index, step, -1, 1, *TRAITS).header()


def _line(headers: Mapping[str, str], body: bytes) -> bytes:
    """Header names and values, then the body, with tabs in between: neither holds one."""
    fields = [part for pair in headers.items() for part in pair]
    return "\t".join(fields).encode() + b"\t\t" + body + b"\n"
