"""The journeys in virtual time, on SimPy: the readable specification of every other engine.

What happens at one instant is ordered by (time, class, journey, branch, leg, attempt). SimPy
orders by (time, priority), so those go into the priority, and SimPy's own bookkeeping events
(priorities 0 and 1) always run before them. A server that is released takes the next visit before
the one that leaves moves on.

Two ways to stop waiting differ: a visit that *reneges* leaves the queue and its work is never
done; when the caller *times out*, the visit stays, the work is done, and its events happen.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Any, TypeVar

import simpy

from fewseconds import journey as j
from fewseconds.draws import Draws
from fewseconds.outcomes import table
from fewseconds.plan import Plan, Row, traits
from sim.ready import BEGIN, PATIENCE_END, SERVICE_END, TIME_OUT, Leg, Legs, rank
from sim.simulated import Simulated

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from fewseconds import scenario as s

    T = TypeVar("T")
    # SimPy's annotations know no whole-number time and no priorities but its own two.
    Environment = Any
    Walking = Generator[simpy.Event, Any, T]


class Alarm(simpy.Event):
    """An event at a known time and with a known rank."""

    def __init__(self, env: Environment, delay_us: int, priority: int) -> None:
        """Go off after ``delay_us``."""
        super().__init__(env)
        self._ok, self._value = True, None
        env.schedule(self, priority, delay_us)


class Visit(simpy.Event):
    """One leg's stay at a station; as an event, the end of its service."""

    def __init__(self, walk: Walk, branch: int, leg: Leg, attempt: int) -> None:
        """Draw what will happen to it."""
        super().__init__(walk.city.env)
        self._ok, self._value = True, None
        self.walk, self.leg, self.attempt = walk, leg, attempt
        self.journey_id, self.branch = walk.row.journey_id, branch
        self.service_us = leg.draws.service_us(self.journey_id, attempt)
        self.failure = leg.draws.failure(self.journey_id, attempt)
        self.arrived_us = self.service_start_us = walk.city.env.now
        self.queue_length = 0
        self.outcome, self.code = j.OK, ""
        self.waiting = False
        self.caller: simpy.Event | None = None
        self.callbacks = [walk.city.stations[leg.leg.station].leave]

    def rank(self, kind: int) -> int:
        """Rank of an event of this visit."""
        return rank(kind, self.journey_id, self.branch, self.leg.number, self.attempt)

    def answer(self) -> None:
        """Let the caller go on, if one still waits who may also run out of time."""
        if self.caller is not None and not self.caller.triggered:
            self.caller.succeed(value=True)

    def give_up(self) -> None:
        """The caller's time is over, unless the answer came first; the work goes on."""
        if self.caller is not None and not self.caller.triggered:
            self.caller.succeed(value=False)


class Station:
    """Servers behind one first-come-first-served queue."""

    def __init__(self, city: City, name: str, table: s.Station) -> None:
        """Begin idle."""
        self.city, self.name, self.table = city, name, table
        self.busy = self.waiting = 0
        self.queue: deque[Visit] = deque()

    def enter(self, visit: Visit) -> None:
        """Serve the visit, let it wait, or turn it away."""
        visit.queue_length = self.waiting
        limit = self.table.queue_limit
        if self.table.servers == 0 or self.busy < self.table.servers:
            self.serve(visit)
        elif limit is not None and self.waiting >= limit:
            self.end(visit, j.REJECTED, "queue_full")
        else:
            visit.waiting = True
            self.waiting += 1
            self.queue.append(visit)
            patience_us = visit.leg.draws.patience_us(visit.journey_id, visit.attempt)
            if patience_us is not None:
                alarm = Alarm(self.city.env, patience_us, visit.rank(PATIENCE_END))
                alarm.callbacks.append(lambda _: self.renege(visit))

    def serve(self, visit: Visit) -> None:
        """Begin the work."""
        self.busy += 1
        visit.service_start_us = self.city.env.now
        self.city.env.schedule(visit, visit.rank(SERVICE_END), visit.service_us)

    def renege(self, visit: Visit) -> None:
        """Somebody's patience is over: if still in the queue, leave it."""
        if visit.waiting:
            visit.waiting = False
            self.waiting -= 1
            visit.service_start_us = self.city.env.now
            self.end(visit, j.RENEGED, "")

    def leave(self, visit: Visit) -> None:
        """The work is done: take the next one first, then let this one go."""
        self.busy -= 1
        while self.queue:
            follower = self.queue.popleft()
            if follower.waiting:
                follower.waiting = False
                self.waiting -= 1
                self.serve(follower)
                break
        outcome, code, leg = j.OK, "", visit.leg.leg
        if visit.failure is not None:
            outcome, code = j.OUTCOMES.index(visit.failure.outcome), visit.failure.code
        if outcome == j.OK and leg.asks and leg.asks not in visit.walk.events:
            outcome, code = j.UNFINISHED, j.PENDING_CODE
        self.end(visit, outcome, code)

    def end(self, visit: Visit, outcome: int, code: str) -> None:
        """Write the row, make the event of the work happen, and answer."""
        visit.outcome, visit.code = outcome, code
        now, leg = self.city.env.now, visit.leg
        self.city.events += 1
        branch = visit.walk.route.branches[visit.branch].name
        self.city.write(
            "sim", "simpy", visit.journey_id, branch, leg.step, leg.index, visit.attempt, self.name,
            visit.arrived_us, visit.arrived_us, visit.service_start_us, now, j.OUTCOMES[outcome],
            code, visit.queue_length, 0,
        )  # fmt: skip
        # An answer that is lost on the way back belongs to work that was done.
        if leg.leg.emits and outcome in (j.OK, j.TIMED_OUT):
            visit.walk.happen(f"{leg.step}.{leg.leg.emits}")
        if outcome != j.TIMED_OUT:
            visit.answer()


class Walk:
    """One journey on its way: its branches are SimPy processes."""

    __slots__ = ("city", "events", "legs", "route", "row")

    def __init__(self, city: City, row: Row, route: j.Route, legs: list[list[Leg]]) -> None:
        """Stand at the beginning."""
        self.city, self.row, self.route, self.legs = city, row, route, legs
        self.events: set[str] = set()

    def happen(self, event: str) -> None:
        """Note an event; the first time, start the branches that wait for it."""
        if event not in self.events:
            self.events.add(event)
            for number, branch in enumerate(self.route.branches):
                if branch.event == event:
                    self.city.env.process(self.branch(number))

    def branch(self, number: int) -> Walking[None]:
        """Walk one branch from its first step to its end."""
        env, route, row = self.city.env, self.route, self.row
        step, attempt, first_start_us = route.branches[number].first_step, 1, 0
        delay_us, started = route.rules[step * j.WIDTH + j.DELAY_US], number == 0
        while step != j.END:
            intended_us = env.now
            # A branch that an event starts takes its turn at that instant, like everybody else.
            if delay_us > 0 or not started:
                self.city.events += 1
                started, turn = True, (number, self.legs[step][0].number, attempt)
                yield Alarm(env, delay_us, rank(BEGIN, row.journey_id, *turn))
            start_us = env.now
            if attempt == 1:
                first_start_us = start_us
            outcome, code = yield from self.attempt(number, step, attempt)
            name = route.steps[step].name
            self.city.write(
                "sim", "simpy", row.journey_id, route.branches[number].name, name, j.STEP_ROW,
                attempt, "", intended_us, start_us, start_us, env.now, j.OUTCOMES[outcome], code,
                0, 0,
            )  # fmt: skip
            if outcome == j.OK:
                self.happen(f"{name}.ok")
            draw = self.city.draws.move_draw(route.move_streams, step, attempt, row.journey_id)
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
                in_time = yield from self.wait(visit, leg)
                if not in_time:
                    self.city.events += 1
                    self.happen(f"{leg.step}.{leg.leg.on_timeout}")
                    return j.TIMED_OUT_AS[leg.leg.on_timeout]
            if visit.outcome != j.OK:
                return visit.outcome, visit.code
        return j.OK, ""

    def wait(self, visit: Visit, leg: Leg) -> Walking[bool]:
        """Wait for the answer; False if the caller's time ran out first."""
        limit_us, failure = leg.timeout_us, visit.failure
        lost = failure is not None and failure.outcome == "timed_out"
        served_in_time = not visit.waiting and (limit_us is None or visit.service_us <= limit_us)
        if served_in_time and not lost:
            yield visit  # Nothing else can happen, so no alarm is set.
            return True
        caller = visit.caller = simpy.Event(self.city.env)
        if limit_us is not None:
            alarm = Alarm(self.city.env, limit_us, visit.rank(TIME_OUT))
            alarm.callbacks.append(lambda _: visit.give_up())
        in_time: bool = yield caller
        return in_time


class City:
    """All stations and all journeys of a plan."""

    def __init__(self, plan: Plan) -> None:
        """Build the stations; nothing moves until :meth:`run`."""
        self.plan, self.scenario = plan, plan.scenario
        self.env: Environment = simpy.Environment()
        self.draws = Draws(plan.scenario, plan.seed)
        self.stations = {name: Station(self, name, t) for name, t in plan.scenario.stations.items()}
        self.routes = {kind: plan.scenario.route(kind) for kind in plan.scenario.journeys}
        self.legs = Legs(self.routes, self.draws)
        self.rows: list[tuple[Any, ...]] = []
        self.events = 0

    def write(self, *row: Any) -> None:  # noqa: ANN401 - the columns of an outcome
        """Keep a row of outcomes."""
        self.rows.append(row)

    def arrivals(self, progress: Callable[[int], None] | None) -> Walking[None]:
        """Send every journey on its way at its intended start."""
        for done, row in enumerate(self.plan.rows()):
            delay_us = row.intended_start_us - self.env.now
            yield Alarm(self.env, delay_us, rank(BEGIN, row.journey_id, 0, 0, 0))
            self.events += 1
            legs = self.legs.of(row.kind, traits(self.scenario, self.plan.seed, row))
            self.env.process(Walk(self, row, self.routes[row.kind], legs).branch(0))
            if progress is not None and done % 1000 == 0:
                progress(done)


def simulate(plan: Plan, progress: Callable[[int], None] | None = None) -> Simulated:
    """Walk all journeys of ``plan`` to their ends; ``progress`` hears how many have started."""
    begun = time.perf_counter()
    city = City(plan)
    city.env.process(city.arrivals(progress))
    city.env.run()
    return Simulated(table(city.rows), len(plan), city.events, time.perf_counter() - begun)
