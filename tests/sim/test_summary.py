"""What a walk comes to, against sums by hand and against counting moment by moment."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewseconds import measures, scenario_file
from fewseconds.plan import HOUR_US, plan
from sim import reference
from sim.summary import MEASURES
from sim.summary_of_rows import overlap_us, summary_of_rows

if TYPE_CHECKING:
    from collections.abc import Callable

    from fewseconds.plan import Plan
    from fewseconds.scenario import Scenario
    from sim.summary import Summary

    Tiny = Callable[..., Scenario]
    Starting = Callable[..., Plan]

SPANS = st.lists(st.tuples(st.integers(0, 5 * HOUR_US), st.integers(0, 3 * HOUR_US)), max_size=20)


@given(SPANS)
def test_time_is_shared_out_over_the_hours_exactly(spans: list[tuple[int, int]]) -> None:
    """Each hour gets the time of every span that falls into it, to the microsecond."""
    expected = [
        sum(
            max(min(begin + length, (hour + 1) * HOUR_US) - max(begin, hour * HOUR_US), 0)
            for begin, length in spans
        )
        for hour in range(9)
    ]
    begin = np.array([begin for begin, _ in spans], np.int64)
    length = np.array([length for _, length in spans], np.int64)
    assert overlap_us(begin, begin + length, 9).tolist() == expected


def test_sums_that_pass_the_range_of_a_word_come_out_right() -> None:
    """Five million spans late in the month overflow on the way, but not in the result."""
    begin = np.full(5_000_000, 700 * HOUR_US, np.int64)
    assert overlap_us(begin, begin + 7, 720)[-20:].tolist() == [35_000_000] + [0] * 19


def test_a_queue_by_hand(tiny: Tiny, starting: Starting) -> None:
    """One clerk, a minute each, room for one in line: served, waited and turned away by hand."""
    scenario = tiny(
        {"serve": {"legs": [{"station": "clerk"}]}},
        {"clerk": {"servers": 1, "queue_limit": 1, "service_time": 60_000}},
    )
    # The first begins half a minute before the hour; the third finds the line full.
    walk = starting(scenario, [3_570_000, 3_580_000, 3_590_000])
    summary = summary_of_rows(reference.simulate(walk).outcomes, walk)
    use = summary.stations["clerk"]
    assert (use.visits, use.rejected, use.reneged, use.queue_max) == (3, 1, 0, 1)
    assert use.busy_us == 120_000_000
    assert use.waiting_us == 50_000_000
    assert use.busy_us_by_hour[:3].tolist() == [30_000_000, 90_000_000, 0]
    assert use.waiting_us_by_hour[:3].tolist() == [20_000_000, 30_000_000, 0]
    assert use.visits_by_hour[:2].tolist() == [3, 0]
    assert summary.fates == {"confirmed": 2, "failed": 1}


def test_patience_that_ends_is_counted_as_waiting_without_work(
    tiny: Tiny, starting: Starting
) -> None:
    """Who leaves the line after ten seconds has waited ten seconds and was never served."""
    patience = {"law": "constant", "value_ms": 10_000, "source": "made up"}
    scenario = tiny(
        {"serve": {"legs": [{"station": "clerk"}]}},
        {"clerk": {"servers": 1, "patience": patience, "service_time": 60_000}},
    )
    walk = starting(scenario, [0, 1000])
    use = summary_of_rows(reference.simulate(walk).outcomes, walk).stations["clerk"]
    assert (use.reneged, use.waiting_us, use.busy_us) == (1, 10_000_000, 60_000_000)


@pytest.fixture(scope="module")
def walked() -> tuple[Plan, Summary, list[dict[str, object]]]:
    """A few thousand journeys of the shipped city, some of them in queues."""
    scenario = scenario_file.load("due_date_evening", {"consumers": 4000})
    walk = plan(scenario)
    rows = reference.simulate(walk).outcomes
    return walk, summary_of_rows(rows, walk), rows.to_pylist()


def test_no_journey_and_no_visit_is_lost(
    walked: tuple[Plan, Summary, list[dict[str, object]]],
) -> None:
    """Ends add up to the journeys, visits to the rows, and hours to the whole."""
    walk, summary, rows = walked
    assert sum(summary.fates.values()) == summary.journeys == len(walk)
    for name, use in summary.stations.items():
        mine = [row for row in rows if row["station"] == name]
        assert use.visits == len(mine) == use.visits_by_hour.sum()
        assert use.busy_us == use.busy_us_by_hour.sum()
        assert use.waiting_us == use.waiting_us_by_hour.sum()


def test_samples_are_those_that_objectives_are_judged_on(
    walked: tuple[Plan, Summary, list[dict[str, object]]],
) -> None:
    """Every measure's samples are the same numbers as those of the rows."""
    walk, summary, _ = walked
    rows = measures.frame(reference.simulate(walk).outcomes)
    table = measures.journeys(rows, walk)
    for name in MEASURES:
        expected = np.sort(measures.samples(name, table, rows))
        assert np.array_equal(np.sort(summary.samples(name)), expected)
        assert len(expected) > 0


def test_a_warm_up_is_left_out_by_rows_of_the_plan(
    walked: tuple[Plan, Summary, list[dict[str, object]]],
) -> None:
    """Samples of a stretch of the plan are those of its journeys, found by their numbers."""
    walk, summary, _ = walked
    first, last = 1000, 2500
    rows = measures.frame(reference.simulate(walk).outcomes)
    table = measures.journeys(rows, walk)
    inside = walk.table["journey_id"].to_pylist()[first:last]
    for name in MEASURES:
        says = measures.says(name, table, rows)
        expected = says.filter(says["journey_id"].is_in(inside))["seconds"].sort()
        found = np.sort(summary.samples(name, first, last))
        assert found.tolist() == expected.to_list()
        assert 0 < len(found) < len(summary.samples(name))
