"""What part of a plan a load test plays, and how fast; each shape says what it is.

Time is never compressed for people and services: only the gaps between journeys change.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fewseconds import columns
from fewseconds import plan as plans
from fewseconds.arrivals import HOUR_US
from fewseconds.errors import UsageError
from fewseconds.plan import Plan
from fewseconds.schedule import LENGTH_MAX_S, RATE_MAX_PER_S, Stage, starts_us

if TYPE_CHECKING:
    from fewseconds.scenario import Scenario

SECOND_US = 1_000_000
PLAN_FILE = "plan.parquet"
"""What a run's generator was told to play, in the run's folder."""


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """A window at its true rate, unless said otherwise."""

    rate_scale: float = 1.0
    """So many times the true rate (a stress test): a longer stretch in the same time."""
    constant_rate: float = 0.0
    """Journeys per second, in the plan's order with its gaps replaced (an endurance run); 0 is the
    plan's own gaps."""
    everything: bool = False
    """The whole plan instead of the window; needs a constant rate."""
    with_portal: bool = False
    """With ``everything``: payments at the portal stay there. Its password hashes take a tenth of a
    second of a processor and more, each: those of a city, hours of a small machine."""
    same_stations: bool = False
    """With ``everything``: mocked parties keep the scenario's servers, the city's share of them at
    the plan's own rates, and are mostly overloaded."""
    journeys_max: int = 0
    """At most so many journeys; 0 is no limit."""
    duration_s: float = 0.0
    """Length of the window (hours make a soak); 0 is the scenario's own."""
    stages: tuple[Stage, ...] = ()
    """Rates that follow each other (a ramp, steps, a spike), in the plan's order from the window's
    beginning on, with its gaps replaced."""
    replay: str = ""
    """A folder of an earlier run, or its plan as Parquet: the same journeys at the same times."""

    def says(self) -> str:
        """What a reader must know about the load."""
        if self.replay:
            return f"a replay of {self.replay}: the same journeys at the same times"
        if self.stages:
            rates = [stage.rate_per_s for stage in self.stages]
            return (
                f"rates from {min(rates):.4g} to {max(rates):.4g} journeys/s, one after the other, "
                "in the plan's order; its gaps are not the plan's"
            )
        if self.constant_rate:
            part = "the window"
            if self.everything:
                others = "that no phone makes over HTTP, such as cash,"
                if not self.with_portal:
                    others = "of every other way (cash, Bharat Connect, the portal)"
                part = f"the whole plan (payments {others} are made by QR instead)"
            return (
                f"an endurance run: {part} in its order at a constant {self.constant_rate:g} "
                "journeys/s; its gaps are not the plan's"
            )
        if self.rate_scale != 1.0:
            return f"a stress test: the window at {self.rate_scale:g} times its true rate"
        return "the window at its true rate"

    def growth(self, whole: Plan) -> float:
        """How many times as large mocked parties are when the plan is played so much faster.

        Their servers are the city's share of them, so it grows as the traffic does from the plan's
        busiest hour: they are then as busy all the time as in that hour. They never shrink.

        Raises UsageError for a shape that makes no sense.
        """
        self._check()
        if not self.everything or self.same_stations or not len(whole):
            return 1.0
        most = int(np.bincount(whole.starts_us // HOUR_US).max())
        return max(self.constant_rate * HOUR_US / SECOND_US / most, 1.0)

    def world(self, whole: Plan) -> Plan:
        """The same plan among mocked parties that bear it at this rate; measured ones stay."""
        factor = self.growth(whole)
        if factor == 1.0:
            return whole
        stations = {
            name: station.grown(factor) if station.role == "mocked" else station
            for name, station in whole.scenario.stations.items()
        }
        scenario = msgspec.structs.replace(whole.scenario, stations=stations)
        return Plan(scenario, whole.seed, whole.table)

    def window(self, whole: Plan) -> tuple[Plan, tuple[int, int]]:
        """The journeys to play, with their intended starts, and the window they are in.

        Raises UsageError for a shape that contradicts itself.
        """
        self._check()
        if self.replay:
            return self._first_of(recorded(whole, self.replay))
        if self.duration_s:
            whole = Plan(_lasting(whole.scenario, self.duration_s), whole.seed, whole.table)
        from_us, until_us = whole.busiest_window()
        if self.constant_rate or self.stages:
            return self._replaced(whole, from_us, until_us)
        # Scaled up, the stretch is longer than the window and ends where the window does.
        stretch_us = (until_us - from_us) * self.rate_scale
        if stretch_us > until_us:
            message = (
                f"--rate-scale {self.rate_scale:g}: reaches back before the plan begins; lower it "
                "or shorten load.duration_s"
            )
            raise UsageError(message)
        begin_us = until_us - round(stretch_us)
        rows = self._first(whole.window(begin_us, until_us).real_time())
        offsets = (rows.starts_us - begin_us) / self.rate_scale
        # The plan's order is kept: rounding never lets a later start come first.
        return started(rows, from_us + offsets.astype(np.int64)), (from_us, until_us)

    def _check(self) -> None:
        # Written so that what is no number, which is neither above nor below any, is refused.
        if not 0 < self.rate_scale < math.inf:
            message = f"--rate-scale {self.rate_scale:g}: must be a number above 0; correct it"
            raise UsageError(message)
        if not 0 <= self.constant_rate <= RATE_MAX_PER_S:
            message = (
                f"--constant-rate {self.constant_rate:g}: must be a number from 0 to "
                f"{RATE_MAX_PER_S:g}; correct it"
            )
            raise UsageError(message)
        _bearable("--duration", self.duration_s)
        if self.constant_rate and self.rate_scale != 1.0:
            message = "--rate-scale and --constant-rate: both given; choose one of them"
            raise UsageError(message)
        if self.everything and not self.constant_rate:
            message = "--all: takes a month at its true rate; give --constant-rate as well"
            raise UsageError(message)
        if self.everything and (self.duration_s or self.stages):
            message = "--all: plays the whole plan; leave --duration and --shape out"
            raise UsageError(message)
        if self.replay and (self.constant_rate or self.duration_s or self.rate_scale != 1.0):
            message = "--replay: brings its own times; leave rates and --duration out"
            raise UsageError(message)

    def _replaced(self, whole: Plan, from_us: int, until_us: int) -> tuple[Plan, tuple[int, int]]:
        """Rows in the plan's order with gaps of our own."""
        if self.everything:
            rows = by_qr(whole, with_portal=self.with_portal).real_time()
        elif self.stages or self.duration_s:
            # From the window's beginning on, as many as it takes.
            rows = whole.window(from_us, int(whole.starts_us[-1]) + 1).real_time()
        else:
            rows = whole.window(from_us, until_us).real_time()
        stages = self.stages or (self._constant(len(rows)),)
        wanted = math.floor(sum(stage.rate_per_s * stage.duration_s for stage in stages))
        if wanted > len(rows):
            message = (
                f"{whole.scenario.name}: only {len(rows)} journeys follow the window's beginning, "
                f"{wanted} are wanted; lower the rate or shorten --duration"
            )
            raise UsageError(message)
        times = np.concatenate([*starts_us(list(stages), None), np.zeros(0, np.int64)])
        times = times[: len(rows)]
        taken = Plan(rows.scenario, rows.seed, rows.table.slice(0, len(times)))
        length_us = round(sum(stage.duration_s for stage in stages) * SECOND_US)
        return self._first_of((started(taken, from_us + times), (from_us, from_us + length_us)))

    def _constant(self, rows: int) -> Stage:
        """One stage that plays so many rows, or as many as are asked for."""
        if self.duration_s:
            return Stage(self.constant_rate, self.duration_s)
        length_s = min(rows, self.journeys_max or rows) / self.constant_rate
        _bearable(f"--constant-rate {self.constant_rate:g}", length_s)
        return Stage(self.constant_rate, length_s)

    def _first(self, rows: Plan) -> Plan:
        if not self.journeys_max:
            return rows
        return Plan(rows.scenario, rows.seed, rows.table.slice(0, self.journeys_max))

    def _first_of(self, found: tuple[Plan, tuple[int, int]]) -> tuple[Plan, tuple[int, int]]:
        return self._first(found[0]), found[1]


def _bearable(place: str, length_s: float) -> None:
    """Raise UsageError for a run that would outlast everybody's patience."""
    if length_s > LENGTH_MAX_S:
        days, most = length_s / 86_400, LENGTH_MAX_S // 86_400
        message = f"{place}: the run would take {days:.4g} days; {most} are the most"
        raise UsageError(message)


def _lasting(scenario: Scenario, duration_s: float) -> Scenario:
    load = msgspec.structs.replace(scenario.load, duration_s=max(round(duration_s), 1))
    return msgspec.structs.replace(scenario, load=load)


def by_qr(whole: Plan, *, with_portal: bool) -> Plan:
    """The same payments at the same times; those of other ways are made by QR instead.

    Those that can be played against a portal stay there if asked for.

    They take the QR journey of the fewest media, from the one that most see. Raises UsageError if
    the scenario has no such journey.
    """
    scenario = whole.scenario
    media: dict[str, Any] = {
        kind: channel.media
        for kind, channel in scenario.channels.items()
        if channel.media and scenario.journeys[kind].real_time
    }
    if not media:
        raise UsageError(f"{scenario.name}: has no journey with a QR; choose another scenario")
    kind = min(media, key=lambda one: len(media[one]))
    medium = max(media[kind], key=lambda one: media[kind][one])
    stay = np.array(
        [
            one in media or (with_portal and table.real_time)
            for one, table in scenario.journeys.items()
        ],
        bool,
    )
    others = ~stay[whole.codes("kind")]
    table = whole.table
    for name, word in (("kind", kind), ("medium", medium)):
        known = list(plans.names(scenario)[name])
        codes = np.where(others, np.int16(known.index(word)), whole.codes(name))
        table = table.set_column(
            table.schema.get_field_index(name), name, columns.words(codes.astype(np.int16), known)
        )
    return Plan(scenario, whole.seed, table)


def recorded(whole: Plan, place: str) -> tuple[Plan, tuple[int, int]]:
    """What an earlier run played, and the window it was in.

    Raises UsageError if there is no such plan or it speaks of what the scenario does not know.
    """
    path = Path(place)
    path = path / PLAN_FILE if path.is_dir() else path
    try:
        table = pq.read_table(path).select(plans.SCHEMA.names)
    except (OSError, KeyError, pa.ArrowException) as error:
        message = f"--replay {place!r}: no plan can be read there: {error}; name a run's folder"
        raise UsageError(message) from None
    rows = Plan(whole.scenario, whole.seed, table)
    known = plans.names(whole.scenario)
    for name in ("kind", "app", "bank", "medium"):
        strange = set(table[name].unique().to_pylist()) - set(known[name])
        if strange:
            message = (
                f"--replay {place!r}: {name} {min(strange)!r} is unknown to {whole.scenario.name}; "
                "name the scenario that was played"
            )
            raise UsageError(message)
    starts = rows.starts_us
    if not len(starts):
        message = f"--replay {place!r}: no journeys are in that plan; name another run"
        raise UsageError(message)
    return rows, (int(starts[0]), (int(starts[-1]) // SECOND_US + 1) * SECOND_US)


def started(rows: Plan, starts_us: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> Plan:
    """The same journeys with other intended starts (int64 µs, ascending, one a journey)."""
    column = rows.table.schema.get_field_index("intended_start_us")
    table = rows.table.set_column(column, "intended_start_us", pa.array(starts_us, pa.int64()))
    return Plan(rows.scenario, rows.seed, table)
