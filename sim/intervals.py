"""Intervals for what replications say, and the refusal to print what they cannot support.

A replication is a whole walk under a seed of its own. Inside one, journeys share queues, so they
are not independent: intervals rest on the spread *between* replications alone, and on nothing else.

* Means: Student's t over replications (Law, Simulation Modeling and Analysis, 5th ed., 9.4.1).
* Percentiles: the centre is the quantile of all replications pooled, because an average of
  quantiles is biased; the spread is that of the replications' own quantiles around it: *sectioning*
  (Asmussen and Glynn, Stochastic Simulation, III.5a; Nakayama, ACM TOMACS 24(4), 2014).
* Shares: t over replications, and never narrower than Wilson's interval (1927) on all of them.
* Differences between two systems under common random numbers: the same on the differences of each
  pair (Law, 10.2.1).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np
from scipy import stats

from fewseconds import slo

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Sample = NDArray[np.float64]

BEYOND_MIN: Final = 20
"""So many independent values must lie beyond a percentile that is printed."""
REPLICATIONS_MIN: Final = 3
TAIL: Final = 2.5
"""So many times as many values are worth one in the tail of a queue as at its median.

Measured on sojourns in M/M/1 at utilisations 0.7 to 0.9 (2.3 to 2.5 at p95, 2.0 at p99). The median
is where it is measured in every sample: measured in the tail itself, a sample that happens to be
narrow would be allowed to print its narrow interval, and what is printed covers 50 to 80 %.
"""
SHARE: Final = "share"
MEDIAN: Final = 0.5


class Estimate(msgspec.Struct, frozen=True):
    """A statistic with its 95 % interval, or the sentence that says why there is none."""

    observed: float | None
    low: float | None
    high: float | None
    """None where the interval has no bound."""
    count: int
    """Values behind it, over all replications."""
    replications: int
    reason: str = ""
    """Why nothing is said; empty if something is."""

    @property
    def half_width(self) -> float:
        """Half the width of the interval; infinite without one."""
        if self.low is None or self.high is None:
            return math.inf
        return (self.high - self.low) / 2


def critical(replications: int) -> float:
    """The two-sided 95 % point of Student's t."""
    return float(stats.t.ppf(0.5 + slo.CONFIDENCE / 2, replications - 1))


def around(centre: float, each: Sequence[float]) -> tuple[float | None, float | None]:
    """The 95 % interval around ``centre`` from one value a replication.

    The deviations are taken from ``centre``, not from the mean of ``each``: where the two differ
    (the pooled quantile does not), the difference widens the interval as it should.
    """
    if not math.isfinite(centre):
        return None, None
    deviations = np.asarray(each, float) - centre
    if not np.isfinite(deviations).all():
        below = [value for value in each if value < centre]
        return (min(below) if below else centre), None
    spread = math.sqrt(float((deviations**2).sum()) / (len(each) - 1))
    half = critical(len(each)) * spread / math.sqrt(len(each))
    return centre - half, centre + half


def nearest_rank(ordered: Sample, probability: float) -> float:
    """The quantile of ascending values, as ``slo.quantile`` takes it."""
    return float(ordered[max(math.ceil(probability * len(ordered)), 1) - 1])


def mean(values: Sequence[float]) -> Estimate:
    """The mean of one number a replication."""
    if len(values) < REPLICATIONS_MIN:
        return _nothing(len(values), len(values), _few(len(values)))
    centre = float(np.mean(values))
    low, high = around(centre, values)
    return Estimate(centre, low, high, len(values), len(values))


def difference(first: Sequence[float], second: Sequence[float]) -> Estimate:
    """``second - first``, paired by replication."""
    return mean([b - a for a, b in zip(first, second, strict=True)])


def statistic(samples: Sequence[Sample], name: str) -> Estimate:
    """``p50`` … ``p99`` or ``share`` of ascending samples, one array a replication."""
    refusal = support(samples, name)
    count = sum(len(sample) for sample in samples)
    if refusal:
        return _nothing(count, len(samples), refusal)
    centre = of_all(samples, name)
    low, high = around(centre, [of_one(sample, name) for sample in samples])
    if name == SHARE:
        _, wilson_low, wilson_high = slo.share(centre * count, count)
        low = max(min(centre if low is None else low, wilson_low), 0.0)
        high = min(max(centre if high is None else high, wilson_high), 1.0)
    return Estimate(centre, low, high, count, len(samples))


def paired_statistic(first: Sequence[Sample], second: Sequence[Sample], name: str) -> Estimate:
    """``second - first`` of a statistic; equal positions are pairs with common random numbers."""
    count = sum(len(sample) for sample in (*first, *second))
    refusal = support(first, name) or support(second, name)
    if refusal:
        return _nothing(count, len(first), refusal)
    centre = of_all(second, name) - of_all(first, name)
    if not math.isfinite(centre):
        return _nothing(count, len(first), "one of the two is never: more fail than it leaves out")
    pairs = zip(first, second, strict=True)
    low, high = around(centre, [of_one(b, name) - of_one(a, name) for a, b in pairs])
    if name == SHARE and low == high:
        # Two shares of nothing differ by as much as either may still be (Newcombe, 1998).
        bounds = [slo.share(of_all(side, name) * n, n) for side, n in _sizes(first, second)]
        low, high = bounds[1][1] - bounds[0][2], bounds[1][2] - bounds[0][1]
    return Estimate(centre, low, high, count, len(first))


def _sizes(*sides: Sequence[Sample]) -> list[tuple[Sequence[Sample], int]]:
    return [(side, sum(len(sample) for sample in side)) for side in sides]


def of_all(samples: Sequence[Sample], name: str) -> float:
    """The statistic of all replications pooled."""
    if name == SHARE:
        return sum(float(s.sum()) for s in samples) / sum(len(s) for s in samples)
    return pooled(samples, slo.QUANTILES[name])


def of_one(sample: Sample, name: str) -> float:
    """The statistic of one replication."""
    return float(sample.mean()) if name == SHARE else nearest_rank(sample, slo.QUANTILES[name])


def support(samples: Sequence[Sample], name: str) -> str:
    """Why the samples cannot support a statistic, as a sentence; empty if they can.

    A percentile needs ``n >= 20 τ / (1 - q)`` values, where τ says how many values are worth one
    independent value (values of one busy hour say the same thing over and over).
    """
    count = sum(len(sample) for sample in samples)
    if count == 0 or not all(len(sample) for sample in samples):
        return "nothing of the kind was observed in some replication; take a longer window"
    if len(samples) < REPLICATIONS_MIN:
        return _few(len(samples))
    if name == SHARE:
        return ""
    probability = slo.QUANTILES[name]
    beyond = min(probability, 1 - probability)
    tau = worth(samples)
    if probability != MEDIAN:
        tau *= TAIL
    needed = math.ceil(BEYOND_MIN * tau / beyond)
    if count >= needed:
        return ""
    return (
        f"{count} values cannot support a {name}: {tau:.3g} of them are worth one, so it takes "
        f"{needed}; run more replications or a longer window"
    )


def worth(samples: Sequence[Sample]) -> float:
    """τ: how many values are worth one independent value at the median, at least 1.

    The variance between replications of the share of values above the pooled median, over what it
    would be if all values were independent (the design effect of Kish, Survey Sampling, 8.2).
    """
    limit = pooled(samples, MEDIAN)
    above = np.array([float((sample > limit).mean()) for sample in samples])
    count = float(np.mean([len(sample) for sample in samples]))
    centre = float(above.mean())
    if not 0 < centre < 1:
        return 1.0
    return max(float(above.var(ddof=1)) * count / (centre * (1 - centre)), 1.0)


def pooled(samples: Sequence[Sample], probability: float) -> float:
    """The quantile of all replications together."""
    return nearest_rank(np.sort(np.concatenate(samples)), probability)


def _few(replications: int) -> str:
    return f"{replications} replications have no spread to speak of; run {REPLICATIONS_MIN}"


def _nothing(count: int, replications: int, reason: str) -> Estimate:
    return Estimate(None, None, None, count, replications, reason)
