"""Flip points: at which value of an assumption the verdict changes.

Each assumption is screened first, one at a time: one walk at either end of its range, under the
seed of a walk as it is. The gates of most hardly move there, and a sentence says so. What moves a
gate at least half of the way to its limit is tested with replications, and where the word changes
beyond doubt, both the last value that surely keeps it and the first that surely changes it are
found by halving, on a logarithmic scale.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from fewseconds import slo
from fewseconds.report import words
from sim import experiments, search
from sim.assumptions import assumptions
from sim.intervals import SHARE
from sim.trial import word

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fewseconds.scenario import Scenario, Slo
    from sim.assumptions import Assumption
    from sim.capacity import Capacity
    from sim.experiments import Say, Study
    from sim.replication import Case
    from sim.trial import Trial

SCREENED: Final = 6.0
"""Screening walks the part of the window that would do at so many times the arrivals."""
TESTED: Final = 2.5
"""Tests walk more of it, with replications."""
WIDTH: Final = 1.05
"""Either end of a flip point is known to 5 %."""
NEAR: Final = 0.5
"""What moves no gate by this part of its way to the limit cannot flip it."""


class Flip(msgspec.Struct, frozen=True):
    """What one assumption does to the verdict."""

    assumption: str
    station: str
    now: str
    kept: str
    """The last value that surely keeps the word; the far end of the range if nothing flips."""
    factor: float | None
    """So many times its value and the word surely changes; None if it does not in the range."""
    value: str
    """The value at that point."""
    before: slo.Word
    after: slo.Word | None
    gates: tuple[str, ...]
    """The gates that change."""
    sentence: str


class _Gate(NamedTuple):
    """How much of one gate's room is used in one walk."""

    objective: Slo
    beyond: float
    """Share of the values beyond the limit."""
    allowed: float
    values: int

    def moved(self, far: _Gate) -> float:
        """How far ``far`` has gone from here to the limit: 1 is there."""
        way, gone = self.allowed - self.beyond, far.beyond - self.beyond
        if way == 0:
            return math.inf if gone else 0.0
        # Three standard errors of a share are granted to the one walk.
        count = max(far.values, 1)
        share = min(max(far.beyond, 1 / count), 1 - 1 / count)
        margin = 3 * math.sqrt(share * (1 - share) / count) / abs(way)
        return gone / way + margin


class _Screened(NamedTuple):
    """One assumption at one end of its range, walked once."""

    assumption: Assumption
    factor: float
    gates: tuple[_Gate, ...]
    moved: float


def flips(trial: Trial, found: Capacity, say: Say) -> list[Flip]:
    """All assumptions, those that flip the word first, the nearest of them first.

    Nothing if the word itself is open: there is no verdict that could change.
    """
    before = found.word
    if before == "inconclusive":
        return []
    scenario = trial.scenario
    say("screening assumptions", 0.0)
    base = trial.walked([trial.case(scenario, part=SCREENED)], 1)[0]
    uses = base.readings[0].uses
    visited = [name for name in scenario.stations if uses[name].visits]
    listed = list(assumptions(scenario, visited))
    screened = _screened(trial, base, listed, before)
    say("flip points", 0.5)
    flipping = _searched(trial, [one for one in screened if one.moved >= NEAR], before)
    moved = {flip.assumption for flip in flipping}
    calm = [_calm(one, screened, before) for one in listed if one.name not in moved]
    known = [*_arrivals(found), *_servers(scenario, found)]
    return sorted([*flipping, *known, *calm], key=lambda one: _distance(one.factor))


def _distance(factor: float | None) -> float:
    return math.inf if not factor else abs(math.log(factor))


def _screened(
    trial: Trial, base: Study, listed: Sequence[Assumption], before: slo.Word
) -> list[_Screened]:
    """Both ends of every assumption, one walk each."""
    ends = [(one, factor) for one in listed for factor in one.ends if factor != 1]
    studies = trial.walked([trial.case(one.at(factor), part=SCREENED) for one, factor in ends], 1)
    at_rest = tuple(_gates(base))
    found = []
    for (one, factor), study in zip(ends, studies, strict=True):
        gates = tuple(_gates(study))
        ways = [
            here.moved(there)
            for here, there in zip(at_rest, gates, strict=True)
            # A failing word flips when every gate that fails comes to hold.
            if before == "pass" or here.beyond > here.allowed
        ]
        reach = max if before == "pass" else min
        found.append(_Screened(one, factor, gates, reach(ways, default=0.0)))
    return found


def _gates(study: Study) -> Iterator[_Gate]:
    """The gates in the first walk of a study."""
    for objective in experiments.objectives(study.case):
        if objective.gate:
            sample = study.readings[0].samples[objective.measure]
            (beyond,), allowed = experiments.beyond(objective, [sample])
            share = float(beyond.mean()) if len(beyond) else 0.0
            yield _Gate(objective, share, allowed, len(beyond))


def _searched(trial: Trial, near: Sequence[_Screened], before: slo.Word) -> list[Flip]:
    """Those of the near ones at whose end the word surely changes, with the values between."""
    if not near:
        return []
    seen: dict[tuple[int, float], Study] = {}

    def walked(asked: Sequence[tuple[int, float]]) -> list[Study]:
        cases: list[Case] = [
            trial.case(near[n].assumption.at(factor), part=TESTED) for n, factor in asked
        ]
        studies = trial.settled(cases)
        seen.update(zip(asked, studies, strict=True))
        return studies

    ends = walked([(number, one.factor) for number, one in enumerate(near)])
    changed = [n for n, study in enumerate(ends) if word(study) not in (before, "inconclusive")]

    def ask(asked: Sequence[tuple[tuple[int, bool], float]]) -> list[bool]:
        studies = walked([(number, factor) for (number, _), factor in asked])
        return [
            word(study) == before if surely_kept else word(study) in (before, "inconclusive")
            for ((_, surely_kept), _), study in zip(asked, studies, strict=True)
        ]

    searches = [
        search.about((number, surely_kept), search.between(1.0, near[number].factor, WIDTH))
        for number in changed
        for surely_kept in (True, False)
    ]
    edges = search.in_step(searches, ask)
    return [
        _flip(near[number].assumption, kept, lost, seen[number, lost], before)
        for number, (kept, _), (_, lost) in zip(changed, edges[::2], edges[1::2], strict=True)
    ]


def _flip(one: Assumption, kept: float, lost: float, study: Study, before: slo.Word) -> Flip:
    after = word(study)
    gates = tuple(v.name for v in study.verdicts() if v.gate and v.word == "fail")
    value, last = one.shown(lost), one.shown(kept)
    direction = "exceeds" if lost > 1 else "is below"
    said = (
        f"{before.upper()}; {after.upper()} if {one.name} {direction} {value} (now "
        f"{one.shown()}; surely {before} {'up' if lost > 1 else 'down'} to {last})"
    )
    said += f": {', '.join(gates)}." if gates else "."
    return Flip(one.name, one.station, one.shown(), last, lost, value, before, after, gates, said)


def _calm(one: Assumption, screened: Sequence[_Screened], before: slo.Word) -> Flip:
    """The sentence for what does not flip the word within its range."""
    mine = [each for each in screened if each.assumption is one]
    low, high = (one.shown(factor) for factor in one.ends)
    if before == "fail":
        said = f"{one.name} ({one.shown()}): does not mend it from {low} to {high}."
        return Flip(one.name, one.station, one.shown(), high, None, "", before, None, (), said)
    worst = max(
        (gate for each in mine for gate in each.gates),
        key=lambda gate: gate.beyond / gate.allowed if gate.allowed else gate.beyond,
    )
    verb = "does not matter" if max(each.moved for each in mine) < NEAR else "does not flip it"
    what = worst.objective.name
    if worst.objective.statistic != SHARE:
        what = f"share beyond the limit of {what}"
    said = (
        f"{one.name} ({one.shown()}): {verb} from {low} to {high}; {what} is at worst "
        f"{words.percent(worst.beyond, 2)} of the {words.percent(worst.allowed)} allowed."
    )
    return Flip(one.name, one.station, one.shown(), high, None, "", before, None, (), said)


def _arrivals(found: Capacity) -> Iterator[Flip]:
    """The knee, as one assumption among the others."""
    knee = found.knee
    if knee is None or found.word != "pass":
        return
    name, now = "arrivals at the peak", f"{knee.rate_per_s:.3g} a second"
    kept = f"{knee.low * knee.rate_per_s:.3g} a second"
    if knee.high is None:
        said = f"{name} ({now}): no flip up to {knee.most:.3g} times, {knee.most_because}."
        yield Flip(name, "", now, kept, None, "", "pass", None, (), said)
        return
    value = f"{knee.high * knee.rate_per_s:.3g} a second"
    said = f"PASS; FAIL if {name} exceed {value} (now {now}; surely pass up to {kept})"
    said += f": {', '.join(knee.failing)}." if knee.failing else "."
    yield Flip(name, "", now, kept, knee.high, value, "pass", "fail", knee.failing, said)


def _servers(scenario: Scenario, found: Capacity) -> Iterator[Flip]:
    """The numbers of servers below which the gates no longer hold, everything else ample."""
    for need in found.needs:
        if found.word != "pass" or not 1 < need.alone_min <= need.servers:
            continue
        if "assumption" not in scenario.stations[need.station].source:
            continue
        name, now = f"{words.label(need.station, {})}: servers", str(need.servers)
        kept, value = str(need.alone_min), str(need.alone_min - 1)
        said = f"PASS; no longer sure if {name} are fewer than {kept} (now {now})."
        factor = (need.alone_min - 1) / need.servers
        yield Flip(name, need.station, now, kept, factor, value, "pass", "inconclusive", (), said)
