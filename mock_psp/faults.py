"""Faults in force: what the scenario says, and what a test asks for while the services run.

A fault at a station (slow-down, outage) changes its phases; one on the wire befalls the callbacks
from the payment service to the biller. The doors to change them are there only if the services
were started with faults allowed, and then need the run's token.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec
from litestar import delete, get, put

from fewseconds import chance
from fewseconds import journey as j
from fewseconds.contracts import FAULTS
from fewseconds.errors import MalformedError
from fewseconds.identity import IST
from fewseconds.station import Fault
from fewseconds.station_checks import fault_problems
from fewseconds.timeline import us_of
from mock_psp.described import RUN_TOKEN, described
from mock_psp.station import Answer
from mock_psp.web import HttpRequest, body_of, check_token

if TYPE_CHECKING:
    from fewseconds.contracts import Authorisation, BillQuery, Callback
    from mock_psp.biller_line import BillerLine
    from mock_psp.station import Call
    from mock_psp.world import World

LOST, DOUBLED = "lost_callback", "doubled_callback"


class InForce(msgspec.Struct, frozen=True):
    """What goes wrong on purpose, and how often it has."""

    faults: tuple[Fault, ...] = ()
    befallen: dict[str, int] = {}
    """Messages by kind of fault; copies that the biller refused are ``copy_refused``."""


class Wanted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Faults that are to be in force from now on, instead of all others."""

    faults: tuple[Fault, ...]


class Faults:
    """The faults of one service."""

    def __init__(self, world: World) -> None:
        """Those of the scenario are in force."""
        self._world = world
        self._wire: tuple[Fault, ...] = tuple(
            one for one in world.scenario.fault if one.on_the_wire
        )
        self._at_stations = tuple(one for one in world.scenario.fault if not one.on_the_wire)
        self.befallen: Counter[str] = Counter()
        world.counts.append(
            lambda: {f"faults_{kind}": count for kind, count in self.befallen.items()}
        )

    @property
    def possible(self) -> bool:
        """Whether messages may ever be disturbed."""
        return bool(self._wire) or self._world.spec.faults_allowed

    def doors(self) -> list[Any]:
        """Handlers that change them, if that is allowed."""
        return [faults, disturb, heal] if self._world.spec.faults_allowed else []

    def in_force(self) -> InForce:
        """What holds now."""
        return InForce((*self._at_stations, *self._wire), dict(self.befallen))

    def put(self, wanted: tuple[Fault, ...]) -> InForce:
        """Put these in force instead of all others; raises MalformedError naming the bad one.

        A fault without a beginning begins now, an outage without an end lasts until it is healed.
        """
        world = self._world
        own = {station.name for station in world.stations}
        now = world.clock.moment()
        days = dt.timedelta(days=world.scenario.arrivals.days)
        last = dt.datetime.combine(world.scenario.first_day, dt.time(), IST) + days
        dated = []
        for index, fault in enumerate(wanted):
            place = f"faults[{index}]"
            until = last if fault.until is None and fault.kind == "outage" else fault.until
            full = msgspec.structs.replace(fault, start=fault.start or now, until=until)
            for problem in fault_problems(world.scenario, place, full):
                raise MalformedError(*problem.split(": ", 1))
            if not full.on_the_wire and full.station not in own:
                what = f"{full.station!r} is not here; tell the service that has it: {sorted(own)}"
                raise MalformedError(f"{place}.station", what)
            dated.append(full)
        self._wire = tuple(one for one in dated if one.on_the_wire)
        self._at_stations = tuple(one for one in dated if not one.on_the_wire)
        disturbed = msgspec.structs.replace(world.scenario, fault=self._at_stations)
        always = (one for one in world.scenario.fault if one.start is None and one.until is None)
        world.draws.follow(
            msgspec.structs.replace(world.scenario, fault=(*always, *self._at_stations))
        )
        for station in world.stations:
            station.follow(disturbed)
        return self.in_force()

    def befalling(self, kind: str, event_id: str) -> Fault | None:
        """The fault of that kind that befalls a message now; the same in every attempt."""
        if not self._wire:
            return None
        world, now_us = self._world, self._world.clock.now_us()
        first_day = world.scenario.first_day
        for place, fault in enumerate(self._wire):
            begun = fault.start is None or us_of(fault.start, first_day) <= now_us
            ended = fault.until is not None and us_of(fault.until, first_day) <= now_us
            if fault.kind != kind or not begun or ended:
                continue
            drawn = chance.uniform(world.seed, chance.stream(kind, place, event_id), 0, 1)
            if drawn < chance.threshold(fault.share or 0.0):
                return fault
        return None


class Disturbed:
    """A line to the biller on which callbacks get lost or come more than once."""

    def __init__(self, line: BillerLine, faults: Faults) -> None:
        """``line`` carries what is not disturbed."""
        self._line, self._faults = line, faults
        self.punctual = line.punctual

    async def resolve(self, call: Call, query: BillQuery, limit_us: int = 0) -> Answer:
        """What is owed: undisturbed."""
        return await self._line.resolve(call, query, limit_us)

    async def authorise(self, call: Call, asked: Authorisation) -> Answer:
        """May this payment go ahead: undisturbed."""
        return await self._line.authorise(call, asked)

    async def call_back(self, call: Call, callback: Callback) -> Answer:
        """A payment was credited; who loses the callback waits for an answer that never comes."""
        befallen = self._faults.befallen
        if self._faults.befalling(LOST, callback.event_id) is not None:
            befallen[LOST] += 1
            return Answer(j.TIMED_OUT)
        doubled = self._faults.befalling(DOUBLED, callback.event_id)
        if doubled is None:
            return await self._line.call_back(call, callback)
        befallen[DOUBLED] += 1
        answers = await asyncio.gather(
            *(self._line.call_back(call, callback) for _ in range(doubled.copies))
        )
        # A copy is no news, and still has to be taken.
        befallen["copy_refused"] += sum(answer.outcome != j.OK for answer in answers)
        taken = (answer for answer in answers if answer.outcome == j.OK)
        return next(taken, answers[0])


def _faults(request: HttpRequest) -> Faults:
    world: World = request.app.state.world
    check_token(request, world.secrets.token)
    return world.faults


@get(FAULTS, sync_to_thread=False, operation_class=described(needs=RUN_TOKEN))
def faults(request: HttpRequest) -> InForce:
    """What goes wrong on purpose now, and how often it has."""
    return _faults(request).in_force()


@put(FAULTS, operation_class=described(Wanted, needs=RUN_TOKEN))
async def disturb(request: HttpRequest) -> InForce:
    """Put these faults in force from now on, instead of all others."""
    known = _faults(request)
    return known.put((await body_of(request, Wanted)).faults)


@delete(FAULTS, status_code=200, sync_to_thread=False, operation_class=described(needs=RUN_TOKEN))
def heal(request: HttpRequest) -> InForce:
    """Let nothing go wrong any more, whatever the scenario says."""
    return _faults(request).put(())
