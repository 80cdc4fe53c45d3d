"""Waiting for moments of the plan's clock: one timer of the event loop for all who wait.

A service has hundreds of visits asleep at any moment, and a timer for each costs more than all else
that a visit needs. Limits stand in lines of their own, one for each length: nearly all answers come
long before them, and those that wait for a moment need not pass by all of these.
"""

from __future__ import annotations

import asyncio
from collections import deque
from heapq import heappop, heappush
from itertools import count
from typing import TYPE_CHECKING, Any, Final

from fewseconds.timeline import FOR_EVER_US

if TYPE_CHECKING:
    from mock_psp.clock import PlanClock

    Waiter = asyncio.Future[None]

EARLY_US: Final = 500
"""The loop's timers count whole milliseconds from a moment a little before now, so one of them may
go off early by so much and counts as punctual."""


CROWD: Final = 4096
"""Of those with one limit; an answer is held as long as somebody in front of it waits."""


class Alarms:
    """All who wait for a moment in one event loop."""

    def __init__(self, clock: PlanClock) -> None:
        """Nobody waits yet."""
        self._clock = clock
        self._loop: asyncio.AbstractEventLoop | None = None
        self._line: list[tuple[int, int, Waiter]] = []
        self._turns = count()
        self._set_for_us = FOR_EVER_US
        """When the timer goes off; for ever is that none is set."""
        self._timer: asyncio.TimerHandle | None = None
        self._limits: dict[int, deque[tuple[int, asyncio.Future[Any]]]] = {}
        self._crowd = CROWD
        """Longer lines are looked through: that is seldom, however long they really are."""
        self._watched: set[int] = set()
        """Limits for which a timer is set."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop of all who wait here.

        Before Python 3.12 ``get_running_loop`` asks the kernel every time which process this is:
        four microseconds, which a question about a bill paid seven times.
        """
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        return self._loop

    def at(self, due_us: int, now_us: int | None = None) -> Waiter:
        """A future that is done at a moment of the plan; at once, if that has passed.

        Who knows what time it is, or was just now, says so. Whoever sets or cancels it before is
        not disturbed.
        """
        waiter: Waiter = (self._loop or self.loop).create_future()
        if now_us is None:
            now_us = self._clock.now_us()
        if due_us <= now_us:
            waiter.set_result(None)
            return waiter
        # Who came first is woken first of those that are due together.
        heappush(self._line, (due_us, next(self._turns), waiter))
        if due_us < self._set_for_us:
            self._set(self.loop)
        return waiter

    def within(self, limit_us: int) -> asyncio.Future[Any]:
        """A future that is None so long from now, unless somebody has set it before."""
        loop = self._loop or self.loop
        waiter: asyncio.Future[Any] = loop.create_future()
        line = self._limits.get(limit_us)
        if line is None:
            line = self._limits[limit_us] = deque()
        # Those of one length come due in the order in which they came.
        while line and line[0][1].done():
            line.popleft()
        line.append((self._clock.now_us() + limit_us, waiter))
        if len(line) > self._crowd:
            self._thin(line)
        if limit_us not in self._watched:
            self._watched.add(limit_us)
            loop.call_later(limit_us / 1e6, self._over, loop, limit_us)
        return waiter

    def _thin(self, line: deque[tuple[int, asyncio.Future[Any]]]) -> None:
        """Forget who has been answered behind one who still waits."""
        waiting = [one for one in line if not one[1].done()]
        line.clear()
        line.extend(waiting)
        self._crowd = max(CROWD, 2 * len(line))

    def _over(self, loop: asyncio.AbstractEventLoop, limit_us: int) -> None:
        """Wake all for whom a limit is over."""
        line, until_us = self._limits[limit_us], self._clock.now_us() + EARLY_US
        while line and (line[0][1].done() or line[0][0] <= until_us):
            waiter = line.popleft()[1]
            if not waiter.done():
                waiter.set_result(None)
        if line:
            left_us = line[0][0] - until_us + EARLY_US
            loop.call_later(left_us / 1e6, self._over, loop, limit_us)
        else:
            self._watched.discard(limit_us)

    def _set(self, loop: asyncio.AbstractEventLoop) -> None:
        """Set the timer for the first in line."""
        if self._timer is not None:
            self._timer.cancel()
        self._set_for_us = self._line[0][0]
        # What those who wait were told may be a while ago: so much was written down meanwhile.
        left_us = self._set_for_us - self._clock.now_us()
        self._timer = loop.call_later(max(left_us, 0) / 1e6, self._ring, loop)

    def _ring(self, loop: asyncio.AbstractEventLoop) -> None:
        """Wake all whose moment has come."""
        line, due_us, now_us = self._line, self._set_for_us, self._clock.now_us()
        self._timer, self._set_for_us = None, FOR_EVER_US
        if due_us - now_us <= EARLY_US:
            until_us = max(now_us, due_us)
            while line and line[0][0] <= until_us:
                waiter = heappop(line)[2]
                if not waiter.done():
                    waiter.set_result(None)
        if line:
            self._set(loop)
