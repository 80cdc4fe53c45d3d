"""Printed intervals hold the truth nineteen times in twenty, on a queue whose truth is known.

The sampler is Lindley's recursion (1952) for M/M/1, in one vectorised line; the sojourn there is
exponential with rate ``1 - utilisation`` (in mean service times), so every quantile is known.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy import stats

from fewseconds import slo
from sim import intervals

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from sim.intervals import Estimate

    Sample = NDArray[np.float64]
    Interval = Callable[[list[Sample]], Estimate]

REPETITIONS = 200
REPLICATIONS = 10
UTILISATION = 0.7
WARM_UP = 1000
LENGTH = 4000


def sojourns(interarrivals: Sample, services: Sample, warm_up: int = WARM_UP) -> list[Sample]:
    """Sojourns of a queue that begins empty, ascending, one row a replication.

    With ``X`` the walk of service minus interarrival times, the wait is ``X - min(X so far)``.
    """
    steps = services[:, :-1] - interarrivals[:, 1:]
    walk = np.concatenate([np.zeros((len(steps), 1)), np.cumsum(steps, axis=1)], axis=1)
    waits = walk - np.minimum.accumulate(walk, axis=1)
    return list(np.sort((waits + services)[:, warm_up:], axis=1))


def drawn(generator: np.random.Generator, length: int = LENGTH) -> tuple[Sample, Sample]:
    """Interarrival and service times of mean 1 for all replications of one experiment."""
    shape = (REPLICATIONS, WARM_UP + length)
    return generator.exponential(1, shape), generator.exponential(1, shape)


def truth(name: str, utilisation: float = UTILISATION) -> float:
    """A quantile of the sojourn, in mean service times, its mean, or the share above 5 of them."""
    if name == "mean":
        return 1 / (1 - utilisation)
    if name == intervals.SHARE:
        return math.exp(-(1 - utilisation) * 5)
    return -math.log(1 - slo.QUANTILES[name]) / (1 - utilisation)


def held(found: Estimate, value: float) -> bool:
    """Whether an interval holds a value."""
    assert found.low is not None
    assert found.high is not None
    return found.low <= value <= found.high


def coverage(name: str, interval: Interval, length: int = LENGTH) -> tuple[float, int]:
    """Share of printed intervals that hold the truth, and how many were printed."""
    hits = []
    for seed in range(REPETITIONS):
        interarrivals, services = drawn(np.random.default_rng(seed), length)
        samples = sojourns(interarrivals / UTILISATION, services)
        if name == intervals.SHARE:
            samples = [(sample > 5).astype(float) for sample in samples]
        found = interval(samples)
        if found.observed is not None:
            hits.append(held(found, truth(name)))
    return (float(np.mean(hits)) if hits else math.nan), len(hits)


def averaged(samples: list[Sample]) -> Estimate:
    """The planted bug: a mean of the replications' quantiles, with the spread of that mean."""
    return intervals.mean([intervals.of_one(sample, "p95") for sample in samples])


def naive(samples: list[Sample]) -> Estimate:
    """The planted bug: all values taken for independent."""
    observed, low, high = slo.quantile(np.concatenate(samples), 0.95)
    return intervals.Estimate(observed, low, high, 0, len(samples))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mean", "p50", "p95", "share"])
def test_intervals_hold_the_truth_nineteen_times_in_twenty(name: str) -> None:
    """Of two hundred printed intervals between 90 and 99 % hold the known value."""

    def interval(samples: list[Sample]) -> Estimate:
        if name == "mean":
            return intervals.mean([float(sample.mean()) for sample in samples])
        return intervals.statistic(samples, name)

    covered, printed = coverage(name, interval)
    assert printed > 0.9 * REPETITIONS
    assert 0.90 <= covered <= 0.99


@pytest.mark.slow
def test_what_is_printed_rather_than_refused_is_not_the_luckier_half() -> None:
    """Where about every other percentile is refused, the printed ones still hold the truth."""
    covered, printed = coverage("p95", lambda s: intervals.statistic(s, "p95"), length=1400)
    assert 0.25 * REPETITIONS < printed < 0.9 * REPETITIONS
    assert covered >= 0.88


@pytest.mark.slow
@pytest.mark.parametrize(("bug", "length"), [(averaged, 200), (naive, LENGTH)])
def test_averaged_quantiles_and_naive_intervals_are_caught(bug: Interval, length: int) -> None:
    """The intervals that most tools print miss the truth much too often on the same queue."""
    covered, _ = coverage("p95", bug, length)
    assert covered < 0.90
    # The shorter sample is one that our own function refuses to print a percentile of.
    if bug is averaged:
        assert coverage("p95", lambda s: intervals.statistic(s, "p95"), length)[1] < 5


def faster(
    generator: np.random.Generator, *, common: bool, factor: float = 0.9
) -> tuple[list[Sample], list[Sample]]:
    """The queue, and the same with shorter services, with or without common numbers."""
    interarrivals, services = drawn(generator)
    other = (interarrivals, services) if common else drawn(generator)
    slow = sojourns(interarrivals / UTILISATION, services)
    return slow, sojourns(other[0] / UTILISATION, other[1] * factor)


def gain(name: str) -> float:
    """What a tenth less service takes off the sojourn's quantile."""
    return truth(name, UTILISATION * 0.9) * 0.9 - truth(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["p50", "p95"])
def test_paired_differences_hold_the_truth(name: str) -> None:
    """With common random numbers the printed difference holds the known one as often as it says."""
    hits = []
    for seed in range(REPETITIONS):
        slow, fast = faster(np.random.default_rng(seed), common=True)
        hits.append(held(intervals.paired_statistic(slow, fast, name), gain(name)))
    assert 0.90 <= np.mean(hits) <= 0.99


@pytest.mark.slow
def test_an_unpaired_difference_is_caught() -> None:
    """Pairs taken for independent (the planted bug) give intervals that always hold: too wide."""
    hits, widths = [], []
    for seed in range(REPETITIONS):
        slow, fast = faster(np.random.default_rng(seed), common=True)
        paired = intervals.paired_statistic(slow, fast, "p50")
        one, other = (intervals.statistic(side, "p50") for side in (slow, fast))
        half = math.hypot(one.half_width, other.half_width)
        assert paired.observed is not None
        hits.append(abs(paired.observed - gain("p50")) <= half)
        widths.append(half / paired.half_width)
    assert np.mean(hits) > 0.99
    assert np.median(widths) > 2


def test_common_random_numbers_cut_the_variance_of_a_difference() -> None:
    """Under common random numbers a difference varies less than a tenth of what it does without."""
    variances = []
    for common in (True, False):
        slow, fast = faster(np.random.default_rng(5), common=common, factor=0.98)
        each = [float(np.median(b) - np.median(a)) for a, b in zip(slow, fast, strict=True)]
        variances.append(np.var(each, ddof=1))
    assert variances[0] < variances[1] / 10


def test_the_mean_is_students(rng_values: list[float]) -> None:
    """The interval of a mean is the one that SciPy gives for Student's t."""
    found = intervals.mean(rng_values)
    expected = stats.t.interval(
        0.95, len(rng_values) - 1, np.mean(rng_values), stats.sem(rng_values)
    )
    assert (found.low, found.high) == pytest.approx(expected)


@pytest.fixture
def rng_values() -> list[float]:
    """Some numbers."""
    return [float(x) for x in np.random.default_rng(1).normal(5, 2, 12)]


@pytest.mark.parametrize(
    ("samples", "name", "reason"),
    [
        ([np.arange(500.0)] * 2, "p50", "2 replications have no spread to speak of; run 3"),
        ([np.arange(5.0), np.empty(0), np.arange(5.0)], "p50", "nothing of the kind"),
        ([np.arange(300.0)] * 3, "p99", "900 values cannot support a p99: 2.5 of them are worth"),
        ([np.arange(30.0)] * 3, "p95", "so it takes 1000; run more replications"),
    ],
)
def test_what_a_sample_cannot_support_is_a_sentence(
    samples: list[Sample], name: str, reason: str
) -> None:
    """Too few values beyond a percentile, or too few replications, give no number but a reason."""
    found = intervals.statistic(samples, name)
    assert (found.observed, found.low, found.high) == (None, None, None)
    assert reason in found.reason


def test_values_that_say_the_same_count_once() -> None:
    """Replications that differ as wholes are worth far fewer values than they have."""
    generator = np.random.default_rng(2)
    alike = [np.sort(generator.normal(0, 1, 4000)) for _ in range(12)]
    apart = [sample + shift for sample, shift in zip(alike, np.arange(12) / 4, strict=True)]
    assert intervals.statistic(alike, "p95").observed is not None
    assert "cannot support" in intervals.statistic(apart, "p95").reason


def test_what_never_ends_has_no_upper_bound() -> None:
    """One replication in which too many never end opens the interval upwards."""
    fine = np.arange(1.0, 1001.0)
    broken = np.concatenate([fine[:400], np.full(600, np.inf)])
    found = intervals.statistic([fine, fine, fine, broken], "p50")
    assert found.observed is not None
    assert found.high is None
    assert intervals.statistic([broken] * 3, "p50").observed == math.inf


def test_no_failure_at_all_is_not_certainty() -> None:
    """A share of nothing in three hundred is still up to a per cent (Wilson, 1927)."""
    found = intervals.statistic([np.zeros(100)] * 3, "share")
    assert (found.observed, found.low) == (0, 0)
    assert found.high == pytest.approx(1.96**2 / (300 + 1.96**2), rel=1e-3)
