"""Sums of money of a walk, added up bill by bill from its rows."""

from __future__ import annotations

from collections import Counter

from fewseconds import measures, scenario_file
from fewseconds.plan import plan
from fixtures.bills import Issue
from sim import engines
from sim.money import money


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
