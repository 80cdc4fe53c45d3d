"""The journeys in virtual time, on SimPy: the readable specification of every other engine.

What happens at one instant is ordered by (time, class, journey, branch, leg, attempt). SimPy
orders by (time, priority), so those go into the priority, and SimPy's own bookkeeping events
(priorities 0 and 1) always run before them. Rows are written in the order in which their events
happen. What a station does is in :mod:`sim.reference_station`.
"""

from __future__ import annotations

import gc
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import pyarrow as pa
import simpy

from fewseconds import journey as j
from fewseconds.draws import Draws
from fewseconds.outcomes import SCHEMA, table
from fewseconds.pace import scaled
from sim.ready import BEGIN, PROCESS, TIME_OUT, Legs, rank
from sim.reference_station import Alarm, Station, Visit
from sim.simulated import Simulated

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from fewseconds.plan import Plan, Row

    T = TypeVar("T")
    Environment = Any
    Walking = Generator[simpy.Event, Any, T]

PART_ROWS = 100_000
"""So many rows are packed into a table at once: as tuples they take eight times the memory."""


class Walk:
    """One journey on its way: its branches are SimPy processes."""

    __slots__ = ("city", "happened", "legs", "route", "row")

    def __init__(self, city: City, row: Row) -> None:
        """Stand at the beginning."""
        self.city, self.row, self.route = city, row, city.routes[row.kind, row.app]
        self.legs = city.legs.of(city.scenario, row)
        self.happened: set[str] = set()

    def happen(self, event: str) -> None:
        """Note an event; the first time, start the branches that wait for it."""
        if event not in self.happened:
            self.happened.add(event)
            for number, branch in enumerate(self.route.branches):
                if branch.event == event:
                    self.city.env.process(self.branch(number))

    def branch(self, number: int) -> Walking[None]:
        """Walk one branch from its first step to its end."""
        env, route, grid_us = self.city.env, self.route, self.city.grid_us
        step, attempt, first_start_us = route.branches[number].first_step, 1, 0
        delay_us, started = route.rules[step * j.WIDTH + j.DELAY_US], number == 0
        while step != j.END:
            intended_us, delay_us = env.now, scaled(delay_us, 1000, grid_us)
            # A branch that an event starts takes its turn at that instant, like everybody else.
            if delay_us > 0 or not started:
                self.city.events += 1
                started, turn = True, (number, self.legs[step][0].number, attempt)
                yield Alarm(env, delay_us, rank(BEGIN, self.row.journey_id, *turn))
            start_us = env.now
            if attempt == 1:
                first_start_us = start_us
            outcome, code = yield from self.attempt(number, step, attempt)
            place = (route.steps[step].name, j.STEP_ROW, attempt, "")
            self.city.write(
                self, number, place, (intended_us, start_us, start_us), outcome, code, 0
            )
            if outcome == j.OK:
                self.happen(f"{route.steps[step].name}.ok")
            draw = self.city.draws.move_draw(route.move_streams, step, attempt, self.row.journey_id)
            following, delay_us = j.next_move(
                route.rules, step, attempt, outcome, env.now - first_start_us, draw
            )
            attempt = attempt + 1 if following == step else 1
            step = following

    def attempt(self, number: int, step: int, attempt: int) -> Walking[tuple[int, str]]:
        """Pass the legs of a step until one does not succeed."""
        for leg in self.legs[step]:
            visit = Visit(self, number, leg, attempt)
            self.city.stations[leg.leg.station].enter(visit)
            if visit.outcome != j.REJECTED:
                in_time = yield from self.wait(visit, leg.timeout_us)
                if not in_time:
                    self.city.events += 1
                    self.happen(f"{leg.step}.{leg.leg.on_timeout}")
                    return j.TIMED_OUT_AS[leg.leg.on_timeout]
            if visit.outcome != j.OK:
                return visit.outcome, visit.code
        return j.OK, ""

    def wait(self, visit: Visit, limit_us: int | None) -> Walking[bool]:
        """Wait for the answer; False if the caller's time ran out first."""
        lost = visit.failure is not None and visit.failure.outcome == "timed_out"
        served_in_time = not visit.waiting and (limit_us is None or visit.service_us <= limit_us)
        if served_in_time and not lost:
            yield visit  # Nothing else can happen, so no alarm is set.
            return True
        caller = visit.caller = simpy.Event(self.city.env)
        if limit_us is not None:
            priority = visit.rank(TIME_OUT)
            Alarm(self.city.env, limit_us, priority, lambda: visit.tell(answered=False))
        in_time: bool = yield caller
        return in_time


class City:
    """All stations and all journeys of a plan."""

    def __init__(self, plan: Plan) -> None:
        """Build the stations; nothing moves until the environment runs."""
        self.plan, self.scenario = plan, plan.scenario
        self.grid_us = plan.scenario.simulate.resolution_us
        self.env: Environment = simpy.Environment()
        self.events = 0
        self.draws = Draws(plan.scenario, plan.seed)
        names = enumerate(plan.scenario.stations)
        self.stations = {name: Station(self, number, name) for number, name in names}
        self.routes = {
            (kind, app): plan.scenario.route(kind, app)
            for kind in plan.scenario.journeys
            for app in plan.scenario.apps
        }
        self.legs = Legs(self.routes, self.draws)
        self.rows: list[tuple[Any, ...]] = []
        self.parts: list[pa.Table] = []
        self.take: Callable[[pa.Table], None] = self.parts.append

    def write(
        self, walk: Walk, branch: int, place: tuple[str, int, int, str],
        times_us: tuple[int, int, int], outcome: int, code: str, queue_length: int,
    ) -> None:  # fmt: skip
        """Keep a row of outcomes that ends now."""
        name = walk.route.branches[branch].name
        self.rows.append(
            ("sim", PROCESS, walk.row.journey_id, name, *place, *times_us, self.env.now,
             j.OUTCOMES[outcome], code, queue_length, 0)
        )  # fmt: skip
        if len(self.rows) == PART_ROWS:
            self.pack()

    def arrivals(self, progress: Callable[[int], None] | None) -> Walking[None]:
        """Send every journey on its way at its intended start."""
        for done, row in enumerate(self.plan.rows()):
            delay_us = row.intended_start_us - self.env.now
            yield Alarm(self.env, delay_us, rank(BEGIN, row.journey_id, 0, 0, 0))
            self.events += 1
            self.env.process(Walk(self, row).branch(0))
            if progress is not None and done % 1000 == 0:
                progress(done)

    def pack(self) -> None:
        """Pass the rows on as a table."""
        self.take(table(self.rows))
        self.rows.clear()


@contextmanager
def collected_seldom() -> Iterator[None]:
    """Let Python look for cycles a hundred times as rarely.

    Events make none, and every look passes over all journeys on their way: a tenth of the time.
    """
    usual = gc.get_threshold()
    gc.set_threshold(70_000, *usual[1:])
    try:
        yield
    finally:
        gc.set_threshold(*usual)


def simulate(
    plan: Plan,
    progress: Callable[[int], None] | None = None,
    sink: Callable[[pa.Table], None] | None = None,
) -> Simulated:
    """Walk all journeys of ``plan`` to their ends; see :func:`sim.engines.walk`."""
    begun = time.perf_counter()
    city = City(plan)
    city.take = sink or city.take
    city.env.process(city.arrivals(progress))
    with collected_seldom():
        city.env.run()
    city.pack()
    outcomes = pa.concat_tables([SCHEMA.empty_table(), *city.parts]).unify_dictionaries()
    return Simulated(outcomes, len(plan), city.events, time.perf_counter() - begun)
