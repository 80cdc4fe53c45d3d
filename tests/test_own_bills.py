"""A user's own bills in a plan: each once, in order, and part of the plan's hash."""

from __future__ import annotations

import datetime as dt

import msgspec
import pytest

from fewseconds import scenario_file
from fewseconds.errors import UsageError
from fewseconds.identity import Bill
from fewseconds.own_bills import OwnBills
from fewseconds.plan import plan

DUE = dt.date(2026, 12, 5)


def own(count: int) -> OwnBills:
    """So many bills of a biller."""
    bills = [Bill(n, f"INV-{n}", f"A-{n}", 100 + n, 0, DUE, DUE) for n in range(count)]
    return OwnBills(tuple(bills), "bills.csv")


def test_each_journey_pays_another_bill_in_the_order_of_the_file() -> None:
    """Who pays, when and how stays the plan's; only the bill is another."""
    whole = plan(scenario_file.load("smoke"), 7)
    window = whole.window(*whole.busiest_window())
    assigned = own(len(window) + 5).assigned(window)
    assert assigned.table["bill"].to_pylist() == list(range(len(window)))
    others = [name for name in window.table.schema.names if name != "bill"]
    assert assigned.table.select(others).equals(window.table.select(others))


def test_a_shortage_says_how_many_are_needed_and_how_many_there_are() -> None:
    """Nothing starts with fewer bills than journeys."""
    whole = plan(scenario_file.load("smoke"), 7)
    window = whole.window(*whole.busiest_window())
    with pytest.raises(UsageError) as caught:
        own(9).assigned(window)
    told = f"bills.csv: {len(window)} journeys need {len(window)} bills, there are 9;"
    assert str(caught.value).startswith(told)


def test_the_plan_hash_tells_every_change_of_a_bill() -> None:
    """The same plan with a bill more, or one paisa, day or consumer other, has another hash."""
    whole = plan(scenario_file.load("smoke"), 7)
    base = own(3)
    changes: tuple[dict[str, object], ...] = (
        {"number": "INV-9"}, {"consumer": "A-9"}, {"amount_paise": 1},
        {"due_on": dt.date(2026, 12, 6)},
    )  # fmt: skip
    hashes = {whole.digest, base.plan_hash(whole), own(4).plan_hash(whole)}
    for change in changes:
        first = msgspec.structs.replace(base.bills[0], **change)
        hashes.add(OwnBills((first, *base.bills[1:]), "bills.csv").plan_hash(whole))
    assert len(hashes) == 3 + len(changes)
    # Where a bill's SMS goes, and what the file is called, changes nothing that is attempted.
    moved = [msgspec.structs.replace(bill, phone="+91500") for bill in base.bills]
    assert OwnBills(tuple(moved), "other.csv").plan_hash(whole) == base.plan_hash(whole)
