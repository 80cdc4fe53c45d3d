"""A walk in pieces and in constant memory comes to what a walk in one piece comes to."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewseconds import scenario_file
from fewseconds.measures import frame
from fewseconds.plan import plan
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
    assert exact - 1e-6 <= whole.quantile_s(probability) <= exact * (1 + 1 / 128) + 1e-6
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
    for name, use in streamed.stations.items():
        for field in use.__struct_fields__:
            np.testing.assert_array_equal(
                getattr(use, field), getattr(summary.stations[name], field)
            )
    sample, rows = frame(streamed.sample), frame(done.outcomes)
    numbers = sample["journey_id"].unique()
    assert 50 < len(numbers) < 200
    assert sample.equals(rows.filter(rows["journey_id"].is_in(numbers.implode())))
