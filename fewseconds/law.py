"""Laws of time as they are written in a scenario, and their tables of int64 microseconds."""

from __future__ import annotations

import math
from functools import cache, lru_cache
from itertools import pairwise
from statistics import NormalDist
from typing import TYPE_CHECKING, Final, Literal

import msgspec
import numpy as np

from fewseconds import chance

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

Z95: Final = NormalDist().inv_cdf(0.95)
PARAMETERS: Final = {
    "constant": ("value_ms",),
    "uniform": ("low_ms", "high_ms"),
    "exponential": ("mean_ms",),
    "lognormal": ("median_ms", "p95_ms"),
    "quantiles": ("points",),
}
LONGEST_MS: Final = chance.VALUE_MAX / 1000
"""Largest duration that can be drawn: 12.7 days."""


class Law(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long something takes. Milliseconds as people write them; drawn as microseconds."""

    law: Literal["constant", "uniform", "exponential", "lognormal", "quantiles"]
    source: str
    """Where the numbers come from, or ``assumption: …``."""
    value_ms: float | None = None
    low_ms: float | None = None
    high_ms: float | None = None
    mean_ms: float | None = None
    median_ms: float | None = None
    p95_ms: float | None = None
    points: tuple[tuple[float, float], ...] | None = None
    """``[[probability, ms], …]`` from 0 to 1, straight lines between."""
    max_ms: float | None = None
    """The law is cut here: longer draws take exactly this long."""

    def problems(self) -> list[str]:
        """What is wrong with the numbers, as ``parameter: …`` phrases."""
        wanted = PARAMETERS[self.law]
        found = []
        for names in PARAMETERS.values():
            for name in names:
                value = getattr(self, name)
                if name in wanted and value is None:
                    found.append(f"{name}: missing; law {self.law!r} needs {', '.join(wanted)}")
                elif name not in wanted and value is not None:
                    found.append(f"{name}: not a parameter of law {self.law!r}; remove it")
        for name, value in self._durations():
            if not 0 <= value <= LONGEST_MS:
                found.append(f"{name}: {value!r} is not a duration; write 0 ms to 12 days")
        return found or self._shape_problems()

    def _durations(self) -> Iterator[tuple[str, float]]:
        """Every number of this law that is a time, with the name of its parameter."""
        for name in ("value_ms", "low_ms", "high_ms", "mean_ms", "median_ms", "p95_ms", "max_ms"):
            if (value := getattr(self, name)) is not None:
                yield name, value
        yield from (("points", value) for _, value in self.points or ())

    def _shape_problems(self) -> list[str]:
        if self.max_ms == 0:
            return [f"max_ms: {self.max_ms!r} cuts everything away; write a duration above 0"]
        if self.law == "uniform":
            low_ms, high_ms = self._numbers()
            if low_ms > high_ms:
                return [f"low_ms: {low_ms!r} is above high_ms {high_ms!r}; swap them"]
        if self.law == "lognormal":
            median_ms, p95_ms = self._numbers()
            if not 0 < median_ms <= p95_ms:
                return [f"median_ms: {median_ms!r} must lie between 0 and p95_ms {p95_ms!r}"]
        if self.law == "quantiles":
            points = self.points or ()
            rising = all(a[0] < b[0] and a[1] <= b[1] for a, b in pairwise(points))
            spans = bool(points) and points[0][0] == 0 and points[-1][0] == 1
            if not (spans and rising):
                return ["points: must rise from probability 0 to 1; write [[0, …], …, [1, …]]"]
        return []

    def inverse(self) -> Callable[[float], float]:
        """The quantile function: probability in (0, 1) → microseconds."""
        return lambda probability: float(self.quantiles_us(np.array([probability]))[0])

    def quantiles_us(self, probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
        """The microseconds at every probability in (0, 1); both of shape ``(values,)``."""
        cut = LONGEST_MS if self.max_ms is None else self.max_ms
        found: NDArray[np.float64] = 1000.0 * np.minimum(self._quantiles_ms(probabilities), cut)
        return found

    def _numbers(self) -> list[float]:
        """The parameters that this kind of law needs, in the order of :data:`PARAMETERS`."""
        return [float(getattr(self, name)) for name in PARAMETERS[self.law]]

    def _quantiles_ms(self, probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
        # numpy's logarithms and exponentials differ in the last bit from one processor to another.
        if self.law == "quantiles":
            return self._interpolated_ms(probabilities)
        first, *rest = self._numbers()
        if self.law == "uniform":
            straight: NDArray[np.float64] = first + probabilities * (rest[0] - first)
            return straight
        if self.law == "exponential":
            return np.array([-first * math.log1p(-one) for one in probabilities.tolist()])
        if self.law == "lognormal":
            # In logarithms, because the tail of a very wide law leaves the range of a float.
            middle, longest = math.log(first), math.log(LONGEST_MS) + 1
            sigma = (math.log(rest[0]) - middle) / Z95
            scores = _scores(probabilities)
            return np.array([math.exp(min(middle + sigma * score, longest)) for score in scores])
        return np.full(len(probabilities), first)

    def _interpolated_ms(self, probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
        at, value = np.array(self.points or ()).T
        cell = np.searchsorted(at[1:], probabilities)
        left, low = at[cell], value[cell]
        rise: NDArray[np.float64] = (value[cell + 1] - low) * (probabilities - left)
        found: NDArray[np.float64] = low + rise / (at[cell + 1] - left)
        return found

    def table(self) -> tuple[int, ...]:
        """The law as a table for :func:`chance.quantile`, in microseconds."""
        return _table(self)


@lru_cache(maxsize=1024)
def _table(law: Law) -> tuple[int, ...]:
    # A table costs milliseconds to build and many steps share a law.
    return chance.knots(law.quantiles_us(chance.PROBABILITIES))


def _scores(probabilities: NDArray[np.float64]) -> list[float]:
    """Quantiles of the standard normal law."""
    return _knot_scores() if probabilities is chance.PROBABILITIES else _scores_of(probabilities)


def _scores_of(probabilities: NDArray[np.float64]) -> list[float]:
    return list(map(NormalDist().inv_cdf, probabilities.tolist()))


@cache
def _knot_scores() -> list[float]:
    # Every lognormal table needs the same.
    return _scores_of(chance.PROBABILITIES)
