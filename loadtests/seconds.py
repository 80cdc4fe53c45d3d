"""Durations second by second, on the grid of :mod:`loadtests.histogram`; hours take no more memory.

What is over is put aside in a file without a name, which vanishes with the process.
"""

from __future__ import annotations

import tempfile
import weakref
from array import array
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np

from loadtests.histogram import LONGEST_US, Histogram, cells

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

SECOND_US: Final = 1_000_000
OPEN_S: Final = 3
"""A second takes what ends in it for so long; later, it is begun again and added up at the end."""


class Second(msgspec.Struct):
    """What ended within one second of the schedule."""

    second: int
    cells: bytes = b""
    """Little-endian int32, ascending."""
    counts: bytes = b""
    """How many are in each cell; int32 as well."""
    never: int = 0

    @property
    def total(self) -> int:
        """How many ended, or never will."""
        return int(np.frombuffer(self.counts, "<i4").sum()) + self.never

    def add(self, found: NDArray[np.int64], counts: NDArray[np.int64] | None = None) -> None:
        """Count these cells, each once unless ``counts`` says how often."""
        times = np.ones(len(found), np.int64) if counts is None else counts
        together = np.concatenate([np.frombuffer(self.cells, "<i4"), found])
        times = np.concatenate([np.frombuffer(self.counts, "<i4"), times])
        used, places = np.unique(together, return_inverse=True)
        self.cells = used.astype("<i4").tobytes()
        self.counts = np.bincount(places, times, len(used)).astype("<i4").tobytes()

    def merge(self, other: Second) -> None:
        """Take another's counts."""
        self.never += other.never
        cells_, counts = np.frombuffer(other.cells, "<i4"), np.frombuffer(other.counts, "<i4")
        self.add(cells_.astype(np.int64), counts.astype(np.int64))

    def histogram(self) -> Histogram:
        """The same as a histogram; its maximum is not known."""
        histogram = Histogram()
        histogram.counts[np.frombuffer(self.cells, "<i4")] = np.frombuffer(self.counts, "<i4")
        histogram.never, histogram.max_us = self.never, LONGEST_US
        return histogram

    def share_above(self, limit_us: int) -> float:
        """See :meth:`loadtests.histogram.Histogram.share_above`."""
        return self.histogram().share_above(limit_us)


class Series:
    """Seconds that are still open in memory, and the rest on disk."""

    def __init__(self) -> None:
        """Hold nothing."""
        self.open: dict[int, Second] = {}
        self._aside = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as this object is
        weakref.finalize(self, self._aside.close)
        self._lengths = array("q")

    def at(self, number: int) -> Second:
        """The second of that number, begun if need be."""
        found = self.open.get(number)
        if found is None:
            found = self.open[number] = Second(number)
        return found

    def add(self, when_us: NDArray[np.int64], values_us: NDArray[np.int64]) -> None:
        """Count durations, each in the second of its moment."""
        numbers = when_us // SECOND_US
        for number in np.unique(numbers):
            self.at(int(number)).add(cells(values_us[numbers == number]))

    def put_aside(self) -> None:
        """Write down what is over."""
        newest = max(self.open, default=0)
        for number in [one for one in self.open if one < newest - OPEN_S]:
            data = msgspec.msgpack.encode(self.open.pop(number))
            self._aside.write(data)
            self._lengths.append(len(data))

    def all(self) -> list[Second]:
        """Every second, in order."""
        self._aside.seek(0)
        aside = [
            msgspec.msgpack.decode(self._aside.read(length), type=Second)
            for length in self._lengths
        ]
        return joined([aside, list(self.open.values())])


def joined(series: Iterable[list[Second]]) -> list[Second]:
    """The seconds of several series as one; nothing is lost and nothing rounded."""
    together: dict[int, Second] = {}
    for seconds in series:
        for one in seconds:
            found = together.get(one.second)
            if found is None:
                together[one.second] = msgspec.structs.replace(one)
            else:
                found.merge(one)
    return [together[number] for number in sorted(together)]
