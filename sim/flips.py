"""Flip points: at which value of an assumption the verdict changes.

Every assumption about a time or a share is first taken to the far end of its range, ten times as
bad (or as good, where the gates fail). Where that changes the word, the value at which it changes
is found by halving, on a logarithmic scale and under common random numbers.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import msgspec

from fewseconds import slo
from fewseconds.report import words
from sim.variants import scaled

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fewseconds.law import Law
    from fewseconds.scenario import Scenario
    from fewseconds.station import Station
    from sim.experiments import Say
    from sim.trial import Trial

FACTOR: Final = 10.0
"""Assumptions are stretched to so many times, or to this part, of what they are."""
WIDTH: Final = 1.05
"""A flip point is known when its ends are 5 % apart."""
REPLICATIONS: Final = 3
MARK: Final = "assumption"
"""What the source of an assumed number begins with, or holds."""


class Assumption(msgspec.Struct, frozen=True):
    """A number that somebody had to assume."""

    station: str
    code: str = ""
    """Of a failure; empty for the station's service time."""

    def shown(self, scenario: Scenario, factor: float = 1.0) -> str:
        """Its value, stretched, in words."""
        station = scenario.stations[self.station]
        if self.code:
            return words.percent(_failure(station, self.code) * factor, 2)
        return words.seconds(typical_s(station.service_time) * factor)

    @property
    def name(self) -> str:
        """What it is about, in words."""
        place = words.label(self.station, {})
        return f"{place}: share of {self.code}" if self.code else f"{place}: median time"


class Flip(msgspec.Struct, frozen=True):
    """What one assumption does to the verdict."""

    assumption: str
    station: str
    now: str
    factor: float | None
    """So many times its value and the word changes; None if it never does in the range."""
    value: str
    """The value at that point."""
    before: slo.Word
    after: slo.Word | None
    gates: tuple[str, ...]
    """The gates that change."""
    sentence: str


def assumptions(scenario: Scenario) -> Iterator[Assumption]:
    """Every law and every share of failures whose source says that it is assumed."""
    for name, station in scenario.stations.items():
        if station.service_time.source.startswith(MARK) and not _all_varied(station):
            yield Assumption(name)
        for failure in station.failures:
            if MARK in failure.source:
                yield Assumption(name, failure.code)


def _all_varied(station: Station) -> bool:
    """Whether the variants have laws of their own, so that the station's hardly matters."""
    return bool(station.variants) and all(v.service_time for v in station.variants.values())


def flips(trial: Trial, say: Say) -> list[Flip]:
    """All assumptions, those that flip the word first, the nearest of them first."""
    scenario = trial.scenario
    study = trial.studies([scenario], replications=REPLICATIONS)[0]
    base = study.verdicts()
    before = slo.overall(base)
    far = FACTOR if before == "pass" else 1 / FACTOR
    found: list[Flip] = []
    listed = [
        one
        for one in assumptions(scenario)
        if any(reading.uses[one.station].visits for reading in study.readings)
    ]
    for index, assumption in enumerate(listed):
        say("flip points", index / len(listed))
        found.append(_flip(trial, assumption, base, far))
    return sorted(found, key=lambda one: _distance(one.factor))


def _distance(factor: float | None) -> float:
    return math.inf if factor is None else abs(math.log(factor))


def _flip(trial: Trial, assumption: Assumption, base: list[slo.Verdict], far: float) -> Flip:
    scenario, before = trial.scenario, slo.overall(base)

    def verdicts(factor: float) -> list[slo.Verdict]:
        variant = stretched(scenario, assumption, factor)
        return trial.studies([variant], replications=REPLICATIONS)[0].verdicts()

    now = assumption.shown(scenario)
    at_end = verdicts(far)
    if slo.overall(at_end) == before:
        said = f"{assumption.name} ({now}): no flip within ×{1 / FACTOR:g} to ×{FACTOR:g}."
        if before == "pass":
            said = f"{assumption.name} ({now}): no flip up to ×{FACTOR:g}."
        return Flip(assumption.name, assumption.station, now, None, "", before, None, (), said)
    near, end = 1.0, far
    while max(end / near, near / end) > WIDTH:
        middle = math.sqrt(near * end)
        found = verdicts(middle)
        if slo.overall(found) == before:
            near = middle
        else:
            end, at_end = middle, found
    after = slo.overall(at_end)
    value = assumption.shown(scenario, end)
    old = {verdict.name: verdict.word for verdict in base if verdict.gate}
    gates = tuple(v.name for v in at_end if v.gate and v.word != old[v.name])
    direction = "exceeds" if end > 1 else "is at most"
    said = (
        f"{before.upper()}; {_loud(after)} if {assumption.name} {direction} {value} "
        f"(now {now}): {', '.join(gates)}."
    )
    return Flip(assumption.name, assumption.station, now, end, value, before, after, gates, said)


def _loud(word: slo.Word) -> str:
    return "no longer sure" if word == "inconclusive" else word.upper()


def stretched(scenario: Scenario, assumption: Assumption, factor: float) -> Scenario:
    """The scenario with one assumption at ``factor`` times its value."""
    station = scenario.stations[assumption.station]
    if assumption.code:
        others = sum(f.share for f in station.failures if f.code != assumption.code)
        failures = tuple(
            msgspec.structs.replace(f, share=min(f.share * factor, 1 - others))
            if f.code == assumption.code
            else f
            for f in station.failures
        )
        changed = msgspec.structs.replace(station, failures=failures)
    else:
        law = scaled(msgspec.to_builtins(station.service_time), factor)
        changed = msgspec.structs.replace(
            station, service_time=msgspec.convert(law, type(station.service_time))
        )
    stations = {**scenario.stations, assumption.station: changed}
    return msgspec.structs.replace(scenario, stations=stations)


def typical_s(law: Law) -> float:
    """The median of a law, in seconds."""
    return law.inverse()(0.5) / 1e6


def _failure(station: Station, code: str) -> float:
    return sum(failure.share for failure in station.failures if failure.code == code)
