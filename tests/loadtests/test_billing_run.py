"""A load run on the shipped day of discounts: every way of paying pays what is right, in time."""

from __future__ import annotations

import sqlite3
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from fewseconds.plan import HOUR_US, SCHEMA, Plan
from fixtures import bills
from loadtests.launch import Generator
from loadtests.spec import Targets
from mock_psp import auditor, serve
from tests.mock_psp.scenarios import constant, quick_scenario

if TYPE_CHECKING:
    import datetime as dt
    from pathlib import Path

    from fewseconds.identity import Bill
    from fewseconds.scenario import Scenario

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

SEED = 7
FACTORS = {"early": 0.98, "due": 1.0, "late": 1.0125}
"""Those of the scenario, and what they make of its day: the 22nd of the month."""
PER_S, BURST = 3, 2
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
    day = scenario.first_day
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
    """Each bill is paid as written, and no message that a small account refuses is lost."""
    people: dict[str, Any] = {
        name: {"service_time": constant(50), "failures": []} for name in PEOPLE
    }
    small = {"sms_gateway": {"rate_limit": {"per_s": PER_S, "burst": BURST}}}
    scenario = quick_scenario({"stations": people | small}, "discount_day")
    who, begin_us = chosen(scenario), 12 * HOUR_US
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
    gateway = pl.concat(
        pl.read_parquet(file).filter(pl.col("station").cast(pl.String) == "sms_gateway")
        for file in (tmp_path / "outcomes").glob("sms*.parquet")
    )
    told = gateway.select("outcome", "code").cast(pl.String).rows()
    assert set(told) == {("ok", ""), ("rejected", "429")}
    taken = gateway.filter(pl.col("outcome").cast(pl.String) == "ok")
    assert sorted(taken["journey_id"]) == list(range(len(rows)))
    moments_s = np.sort(taken["start_us"].to_numpy()) / 1e6
    for first in range(len(moments_s)):
        most = BURST + PER_S * (moments_s[first:] - moments_s[first])
        assert (np.arange(1, len(most) + 1) <= most + 1e-6).all()
