"""Every draw of a scenario, by what it is for: the same in virtual time and in real time."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from fewseconds import chance, pace
from fewseconds.payer_app import CAPPED, OVER_GALLERY_CAP, memory
from fewseconds.station import Burst, Failure
from fewseconds.timeline import Window, bank_outages

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from fewseconds.plan import Traits
    from fewseconds.scenario import Scenario
    from fewseconds.station import Station

TOO_DEAR: Final = (
    Failure(outcome="declined", code=OVER_GALLERY_CAP, share=1.0, source="the app's profile"),
)


def _service_key(seed: int, step: str, leg: int, station: str) -> int:
    found: int = chance.key(seed, chance.stream("service", step, leg, station))
    return found


def _edges(shares: list[float]) -> list[int]:
    """Cumulative thresholds of ways to fail; what lies above them succeeds."""
    running, edges = 0.0, []
    for share in shares:
        running += share
        edges.append(chance.threshold(running))
    return edges


Lot = tuple[int, Failure | None]
"""What a visit has drawn: how long the work takes in microseconds, and how it fails, if it does."""


class Place(NamedTuple):
    """A leg, and what its visits depend on beside the station's table."""

    step: str
    leg: int
    station: str
    variant: str
    slowdown: float
    grid_us: int
    memory: Callable[[float], float]
    """Turns the station's persistence into that of the attempts here."""
    outages: list[Window]
    """Spans in which every visit fails."""


class Visit:
    """How a leg's visits to its station turn out, for journeys with certain traits."""

    __slots__ = (
        "_as_it_is", "_drawn", "_may_fail", "_seed", "burst_below", "burst_key", "burst_us",
        "edges", "edges_in_burst", "failure_key", "failure_share", "failures", "grid_us", "milli",
        "outages", "patience", "patience_key", "persistence", "refresh", "service_key", "table",
    )  # fmt: skip

    def __init__(self, seed: int, place: Place, station: Station) -> None:
        """Prepare the draws of the leg at ``place``."""
        other = station.variants.get(place.variant)
        law = other.service_time if other and other.service_time else station.service_time
        persistence = station.persistence
        if other is not None and other.persistence is not None:
            persistence = other.persistence
        self._seed = seed
        named = (place.step, place.leg, place.station)
        self.table = law.table()
        self.service_key = _service_key(seed, *named)
        self._drawn = chance.drawer(self.service_key)
        self.failure_key = chance.key(seed, chance.stream("failure", *named))
        self.patience_key = chance.key(seed, chance.stream("patience", *named))
        self.refresh = chance.stream("refresh", *named)
        self.failures = station.failures_of(place.variant)
        self.failure_share = sum(failure.share for failure in self.failures)
        self.edges = self.edges_in_burst = _edges([one.share for one in self.failures])
        self._set_burst(seed, place, station.burst)
        self.outages = [
            (from_us, until_us, Failure(
                outcome="error", code=fault.code, share=1.0, source=fault.source))
            for from_us, until_us, fault in place.outages
        ]  # fmt: skip
        self._may_fail = bool(self.failures or self.outages)
        self.persistence = chance.threshold(place.memory(persistence))
        self.milli, self.grid_us = round(place.slowdown * 1000), place.grid_us
        self._as_it_is = (self.milli, self.grid_us) == (1000, 1)
        self.patience = station.patience.table() if station.patience else None

    def _set_burst(self, seed: int, place: Place, burst: Burst | None) -> None:
        """Prepare when errors come in bursts, and how many then; all steps share them."""
        self.burst_us = self.burst_below = 0
        self.burst_key = chance.key(seed, chance.stream("burst", place.station, place.variant))
        errors = sum(one.share for one in self.failures if one.outcome == "error")
        if burst is not None and errors > 0:
            self.burst_us = burst.span_s * 1_000_000
            self.burst_below = chance.threshold(burst.share_of_time)
            others, time = self.failure_share - errors, burst.share_of_time
            # What has no room in the bursts comes outside them, so that the mean is kept.
            busy = min(errors / time, 1 - others)
            calm = max((errors - time * busy) / (1 - time), 0.0) if time < 1 else busy
            self.edges, self.edges_in_burst = (
                self._scaled(calm / errors),
                self._scaled(busy / errors),
            )

    def _scaled(self, errors: float) -> list[int]:
        """Thresholds of the failures when there are so many times as many errors."""
        return _edges(
            [one.share * (errors if one.outcome == "error" else 1) for one in self.failures]
        )

    def service_us(self, journey_id: int, attempt: int) -> int:
        """How long the work takes."""
        took_us = chance.quantile(self.table, self._drawn(journey_id, attempt))
        return pace.scaled(took_us, self.milli, self.grid_us)

    def lot(self, journey_id: int, attempt: int, now_us: int, draw: int | None = None) -> Lot:
        """All that a visit draws that comes at ``now_us``.

        Who knows the draw of its service (see :meth:`Draws.of_services`) says so.
        """
        if draw is None:
            draw = self._drawn(journey_id, attempt)
        took_us = chance.quantile(self.table, draw)
        if not self._as_it_is:
            took_us = pace.scaled(took_us, self.milli, self.grid_us)
        return took_us, self.failure(journey_id, attempt, now_us) if self._may_fail else None

    def failure(self, journey_id: int, attempt: int, now_us: int = 0) -> Failure | None:
        """How the work of a visit that comes at ``now_us`` fails, if it does."""
        for from_us, until_us, outage in self.outages:
            if from_us <= now_us < until_us:
                return outage
        if not self.failures:
            return None
        if self.persistence:
            attempt = chance.last_refresh(
                self._seed, self.refresh, journey_id, attempt, self.persistence
            )
        draw = chance.draw(self.failure_key, journey_id, attempt)
        edges = self.edges_in_burst if self._in_burst(now_us) else self.edges
        index = chance.pick(edges, draw)
        return self.failures[index] if index < len(self.failures) else None

    def _in_burst(self, now_us: int) -> bool:
        """Whether errors come now, if they come in bursts."""
        if not self.burst_us:
            return False
        luck: int = chance.draw(self.burst_key, now_us // self.burst_us, 1)
        return luck < self.burst_below

    def patience_us(self, journey_id: int, attempt: int) -> int | None:
        """How long this visit is ready to wait; None is for ever."""
        if self.patience is None:
            return None
        draw = chance.draw(self.patience_key, journey_id, attempt)
        return pace.scaled(chance.quantile(self.patience, draw), 1000, self.grid_us)


class Leg:
    """The draws of one leg's visits to a station, as far as they were needed."""

    __slots__ = ("_draws", "_named", "_only", "_told", "_visits")

    def __init__(self, draws: Draws, step: str, leg: int, station: str) -> None:
        """Those of the scenario that ``draws`` follows."""
        self._draws, self._named = draws, (step, leg, station)
        self.forget()

    def forget(self) -> None:
        """Another scenario is followed."""
        self._told: Callable[[Traits], Hashable] | None = None
        self._visits: dict[Hashable, Visit] = {}
        self._only: Visit | None = None

    def of(self, traits: Traits) -> Visit:
        """How visits of journeys with these traits turn out."""
        if self._only is not None:
            return self._only
        if self._told is None:
            by = self._draws.distinguished_by(*self._named)
            if not by:
                self._only = self._draws.made(*self._named, traits)
                return self._only
            self._told = attrgetter(*by)
        told = self._told(traits)
        found = self._visits.get(told)
        if found is None:
            found = self._visits[told] = self._draws.made(*self._named, traits)
        return found


class Draws:
    """The draws of one scenario under one seed."""

    def __init__(self, scenario: Scenario, seed: int) -> None:
        """Tables are built when first needed and kept."""
        self.seed = seed
        self._move_keys: dict[int, int] = {}
        self._legs: dict[tuple[str, int, str], Leg] = {}
        self.follow(scenario)

    def follow(self, scenario: Scenario) -> None:
        """Draw as another scenario says from now on."""
        self.scenario = scenario
        self._cadences = any(app.cadence_ms for app in scenario.apps.values())
        self._capped = any(scenario.gallery_capped(app) for app in scenario.apps.values())
        for leg in self._legs.values():
            leg.forget()

    def distinguished_by(self, step: str, leg: int, station: str) -> tuple[str, ...]:
        """The traits that tell the visits of leg number ``leg`` of ``step`` apart."""
        table = self.scenario.stations[station]
        found = table.by
        if self._cadences and "app" not in found and self._remembers(step, table):
            found += ("app",)
        if self._limits(step, leg) and "gallery" not in found:
            found += ("gallery",)
        outages = any(fault.bank and fault.station == station for fault in self.scenario.fault)
        if outages and "account" not in found:
            found += ("account",)
        return found

    def _limits(self, step: str, leg: int) -> bool:
        """Whether payments above the apps' limits are declined at a leg."""
        mine = self.scenario.steps.get(step)
        return self._capped and mine is not None and mine.legs[leg].app_limits

    def _remembers(self, step: str, table: Station) -> bool:
        """Whether attempts at a station share their luck, on a grid that is the app's."""
        mine = self.scenario.steps.get(step)
        others = [variant.persistence or 0.0 for variant in table.variants.values()]
        lasting = any(0 < value < 1 for value in (table.persistence, *others))
        return lasting and mine is not None and mine.cadence_ms > 0

    def leg(self, step: str, leg: int, station: str) -> Leg:
        """The draws of leg number ``leg`` of ``step``, which goes to ``station``; for good."""
        found = self._legs.get((step, leg, station))
        if found is None:
            found = self._legs[step, leg, station] = Leg(self, step, leg, station)
        return found

    def visit(self, step: str, leg: int, station: str, traits: Traits) -> Visit:
        """The draws of a leg for journeys with these traits."""
        return self.leg(step, leg, station).of(traits)

    def of_services(
        self, step: str, legs: Sequence[tuple[int, str]]
    ) -> Callable[[int, int], tuple[int, ...]]:
        """The draws of the service times of several legs, from journey and attempt.

        They are the same whatever the traits: these choose the law, see :meth:`Visit.lot`.
        """
        return chance.drawers([_service_key(self.seed, step, *leg) for leg in legs])

    def made(self, step: str, leg: int, station: str, traits: Traits) -> Visit:
        """The draws of a leg, made ready; who asks more than once asks :meth:`visit`."""
        table, mine = self.scenario.stations[station], self.scenario.steps.get(step)
        app = self.scenario.apps.get(traits.app)
        if self._limits(step, leg) and traits.gallery == CAPPED:
            table = msgspec.structs.replace(
                table, failures=TOO_DEAR, variants={}, persistence=0.0, burst=None
            )

        def lasting(persistence: float) -> float:
            return persistence if mine is None else memory(persistence, mine, app)

        place = Place(
            step, leg, station, traits.key(self.scenario.stations[station].by),
            self.scenario.slowdown(station), self.scenario.simulate.resolution_us, lasting,
            bank_outages(self.scenario, station, traits.account),
        )  # fmt: skip
        return Visit(self.seed, place, table)

    def service_us(
        self, station: str, step: str, leg: int, attempt: int, journey_id: int, traits: Traits
    ) -> int:
        """How long the work of one visit takes."""
        return self.visit(step, leg, station, traits).service_us(journey_id, attempt)

    def failure(
        self, station: str, step: str, leg: int, attempt: int, journey_id: int, traits: Traits,
        now_us: int = 0,
    ) -> Failure | None:  # fmt: skip
        """How the work of one visit that comes at ``now_us`` fails, if it does."""
        return self.visit(step, leg, station, traits).failure(journey_id, attempt, now_us)

    def move_draw(self, streams: Sequence[int], step: int, attempt: int, journey_id: int) -> int:
        """The draw that ``next_move`` gets after an attempt; ``streams`` are the route's."""
        key = self._move_keys.get(streams[step])
        if key is None:
            key = self._move_keys[streams[step]] = chance.key(self.seed, streams[step])
        return int(chance.draw(key, journey_id, attempt))
