"""The knee: how many times the arrivals can be sustained, each rate decided by a test.

A rate is sustained where every gate is met beyond doubt, and is not where one surely fails; what is
between stays open. The search begins where the busiest station would be full and ends, if nothing
fails, where the whole city pays within the judged hours: more is not there to come.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from fewseconds import slo
from sim import intervals, search
from sim.trial import word

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sim.experiments import Say, Study
    from sim.trial import Trial

RATE_MIN: Final = 1 / 16
RATE_MAX: Final = 16.0
"""The search goes on to this many times the arrivals even if that is more than the whole city."""
WIDTH: Final = 1.1
"""An end of the knee is known to a tenth."""


class Probe(msgspec.Struct, frozen=True):
    """One rate that was walked and tested."""

    rate: float
    word: slo.Word
    replications: int
    gates: tuple[str, ...]
    """Those that fail, or are not settled."""


class Knee(msgspec.Struct, frozen=True):
    """The highest arrival rate that can be sustained, as a multiple of the window's own."""

    low: float
    """Every gate is met beyond doubt."""
    high: float | None
    """A gate surely fails; None if none does up to ``most``."""
    rate_per_s: float
    """Journeys a second in the window, at the multiple 1."""
    limiting: str
    """The station that is busiest there among those that gates depend on."""
    failing: tuple[str, ...]
    """The gates that fail at ``high``."""
    most: float
    """Where the search ends."""
    most_because: str
    probes: tuple[Probe, ...] = ()
    """Every rate that was tested, in ascending order."""


def knee(trial: Trial, utilisation: Mapping[str, float], say: Say) -> Knee:
    """Search both ends at once; ``utilisation`` is that of the stations that gates depend on."""
    base = trial.study(trial.scenario)
    judged = intervals.mean([float(reading.judged) for reading in base.readings]).observed or 1.0
    most, because = _most(trial.scenario.consumers / judged)
    begin = 1 / max([*utilisation.values(), 1 / most])
    studies: dict[float, Study] = {}

    def ask(rates: Sequence[tuple[str, float]]) -> list[bool]:
        say("arrival rate", min(len(studies) / 12, 1.0))
        found = trial.settled([trial.case(trial.scenario, rate) for _, rate in rates])
        studies.update(zip([rate for _, rate in rates], found, strict=True))
        return [
            word(study) == "pass" if end == "low" else word(study) != "fail"
            for (end, _), study in zip(rates, found, strict=True)
        ]

    ends = [search.about(end, search.edge(begin, RATE_MIN, most, WIDTH)) for end in ("low", "high")]
    (low, _), (_, high) = search.in_step(ends, ask)
    top = studies[most if high is None else high]
    busy = {
        name: (top.busy(name).observed or 0.0) / trial.scenario.stations[name].servers
        for name in utilisation
    }
    seconds = trial.window.length_us / 1e6
    return Knee(
        low=low,
        high=high,
        rate_per_s=judged / seconds,
        limiting=max(busy, key=lambda name: busy[name]) if busy else "",
        failing=_gates(top, "fail") if high is not None else (),
        most=most,
        most_because=because,
        probes=tuple(
            Probe(rate, word(one), len(one.readings), _gates(one, "fail", "inconclusive"))
            for rate, one in sorted(studies.items())
        ),
    )


def _most(whole_city: float) -> tuple[float, str]:
    """Where the search ends, and why there."""
    if whole_city > RATE_MAX:
        return whole_city, "every consumer of the city would pay within these hours"
    return RATE_MAX, "the search goes no further, and the city has no more consumers"


def _gates(study: Study, *words: slo.Word) -> tuple[str, ...]:
    return tuple(v.name for v in study.verdicts() if v.gate and v.word in words)
