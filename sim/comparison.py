"""Two scenarios under common random numbers: what changes from the first to the second."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np

from fewseconds import slo
from fewseconds.report import words
from sim import experiments, intervals
from sim.intervals import Estimate

if TYPE_CHECKING:
    from sim.experiments import Study

UTILISATION: Final = "utilisation"
BUSY: Final = "busy servers"
"""Mean number, where nobody waits and there is no utilisation."""


class Difference(msgspec.Struct, frozen=True):
    """One number in both scenarios, and their paired difference."""

    of: str
    """A measure, or a station."""
    statistic: str
    """``p50`` … ``share``, :data:`UTILISATION` or :data:`BUSY`."""
    first: Estimate
    second: Estimate
    difference: Estimate
    """``second - first``."""
    unpaired_variance: float | None
    """So many times as much would the difference vary without common random numbers."""

    @property
    def real(self) -> bool:
        """Whether the interval of the difference leaves 0 out."""
        found = self.difference
        return (found.low is not None and found.low > 0) or (
            found.high is not None and found.high < 0
        )


class Comparison(msgspec.Struct, frozen=True):
    """Everything that was compared."""

    names: tuple[str, str]
    titles: tuple[str, str]
    window: str
    replications: int
    judged: tuple[int, int]
    """Journeys that were judged, over all replications."""
    measures: tuple[Difference, ...]
    stations: tuple[Difference, ...]
    verdicts: tuple[tuple[slo.Verdict, ...], tuple[slo.Verdict, ...]]
    unsettled: str
    """Why the intervals are wider than asked for; empty if they are not."""
    sentence: str = ""


def comparison(first: Study, second: Study, unsettled: str = "") -> Comparison:
    """Compare two studies whose replications are pairs."""
    found = Comparison(
        names=(first.case.scenario.name, second.case.scenario.name),
        titles=(first.case.scenario.title, second.case.scenario.title),
        window=first.case.window.text,
        replications=len(first.readings),
        judged=(sum(r.judged for r in first.readings), sum(r.judged for r in second.readings)),
        measures=tuple(
            _measure(first, second, measure, statistic)
            for measure, statistic in experiments.STATISTICS
            if measure in experiments.measured(first.case)
        ),
        stations=tuple(
            _station(first, second, name)
            for name in first.case.scenario.stations
            if name in second.case.scenario.stations
        ),
        verdicts=(tuple(first.verdicts()), tuple(second.verdicts())),
        unsettled=unsettled,
    )
    return msgspec.structs.replace(found, sentence=sentence(found))


def _measure(first: Study, second: Study, measure: str, statistic: str) -> Difference:
    sides = [[r.samples[measure] for r in study.readings] for study in (first, second)]
    found = intervals.paired_statistic(sides[0], sides[1], statistic)
    each = None
    if found.observed is not None:
        each = [[intervals.of_one(sample, statistic) for sample in side] for side in sides]
    return Difference(
        measure,
        statistic,
        first.estimate(measure, statistic),
        second.estimate(measure, statistic),
        found,
        unpaired_variance(*each) if each else None,
    )


def _station(first: Study, second: Study, name: str) -> Difference:
    servers = first.case.scenario.stations[name].servers
    limited = servers and second.case.scenario.stations[name].servers
    sides = []
    for study in (first, second):
        divisor = study.case.scenario.stations[name].servers if limited else 1
        sides.append([reading.uses[name].busy / divisor for reading in study.readings])
    return Difference(
        name,
        UTILISATION if limited else BUSY,
        intervals.mean(sides[0]),
        intervals.mean(sides[1]),
        intervals.difference(*sides),
        unpaired_variance(*sides),
    )


def unpaired_variance(first: list[float], second: list[float]) -> float | None:
    """How many times as much the difference would vary with independent replications."""
    one, other = np.asarray(first), np.asarray(second)
    together = float(np.var(other - one, ddof=1))
    apart = float(np.var(one, ddof=1) + np.var(other, ddof=1))
    if together <= 0 or not math.isfinite(together) or not math.isfinite(apart):
        return None
    return apart / together


def sentence(found: Comparison) -> str:
    """What changes, in one sentence."""
    failing = [
        {v.name for v in verdicts if v.gate and v.word != "pass"} for verdicts in found.verdicts
    ]
    lost, won = sorted(failing[1] - failing[0]), sorted(failing[0] - failing[1])
    second = found.names[1]
    if lost:
        gates = f"{second} no longer surely meets {_listed(lost)}"
    elif won:
        gates = f"{second} meets {_listed(won)}, which {found.names[0]} does not"
    elif failing[0]:
        gates = f"neither surely meets {_listed(sorted(failing[0]))}"
    else:
        gates = "every gate holds in both"
    moved = sorted((d for d in found.measures if d.real), key=lambda d: -abs(_relative(d)))
    if moved:
        top = moved[0]
        times = f"{_named(top)} changes most, by {_signed(top)}"
    else:
        times = "no measure changes beyond its interval"
    stations = sorted((d for d in found.stations if d.real), key=lambda d: -abs(_points(d)))
    if not stations:
        return _capital(f"{gates}; {times}.")
    place = stations[0]
    return _capital(
        f"{gates}; {times}; of the stations {place.of} moves most, from "
        f"{words.percent(place.first.observed)} to {words.percent(place.second.observed)} busy."
        if place.statistic == UTILISATION
        else f"{gates}; {times}."
    )


def _relative(found: Difference) -> float:
    base = found.first.observed or 0.0
    return (found.difference.observed or 0.0) / base if base else math.inf


def _points(found: Difference) -> float:
    return (found.difference.observed or 0.0) if found.statistic == UTILISATION else 0.0


def _named(found: Difference) -> str:
    return f"{found.of.replace('_', ' ')} {found.statistic}".replace(" share", "")


def _signed(found: Difference) -> str:
    change = found.difference
    if found.statistic == intervals.SHARE:
        low, high = (100 * (end or 0.0) for end in (change.low, change.high))
        return f"{100 * (change.observed or 0):+.2g} points ({low:+.2g} to {high:+.2g})"
    return f"{change.observed:+.2g} s ({change.low:+.2g} to {change.high:+.2g})"


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + f" and {names[-1]}"


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
