"""Walking the legs of a step in real time, as the scenario says and the simulator does.

A caller whose leg does not answer in time goes on without it, while the work goes on without the
caller: its event still happens and still starts the branches that wait for it.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from itertools import takewhile
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import msgspec

from fewseconds import journey as j
from fewseconds.contracts import Trace
from fewseconds.draws import Leg
from fewseconds.outcomes import Outcome
from mock_psp.messages import Passed
from mock_psp.station import DONE, NOTHING, Answer, Call, Duty, Station

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping

    from fewseconds.draws import Lot
    from fewseconds.plan import Traits
    from mock_psp.station import At
    from mock_psp.world import World

log = logging.getLogger(__name__)

Remote = Callable[[Call, Any], Awaitable[Answer]]
"""A station in another process, which is asked; gets the parcel of the attempt."""
Punctual = Callable[[Call, Any, int], Awaitable[Answer]]
"""One that answers within so many microseconds, or has timed out: nothing comes of it later."""
DutyOf = Callable[[Call, Any], Duty]
"""The real work that a station here does for an attempt's parcel."""


def payment_of(parcel: object) -> str:
    """The payment that a parcel is, or none."""
    return str(getattr(parcel, "transaction_id", ""))


def _passed(at: At, station: str, answer: Answer, begun_us: int, ended_us: int) -> Passed:
    """What is kept of a visit."""
    _, _, step, _, attempt = at
    return Passed(step, station, attempt, begun_us, ended_us, answer.outcome, answer.code)


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


class Place(msgspec.Struct, frozen=True):
    """A leg of a step, and who passes it here; without a station, another process is asked."""

    number: int
    leg: j.Leg
    station: Station | None
    duty_of: DutyOf | None
    punctual: Punctual | None
    draws: Leg | None
    """What the visits of a mocked party here draw."""
    idle: bool
    """Whether a visit that goes well is nothing but time."""
    limit_us: int
    """How long the caller waits; the largest number is for ever."""


class Way(msgspec.Struct, frozen=True):
    """What a service has or can reach of a step, from one of its legs on."""

    step: str
    places: tuple[Place, ...]
    """Up to the first leg that is neither here nor reachable."""
    draws: Callable[[int, int], tuple[int, ...]]
    """Those of the places' service times, from journey and attempt."""
    whole: bool
    """Whether that is all of the rest."""
    passed: str
    """The event of its success."""


class Walk:
    """The stations that one service has or can reach, and the journeys that pass them."""

    def __init__(
        self,
        world: World,
        stations: Mapping[str, Station],
        remotes: Mapping[str, Remote],
        duties: Mapping[tuple[str, str], DutyOf],
        punctual: Mapping[tuple[str, str], Punctual] = MappingProxyType({}),
    ) -> None:
        """``duties`` is the real work by (step, station); where there is none, only time passes.

        ``punctual`` are those of the remotes, by (step, station), that need nobody to watch them.
        """
        self.world = world
        self.stations, self.remotes, self.duties = stations, remotes, duties
        self._punctual = punctual
        self._ways: dict[tuple[str, int, int], Way] = {}
        self._begun_by: dict[tuple[str, str], tuple[j.Branch, ...]] = {}
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
        way, journey_id = self._way(journey.route, step, first_leg), journey.journey_id
        answer, traits, now_us = DONE, journey.traits, self.world.clock.now_us()
        passed: list[Passed] | None = getattr(parcel, "passed", None)
        for place, draw in zip(way.places, way.draws(journey_id, attempt), strict=True):
            at = journey_id, branch, way.step, place.number, attempt
            lot, station = None, place.station
            if station is not None and place.draws is not None:
                lot = place.draws.of(traits).lot(journey_id, attempt, now_us, draw)
                took_us, failure = lot
                if (
                    place.idle
                    and failure is None
                    and station.busy < station.room
                    and took_us <= place.limit_us
                ):
                    begun_us = now_us
                    now_us = await station.spend(at, took_us, begun_us)
                    answer = DONE
                    if passed is not None:
                        passed.append(_passed(at, station.name, DONE, begun_us, now_us))
                    continue
            call = Call(journey.route.kind, *at, traits)
            answer = await self._visit(journey, place, call, parcel, lot, now_us)
            if answer.outcome != j.OK:
                return answer
            now_us = self.world.clock.now_us()
        if way.whole:
            self.happen(journey, way.passed, parcel)
        return answer

    def _way(self, route: j.Route, step: int, first_leg: int) -> Way:
        """What there is here of a step, from a leg on."""
        found = self._ways.get((route.kind, step, first_leg))
        if found is None:
            told = route.steps[step]
            mine = takewhile(lambda leg: self._reaches(leg.station), told.legs[first_leg:])
            places = tuple(self._place(told, number) for number, _ in enumerate(mine, first_leg))
            draws = self.world.draws.of_services(
                told.name, [(place.number, place.leg.station) for place in places]
            )
            whole = first_leg + len(places) == len(told.legs)
            found = Way(told.name, places, draws, whole, f"{told.name}.ok")
            self._ways[route.kind, step, first_leg] = found
        return found

    def _place(self, step: j.Step, number: int) -> Place:
        """Who passes a leg, and how."""
        leg = step.legs[number]
        station, named = self.stations.get(leg.station), (step.name, leg.station)
        duty_of = self.duties.get(named)
        return Place(
            number, leg, station, duty_of,
            # What it emits could still happen after its time is over.
            None if leg.emits else self._punctual.get(named),
            draws=(
                self.world.draws.leg(step.name, number, leg.station)
                if station is not None and station.mocked
                else None
            ),
            idle=duty_of is None and not leg.asks and not leg.emits,
            limit_us=sys.maxsize if leg.timeout_ms is None else leg.timeout_ms * 1000,
        )  # fmt: skip

    def _visit(
        self, journey: Journey, place: Place, call: Call, parcel: object, lot: Lot | None,
        now_us: int,
    ) -> Awaitable[Answer]:  # fmt: skip
        """The answer of one leg, or what its absence means; it has to be awaited at once."""
        station = place.station
        if place.leg.timeout_ms is None or (
            station is not None
            and lot is not None
            and not getattr(parcel, "forced", "")
            and station.sure_within(lot, place.limit_us)
        ):
            # Without anything that could go wrong, nobody has to watch the clock.
            return self._work(journey, place, call, parcel, lot, now_us)
        return self._in_time(journey, place, call, parcel, lot)

    def happen(self, journey: Journey, event: str, parcel: object) -> None:
        """Note an event; the first time, start the branches that wait for it and begin here.

        Who pays again while the first payment is deemed has paid twice once that is credited: each
        payment is called back, reversed and asked about by itself.
        """
        told = event, payment_of(parcel)
        if told in journey.events:
            return
        journey.events.add(told)
        for branch in self._followers(journey.route, event):
            self.start(self.branch(journey, branch, parcel))

    def _followers(self, route: j.Route, event: str) -> tuple[j.Branch, ...]:
        """The branches that an event starts and that begin here."""
        found = self._begun_by.get((route.kind, event))
        if found is None:
            found = self._begun_by[route.kind, event] = tuple(
                branch
                for branch in route.followers(event)
                if route.steps[branch.first_step].legs[0].station in self.stations
            )
        return found

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
        return self._reaches(route.steps[step].legs[-1].station)

    def _reaches(self, station: str) -> bool:
        """Whether a station is here, or in another process that is asked from here."""
        return station in self.stations or station in self.remotes

    async def _in_time(
        self, journey: Journey, place: Place, call: Call, parcel: object, lot: Lot | None
    ) -> Answer:
        """The answer of one leg, or what its absence means."""
        alarms, leg, limit_us = self.world.alarms, place.leg, place.limit_us
        deadline_us = self.world.clock.now_us() + limit_us
        answer: Answer | None = None
        if place.punctual is not None:
            begun_us = deadline_us - limit_us
            answer = await place.punctual(call, parcel, limit_us)
            self._note(journey, leg, call, parcel, answer, begun_us)
        else:
            # What asyncio.wait does for any number of tasks, at a third of its cost.
            over = alarms.within(limit_us)
            task = self.start(self._work(journey, place, call, parcel, lot), over)
            await over
            answer = task.result() if task.done() else None
        if answer is not None:
            if answer.outcome != j.TIMED_OUT:
                return answer
            # The work was done, the answer is lost: the caller does not know, and waits.
            await alarms.at(deadline_us)
        self.happen(journey, f"{call.step}.{leg.on_timeout}", parcel)
        return Answer(*j.TIMED_OUT_AS[leg.on_timeout])

    async def _work(
        self, journey: Journey, place: Place, call: Call, parcel: object, lot: Lot | None,
        now_us: int | None = None,
    ) -> Answer:  # fmt: skip
        """One leg's visit, and what follows from it; with ``now_us`` it has to begin at once."""
        begun_us = self.world.clock.now_us() if now_us is None else now_us
        answer = await self._party(journey, place, call, parcel, lot, now_us)
        self._note(journey, place.leg, call, parcel, answer, begun_us)
        return answer

    def _party(
        self,
        journey: Journey,
        place: Place,
        call: Call,
        parcel: object,
        lot: Lot | None,
        now_us: int | None,
    ) -> Awaitable[Answer]:
        """The visit of one leg's party, not begun yet.

        ``lot`` is what it draws, if that is known; with ``now_us`` it has to begin at once.
        """
        leg, station = place.leg, place.station
        if station is None:
            return self.remotes[leg.station](call, parcel)
        duty = NOTHING if place.duty_of is None else place.duty_of(call, parcel)
        if leg.asks:
            duty = Duty(duty.do, lambda: self._asked(journey, leg.asks, parcel))
        return station.visit(call, duty, None, leg.priority, lot, now_us)

    def _note(
        self, journey: Journey, leg: j.Leg, call: Call, parcel: object, answer: Answer,
        begun_us: int,
    ) -> None:  # fmt: skip
        """Keep that a party has answered, and let happen what follows from its success."""
        passed: list[Passed] | None = getattr(parcel, "passed", None)
        if passed is not None:
            ended_us = self.world.clock.now_us()
            passed.append(_passed(call.at, leg.station, answer, begun_us, ended_us))
        if leg.emits and answer.outcome in (j.OK, j.TIMED_OUT):
            self.happen(journey, f"{call.step}.{leg.emits}", parcel)

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
