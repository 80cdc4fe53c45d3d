"""A load run where what is owed changes with the day: every way of paying pays what is right."""

from __future__ import annotations

import datetime as dt
import sqlite3
import time
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from fewseconds.plan import DAY_US, HOUR_US, SCHEMA, Plan
from fixtures import bills
from loadtests.launch import Generator
from loadtests.spec import Targets
from mock_psp import auditor, serve
from tests.mock_psp.scenarios import constant, quick_scenario

if TYPE_CHECKING:
    from pathlib import Path

    from fewseconds.identity import Bill
    from fewseconds.scenario import Scenario

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

SEED = 7
DAY = 24
"""The 25th: bills of the month's first days are late, those of its last days are early."""
FACTORS = {"early": 0.99, "due": 1.0, "late": 1.0125}
WAYS = {"qr_ebill": "laptop_screen", "qr_counter": "placard", "portal": ""}
PEOPLE = (
    "person_opens_app", "person_types_number", "person_reviews", "person_enters_pin",
    "person_opens_portal", "person_logs_in", "person_fills_payment",
)  # fmt: skip


def terms(bill: Bill, day: dt.date) -> str:
    """What a bill is on that day, in the words of [billing]."""
    if day > bill.due_on:
        return "late"
    return "early" if (day - bill.issued_on).days <= 7 else "due"


def chosen(scenario: Scenario) -> dict[int, tuple[str, str]]:
    """Consumers with the kind of their journey and the terms of their bill: each pair twice."""
    day = scenario.first_day + dt.timedelta(days=DAY)
    wanted = [(kind, one) for kind in WAYS for one in FACTORS for _ in range(2)]
    found: dict[int, tuple[str, str]] = {}
    for index in range(scenario.consumers):
        here = terms(bills.bill(SEED, index), day)
        fitting = next((pair for pair in wanted if pair[1] == here), None)
        if fitting is not None:
            wanted.remove(fitting)
            found[index] = fitting
    assert not wanted
    return found


def test_early_due_and_late_bills_are_paid_at_their_amounts(tmp_path: Path) -> None:
    """With a camera before the code of the day, or at the portal: as written, not as computed."""
    people: dict[str, Any] = {
        name: {"service_time": constant(50), "failures": []} for name in PEOPLE
    }
    scenario = quick_scenario({
        "billing": {"source": "test", "early_days": 7, "early_discount": 0.01,
                    "late_charge": 0.0125},
        "stations": people, "load": {"drain_s": 25},
    })  # fmt: skip
    who, begin_us = chosen(scenario), DAY * DAY_US + 12 * HOUR_US
    rows = [
        {"journey_id": place, "consumer": index, "bill": index, "kind": kind, "app": "phonepe",
         "bank": "SBI", "medium": WAYS[kind], "intended_start_us": begin_us + place * 100_000}
        for place, (index, (kind, _)) in enumerate(who.items())
    ]  # fmt: skip
    plan = Plan(scenario, SEED, pa.Table.from_pylist(rows, SCHEMA))
    window_us = (begin_us, begin_us + len(rows) * 100_000)
    services = serve.start(
        scenario, SEED, tmp_path, epoch_monotonic_us=time.monotonic_ns() // 1000,
        plan_origin_us=begin_us,
    )  # fmt: skip
    with services:
        targets = Targets(*(services.urls[name] for name in ("psp", "sms", "portal")))
        with Generator(tmp_path, plan, window_us, targets, services.token) as load:
            load.wait(lambda: None)
    ledger = sqlite3.connect(f"file:{services.folder.ledger}?mode=ro", uri=True)
    paid = dict(ledger.execute("SELECT bill_number, amount_paise FROM payments WHERE status = "
                               "'CREDITED'"))  # fmt: skip
    ledger.close()
    for index, (kind, one) in who.items():
        bill = bills.bill(SEED, index)
        assert bill.number in paid, (kind, one)
        exact = FACTORS[one] * bill.amount_paise
        assert abs(paid[bill.number] - exact) <= 0.5 + 1e-6, (kind, one)
    assert [one.first for one in auditor.audit(tmp_path).checks if not one.passed] == []
