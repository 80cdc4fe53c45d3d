"""The stations of the reference engine: servers behind a queue, and the visits they serve.

A server that is released takes the next visit before the one that leaves moves on. Two ways to
stop waiting differ: a visit that *reneges* leaves the queue and its work is never done; when the
caller *times out*, the visit stays, the work is done, and its events happen.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import simpy

from fewseconds import journey as j
from fewseconds.bucket import Bucket
from fewseconds.pace import scaled
from fewseconds.station import PRIORITIES
from fewseconds.timeline import OPEN, REFUSING, phases
from sim.ready import CHANGE, PATIENCE_END, SERVICE_END, Leg, rank

if TYPE_CHECKING:
    from collections.abc import Callable

    from sim.reference import City, Walk

    # SimPy's annotations know no whole-number time and no priorities but its own two.
    Environment = Any


class Alarm(simpy.Event):
    """An event at a known time and with a known rank."""

    def __init__(
        self, env: Environment, delay_us: int, priority: int, call: Callable[[], None] | None = None
    ) -> None:
        """Go off after ``delay_us``; then ``call``."""
        super().__init__(env)
        self._ok, self._value = True, None
        if call is not None:
            self.callbacks.append(lambda _: call())
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
        self.failure = leg.draws.failure(self.journey_id, attempt, walk.city.env.now)
        self.arrived_us = self.service_start_us = walk.city.env.now
        self.queue_length = 0
        self.outcome, self.code = j.OK, ""
        self.waiting = False
        self.caller: simpy.Event | None = None
        self.callbacks = [walk.city.stations[leg.leg.station].leave]

    def rank(self, kind: int) -> int:
        """Rank of an event of this visit."""
        return rank(kind, self.journey_id, self.branch, self.leg.number, self.attempt)

    def tell(self, *, answered: bool) -> None:
        """The caller, if one waits who may run out of time, has an answer or waits no more."""
        if self.caller is not None and not self.caller.triggered:
            self.caller.succeed(value=answered)


class Station:
    """Servers behind one queue: first come, first served within a priority."""

    def __init__(self, city: City, number: int, name: str) -> None:
        """Begin idle, in the first phase."""
        self.city, self.number, self.name = city, number, name
        self.table = city.scenario.stations[name]
        self.phase, *later = phases(city.scenario, name)
        self.later = deque(later)
        self.bucket = Bucket(self.table.rate_limit, city.grid_us)
        self.busy = self.waiting = 0
        self.queues: list[deque[Visit]] = [deque() for _ in range(PRIORITIES)]
        self.token_awaited = False
        self.await_change()

    def await_change(self) -> None:
        """Set the alarm for the next phase."""
        if self.later:
            delay_us = self.later[0].from_us - self.city.env.now
            Alarm(self.city.env, delay_us, rank(CHANGE, self.number, 0, 0, 0), self.change)

    def change(self) -> None:
        """Go over to the next phase: turn those who wait away, or take as many as there is room."""
        self.city.events += 1
        self.phase = self.later.popleft()
        self.await_change()
        while self.phase.door == REFUSING and self.waiting:
            self.end(self.first_in_line(), j.REJECTED, self.phase.code)
        self.admit()

    def has_room(self) -> bool:
        """Whether a server is free for a visit."""
        servers = self.phase.servers
        return self.phase.door == OPEN and (servers == 0 or self.busy < servers)

    def enter(self, visit: Visit) -> None:
        """Serve the visit, let it wait, or turn it away."""
        now, limit = self.city.env.now, self.table.queue_limit
        visit.queue_length = self.waiting
        if self.phase.door == REFUSING:
            self.end(visit, j.REJECTED, self.phase.code)
        elif self.bucket.rejects(now):
            self.end(visit, j.REJECTED, self.bucket.code)
        elif not self.waiting and self.has_room() and self.bucket.start_us <= now:
            self.serve(visit)
        elif limit is not None and self.waiting >= limit:
            self.end(visit, j.REJECTED, "queue_full")
        else:
            visit.waiting = True
            self.waiting += 1
            self.queues[visit.leg.leg.priority].append(visit)
            patience_us = visit.leg.draws.patience_us(visit.journey_id, visit.attempt)
            if patience_us is not None:
                priority = visit.rank(PATIENCE_END)
                Alarm(self.city.env, patience_us, priority, lambda: self.renege(visit))
            self.admit()

    def admit(self) -> None:
        """Take visits from the queue while there are servers and tokens."""
        while self.waiting and self.has_room():
            delay_us = self.bucket.start_us - self.city.env.now
            if delay_us > 0:
                if not self.token_awaited:
                    self.token_awaited = True
                    Alarm(self.city.env, delay_us, rank(CHANGE, self.number, 0, 0, 1), self.token)
                break
            self.serve(self.first_in_line())

    def token(self) -> None:
        """There is a token again, unless somebody was faster."""
        self.token_awaited = False
        busy = self.busy
        self.admit()
        self.city.events += self.busy > busy

    def first_in_line(self) -> Visit:
        """Who waits longest among those of the highest priority, no longer in the queue."""
        for queue in reversed(self.queues):
            while queue:
                visit = queue.popleft()
                if visit.waiting:  # Otherwise it has reneged.
                    self.leave_queue(visit)
                    return visit
        raise LookupError(self.name)

    def leave_queue(self, visit: Visit) -> None:
        """Stop waiting."""
        visit.waiting = False
        self.waiting -= 1
        visit.service_start_us = self.city.env.now

    def serve(self, visit: Visit) -> None:
        """Begin the work."""
        self.busy += 1
        self.bucket.begin(self.city.env.now)
        if self.phase.pace_milli != 1000:  # noqa: PLR2004 - thousandths
            visit.service_us = scaled(visit.service_us, self.phase.pace_milli, self.city.grid_us)
        visit.service_start_us = self.city.env.now
        self.city.env.schedule(visit, visit.rank(SERVICE_END), visit.service_us)

    def renege(self, visit: Visit) -> None:
        """Somebody's patience is over: if still in the queue, leave it."""
        if visit.waiting:
            self.leave_queue(visit)
            self.end(visit, j.RENEGED, "")

    def leave(self, visit: Visit) -> None:
        """The work is done: take the next one first, then let this one go."""
        self.busy -= 1
        self.admit()
        outcome, code, asks = j.OK, "", visit.leg.leg.asks
        if visit.failure is not None:
            outcome, code = j.OUTCOMES.index(visit.failure.outcome), visit.failure.code
        if outcome == j.OK and asks and asks not in visit.walk.happened:
            outcome, code = j.UNFINISHED, j.PENDING_CODE
        self.end(visit, outcome, code)

    def end(self, visit: Visit, outcome: int, code: str) -> None:
        """Write the row, make the event of the work happen, and answer."""
        visit.outcome, visit.code = outcome, code
        walk, leg = visit.walk, visit.leg
        self.city.events += 1
        self.city.write(
            walk, visit.branch, (leg.step, leg.index, visit.attempt, self.name),
            (visit.arrived_us, visit.arrived_us, visit.service_start_us), outcome, code,
            visit.queue_length,
        )  # fmt: skip
        # An answer that is lost on the way back belongs to work that was done.
        if leg.leg.emits and outcome in (j.OK, j.TIMED_OUT):
            walk.happen(f"{leg.step}.{leg.leg.emits}")
        if outcome != j.TIMED_OUT:
            visit.tell(answered=True)
