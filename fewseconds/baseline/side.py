"""One side of a comparison: what every run of it says about every measure and step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from fewseconds.baseline.effect import Series

if TYPE_CHECKING:
    from collections.abc import Iterable

MEASURE: Final = "measure"
STEP: Final = "step"
"""Of a whole step, from its intended start to the end of its last attempt."""
SENT: Final = "sent"
"""Of a single attempt from its actual start: what tools of the closed model measure."""


class Of(NamedTuple):
    """What a series is about."""

    kind: str
    """:data:`MEASURE`, :data:`STEP` or :data:`SENT`."""
    name: str
    share: bool = False
    """Whether it is a share of failures, not a time."""


class Told(msgspec.Struct, frozen=True):
    """What a foreign file says of one thing in figures, where the single values are lost."""

    count: int
    quantiles: dict[str, tuple[float, float, float]]
    """Percentile → the figure as printed, and the two ends between which the true value of such a
    sample lies nineteen times in twenty, in seconds."""


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """Runs of one system."""

    name: str
    tool: str
    """``fewseconds``, ``JMeter`` or ``Locust``."""
    series: dict[Of, list[Series]] = {}
    """One series a run."""
    told: dict[Of, Told] = {}
    runs: int = 1
    statistics: tuple[str, ...] = ("p50", "p95", "p99")
    """What can be said of its times."""
    load: str = ""
    """What the load was, in words."""
    scenario: str = ""
    digest: str = ""
    gates: frozenset[tuple[str, str]] = frozenset()
    """Measure and statistic of every objective that decides the exit code."""
    troubles: tuple[str, ...] = ()
    """Why the measurement itself allows no conclusion."""
    notes: tuple[str, ...] = ()
    """What a reader must know about where the figures come from."""


def merged(sides: Iterable[Side], name: str) -> Side:
    """Several runs of one system as one side."""
    parts = list(sides)
    first = parts[0]
    series: dict[Of, list[Series]] = {}
    for one in parts:
        for of, some in one.series.items():
            series.setdefault(of, []).extend(some)
    # What one of the runs does not have cannot be compared run by run.
    whole = {of: some for of, some in series.items() if len(some) == len(parts)}
    troubles = dict.fromkeys(trouble for one in parts for trouble in one.troubles)
    return msgspec.structs.replace(
        first, name=name, series=whole, runs=len(parts), troubles=tuple(troubles)
    )
