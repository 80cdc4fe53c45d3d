"""How many servers each station needs, which one is scarce first, and how much more can come.

The search walks: least servers of a station with all others ample, by galloping from the offered
load and then step by step; then all of them together, and one more wherever the wait is longest
until the gates hold. The theory of queues (:mod:`sim.erlang`) says where to begin, not the result.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import msgspec

from fewseconds import slo
from sim import erlang, intervals
from sim.intervals import Estimate
from sim.trial import limited, with_servers

if TYPE_CHECKING:
    from collections.abc import Callable

    from fewseconds.scenario import Scenario
    from sim.experiments import Say, Study
    from sim.trial import Trial

PERSON_WAIT_MAX_S: Final = 600.0
"""assumption: people stand in line for ten minutes on average before one says it is too long."""
RATE_MAX: Final = 16.0
"""The search for the knee ends here: sixteen times the city."""
KNEE_WIDTH: Final = 1.1
"""The knee is known when its ends are a tenth apart."""


class Need(msgspec.Struct, frozen=True):
    """One station: what it has, what it carries and what it needs."""

    station: str
    servers: int
    offered: Estimate
    """Mean number of servers that would be busy if there were enough (erlangs)."""
    utilisation: float
    """Offered load over servers; above 1 the queue grows without end."""
    gated: bool
    """Whether too few servers here make a gate fail."""
    servers_min: int
    """The least that keep up and, where gates depend on the station, meet them together."""
    alone_min: int
    """The least that meet the gates while every other station has ample servers."""
    why: str
    """What asks for ``servers_min``."""


class Knee(msgspec.Struct, frozen=True):
    """The highest arrival rate that can be sustained, as a multiple of the window's own."""

    low: float
    """Every gate is met beyond doubt."""
    high: float | None
    """A gate surely fails; None if none does up to :data:`RATE_MAX`."""
    rate_per_s: float
    """Journeys a second in the window, at the multiple 1."""
    limiting: str
    """The station that is busiest there among those that gates depend on."""
    failing: tuple[str, ...]
    """The gates that fail at ``high``."""


class Capacity(msgspec.Struct, frozen=True):
    """What the searches found."""

    word: slo.Word
    """The gates, as the scenario is."""
    verdicts: tuple[slo.Verdict, ...]
    needs: tuple[Need, ...]
    """The busiest first."""
    bottleneck: str
    next: str
    knee: Knee | None
    hopeless: str
    """Why no number of servers meets the gates; empty if some does."""


def capacity(trial: Trial, say: Say) -> Capacity:
    """Search; raises nothing: what cannot be met is said."""
    scenario = trial.scenario
    say("as it is", 0.0)
    now = trial.study(scenario)
    ample = with_servers(scenario, dict.fromkeys(limited(scenario), 0))
    say("with ample servers", 0.0)
    free = trial.study(ample)
    names = [n for n in limited(scenario) if sum(r.uses[n].visits for r in free.readings)]
    word = slo.overall(now.verdicts())
    offered = {name: free.busy(name) for name in names}
    hopeless = _hopeless(free)
    alone, gated = {}, {}
    for index, name in enumerate(names):
        say("least servers", index / len(names))
        load = offered[name].observed or 0.0
        alone[name] = 0 if hopeless else _least(trial, ample, name, load)
        gated[name] = not hopeless and alone[name] > 1
    keeping = {name: _keeping_up(scenario, name, offered[name].observed or 0.0) for name in names}
    wanted = {name: max(alone[name], keeping[name], 1) for name in names}
    joint = wanted if hopeless else _together(trial, wanted, say)
    needs = [
        Need(
            station=name,
            servers=scenario.stations[name].servers,
            offered=offered[name],
            utilisation=(offered[name].observed or 0.0) / scenario.stations[name].servers,
            gated=gated[name] or _felt(trial, ample, name, hopeless=bool(hopeless)),
            servers_min=joint[name],
            alone_min=alone[name],
            why=_why(alone[name], keeping[name], joint[name]),
        )
        for name in names
    ]
    needs.sort(key=lambda need: -need.utilisation)
    ranked = [need for need in needs if need.gated] or needs
    return Capacity(
        word=word,
        verdicts=tuple(now.verdicts()),
        needs=tuple(needs),
        bottleneck=ranked[0].station if ranked else "",
        next=ranked[1].station if len(ranked) > 1 else "",
        knee=None if hopeless else knee(trial, [need.station for need in ranked], say),
        hopeless=hopeless,
    )


def _hopeless(free: Study) -> str:
    """Why even ample servers everywhere do not meet the gates."""
    missed = [v for v in free.verdicts() if v.gate and v.word != "pass"]
    if not missed:
        return ""
    verdict = missed[0]
    if verdict.word == "inconclusive" or verdict.observed is None:
        return f"{verdict.name} cannot be settled here: {verdict.reason}"
    side = "least" if verdict.at_least else "most"
    return (
        f"{verdict.name} is {verdict.observed:.3g} with nobody waiting anywhere, and may be at "
        f"{side} {verdict.limit:g}; servers are not what is short"
    )


def _least(trial: Trial, ample: Scenario, name: str, offered: float) -> int:
    """The fewest servers of one station that meet the gates while the others have ample."""

    def meets(servers: int) -> bool:
        return trial.meets(with_servers(ample, {name: servers}))

    return least(meets, math.floor(offered) + 1)


def least(meets: Callable[[int], bool], begin: int) -> int:
    """The smallest number from 1 on that ``meets``, which holds from some number on.

    Gallops up or down from ``begin`` in steps that double, then halves what is between.
    """
    step, low, high = 1, 0, max(begin, 1)
    if meets(high):
        while high - low > 1:
            probe = max(high - step, 1)
            if not meets(probe):
                low = probe
                break
            high, step = probe, step * 2
    else:
        while True:
            low, high, step = high, high + step, step * 2
            if meets(high):
                break
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if meets(middle) else (middle, high)
    return high


def _keeping_up(scenario: Scenario, name: str, offered: float) -> int:
    """The fewest servers that keep up; people's own lines are also kept short."""
    station = scenario.stations[name]
    service_s, variation = erlang.moments(station.service_time)
    wait_max = PERSON_WAIT_MAX_S if station.role == "human" else math.inf
    return erlang.least_servers(offered, service_s, variation, wait_max)


def _together(trial: Trial, wanted: dict[str, int], say: Say) -> dict[str, int]:
    """One more server wherever the wait is longest, until all gates hold with all together."""
    joint = dict(wanted)
    while True:
        study = trial.study(with_servers(trial.scenario, joint))
        if slo.overall(study.verdicts()) == "pass":
            return joint
        waits = {name: _wait(study, name) for name in joint}
        name = max(waits, key=lambda one: waits[one])
        if waits[name] <= 0:
            return joint
        say("all together", 0.0)
        joint[name] += max(joint[name] // 20, 1)


def _wait(study: Study, name: str) -> float:
    """Mean wait of a visit, as far as the window shows it."""
    visits = sum(reading.uses[name].visits for reading in study.readings)
    if study.case.scenario.stations[name].role == "human" or not visits:
        return 0.0
    return sum(reading.uses[name].waiting for reading in study.readings) / visits


def _felt(trial: Trial, ample: Scenario, name: str, *, hopeless: bool) -> bool:
    """Whether gates notice when a station that needs but one server has none that moves."""
    if hopeless:
        return False
    station = ample.stations[name]
    law = station.service_time
    stuck = msgspec.structs.replace(
        station,
        servers=1,
        variants={},
        service_time=msgspec.structs.replace(
            law, law="constant", value_ms=600_000.0, low_ms=None, high_ms=None, mean_ms=None,
            median_ms=None, p95_ms=None, points=None, max_ms=None,
        ),
    )  # fmt: skip
    variant = msgspec.structs.replace(ample, stations={**ample.stations, name: stuck})
    return slo.overall(trial.studies([variant], replications=3)[0].verdicts()) != "pass"


def _why(alone: int, keeping: int, joint: int) -> str:
    if joint == 1:
        return "one is enough"
    if joint > max(alone, keeping):
        return "the gates, all stations together"
    return "the gates" if alone >= keeping else "keeping up"


def knee(trial: Trial, ranked: list[str], say: Say) -> Knee:
    """The highest multiple of the arrivals that is sustained, by halving on both of its edges."""
    scenario = trial.scenario
    word: dict[float, slo.Word] = {}

    def at(rate: float) -> slo.Word:
        if rate not in word:
            say("arrival rate", math.log2(max(rate, 1)) / math.log2(RATE_MAX))
            word[rate] = trial.word(scenario, rate)
        return word[rate]

    sure, _ = edge(lambda rate: at(rate) == "pass")
    _, top = edge(lambda rate: at(rate) != "fail")
    study = trial.study(scenario, RATE_MAX if top is None else top)
    busy = {
        name: (study.busy(name).observed or 0.0) / scenario.stations[name].servers
        for name in ranked
    }
    base = trial.study(scenario)
    seconds = trial.window.length_us / 1e6
    return Knee(
        low=sure,
        high=top,
        rate_per_s=intervals.mean([r.judged / seconds for r in base.readings]).observed or 0.0,
        limiting=max(busy, key=lambda name: busy[name]) if busy else "",
        failing=tuple(
            v.name for v in study.verdicts() if top is not None and v.gate and v.word == "fail"
        ),
    )


def bracket(holds: Callable[[float], bool]) -> tuple[float, float | None]:
    """Powers of two: the last at which it holds (0 if at none) and the first at which not."""
    rate = 1.0
    if holds(rate):
        while rate < RATE_MAX:
            if not holds(rate * 2):
                return rate, rate * 2
            rate *= 2
        return rate, None
    while rate > 1 / RATE_MAX:
        rate /= 2
        if holds(rate):
            return rate, rate * 2
    return 0.0, rate


def edge(holds: Callable[[float], bool]) -> tuple[float, float | None]:
    """Where it stops to hold, to within :data:`KNEE_WIDTH`."""
    low, high = bracket(holds)
    while high is not None and low > 0 and high / low > KNEE_WIDTH:
        middle = math.sqrt(low * high)
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low, high
