"""Measured and simulated side by side: which rows could disagree, and whether they do."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np
import polars as pl

from fewseconds import slo
from fewseconds.report import words
from fewseconds.report.steps import Quantiles, quantiles, spans

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fewseconds.record import Evidence
    from fewseconds.scenario import Scenario

BY_CONSTRUCTION: Final = frozenset({"human", "mocked"})
"""Roles of stations that last exactly as long as the simulator's draw."""
CURVE_POINTS: Final = 160


class Row(msgspec.Struct, frozen=True):
    """One step, as it was measured and as it was simulated."""

    step: str
    label: str
    by_construction: bool
    could_differ: tuple[str, ...]
    """Stations of the step that work at their own speed."""
    measured: Quantiles
    simulated: Quantiles
    p50_change: float | None
    p95_change: float | None
    paired_change: float | None
    """Median difference of the same journey in both worlds, which share their draws."""
    agrees: bool | None
    """Whether the 95 % intervals overlap; None if the row is not scored."""


def rows(scenario: Scenario, evidence: Evidence) -> tuple[Row, ...]:
    """A row for every step that both engines took, in the order of the scenario."""
    measured, simulated = spans(evidence.measured), spans(evidence.simulated)
    found = []
    for name, step in scenario.steps.items():
        if name == "sms":
            # Only the handset is seen in both worlds, so the message is timed from Pay to there.
            one = _messages(evidence.measured_journeys)
            other = _messages(evidence.simulated_journeys)
        else:
            one, other = _of(measured, name), _of(simulated, name)
        if one.is_empty() or other.is_empty():
            continue
        stations = sorted({leg.station for leg in step.legs})
        free = [s for s in stations if scenario.stations[s].role not in BY_CONSTRUCTION]
        label = "Pay pressed to SMS" if name == "sms" else words.label(name, words.STEPS)
        found.append(_row(name, label, tuple(free), one, other))
    return tuple(found)


def _of(table: pl.DataFrame, step: str) -> pl.DataFrame:
    return table.filter(pl.col("step") == step).select("journey_id", "seconds")


def _messages(journeys: pl.DataFrame) -> pl.DataFrame:
    arrived = journeys.filter(pl.col("sms_us").is_not_null())
    return arrived.select("journey_id", seconds=pl.col("sms_us") / 1e6)


def _row(
    step: str,
    label: str,
    could_differ: tuple[str, ...],
    measured_table: pl.DataFrame,
    simulated_table: pl.DataFrame,
) -> Row:
    one, other = (table["seconds"].to_numpy() for table in (measured_table, simulated_table))
    both = measured_table.join(simulated_table, "journey_id", suffix="_simulated")
    paired = (both["seconds"] - both["seconds_simulated"]).to_numpy()
    measured, simulated = quantiles(one), quantiles(other)
    agrees = None
    if could_differ:
        supported = [p for p in (0.5, 0.95) if slo.supports(min(len(one), len(other)), p)]
        agrees = all(_overlap(one, other, p) for p in supported) if supported else None
    return Row(
        step,
        label,
        not could_differ,
        could_differ,
        measured,
        simulated,
        _change(measured.p50, simulated.p50),
        _change(measured.p95, simulated.p95),
        slo.quantile(paired, 0.5)[0] if len(paired) else None,
        agrees,
    )


def _change(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one - other


def _overlap(one: NDArray[np.float64], other: NDArray[np.float64], probability: float) -> bool:
    _, low, high = slo.quantile(one, probability)
    _, other_low, other_high = slo.quantile(other, probability)
    bounds = (_bound(low, -1), _bound(high, 1), _bound(other_low, -1), _bound(other_high, 1))
    return bounds[0] <= bounds[3] and bounds[2] <= bounds[1]


def _bound(value: float | None, side: int) -> float:
    return side * math.inf if value is None else value


class Curve(msgspec.Struct, frozen=True):
    """A distribution: ``points`` are (seconds, share of the journeys done by then)."""

    count: int
    points: tuple[tuple[float, float], ...]
    marks: tuple[tuple[str, float, float], ...]
    """(name of the percentile, seconds, share), as far as the sample supports them."""
    failed: int
    """Journeys that never finish; the curve ends below one by their share."""


def curve(values: NDArray[np.float64]) -> Curve | None:
    """The empirical distribution of ``values`` in seconds, thinned to a drawable number of points.

    Thinning keeps every k-th order statistic and the extremes, so no point is invented.
    """
    if len(values) == 0:
        return None
    ordered = np.sort(values)
    finite = ordered[np.isfinite(ordered)]
    if len(finite) == 0:
        return Curve(len(values), (), (), len(values))
    ranks = np.unique(np.linspace(0, len(finite) - 1, min(len(finite), CURVE_POINTS)).astype(int))
    points = [(float(finite[rank]), (rank + 1) / len(ordered)) for rank in ranks]
    marks = []
    for name, probability in slo.QUANTILES.items():
        if slo.supports(len(values), probability):
            at = slo.quantile(values, probability)[0]
            if math.isfinite(at):
                marks.append((name, at, probability))
    return Curve(
        len(values),
        ((float(finite[0]), 0.0), *points),
        tuple(marks),
        len(ordered) - len(finite),
    )
