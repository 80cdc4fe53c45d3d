"""A bench for a search: does a variant of a scenario meet every gate?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from fewseconds import slo
from sim import replication
from sim.experiments import Study
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

    def studies(
        self, variants: Sequence[Scenario], rate: float = 1.0, replications: int | None = None
    ) -> list[Study]:
        """The variants, each replicated; those walked before are looked up."""
        seeds = self.seeds[:replications]
        cases = [Case(one, self.window, rate, self.engine) for one in variants]
        keys = [f"{case.key} {len(seeds)}" for case in cases]
        missing = {k: c for k, c in zip(keys, cases, strict=True) if k not in self._known}
        tasks = [(case, seed) for seed in seeds for case in missing.values()]
        readings = iter(self.workers.map(replication.read, tasks))
        for key, case in missing.items():
            self._known[key] = Study(case)
        for _ in seeds:
            for key in missing:
                self._known[key].readings.append(next(readings))
        self.walks += len(tasks)
        return [self._known[key] for key in keys]

    def study(self, variant: Scenario, rate: float = 1.0) -> Study:
        """One variant, replicated."""
        return self.studies([variant], rate)[0]

    def word(self, variant: Scenario, rate: float = 1.0) -> slo.Word:
        """Pass if every gate is met beyond doubt, fail if one surely is not."""
        return slo.overall(self.study(variant, rate).verdicts())

    def meets(self, variant: Scenario, rate: float = 1.0) -> bool:
        """Whether every gate is met beyond doubt."""
        return self.word(variant, rate) == "pass"


def with_servers(scenario: Scenario, servers: Mapping[str, int]) -> Scenario:
    """The scenario with these numbers of servers, all month long; 0 is as many as are wanted."""
    stations: dict[str, Station] = dict(scenario.stations)
    for name, count in servers.items():
        stations[name] = msgspec.structs.replace(stations[name], servers=count, servers_later=())
    return msgspec.structs.replace(scenario, stations=stations)


def limited(scenario: Scenario) -> list[str]:
    """The stations where somebody may have to wait for a server."""
    return [name for name, station in scenario.stations.items() if station.servers]
