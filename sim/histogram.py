"""Counts of durations in log-linear cells: small, exact to a share of the value, and mergeable.

The cells are those of the HDR histogram: 128 of equal width in each power of two, so a value is
known to within 1/128 of itself; histograms of parts add up to the histogram of the whole.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

HALF_BITS: Final = 7
HALF: Final = 1 << HALF_BITS
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

    def quantile_s(self, probability: float) -> float:
        """The nearest-rank quantile in seconds, from above by at most 1/128; infinite if it is."""
        rank = max(math.ceil(probability * len(self)), 1)
        running = np.cumsum(self.counts)
        if not len(self) or rank > running[-1]:
            return math.inf
        return upper_edge(int(np.searchsorted(running, rank))) / 1e6
