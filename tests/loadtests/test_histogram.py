"""Durations on the grid: NumPy's exact quantiles and the HdrHistogram package are the oracles."""

from __future__ import annotations

import math
from array import array

import numpy as np
import pytest
from hdrh.histogram import HdrHistogram
from hypothesis import given
from hypothesis import strategies as st

from loadtests.histogram import CELLS, LONGEST_US, Histogram, cells, top_us

DURATIONS = st.lists(st.integers(0, LONGEST_US), min_size=1, max_size=200)
SHARES = st.sampled_from([0.01, 0.5, 0.9, 0.95, 0.99, 0.999, 1.0])


def filled(values: list[int]) -> Histogram:
    """A histogram of values."""
    histogram = Histogram()
    histogram.add(array("q", values))
    return histogram


@given(DURATIONS, SHARES)
def test_quantiles_are_numpys_to_three_digits_and_never_flatter(
    values: list[int], share: float
) -> None:
    """A quantile is at least the exact nearest-rank one and at most 1 part in 1 024 above it."""
    exact = int(np.quantile(np.array(values), share, method="inverted_cdf"))
    found = filled(values).quantile_us(share)
    assert found is not None
    assert exact <= found <= exact + exact / 1024


@given(DURATIONS)
def test_every_cell_holds_what_it_says(values: list[int]) -> None:
    """A value lies in its cell: above the cell before, at most at its own top."""
    for value, cell in zip(values, cells(np.array(values)).tolist(), strict=True):
        assert 0 <= cell < CELLS
        assert value <= top_us(cell)
        assert cell == 0 or value > top_us(cell - 1)


@given(st.lists(DURATIONS, min_size=1, max_size=5))
def test_merging_loses_nothing(parts: list[list[int]]) -> None:
    """Histograms sent in a message and added up are the histogram of everything."""
    total = Histogram()
    for part in parts:
        total.merge(Histogram.unpacked(filled(part).packed()))
    whole = filled([value for part in parts for value in part])
    assert (total.counts == whole.counts).all()
    assert (total.max_us, total.sum_us) == (whole.max_us, whole.sum_us)


def test_the_grid_is_hdr_histograms() -> None:
    """The package agrees on every quantile of a hundred thousand latencies of a mixed law."""
    luck = np.random.default_rng(5)
    values = np.rint(np.exp(luck.normal(8, 2.5, 100_000))).astype(np.int64) + 1
    other = HdrHistogram(1, 1 << 40, 3)
    for value in values.tolist():
        other.record_value(value)
    ours = Histogram()
    ours.add(values)
    for share in (0.1, 0.5, 0.9, 0.95, 0.99, 0.999, 0.9999):
        assert ours.quantile_us(share) == other.get_value_at_percentile(share * 100)


def test_what_never_ended_is_longer_than_anything() -> None:
    """Two lost of a hundred make p99 infinite and leave p95 alone."""
    histogram = filled(list(range(98)))
    histogram.never = 2
    assert histogram.quantile_us(0.99) == math.inf
    assert histogram.quantile_us(0.95) == 94
    assert histogram.share_above(95) == pytest.approx(0.04)
    assert Histogram().quantile_us(0.5) is None
