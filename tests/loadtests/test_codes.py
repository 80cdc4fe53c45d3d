"""Codes of the day: what cameras are shown, and what is read without one, asks for what is owed."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from typing import Any

import pytest
from scipy import stats

from fewseconds import scenario_file
from fewseconds.identity import IST, Bill
from fewseconds.plan import DAY_US, Plan, plan
from fixtures import bills, keys, qr
from loadtests import codes, corpus, decoders
from loadtests.scans import Printed

SEED = 7
BILLING = {"source": "test", "early_days": 7, "early_discount": 0.01, "late_charge": 0.0125}


def some(billing: dict[str, Any] | None = BILLING, day: int = 0) -> Plan:
    """A few journeys of the smoke scenario, on that day of its month."""
    overrides = {} if billing is None else {"billing": billing}
    whole = plan(scenario_file.load("smoke", overrides), SEED)
    table = whole.table.filter([bool(row.medium) for row in whole.rows()]).slice(0, 20)
    column = table.schema.get_field_index("intended_start_us")
    starts = [day * DAY_US + place for place in range(len(table))]
    table = table.set_column(column, table.schema.field(column), [starts])
    return Plan(whole.scenario, SEED, table)


@pytest.mark.parametrize("day", [0, 12, 25, 40])
def test_a_code_of_the_day_asks_for_what_is_owed_on_it(day: int) -> None:
    """A hundredth less in the first week of a bill, an eightieth more after it was due."""
    played = some(day=day)
    today = played.scenario.first_day + dt.timedelta(days=day)
    for row in played.rows():
        bill = bills.Issue.of(played.scenario, SEED).bill(row.bill)
        factor = 0.99 if (today - bill.issued_on).days <= 7 else 1.0
        if today > bill.due_on:
            factor = 1.0125
        link, owed = codes.code(played, row)
        asks = qr.verify(link, keys.registry(SEED)).amount_paise
        assert asks == owed.amount_paise
        assert abs(owed.amount_paise - factor * bill.amount_paise) <= 0.5 + 1e-6


def test_on_the_shipped_day_bills_are_early_due_and_late() -> None:
    """On the 22nd those of six of twenty days are early, those of three are late; SciPy agrees."""
    whole = plan(scenario_file.load("discount_day"))
    window = whole.window(*whole.busiest_window())
    terms = Counter[str](codes.code(window, row)[1].terms for row in window.rows())
    for one, share in (("early", 6 / 20), ("due", 11 / 20), ("late", 3 / 20)):
        low, high = stats.binom.ppf([0.0005, 0.9995], len(window), share)
        assert low <= terms[one] <= high


def test_a_camera_sees_what_is_read_without_one() -> None:
    """The code before the camera and the text of a scan that no camera makes are the same."""
    played = some(day=2)
    printed = Printed(played)
    links = {row.journey_id: row.link for row in decoders.work(played)}
    found = [(row, printed.of(row).text) for row in played.rows()]
    assert {text for _, text in found} != {None}
    assert all(text in (None, links[row.journey_id]) for row, text in found)


def test_a_corpus_of_one_tariff_is_none_of_another() -> None:
    """A scan of another amount is another scan; where amounts never change nothing has changed."""
    plain, dated = some(None), some()
    asked = [[corpus._asked(one, row) for row in decoders.work(one)] for one in (plain, dated)]
    assert not set(asked[0]) & set(asked[1])
    assert {row.link for row in decoders.work(plain)} == {""}


def test_a_bill_of_ones_own_is_late_on_the_real_day() -> None:
    """Nobody knows when it was issued: there is no discount, but a charge once it was due."""
    played = some()
    today = dt.datetime.now(IST).date()
    row = next(iter(played.rows()))
    own = [Bill(0, "INV-1", "A-1", 80_000, 0, due, due)
           for due in (today + dt.timedelta(days=1), today - dt.timedelta(days=2))]  # fmt: skip
    count = max(one.bill for one in played.rows()) + 1
    owed = [codes.code(played, row, (bill,) * count)[1].amount_paise for bill in own]
    assert owed == [80_000, 81_000]
