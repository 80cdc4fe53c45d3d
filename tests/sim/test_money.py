"""Sums of money of a walk, added up bill by bill from its rows."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from fewseconds import measures, scenario_file
from fewseconds.plan import DAY_US, Plan, plan
from fixtures.bills import Issue
from loadtests import codes
from sim import engines, streaming
from sim.money import Sums, money

if TYPE_CHECKING:
    from fewseconds.scenario import Scenario

BILLING = {"source": "test", "early_days": 7, "early_discount": 0.013, "late_charge": 0.0125}
TERMS = {"early": -130, "due": 0, "late": 125}
"""Ten-thousandths of a bill that are taken off or put on."""


def dated(consumers: int, **more: Any) -> Scenario:  # noqa: ANN401 - tables of a scenario
    """A month of few consumers in which what is owed changes with the day."""
    return scenario_file.load("mumbai", {"consumers": consumers, "billing": BILLING, **more})


def test_every_bill_is_in_the_sum_of_its_way_and_end() -> None:
    """The sums are those of the bills themselves, in whole paise, whichever engine walked."""
    scenario = scenario_file.load("bank_down", {"consumers": 2000})
    walk = plan(scenario)
    done = engines.walk(walk, "simpy")
    issue = Issue.of(scenario, walk.seed)
    ended = measures.journeys(measures.frame(done.outcomes), walk)
    fates = dict(ended.select("journey_id", "fate").iter_rows())
    expected: Counter[tuple[str, str]] = Counter()
    for row in walk.table.to_pylist():
        expected[row["kind"], fates[row["journey_id"]]] += issue.bill(row["bill"]).amount_paise
    assert len({end for _, end in expected}) > 2
    compiled = engines.walk(walk, "numba", rows=False)
    for one in (done, compiled):
        found = money(walk, one.summarised(walk).ends)
        assert {
            (kind, end): paise for kind, ends in found.items() for end, paise in ends.items()
        } == expected


@pytest.mark.parametrize("counts_from", ["2026-11-01", "2026-11-04"])
def test_virtual_time_sums_what_a_load_run_pays(counts_from: str) -> None:
    """The sums are those of the codes of the day, and of a tariff worked out with whole numbers."""
    scenario = dated(1500, arrivals={"first_day": dt.date.fromisoformat(counts_from)})
    walk = plan(scenario)
    issue, paid, worked_out = Issue.of(scenario, walk.seed), Counter[str](), Counter[str]()
    met: Counter[str] = Counter()
    for row in walk.rows():
        _, owed = codes.code(walk, row)
        bill = issue.bill(row.bill)
        day = scenario.first_day + dt.timedelta(days=row.intended_start_us // DAY_US)
        terms = "late" if day > bill.due_on else "due"
        if (day - bill.issued_on).days <= 7:
            terms = "early"
        met[terms] += 1
        change = (abs(TERMS[terms]) * bill.amount_paise + 5_000) // 10_000
        worked_out[row.kind] += bill.amount_paise + (change if terms == "late" else -change)
        paid[row.kind] += owed.amount_paise
    assert min(met[terms] for terms in TERMS) > 50
    ended = money(walk, np.zeros(len(walk), np.int8))
    found = {kind: sum(ends.values()) for kind, ends in ended.items()}
    assert found == paid == worked_out


def test_a_stream_sums_what_the_whole_sums() -> None:
    """Every way and every end to the paisa, though the stream forgets the plan as it goes."""
    scenario = dated(2500)
    whole = plan(scenario)
    done = engines.walk(whole, "numba", rows=False)
    parts = [
        Plan(scenario, whole.seed, whole.table.slice(first, 400))
        for first in range(0, len(whole), 400)
    ]
    found = streaming.stream(scenario, parts=parts, sample=10).paise
    assert found == money(whole, done.summarised(whole).ends)
    assert {"confirmed", "declined"} <= set(found["qr_ebill"])


def test_what_has_ended_is_forgotten() -> None:
    """A journey that is slow to end keeps its sum, and nothing before it is kept."""
    scenario = dated(1000)
    whole = plan(scenario)
    sums = Sums(scenario, whole.seed)
    ends = (np.arange(1000) % len(measures.ENDS)).astype(np.int8)
    for first in range(0, 1000, 100):
        sums.begin(Plan(scenario, whole.seed, whole.table.slice(first, 100)))
        assert len(sums._owed) <= 101
        # All but the last of the part end, and the last one of the part before.
        places = np.arange(max(first - 1, 0), first + 99)
        sums.end(places, ends[places])
    sums.end(np.array([999]), ends[999:])
    assert sums.paise() == money(whole, ends)
