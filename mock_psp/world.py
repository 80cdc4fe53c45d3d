"""What all parts of one service share: the scenario, its draws, the clock and the record."""

from __future__ import annotations

import asyncio
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Final

from fewseconds import plan_start
from fewseconds.draws import Draws
from fewseconds.errors import HarnessError
from fewseconds.outcomes import Writer
from fewseconds.plan import traits_of
from mock_psp.alarms import Alarms
from mock_psp.clock import PlanClock
from mock_psp.faults import Faults
from mock_psp.station import Call, Station

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping

    from fewseconds.contracts import Trace
    from fewseconds.journey import Route
    from fewseconds.plan import Traits
    from mock_psp.spec import RunSpec, Secrets

LOOK_S: Final = 0.05
"""A generator says when it begins half a second before, or more."""


class World:
    """One service's view of the run."""

    def __init__(self, spec: RunSpec, secrets: Secrets, process: str) -> None:
        """``process`` names the file of outcomes; a service that is started again has a new one."""
        self.spec, self.secrets, self.folder = spec, secrets, spec.folder
        self.scenario, self.seed = spec.scenario, spec.seed
        self.clock = PlanClock(
            spec.epoch_monotonic_us, spec.plan_origin_us, spec.scenario.first_day,
            real_dates=spec.real_dates,
        )  # fmt: skip
        self.alarms = Alarms(self.clock)
        self.draws = Draws(spec.scenario, spec.seed)
        self.writer = Writer(self.folder.outcomes, process)
        self.closing = asyncio.Event()
        """Set when the service has been told to stop: long polls answer at once."""
        self.stations: list[Station] = []
        self.counts: list[Callable[[], Mapping[str, int]]] = []
        """Totals of the service's books, by name; read when somebody asks for the metrics."""
        self.unable: list[Callable[[], str]] = []
        """Why the service cannot do its work; empty as long as it can."""
        self.faults = Faults(self)
        self.smpp: socket.socket | None = None
        """Where the SMS gateway's second door listens, if it has one."""
        self.look_at_clock()
        self._traits = lru_cache(maxsize=4096)(partial(traits_of, spec.scenario))
        self._routes = {
            kind: spec.scenario.route(kind)
            for kind, table in spec.scenario.journeys.items()
            if table.real_time
        }
        self._branches = {
            (kind, step.name): ("main" if step.after is None else step.name, len(step.legs))
            for kind, route in self._routes.items()
            for step in route.steps
        }

    def look_at_clock(self) -> bool:
        """Set the clock if somebody has said what time it is; whether nothing is left to hear."""
        if not self.spec.awaits_start:
            return True
        zero_us = plan_start.told(self.folder.start)
        if zero_us is not None:
            self.clock.begin(zero_us)
        return zero_us is not None

    async def set_clock(self) -> None:
        """Wait until somebody has said what time it is, which is before anything is asked of us.

        Raises SystemExit, which ends the service, if that cannot be read.
        """
        try:
            while not self.look_at_clock():  # noqa: ASYNC110 - another process says so, in a file
                await asyncio.sleep(LOOK_S)
        except HarnessError as error:
            raise SystemExit(str(error)) from None

    def route(self, kind: str) -> Route | None:
        """A kind of journey, or None if there is no such kind in real time."""
        return self._routes.get(kind)

    def call(self, trace: Trace) -> Call | None:
        """The visit that a trace announces; None if no such leg is known.

        A client speaks of a step, whose first leg is meant. Steps that an event starts are in the
        branch of that name.
        """
        branch, legs = self._branches.get((trace.kind, trace.step), ("", 0))
        leg = max(trace.leg, 0)
        if leg >= legs:
            return None
        return Call(
            trace.kind, trace.journey_id, branch, trace.step, leg, trace.attempt,
            self.traits(trace),
        )  # fmt: skip

    def traits(self, trace: Trace) -> Traits:
        """The traits that a trace carries, and those of its app."""
        return self._traits(trace.app, trace.bank, trace.medium, trace.scanner, trace.operator)

    def route_through(self, *steps: str) -> Route:
        """The first kind of journey that has all these steps: for callers without a trace."""
        for route in self._routes.values():
            if set(steps) <= {step.name for step in route.steps}:
                return route
        raise LookupError(steps)

    def station(self, name: str, *, pooled: bool = False) -> Station:
        """A station of the scenario, idle."""
        table = self.scenario.stations[name]
        made = Station(
            name, table, self.draws, self.clock, self.writer, pooled=pooled, alarms=self.alarms
        )
        self.stations.append(made)
        return made
