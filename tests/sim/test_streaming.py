"""A walk in pieces and in constant memory comes to what a walk in one piece comes to."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fewseconds import scenario_file, slo
from fewseconds.measures import frame
from fewseconds.plan import HOUR_US, Plan, plan
from fewseconds.scenario import Slo
from sim import engines, streaming
from sim.histogram import Histogram, cell, upper_edge

pytestmark = pytest.mark.timeout(300)


@given(st.integers(0, 2**52))
def test_a_cell_holds_its_values(value: int) -> None:
    """A value lies at or below the upper edge of its cell, by no more than a 128th of itself."""
    index = int(cell(np.array([value]))[0])
    assert value <= upper_edge(index) <= value + value // 128
    assert index == 0 or upper_edge(index - 1) < value


@given(st.lists(st.floats(0, 1e4), min_size=1), st.floats(0.01, 1))
def test_a_quantile_is_that_of_the_sorted_values(seconds: list[float], probability: float) -> None:
    """The nearest rank of the sorted sample, from above within a 128th; parts add up."""
    whole, left, right = Histogram(), Histogram(), Histogram()
    whole.add(np.array(seconds))
    left.add(np.array(seconds[::2]))
    right.add(np.array(seconds[1::2]))
    left.merge(right)
    exact = sorted(seconds)[max(math.ceil(probability * len(seconds)), 1) - 1]
    assert exact - 1e-6 <= whole.bounds(probability)[1] <= exact * (1 + 1 / 128) + 1e-6
    np.testing.assert_array_equal(left.counts, whole.counts)


def test_a_stream_comes_to_what_the_whole_comes_to() -> None:
    """Ends, histograms, use of stations and events of 3 000 journeys are those of the plan."""
    scenario = scenario_file.load("mumbai", {"consumers": 3000})
    streamed = streaming.stream(scenario, sample=100)
    whole = plan(scenario)
    done = engines.walk(whole, "numba")
    summary = done.summarised(whole)
    assert streamed.journeys == len(whole) == 3000
    assert (streamed.events, streamed.fates) == (done.events, summary.fates)
    for name, histogram in streamed.measures.items():
        expected = Histogram()
        expected.add(summary.samples(name))
        np.testing.assert_array_equal(histogram.counts, expected.counts)
        assert histogram.infinite == expected.infinite
    errors = summary.samples("error_rate")
    assert (len(streamed.errors), streamed.errors.total()) == (len(errors), errors.sum())
    hours = np.bincount(whole.starts_us // HOUR_US, minlength=len(streamed.seen.hourly))
    np.testing.assert_array_equal(streamed.seen.hourly, hours)
    assert streamed.seen.span_us == (whole.starts_us[0], whole.starts_us[-1])
    for name, use in streamed.stations.items():
        for field in use.__struct_fields__:
            np.testing.assert_array_equal(
                getattr(use, field), getattr(summary.stations[name], field)
            )
    sample, rows = frame(streamed.sample), frame(done.outcomes)
    numbers = sample["journey_id"].unique()
    assert 50 < len(numbers) < 200
    assert sample.equals(rows.filter(rows["journey_id"].is_in(numbers.implode())))
    assert set(numbers) == set(streamed.seen.sampled.table["journey_id"].to_pylist())


def test_the_densest_journeys_of_a_stream_are_those_of_the_month() -> None:
    """Of all stretches of 40 journeys that lie in one part, the shortest is remembered."""
    scenario = scenario_file.load("mumbai", {"consumers": 3000, "simulate": {"journeys_max": 40}})
    whole = plan(scenario)
    seen = streaming.Seen(scenario, whole.seed, 100)
    for first in range(0, len(whole), 500):
        seen.keep(Plan(scenario, whole.seed, whole.table.slice(first, 500)))
    starts = whole.starts_us
    spans = [
        starts[first + 39] - starts[first]
        for first in range(len(whole) - 39)
        if first // 500 == (first + 39) // 500
    ]
    found = seen.densest.starts_us
    assert found[-1] - found[0] == min(spans)
    np.testing.assert_array_equal(found, starts[np.searchsorted(starts, found[0]) :][:40])


@pytest.mark.parametrize("limit", [2.0, 3.0, 3.3, 4.0, 9.0])
@pytest.mark.parametrize("at_least", [False, True])
@given(seed=st.integers(0, 99))
@settings(max_examples=10)
def test_a_histogram_is_judged_as_its_values_are(
    limit: float, seed: int, *, at_least: bool
) -> None:
    """Its verdict is that of the values, or that it cannot tell; its interval holds theirs."""
    values = np.random.default_rng(seed).lognormal(1.2, 0.4, 400)
    kept = Histogram()
    kept.add(values)
    values = np.rint(values * 1e6) / 1e6
    wanted = Slo(
        name="made up", measure="machine_time", statistic="p50", limit=limit, at_least=at_least,
        gate=True, source="made up",
    )  # fmt: skip
    exact, told = (
        slo.judge(wanted, "simulated", one, slo.Validity(valid=True)) for one in (values, kept)
    )
    low, high = kept.bounds(0.5)
    assert exact.observed is not None
    assert exact.low is not None
    assert exact.high is not None
    assert low <= exact.observed <= high <= low * (1 + 1 / 128) + 1e-6
    assert told.count == exact.count
    assert told.low is not None
    assert told.high is not None
    assert exact.low * (1 - 1 / 128) - 1e-6 <= told.low <= exact.low
    assert exact.high <= told.high <= exact.high * (1 + 1 / 128) + 1e-6
    assert told.word == (exact.word if (low <= limit) == (high <= limit) else "inconclusive")


def test_a_city_twice_as_large_with_stations_twice_as_large_is_as_fast() -> None:
    """Its servers are as busy as before, so the biller's times are those of the smaller city."""
    small = scenario_file.load(
        "due_date_evening", {"consumers": 4000, "stations": {"biller": {"servers": 1}}}
    )
    grown = {name: station.grown(2.0) for name, station in small.stations.items()}
    large = msgspec.structs.replace(small, consumers=8000, stations=grown)
    uses = [streaming.stream(one).stations["biller"] for one in (small, large)]
    assert [use.servers for use in uses] == [1, 2]
    loads = [int(use.busy_us_by_hour.sum()) / use.servers for use in uses]
    assert loads[0] == pytest.approx(loads[1], rel=0.05)
