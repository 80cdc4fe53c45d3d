"""Walking the legs of a step in real time, as the scenario says and the simulator does.

A caller whose leg does not answer in time goes on without it, while the work goes on without the
caller: its event still happens and still starts the branches that wait for it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from fewseconds import journey as j
from fewseconds.contracts import Trace
from fewseconds.outcomes import Outcome
from mock_psp.messages import Passed
from mock_psp.station import NOTHING, Answer, Call, Duty

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping

    from fewseconds.plan import Traits
    from mock_psp.station import Station
    from mock_psp.world import World

    Work = Coroutine[Any, Any, Answer]

log = logging.getLogger(__name__)

Remote = Callable[[Call, Any], Awaitable[Answer]]
"""A station in another process, reached over HTTP; gets the parcel of the attempt."""
DutyOf = Callable[[Call, Any], Duty]
"""The real work that a station here does for an attempt's parcel."""


def payment_of(parcel: object) -> str:
    """The payment that a parcel is, or none."""
    return str(getattr(parcel, "transaction_id", ""))


class Journey:
    """What a service knows about one journey: its kind, its traits, and what has happened."""

    __slots__ = ("events", "journey_id", "route", "traits")

    def __init__(self, route: j.Route, journey_id: int, traits: Traits) -> None:
        """Nothing has happened yet."""
        self.route, self.journey_id, self.traits = route, journey_id, traits
        self.events: set[tuple[str, str]] = set()
        """What has happened, and to which of its payments: a second one has a fate of its own."""

    def trace(self, step: str, attempt: int) -> Trace:
        """The trace of one of its steps, from the first leg on."""
        told = self.traits
        return Trace(
            self.route.kind, self.journey_id, step, 0, attempt, told.app, told.bank, told.medium,
            told.scanner, told.operator,
        )  # fmt: skip


class Walk:
    """The stations that one service has or can reach, and the journeys that pass them."""

    def __init__(
        self,
        world: World,
        stations: Mapping[str, Station],
        remotes: Mapping[str, Remote],
        duties: Mapping[tuple[str, str], DutyOf],
    ) -> None:
        """``duties`` is the real work by (step, station); where there is none, only time passes."""
        self.world = world
        self.stations, self.remotes, self.duties = stations, remotes, duties
        self._tasks: set[asyncio.Task[Any]] = set()

    async def attempt(
        self,
        journey: Journey,
        step: int,
        attempt: int,
        parcel: object,
        *,
        branch: str = "main",
        first_leg: int = 0,
    ) -> Answer:
        """Pass the legs of a step until one does not succeed; the last answer.

        Legs from the first one that is neither here nor reachable on belong to whoever took the
        parcel over before it; their fate is not known here.
        """
        told = journey.route.steps[step]
        answer = Answer(j.OK)
        for index in range(first_leg, len(told.legs)):
            leg = told.legs[index]
            station = self.stations.get(leg.station)
            if station is None and leg.station not in self.remotes:
                return answer
            # There are so many visits that a constructor with seven arguments is felt.
            call = tuple.__new__(
                Call,
                (
                    journey.route.kind, journey.journey_id, branch, told.name, index, attempt,
                    journey.traits,
                ),
            )  # fmt: skip
            limit_ms = leg.timeout_ms
            sure = limit_ms is None or (
                station is not None
                and not getattr(parcel, "forced", "")
                and station.sure_within(call, limit_ms * 1000)
            )
            # Without anything that could go wrong, nobody has to watch the clock.
            work = self._work(journey, leg, call, parcel, station)
            answer = await (work if sure else self._in_time(journey, leg, call, parcel, work))
            if answer.outcome != j.OK:
                return answer
        self.happen(journey, f"{told.name}.ok", parcel)
        return answer

    def happen(self, journey: Journey, event: str, parcel: object) -> None:
        """Note an event; the first time, start the branches that wait for it and begin here.

        Who pays again while the first payment is deemed has paid twice once that is credited: each
        payment is called back, reversed and asked about by itself.
        """
        if (event, payment_of(parcel)) in journey.events:
            return
        journey.events.add((event, payment_of(parcel)))
        for branch in journey.route.followers(event):
            first = journey.route.steps[branch.first_step].legs[0].station
            if first in self.stations:
                self.start(self.branch(journey, branch, parcel))

    def start(
        self, work: Coroutine[Any, Any, Any], over: asyncio.Future[None] | None = None
    ) -> asyncio.Task[Any]:
        """Run something in the background, until it ends (and so is ``over``) or all stops."""
        task = self.world.alarms.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended if over is None else partial(self._ended, over=over))
        return task

    async def close(self) -> None:
        """Break off what still runs; its rows say that it is unfinished."""
        while self._tasks:
            tasks = list(self._tasks)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def branch(
        self, journey: Journey, branch: j.Branch, parcel: object, first_attempt: int = 1
    ) -> Answer:
        """Walk a branch from its first step to its end; the answer of its last attempt."""
        clock, route = self.world.clock, journey.route
        step, attempt, begun_us = branch.first_step, first_attempt, 0
        delay_us = route.rules[step * j.WIDTH + j.DELAY_US]
        answer = Answer(j.UNFINISHED)
        while step != j.END:
            intended_us = start_us = clock.now_us()
            answer = Answer(j.UNFINISHED)
            try:
                if delay_us > 0:
                    await asyncio.sleep(delay_us / 1e6)
                    start_us = clock.now_us()
                if attempt == first_attempt:
                    begun_us = start_us
                answer = await self.attempt(journey, step, attempt, parcel, branch=branch.name)
            finally:
                name = route.steps[step].name
                if answer.outcome != j.OK or self._ends_here(route, step):
                    self.world.writer.add(
                        Outcome(
                            "server", self.world.writer.process, journey.journey_id, branch.name,
                            name, j.STEP_ROW, attempt, "", intended_us, start_us, start_us,
                            clock.now_us(), j.OUTCOMES[answer.outcome], answer.code,
                        )
                    )  # fmt: skip
            draws = self.world.draws
            draw = draws.move_draw(route.move_streams, step, attempt, journey.journey_id)
            following, delay_us = j.next_move(
                route.rules, step, attempt, answer.outcome, clock.now_us() - begun_us, draw
            )
            attempt, first_attempt = (attempt + 1, first_attempt) if following == step else (1, 1)
            step = following
        return answer

    def _ends_here(self, route: j.Route, step: int) -> bool:
        """Whether this service sees the last leg of a step, and so its end."""
        last = route.steps[step].legs[-1].station
        return last in self.stations or last in self.remotes

    async def _in_time(
        self, journey: Journey, leg: j.Leg, call: Call, parcel: object, work: Work
    ) -> Answer:
        """The answer of one leg, or what its absence means."""
        alarms, limit_us = self.world.alarms, (leg.timeout_ms or 0) * 1000
        deadline_us = self.world.clock.now_us() + limit_us
        # What asyncio.wait does for any number of tasks, at a third of its cost.
        over = alarms.within(limit_us)
        task = self.start(work, over)
        await over
        if task.done():
            answer: Answer = task.result()
            if answer.outcome != j.TIMED_OUT:
                return answer
            # The work was done, the answer is lost: the caller does not know, and waits.
            await alarms.at(deadline_us)
        self.happen(journey, f"{call.step}.{leg.on_timeout}", parcel)
        return Answer(*j.TIMED_OUT_AS[leg.on_timeout])

    async def _work(
        self, journey: Journey, leg: j.Leg, call: Call, parcel: object, station: Station | None
    ) -> Answer:
        """One leg's visit, and the event of its success."""
        passed = getattr(parcel, "passed", None)
        begun_us = 0 if passed is None else self.world.clock.now_us()
        if station is None:
            answer = await self.remotes[leg.station](call, parcel)
        else:
            duty_of = self.duties.get((call.step, leg.station))
            duty = NOTHING if duty_of is None else duty_of(call, parcel)
            if leg.asks:
                duty = Duty(duty.do, lambda: self._asked(journey, leg.asks, parcel))
            answer = await station.visit(call, duty, priority=leg.priority)
        if passed is not None:
            ended_us = self.world.clock.now_us()
            passed.append(
                Passed(
                    call.step, leg.station, call.attempt, begun_us, ended_us, answer.outcome,
                    answer.code,
                )
            )  # fmt: skip
        if leg.emits and answer.outcome in (j.OK, j.TIMED_OUT):
            self.happen(journey, f"{call.step}.{leg.emits}", parcel)
        return answer

    @staticmethod
    def _asked(journey: Journey, event: str, parcel: object) -> Answer | None:
        known = (event, payment_of(parcel)) in journey.events
        return None if known else Answer(j.UNFINISHED, j.PENDING_CODE)

    def _ended(self, task: asyncio.Task[Any], over: asyncio.Future[None] | None = None) -> None:
        self._tasks.discard(task)
        if over is not None and not over.done():
            over.set_result(None)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a branch broke off", exc_info=error)
