"""When requests start: arithmetic, and the law of Poisson arrivals, are the oracles."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from fewseconds.schedule import Stage, portion, ramp, spike, starts_us, steps

STAGES = st.lists(st.builds(Stage, st.floats(0, 3000), st.floats(0.1, 3)), min_size=1, max_size=4)


def starts(stages: list[Stage], seed: int | None, share: tuple[int, int] = (0, 1)) -> list[int]:
    """All starts."""
    return [int(one) for chunk in starts_us(stages, seed, share) for one in chunk]


@given(STAGES, st.none() | st.integers(0, 9), st.integers(1, 5))
def test_workers_share_a_schedule_without_overlap_or_gap(
    stages: list[Stage], seed: int | None, count: int
) -> None:
    """Worker i of n has the starts i, i + n, i + 2n and so on of the whole."""
    whole = starts(stages, seed)
    assert whole == sorted(whole)
    for index in range(count):
        assert starts(stages, seed, (index, count)) == whole[index::count]


@given(STAGES)
def test_even_arrivals_are_counted_by_rate_and_time(stages: list[Stage]) -> None:
    """Every stage has as many starts as its rate says, to one, and none is outside."""
    whole = np.array(starts(stages, None), np.int64)
    begin_us = 0.0
    for stage in stages:
        end_us = begin_us + stage.duration_s * 1e6
        inside = ((whole >= begin_us - 0.5) & (whole < end_us - 0.5)).sum()
        assert abs(inside - stage.rate_per_s * stage.duration_s) <= 1
        begin_us = end_us


def test_random_arrivals_are_a_poisson_process() -> None:
    """Gaps are exponential (Kolmogorov and Smirnov), counts a second Poisson (dispersion)."""
    whole = np.array(starts([Stage(500, 100)], 3))
    gaps_s = np.diff(whole) / 1e6
    assert scipy.stats.kstest(gaps_s, "expon", args=(0, 1 / 500)).pvalue > 0.001
    counts = np.bincount(whole // 1_000_000, minlength=100)
    dispersion = counts.var() / counts.mean() * 100
    assert scipy.stats.chi2(99).ppf(0.001) < dispersion < scipy.stats.chi2(99).ppf(0.999)
    assert counts.sum() == pytest.approx(50_000, abs=4 * 50_000**0.5)


@pytest.mark.parametrize(
    ("stages", "total"),
    [(ramp(0, 100, 10), 500), (steps(10, 40, 4, 20), 500), (spike(10, 100, 10), 280)],
)
def test_shapes_send_what_their_area_says(stages: list[Stage], total: int) -> None:
    """The requests of a shape are the area under it, and it lasts as long as it should."""
    assert len(starts(stages, None)) == pytest.approx(total, abs=len(stages))
    assert sum(stage.duration_s for stage in stages) == pytest.approx(
        20 if total == 500 and len(stages) == 4 else 10
    )


@given(st.integers(1, 64), st.integers(0, 1_000_000))
def test_portions_are_the_limit_shared_out(count: int, spare: int) -> None:
    """They add up to the limit, and no worker has more than one above another."""
    total = count + spare
    portions = [portion(total, index, count) for index in range(count)]
    assert sum(portions) == total
    assert max(portions) - min(portions) <= 1
    assert {portion(1, index, count) for index in range(count)} == {1}
