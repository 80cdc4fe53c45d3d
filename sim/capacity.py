"""How many servers each station needs, which one is scarce first, and how much more can come.

The search walks: least servers of a station with all others ample, by galloping from the offered
load and halving; then all of them together, and one more wherever the wait is longest until the
gates hold. The theory of queues (:mod:`sim.erlang`) says where to begin, not the result. All
stations are searched in step, and all variants have the same seeds.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import msgspec

from fewseconds import slo
from fewseconds.plan import HOUR_US
from sim import erlang, search
from sim.intervals import REPLICATIONS_MIN, Estimate
from sim.knee import Knee, knee
from sim.replication import Case
from sim.trial import limited, with_servers, word
from sim.window import busiest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fewseconds.scenario import Scenario
    from fewseconds.station import Station
    from sim.experiments import Say, Study
    from sim.trial import Trial

PERSON_WAIT_MAX_S: Final = 600.0
"""assumption: people stand in line for ten minutes on average before one says it is too long."""

PART_FELT: Final = 6.0
"""What nobody could overlook is looked for in a part of the window."""


class Need(msgspec.Struct, frozen=True):
    """One station: what it has, what it carries and what it needs."""

    station: str
    servers: int
    offered: Estimate
    """Mean number of servers that would be busy if there were enough (erlangs)."""
    utilisation: float
    """Offered load over servers, or rate over the station's limit if that is scarcer; above 1 the
    queue grows without end, or visits are turned away without end."""
    gated: bool
    """Whether too few servers here make a gate fail."""
    servers_min: int
    """The least that keep up and, where gates depend on the station, meet them together."""
    alone_min: int
    """The least that meet the gates while every other station has ample servers."""
    why: str
    """What asks for ``servers_min``."""
    rush: str = ""
    """The hours that the load is of, if they are not the judged ones: a line of people that has
    hours of its own is fullest at another time."""


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
    say("as it is, and with ample servers", 0.0)
    ample = with_servers(scenario, dict.fromkeys(limited(scenario), 0))
    now, free = trial.walked([trial.case(scenario), trial.case(ample)])
    names = [n for n in limited(scenario) if sum(r.uses[n].visits for r in free.readings)]
    offered = {name: free.busy(name) for name in names}
    rushes = _rushes(trial, ample)
    offered |= {name: study.busy(name) for name, study in rushes.items()}
    load = {name: found.observed or 0.0 for name, found in offered.items()}
    hopeless = _hopeless(free)
    say("least servers", 0.0)
    judged = {name: 0.0 if name in rushes else load[name] for name in names}
    alone = dict.fromkeys(offered, 0 if hopeless else 1)
    alone |= {} if hopeless else _alone(trial, ample, judged)
    names = list(offered)
    keeping = {name: _keeping_up(scenario, name, load[name]) for name in names}
    wanted = {name: max(alone[name], keeping[name], 1) for name in names}
    joint = wanted if hopeless else _together(trial, wanted, say)
    few = [name for name in names if alone[name] == 1]
    felt = {name for name in names if alone[name] > 1} | _felt(trial, ample, few)
    needs = [
        Need(
            station=name,
            servers=scenario.stations[name].servers,
            offered=offered[name],
            utilisation=utilisation(scenario.stations[name], load[name]),
            gated=name in felt,
            servers_min=joint[name],
            alone_min=alone[name],
            why=_why(alone[name], keeping[name], joint[name]),
            rush=rushes[name].case.window.text if name in rushes else "",
        )
        for name in names
    ]
    needs.sort(key=lambda need: -need.utilisation)
    ranked = [need for need in needs if need.gated] or needs
    use = {need.station: need.utilisation for need in ranked}
    return Capacity(
        word=word(now),
        verdicts=tuple(now.verdicts()),
        needs=tuple(needs),
        bottleneck=ranked[0].station if ranked else "",
        next=ranked[1].station if len(ranked) > 1 else "",
        knee=None if hopeless else knee(trial, use, say),
        hopeless=hopeless,
    )


def _rushes(trial: Trial, ample: Scenario) -> dict[str, Study]:
    """Lines of people in the hour in which most of them come, where that is not the judged one."""
    scenario, found = trial.scenario, {}
    if trial.window.length_us != HOUR_US:
        return {}
    for name in limited(scenario):
        if scenario.stations[name].role != "human":
            continue
        kinds = frozenset(
            kind
            for kind in scenario.journeys
            if scenario.channel_shares().get(kind)
            and any(leg.station == name for one in scenario.named_steps(kind) for leg in one.legs)
        )
        if kinds:
            hour = busiest(scenario, kinds=kinds)
            if hour.from_us != trial.window.from_us:
                found[name] = Case(ample, hour, engine=trial.engine)
    return dict(zip(found, trial.walked(list(found.values())), strict=True))


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


def _alone(trial: Trial, ample: Scenario, load: Mapping[str, float]) -> dict[str, int]:
    """The fewest servers of each station that meet the gates while the others have ample."""

    def meets(asked: Sequence[tuple[str, int]]) -> list[bool]:
        variants = [with_servers(ample, {name: servers}) for name, servers in asked]
        words = trial.words([trial.case(variant) for variant in variants])
        return [one == "pass" for one in words]

    searches = [
        search.about(name, search.least(math.floor(busy) + 1)) for name, busy in load.items()
    ]
    return dict(zip(load, search.in_step(searches, meets), strict=True))


def rate_per_s(station: Station, offered: float) -> float:
    """Visits a second that offer so many erlangs: Little's law for the servers."""
    service_s, _ = erlang.moments(station.service_time)
    return offered / service_s if service_s else 0.0


def utilisation(station: Station, offered: float) -> float:
    """How much of what the station can carry is asked of it: of its servers, or of its limit."""
    of_servers, limit = offered / station.servers, station.rate_limit
    if limit is None:
        return of_servers
    return max(of_servers, rate_per_s(station, offered) / limit.per_s)


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
        study = trial.settled([trial.case(with_servers(trial.scenario, joint))])[0]
        if word(study) == "pass":
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


def _felt(trial: Trial, ample: Scenario, names: Sequence[str]) -> set[str]:
    """Of the stations that need but one server, those that gates notice if it never moves."""
    cases = []
    for name in names:
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
        cases.append(trial.case(variant, part=PART_FELT))
    studies = trial.walked(cases, REPLICATIONS_MIN)
    return {name for name, study in zip(names, studies, strict=True) if word(study) != "pass"}


def _why(alone: int, keeping: int, joint: int) -> str:
    if joint == 1:
        return "one is enough"
    if joint > max(alone, keeping):
        return "the gates, all stations together"
    return "the gates" if alone >= keeping else "keeping up"
