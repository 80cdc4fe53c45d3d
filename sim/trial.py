"""A bench for a search: does a variant of a scenario meet every gate?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from fewseconds import slo
from sim import replication
from sim.experiments import Study
from sim.intervals import REPLICATIONS_MIN
from sim.replication import Case

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fewseconds.scenario import Scenario
    from fewseconds.station import Station
    from sim.window import Window
    from sim.workers import Workers


class Trial:
    """Variants are walked under the same few seeds, and never twice."""

    def __init__(
        self,
        scenario: Scenario,
        window: Window,
        engine: str,
        seeds: Sequence[int],
        workers: Workers,
    ) -> None:
        """Judge variants of ``scenario`` in ``window``."""
        self.scenario, self.window, self.engine = scenario, window, engine
        self.seeds, self.workers = tuple(seeds), workers
        self.walks = 0
        self._known: dict[str, Study] = {}

    def case(self, variant: Scenario, rate: float = 1.0, part: float = 1.0) -> Case:
        """A variant at so many times its arrivals; at many times, of a part of the window.

        ``part`` takes a smaller part: that which would do at so many times the arrivals.
        """
        real = bool(variant.arrivals.file)
        within = self.window if real else self.window.at_rate(rate * part)
        return Case(variant, within, rate, self.engine)

    def walked(self, cases: Sequence[Case], replications: int | None = None) -> list[Study]:
        """The cases with so many replications (all, if not given), walked at once.

        Replications that were walked before are not walked again.
        """
        seeds = self.seeds[:replications]
        studies = [self._known.setdefault(case.key, Study(case)) for case in cases]
        wanting = list({id(study): study for study in studies}.values())
        # Seed by seed, because variants under one seed share their plan.
        tasks = [
            (study, seed)
            for place, seed in enumerate(seeds)
            for study in wanting
            if len(study.readings) <= place
        ]
        readings = self.workers.map(replication.read, [(one.case, seed) for one, seed in tasks])
        for (study, _), reading in zip(tasks, readings, strict=True):
            study.readings.append(reading)
        self.walks += len(tasks)
        return studies

    def settled(self, cases: Sequence[Case]) -> list[Study]:
        """The cases with as many replications as settle their gates, at most all.

        A word that is beyond doubt after three replications stays; where it is open the others are
        walked. With two looks at 95 % each, one word in twenty may be wrong, not one in forty.
        """
        first = self.walked(cases, REPLICATIONS_MIN)
        unsettled = [one.case for one in first if word(one) == "inconclusive"]
        self.walked(unsettled)
        return first

    def words(self, cases: Sequence[Case]) -> list[slo.Word]:
        """Pass if every gate is met beyond doubt, fail if one surely is not."""
        return [word(study) for study in self.settled(cases)]

    def study(self, variant: Scenario, rate: float = 1.0) -> Study:
        """One variant with all replications."""
        return self.walked([self.case(variant, rate)])[0]


def word(study: Study) -> slo.Word:
    """What the gates come to."""
    return slo.overall(study.verdicts())


def with_servers(scenario: Scenario, servers: Mapping[str, int]) -> Scenario:
    """The scenario with these numbers of servers, all month long; 0 is as many as are wanted."""
    stations: dict[str, Station] = dict(scenario.stations)
    for name, count in servers.items():
        stations[name] = msgspec.structs.replace(stations[name], servers=count, servers_later=())
    return msgspec.structs.replace(scenario, stations=stations)


def limited(scenario: Scenario) -> list[str]:
    """The stations where somebody may have to wait for a server."""
    return [name for name, station in scenario.stations.items() if station.servers]
