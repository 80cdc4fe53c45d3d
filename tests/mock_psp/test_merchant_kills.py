"""A kill amid what follows a credit leaves nothing half done on the merchant's side."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from fewseconds import contracts as c
from mock_psp import merchant_contract as m
from mock_psp.books_contract import CalendarMove
from mock_psp.calendar import Calendar
from mock_psp.journal import Journal
from mock_psp.merchant import Merchant
from mock_psp.serve import Services
from tests.mock_psp.conftest import SEED, World

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fewseconds.scenario import Scenario
    from mock_psp.spec import Folder

AMOUNT_PAISE = 60_000


def subscribed(world: World, place: str) -> str:
    """Have events of credits sent to where nobody answers; the endpoint's id."""
    asked = {
        "url": f"http://127.0.0.1:9/{place}",
        "secret": "secret",
        "events": ["qr_code.credited", "qr_code.closed", "payment.captured"],
    }
    made: str = world.merchant("POST", m.WEBHOOKS, asked).body["id"]
    return made


def restarted(folder: Folder) -> None:
    """What the service does with the merchant's book and the journal when it is started again."""

    async def start() -> None:
        world: Any = SimpleNamespace(seed=SEED, folder=folder)
        journal = Journal(folder.journal, folder.payers)
        calendar = Calendar(kept=folder.calendar)
        await Merchant(world, calendar, journal, lambda _: "").close()
        journal.close()

    asyncio.run(start())


def told(lines: list[bytes]) -> tuple[list[Any], list[tuple[str, str]]]:
    """What a book says in the end: of its code, and of the events for each endpoint."""
    found = [json.loads(line) for line in lines]
    code = [one["data"] for one in found if one["kind"] == "QrCode"][-1]
    sent = [one["data"] for one in found if one["kind"] == "Delivery" and not one["data"]["done"]]
    facts = ("status", "close_reason", "payments_amount_received", "payments_count_received")
    events = sorted((one["event_id"], one["endpoint"]) for one in sent)
    return [code[name] for name in facts], events


def test_a_paid_code_is_closed_and_told_of_wherever_a_kill_fell(
    quick: Callable[..., Scenario], tmp_path: Path
) -> None:
    """Each cut of the book from the credit on is mended to what the book without a kill says."""
    with Services(quick(), SEED, tmp_path, only=("psp",)) as services:
        world, folder = World(services), services.folder
        subscribed(world, "early")
        code = world.code(usage="single_use", fixed_amount=True, payment_amount=AMOUNT_PAISE)
        paid = world.pay(3, bill_number=code, amount_paise=AMOUNT_PAISE).body
        world.ask("POST", "psp", c.CALENDAR, CalendarMove(5), fewseconds_token=world.secrets.token)
        # Who has subscribed since then hears of nothing that was before.
        late = subscribed(world, "late")
    assert paid["status"] == "SUCCESS"
    lines = folder.merchant.read_bytes().splitlines(keepends=True)
    facts, events = whole = told(lines)
    assert facts == ["closed", "paid", AMOUNT_PAISE, 1]
    assert len(events) == 3
    assert late not in {endpoint for _, endpoint in events}
    counted = next(n for n, line in enumerate(lines) if b'"payments_count_received":1' in line)
    for cut in range(counted, len(lines) + 1):
        folder.merchant.write_bytes(b"".join(lines[:cut]))
        restarted(folder)
        assert told(folder.merchant.read_bytes().splitlines()) == whole
    assert folder.merchant.read_bytes() == b"".join(lines)
