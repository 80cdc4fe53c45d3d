"""Every draw of a scenario, by what it is for: the same in virtual time and in real time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fewseconds import chance, pace
from fewseconds.payer_app import memory

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fewseconds.plan import Traits
    from fewseconds.scenario import Scenario
    from fewseconds.station import Failure, Station


class Visit:
    """How a leg's visits to its station turn out, for journeys with certain traits."""

    __slots__ = (
        "_seed",
        "edges",
        "failure_key",
        "failure_share",
        "failures",
        "grid_us",
        "milli",
        "patience",
        "patience_key",
        "persistence",
        "refresh",
        "service_key",
        "table",
    )  # fmt: skip

    def __init__(
        self,
        seed: int,
        place: tuple[str, int, str],
        station: Station,
        variant: str,
        slowdown: float,
        grid_us: int,
        memory: Callable[[float], float],
    ) -> None:
        """Prepare the draws of the leg at ``place`` = (step, leg, station).

        ``memory`` turns the station's persistence into that of the attempts here.
        """
        other = station.variants.get(variant)
        law = other.service_time if other and other.service_time else station.service_time
        failures = station.failures if other is None or other.failures is None else other.failures
        persistence = station.persistence
        if other is not None and other.persistence is not None:
            persistence = other.persistence
        self._seed = seed
        self.table = law.table()
        self.service_key = chance.key(seed, chance.stream("service", *place))
        self.failure_key = chance.key(seed, chance.stream("failure", *place))
        self.patience_key = chance.key(seed, chance.stream("patience", *place))
        self.refresh = chance.stream("refresh", *place)
        self.failures = failures
        self.failure_share, self.edges = 0.0, []
        for failure in failures:
            self.failure_share += failure.share
            self.edges.append(chance.threshold(self.failure_share))
        self.persistence = chance.threshold(memory(persistence))
        self.milli, self.grid_us = round(slowdown * 1000), grid_us
        self.patience = station.patience.table() if station.patience else None

    def service_us(self, journey_id: int, attempt: int) -> int:
        """How long the work takes."""
        draw = chance.draw(self.service_key, journey_id, attempt)
        return pace.scaled(chance.quantile(self.table, draw), self.milli, self.grid_us)

    def failure(self, journey_id: int, attempt: int) -> Failure | None:
        """How the work fails, if it does."""
        if not self.failures:
            return None
        if self.persistence:
            attempt = chance.last_refresh(
                self._seed, self.refresh, journey_id, attempt, self.persistence
            )
        draw = chance.draw(self.failure_key, journey_id, attempt)
        index = chance.pick(self.edges, draw)
        return self.failures[index] if index < len(self.failures) else None

    def patience_us(self, journey_id: int, attempt: int) -> int | None:
        """How long this visit is ready to wait; None is for ever."""
        if self.patience is None:
            return None
        draw = chance.draw(self.patience_key, journey_id, attempt)
        return pace.scaled(chance.quantile(self.patience, draw), 1000, self.grid_us)


class Draws:
    """The draws of one scenario under one seed."""

    def __init__(self, scenario: Scenario, seed: int) -> None:
        """Tables are built when first needed and kept."""
        self.scenario = scenario
        self.seed = seed
        self._visits: dict[tuple[str, int, str, tuple[str, ...]], Visit] = {}
        self._by: dict[tuple[str, str], tuple[str, ...]] = {}
        self._move_keys: dict[int, int] = {}
        self._cadences = any(app.cadence_ms for app in scenario.apps.values())

    def distinguished_by(self, step: str, station: str) -> tuple[str, ...]:
        """The traits that tell the visits of one leg of ``step`` to ``station`` apart."""
        found = self._by.get((step, station))
        if found is None:
            table = self.scenario.stations[station]
            found = table.by
            if self._cadences and "app" not in found and self._remembers(step, table):
                found += ("app",)
            self._by[step, station] = found
        return found

    def _remembers(self, step: str, table: Station) -> bool:
        """Whether attempts at a station share their luck, on a grid that is the app's."""
        mine = self.scenario.steps.get(step)
        others = [variant.persistence or 0.0 for variant in table.variants.values()]
        lasting = any(0 < value < 1 for value in (table.persistence, *others))
        return lasting and mine is not None and mine.cadence_ms > 0

    def visit(self, step: str, leg: int, station: str, traits: Traits) -> Visit:
        """The draws of leg number ``leg`` of ``step``, which goes to ``station``."""
        told = traits.values(self.distinguished_by(step, station))
        found = self._visits.get((step, leg, station, told))
        if found is None:
            table, mine = self.scenario.stations[station], self.scenario.steps.get(step)
            app = self.scenario.apps.get(traits.app)

            def lasting(persistence: float) -> float:
                return persistence if mine is None else memory(persistence, mine, app)

            found = self._visits[step, leg, station, told] = Visit(
                self.seed, (step, leg, station), table, traits.key(table.by),
                self.scenario.slowdown(station), self.scenario.simulate.resolution_us, lasting,
            )  # fmt: skip
        return found

    def service_us(
        self, station: str, step: str, leg: int, attempt: int, journey_id: int, traits: Traits
    ) -> int:
        """How long the work of one visit takes."""
        return self.visit(step, leg, station, traits).service_us(journey_id, attempt)

    def failure(
        self, station: str, step: str, leg: int, attempt: int, journey_id: int, traits: Traits
    ) -> Failure | None:
        """How the work of one visit fails, if it does."""
        return self.visit(step, leg, station, traits).failure(journey_id, attempt)

    def move_draw(self, streams: Sequence[int], step: int, attempt: int, journey_id: int) -> int:
        """The draw that ``next_move`` gets after an attempt; ``streams`` are the route's."""
        key = self._move_keys.get(streams[step])
        if key is None:
            key = self._move_keys[streams[step]] = chance.key(self.seed, streams[step])
        return int(chance.draw(key, journey_id, attempt))
