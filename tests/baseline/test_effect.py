"""The statistics of a comparison, on series whose truth is known because they were drawn."""

from __future__ import annotations

import math
import zlib
from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy import stats

from fewseconds.baseline.effect import MEAN, SHARE, Series, block_count, effect
from tests.baseline.conftest import correlated

if TYPE_CHECKING:
    from numpy.typing import NDArray


def times(rng: np.random.Generator, count: int, memory: float) -> NDArray[np.float64]:
    """Seconds that hang together: half of their variance does."""
    shape = np.sqrt(0.5) * correlated(rng, count, memory) + rng.normal(0, np.sqrt(0.5), count)
    seconds: NDArray[np.float64] = np.exp(0.5 * shape)
    return seconds


def in_range(false: int, trials: int, most: float) -> bool:
    """Whether so many false alarms are likely (1 in 1000 otherwise) at ``most`` a trial."""
    return bool(stats.binomtest(false, trials, most, alternative="greater").pvalue > 1e-3)


@pytest.mark.parametrize(("statistic", "memory"), [("p50", 0.0), ("p95", 0.0), ("p50", 0.8)])
def test_false_alarms_of_equal_runs_are_one_in_twenty(statistic: str, memory: float) -> None:
    """Two runs of one law differ significantly about once in twenty, also when values correlate."""
    rng = np.random.default_rng(11)
    alarms, widths = [], []
    for _ in range(80):
        found = effect(
            [Series(times(rng, 800, memory))], [Series(times(rng, 800, memory))], statistic
        )
        if found.p_value is not None and found.high is not None and found.low is not None:
            alarms.append(found.p_value < 0.05)
            widths.append(found.high - found.low)
    assert len(alarms) > 60
    assert in_range(sum(alarms), len(alarms), 0.05)
    # Nor are the intervals so wide that nothing would ever be found.
    assert float(np.median(widths)) < 0.4


@pytest.mark.slow
@pytest.mark.parametrize("statistic", ["p50", "p95", MEAN, SHARE])
@pytest.mark.parametrize("memory", [0.0, 0.9])
@pytest.mark.parametrize("paired", [False, True])
def test_intervals_hold_the_truth(statistic: str, memory: float, paired: bool) -> None:  # noqa: FBT001
    """The interval of a known change holds it about nineteen times in twenty."""
    # Not hash(), which differs from process to process.
    rng = np.random.default_rng(zlib.crc32(f"{statistic} {memory} {paired}".encode()))
    trials, missed, known = 50, 0, 0
    for _ in range(trials):
        shared = rng.normal(0, 1, 2000) if paired else np.zeros(2000)
        keys = np.arange(2000) if paired else None
        sides = [times(rng, 2000, memory) * np.exp(0.5 * shared) for _ in range(2)]
        sides[1] *= 1.25
        truth = 0.25
        if statistic == SHARE:
            sides = [(one > limit).astype(float) for one, limit in zip(sides, (1.5, 1.5 * 1.25),
                     strict=True)]  # fmt: skip
            truth = 0.0
        base, run = ([Series(one, keys)] for one in sides)
        found = effect(base, run, statistic)
        if found.low is None or found.high is None:
            continue
        known += 1
        missed += not found.low <= truth <= found.high
    assert known > trials / 2
    # A little more than nominal is allowed where blocks are few: half as much again.
    assert in_range(missed, known, 0.075)


def test_a_shift_is_found_and_given_its_size() -> None:
    """What is 20 % slower is significantly slower, by about 20 %, at every percentile."""
    rng = np.random.default_rng(3)
    for statistic in ("p50", "p95", MEAN):
        base, run = times(rng, 4000, 0.5), 1.2 * times(rng, 4000, 0.5)
        found = effect([Series(base)], [Series(run)], statistic)
        assert found.change == pytest.approx(0.2, abs=0.08)
        assert found.p_value is not None
        assert found.p_value < 0.01
        assert found.surely_above(0.0, 0.05)
        assert not found.surely_above(0.3, 0.05)
        assert found.surely_below(0.35, 0.05)


def test_pairs_find_what_separate_runs_cannot() -> None:
    """The same journeys on both sides cancel what is the journey's own: a narrower interval."""
    rng = np.random.default_rng(4)
    own = np.exp(rng.normal(0, 1, 3000))
    base, run = own * np.exp(rng.normal(0, 0.05, 3000)), 1.03 * own
    keys = np.arange(3000)
    paired = effect([Series(base, keys)], [Series(run, keys)], "p50")
    apart = effect([Series(base)], [Series(run)], "p50")
    assert paired.paired
    assert not apart.paired
    assert paired.error < 0.5 * apart.error


def test_independent_values_agree_with_textbooks() -> None:
    """Without correlation the error of a mean is that of Welch's test, and of a share binomial."""
    rng = np.random.default_rng(5)
    base, run = rng.gamma(50, 0.02, 5000), rng.gamma(50, 0.021, 5000)
    found = effect([Series(base)], [Series(run)], MEAN)
    textbook = math.hypot(*(one.std() / one.mean() / math.sqrt(5000) for one in (base, run)))
    assert found.error == pytest.approx(textbook, rel=0.35)
    failures = [(rng.random(5000) < share).astype(float) for share in (0.02, 0.05)]
    shares = effect([Series(failures[0])], [Series(failures[1])], SHARE)
    exact = stats.fisher_exact([[one.sum(), 5000 - one.sum()] for one in failures]).pvalue
    assert shares.p_value is not None
    assert shares.p_value < 0.001
    assert exact < 0.001


def test_no_failure_at_all_is_not_certainty() -> None:
    """0 of 300 on both sides is no change, with an interval of about one in a hundred."""
    found = effect([Series(np.zeros(300))], [Series(np.zeros(300))], SHARE)
    assert found.change == 0
    assert found.high is not None
    # Newcombe's hybrid score interval (1998) for 0/300 against 0/300 is ±1.26 points.
    assert 0.008 < found.high < 0.02


def test_three_runs_a_side_count_by_their_spread() -> None:
    """With runs that differ among themselves, many requests do not make up for few runs."""
    rng = np.random.default_rng(6)
    trials, false, naive = 100, 0, 0
    for _ in range(trials):
        sides = [
            [Series(np.exp(rng.normal(0, 0.1) + rng.normal(0, 0.3, 400))) for _ in range(4)]
            for _ in range(2)
        ]
        found = effect(sides[0], sides[1], "p50")
        assert found.p_value is not None
        false += found.p_value < 0.05
        means = [[float(np.log(np.median(one.values))) for one in side] for side in sides]
        naive += stats.ttest_ind(*means, equal_var=False).pvalue < 0.05
    assert in_range(false, trials, 0.05)
    assert abs(false - naive) <= 3


def test_what_the_sample_cannot_support_is_refused() -> None:
    """A p99 of 200 values, a ratio to never, and a run that is one long trend get no number."""
    rng = np.random.default_rng(7)
    few = [Series(rng.exponential(1, 200))]
    assert "cannot support a p99: it takes 1" in effect(few, few, "p99").reason
    assert effect(few, few, "p99").run is None
    broken = [Series(np.where(rng.random(200) < 0.7, np.inf, 1.0))]
    never = effect(few, broken, "p50")
    assert "never" in never.reason
    assert never.run == math.inf
    assert not never.surely_below(0.1, 0.05)
    trend = [Series(np.linspace(1, 2, 2000))]
    assert "hang together" in effect(few, trend, "p50").reason
    assert "nothing of the kind" in effect(few, [Series(np.array([]))], "p50").reason


def test_blocks_grow_with_the_memory_of_the_series() -> None:
    """The longer values remember, the fewer blocks; independent ones usually keep many."""
    rng = np.random.default_rng(8)
    counts = [
        np.mean([block_count(times(rng, 2000, memory), "p50") for _ in range(20)])
        for memory in (0.0, 0.97)
    ]
    assert counts[0] > 30 > counts[1]
