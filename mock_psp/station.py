"""A station in real time: the servers, the queue and the draws that the simulator has too.

A mocked party does its real work as soon as a server is granted and then sleeps what is left of
the drawn service time, so that the visit lasts as long as in virtual time and a queue builds up in
front of it as it does there. A measured station takes as long as its work takes, unless the
scenario slows it down: then it lasts as long as the stretched draw, the work included.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

import msgspec

from fewseconds.bucket import Bucket
from fewseconds.journey import ERROR, OK, OUTCOMES, REJECTED, RENEGED, TIMED_OUT, UNFINISHED
from fewseconds.outcomes import Outcome
from fewseconds.pace import scaled
from fewseconds.plan import Traits
from fewseconds.station import PRIORITIES
from fewseconds.timeline import FOR_EVER_US, OPEN, REFUSING
from mock_psp.alarms import EARLY_US, Alarms
from mock_psp.hours import NORMAL, Hours

if TYPE_CHECKING:
    from fewseconds import station as s
    from fewseconds.draws import Draws, Lot, Visit
    from fewseconds.outcomes import Writer
    from fewseconds.scenario import Scenario
    from fewseconds.station import Failure
    from fewseconds.timeline import Phase
    from mock_psp.clock import PlanClock

QUEUE_FULL: Final = "queue_full"


At = tuple[int, str, str, int, int]
"""Journey, branch, step, leg and attempt of a visit, as its row names them."""


class Call(msgspec.Struct, frozen=True):
    """Which leg of which attempt a visit belongs to."""

    kind: str
    journey_id: int
    branch: str
    step: str
    leg: int
    attempt: int
    traits: Traits

    @property
    def at(self) -> At:
        """What its row names."""
        return self.journey_id, self.branch, self.step, self.leg, self.attempt


class Answer(msgspec.Struct, frozen=True):
    """What came of a visit; ``outcome`` is a number of :mod:`fewseconds.journey`."""

    outcome: int
    code: str = ""
    value: Any = None


DONE: Final = Answer(OK)
_IN_LINE: Final = Answer(UNFINISHED, "in_line")
_CUT_OFF: Final = Answer(UNFINISHED)
Turn = asyncio.Future[Answer | None]
"""A place in line: None when it is served, else the answer that it gets instead."""
Part = Callable[[], Answer | Awaitable[Answer | None] | None]


class Duty(msgspec.Struct, frozen=True):
    """The real work of a visit; either part may answer, and None means that all is well."""

    do: Part | None = None
    """Right after the grant; a negative answer spares the second part."""
    done: Part | None = None
    """At the end of the service time: what has its effect only then."""


NOTHING: Final = Duty()


class Station:
    """Servers behind one queue: first come, first served within a priority."""

    def __init__(
        self,
        name: str,
        table: s.Station,
        draws: Draws,
        clock: PlanClock,
        writer: Writer,
        *,
        pooled: bool = False,
        alarms: Alarms | None = None,
    ) -> None:
        """``pooled`` measured stations have real servers (threads), so their queue is real too.

        ``alarms`` are those of the service, if others share them.
        """
        self.name, self.table = name, table
        self._draws, self._clock, self._writer = draws, clock, writer
        self._author = "server", writer.process
        self._alarms = alarms or Alarms(clock)
        self.mocked = table.role == "mocked"
        self.slowed = draws.scenario.slowdown(name) != 1
        self.sleeps = self.mocked or self.slowed
        """Whether visits last as long as the draw says."""
        # The measured biller has as many servers as its event loop gives it; the scenario's number
        # is what the simulator takes for them, and what a slowed biller has.
        self._pooled = pooled
        self._bucket = Bucket(table.rate_limit)
        self.busy = 0
        """Visits that are being served."""
        self.ended = [0] * len(OUTCOMES)
        """Visits that have ended, by the number of their outcome."""
        self._waiting: list[deque[Turn]] = [deque() for _ in range(PRIORITIES)]
        self._alarm: asyncio.TimerHandle | None = None
        self._set_hours(draws.scenario)

    def follow(self, scenario: Scenario) -> None:
        """Follow other hours and faults from now on; who is being served is not disturbed."""
        self._set_hours(scenario)
        self._changed()

    def _set_hours(self, scenario: Scenario) -> None:
        table = self.table
        self._hours = Hours(scenario, self.name)
        self._counted = self.sleeps or self._pooled or self._hours.slows
        self.servers = table.servers if self._counted else 0
        self.in_flight_max = (
            None
            if self.servers or self.mocked or table.queue_limit is None
            else table.servers + table.queue_limit
        )
        self._changes = table.rate_limit is not None or not self._hours.constant
        """Whether a visit may have to wait although nobody is being served."""
        self._steady = (
            self._hours.always_open
            and self._hours.at(0).servers == table.servers
            and table.rate_limit is None
        )
        """Whether only busy servers can hold a visit up: then it is let in at once."""
        most = sys.maxsize if self.in_flight_max is None else self.in_flight_max
        self.room = min(self.servers or sys.maxsize, most) if self._steady else 0
        """While fewer are being served, nobody waits, and who comes is let in at once."""

    async def visit(
        self,
        call: Call,
        duty: Duty = NOTHING,
        arrived_us: int | None = None,
        priority: int = 0,
        lot: Lot | None = None,
        now_us: int | None = None,
    ) -> Answer:
        """Wait for a server, do the work, and write the row of the visit.

        Who knows what it draws (``lot``) and what time it is says so. ``TIMED_OUT`` means: the
        work was done, but its answer gets lost, so the caller has to wait until its own limit.
        """
        if now_us is None:
            now_us = self._clock.now_us()
        if arrived_us is None:
            arrived_us = now_us
        waiting = 0 if self.busy < self.room else self.waiting
        granted_us = planned_us = None
        served = False
        answer = _CUT_OFF
        try:
            refusal = self._enter(now_us, waiting)
            if refusal is _IN_LINE:
                refusal = await self._turn(call, priority)
                now_us = self._clock.now_us()
            granted_us = now_us
            if refusal is not None:
                answer = refusal
                return answer
            served = True
            planned_us, failure = self._planned(call, lot, arrived_us, granted_us)
            ending = DONE if failure is None else _failed(failure)
            if ending is DONE and duty.do is not None:
                told = duty.do()
                if told is not None:
                    ending = told if isinstance(told, Answer) else (await told or DONE)
                now_us = self._clock.now_us()
            if planned_us is not None:
                await self._alarms.at(planned_us, now_us)
            if ending.outcome == OK and duty.done is not None:
                told = duty.done()
                if told is not None:
                    ending = told if isinstance(told, Answer) else (await told or ending)
            if ending.outcome == OK and failure is not None:
                ending = Answer(TIMED_OUT, failure.code)
            answer = ending
        except Exception:
            answer = Answer(ERROR, "exception")
            raise
        finally:
            # A visit that is cancelled, because the service stops, is unfinished.
            if served:
                self._leave()
            self._note(call, arrived_us, granted_us, planned_us, waiting, answer)
        return answer

    async def spend(self, at: At, took_us: int, now_us: int) -> int:
        """A visit of nothing but time, begun while there is ``room``; the moment of its end.

        What :meth:`visit` comes to for a lot of ``took_us`` without a failure and without a duty.
        Who asks has seen that there is room.
        """
        self.busy += 1
        planned_us, answer = now_us + took_us, _CUT_OFF
        try:
            await self._alarms.at(planned_us, now_us)
            answer = DONE
        finally:
            self._leave()
            ended_us = self._clock.now_us()
            overrun_us = ended_us - planned_us if ended_us > planned_us else 0
            self._write(at, answer, now_us, now_us, ended_us, 0, overrun_us)
        return ended_us

    def _planned(
        self, call: Call, lot: Lot | None, arrived_us: int, granted_us: int
    ) -> tuple[int | None, Failure | None]:
        """When a visit is to end, if that was drawn, and how it fails, if it does."""
        if lot is not None and self._steady:
            return granted_us + lot[0], lot[1]
        pace_milli = NORMAL if self._steady else self._hours.at(granted_us).pace_milli
        if not self.sleeps and pace_milli == NORMAL:
            return None, None
        start_us = granted_us if self.servers or self._changes else arrived_us
        drawn_us, failure = lot or self._draw(call).lot(call.journey_id, call.attempt, arrived_us)
        if pace_milli != NORMAL:
            drawn_us = scaled(drawn_us, pace_milli, 1)
        # Real work fails as it does.
        return start_us + drawn_us, failure if self.mocked else None

    def _note(
        self, call: Call, arrived_us: int, granted_us: int | None, planned_us: int | None,
        waiting: int, answer: Answer,
    ) -> None:  # fmt: skip
        """Write the row of a visit that ends now."""
        now_us = self._clock.now_us()
        served_us = now_us if granted_us is None else granted_us
        if not self.mocked and not self.servers and not self._changes:
            # Nobody waits for a server that is always there: all of the visit is service.
            served_us = arrived_us
        overrun_us = 0 if planned_us is None or planned_us > now_us else now_us - planned_us
        self._write(call.at, answer, arrived_us, served_us, now_us, waiting, overrun_us)

    def _write(
        self, at: At, answer: Answer, arrived_us: int, served_us: int, ended_us: int,
        waiting: int, overrun_us: int,
    ) -> None:  # fmt: skip
        """Write a row."""
        outcome = answer.outcome
        self.ended[outcome] += 1
        # There are so many rows that the constructor with its sixteen arguments is felt.
        row = self._author + at + (
            self.name, arrived_us, arrived_us, served_us, ended_us, OUTCOMES[outcome],
            answer.code, waiting, overrun_us,
        )  # fmt: skip
        self._writer.add(tuple.__new__(Outcome, row))

    @property
    def waiting(self) -> int:
        """Visits in the queue."""
        return sum(map(len, self._waiting))

    def sure_within(self, lot: Lot, limit_us: int) -> bool:
        """Whether a visit with that lot is answered within ``limit_us``, if it begins now."""
        if self._changes or (self.servers and self.busy >= self.servers):
            return False
        service_us, failure = lot
        return service_us <= limit_us and (failure is None or failure.outcome != "timed_out")

    def _draw(self, call: Call) -> Visit:
        """The draws of the visits that a call is one of."""
        return self._draws.visit(call.step, call.leg, self.name, call.traits)

    def _enter(self, now_us: int, waiting: int) -> Answer | None:
        """Come to be served; an answer instead if it never comes to that, or not at once."""
        if self.busy < self.room:
            self.busy += 1
            return None
        if self.in_flight_max is not None and self.busy >= self.in_flight_max:
            return Answer(REJECTED, QUEUE_FULL)
        phase = self._hours.at(now_us)
        if phase.door == REFUSING:
            return Answer(REJECTED, phase.code)
        if self._bucket.rejects(now_us):
            return Answer(REJECTED, self._bucket.code)
        if not waiting and self._has_room(phase) and self._bucket.start_us <= now_us:
            self._begin(now_us)
            return None
        limit = self.table.queue_limit
        if limit is not None and waiting >= limit:
            return Answer(REJECTED, QUEUE_FULL)
        return _IN_LINE

    async def _turn(self, call: Call, priority: int) -> Answer | None:
        """Wait in line; an answer instead if the turn never comes."""
        loop = asyncio.get_running_loop()
        turn: Turn = loop.create_future()
        line = self._waiting[priority]
        line.append(turn)
        patience_us = self._draw(call).patience_us(call.journey_id, call.attempt)
        alarm = None
        if patience_us is not None:
            alarm = loop.call_later(patience_us / 1e6, self._renege, line, turn)
        self._admit()
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.result() is None:
                self._leave()
            elif turn in line:
                line.remove(turn)
            raise
        finally:
            if alarm is not None:
                alarm.cancel()

    @staticmethod
    def _renege(line: deque[Turn], turn: Turn) -> None:
        if not turn.done():
            line.remove(turn)
            turn.set_result(Answer(RENEGED))

    def _has_room(self, phase: Phase) -> bool:
        """Whether a server is free for a visit."""
        servers = phase.servers if self._counted else 0
        return phase.door == OPEN and (servers == 0 or self.busy < servers)

    def _begin(self, now_us: int) -> None:
        """A server and, if visits wait for them, a token are taken."""
        self.busy += 1
        self._bucket.begin(now_us)

    def _admit(self) -> None:
        """Take visits from the queue while there are servers and tokens."""
        now_us = self._clock.now_us()
        phase = self._hours.at(now_us)
        while any(self._waiting):
            token_us = self._bucket.start_us
            if not self._has_room(phase) or token_us > now_us:
                self._look_again(token_us, now_us)
                return
            turn = next(line for line in reversed(self._waiting) if line).popleft()
            if not turn.done():
                self._begin(now_us)
                turn.set_result(None)

    def _look_again(self, token_us: int, now_us: int) -> None:
        """Set the alarm for the next token or the next phase; whoever leaves looks again anyway."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        at_us = self._hours.next_us(now_us)
        if token_us > now_us:
            at_us = min(at_us, token_us)
        if at_us < FOR_EVER_US:
            # The loop's timers may go off a little early.
            delay_s = (at_us - now_us + EARLY_US) / 1e6
            self._alarm = asyncio.get_running_loop().call_later(delay_s, self._changed)

    def _changed(self) -> None:
        """It is another time: turn those who wait away, or take as many as there is room."""
        self._alarm = None
        phase = self._hours.at(self._clock.now_us())
        if phase.door == REFUSING:
            for line in self._waiting:
                while line:
                    turn = line.popleft()
                    if not turn.done():
                        turn.set_result(Answer(REJECTED, phase.code))
        self._admit()

    def _leave(self) -> None:
        """Hand the server to the next one in line, before the one who leaves moves on."""
        self.busy -= 1
        if any(self._waiting):
            self._admit()


def _failed(failure: Failure) -> Answer:
    """The answer of a visit that fails; if only its answer gets lost, the work is done."""
    if failure.outcome == "timed_out":
        return DONE
    return Answer(OUTCOMES.index(failure.outcome), failure.code)
