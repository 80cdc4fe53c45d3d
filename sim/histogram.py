"""Counts of durations in log-linear cells: small, exact to a share of the value, and mergeable.

The cells are those of the HDR histogram: 128 of equal width in each power of two, so a value is
known to within 1/128 of itself; histograms of parts add up to the histogram of the whole.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np

from fewseconds import slo

if TYPE_CHECKING:
    from numpy.typing import NDArray

HALF_BITS: Final = 7
HALF: Final = 1 << HALF_BITS
DRAWN: Final = 2000
"""Points of a drawing."""
CELLS: Final = (63 - HALF_BITS) * HALF + HALF
"""Enough for every int64 that is not negative."""


def cell(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """The cell of each value (whole numbers from 0 to 2**53)."""
    # frexp's exponent is the number of bits; it is exact up to 2**53.
    exponent = np.maximum(np.frexp(values.astype(np.float64))[1] - HALF_BITS - 1, 0)
    found: NDArray[np.int64] = (exponent << HALF_BITS) + (values >> exponent)
    return found


def upper_edge(index: int) -> int:
    """The largest value that falls into a cell."""
    exponent = max((index >> HALF_BITS) - 1, 0)
    return ((index - (exponent << HALF_BITS) + 1) << exponent) - 1


class Histogram:
    """Counts of microseconds; what never came to its end is counted apart, as infinite."""

    def __init__(self) -> None:
        """Begin empty."""
        self.counts = np.zeros(CELLS, np.int64)
        self.infinite = 0

    def __len__(self) -> int:
        """How many values, infinite ones included."""
        return int(self.counts.sum()) + self.infinite

    def add(self, seconds: NDArray[np.float64]) -> None:
        """Count durations given in seconds, as measures give them; NaN is left out."""
        finite = seconds[np.isfinite(seconds)]
        self.infinite += int(np.isinf(seconds).sum())
        self.counts += np.bincount(cell(np.rint(finite * 1e6).astype(np.int64)), minlength=CELLS)

    def merge(self, other: Histogram) -> None:
        """Add the counts of another part."""
        self.counts += other.counts
        self.infinite += other.infinite

    def quantile(self, probability: float) -> slo.Numbers:
        """The nearest-rank quantile in seconds with its 95 % interval.

        The quantile is given from above, and the interval is wider by the cells of its ends.
        """
        centre, low, high = slo.ranks(len(self), probability)
        return (
            self._between(centre)[1],
            None if low is None else self._between(low)[0],
            None if high is None else self._between(high)[1],
        )

    def bounds(self, probability: float) -> tuple[float, float]:
        """Between what seconds the quantile lies: at most a 128th of itself apart."""
        return self._between(slo.ranks(len(self), probability)[0])

    def _between(self, rank: int) -> tuple[float, float]:
        """Least and greatest seconds that the value of this rank, from 1, may have."""
        running = np.cumsum(self.counts)
        if rank > running[-1]:
            return math.inf, math.inf
        index = int(np.searchsorted(running, rank))
        return (upper_edge(index - 1) + 1 if index else 0) / 1e6, upper_edge(index) / 1e6

    def total(self) -> float:
        """Raises TypeError: durations are no shares."""
        raise TypeError("a histogram of durations")

    def drawn(self, points: int = DRAWN) -> NDArray[np.float64]:
        """Quantiles at equal steps of probability, from above: a sample that is drawn alike."""
        ranks = np.ceil((np.arange(points) + 0.5) / points * len(self))
        cells = np.searchsorted(np.cumsum(self.counts), ranks)
        edges = [math.inf if index >= CELLS else upper_edge(int(index)) / 1e6 for index in cells]
        return np.array(edges if len(self) else [])


class Tally:
    """How many of so many; the sample of a measure that is 0 or 1."""

    def __init__(self) -> None:
        """Begin empty."""
        self.count, self.hits = 0, 0.0

    def __len__(self) -> int:
        """How many values."""
        return self.count

    def add(self, values: NDArray[np.float64]) -> None:
        """Count values that are 0 or 1."""
        self.count += len(values)
        self.hits += float(values.sum())

    def merge(self, other: Tally) -> None:
        """Add the counts of another part."""
        self.count += other.count
        self.hits += other.hits

    def total(self) -> float:
        """How many of them are 1."""
        return self.hits

    def drawn(self) -> NDArray[np.float64]:
        """Raises TypeError: there is nothing to draw."""
        raise TypeError("a share")

    def quantile(self, probability: float) -> slo.Numbers:
        """Raises TypeError: shares have no quantiles."""
        raise TypeError(probability)

    def bounds(self, probability: float) -> tuple[float, float]:
        """Raises TypeError: shares have no quantiles."""
        raise TypeError(probability)
