"""Waiting for moments of the plan's clock: one timer of the event loop for all who wait.

A service has hundreds of visits asleep at any moment, and a timer for each costs more than all else
that a visit needs. What has become done before its moment stays in line until then: an answer that
came in time is forgotten only when its limit would have passed, which is seconds later.
"""

from __future__ import annotations

import asyncio
from heapq import heappop, heappush
from itertools import count
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from mock_psp.clock import PlanClock

    Waiter = asyncio.Future[None]

EARLY_US: Final = 500
"""The loop's timers count whole milliseconds from a moment a little before now, so one of them may
go off early by so much and counts as punctual."""


class Alarms:
    """All who wait for a moment in one event loop."""

    def __init__(self, clock: PlanClock) -> None:
        """Nobody waits yet."""
        self._clock = clock
        self._line: list[tuple[int, int, Waiter]] = []
        self._turns = count()
        self._set_for_us = 0
        self._timer: asyncio.TimerHandle | None = None

    def at(self, due_us: int) -> Waiter:
        """A future that is done at a moment of the plan; at once, if that has passed.

        Whoever sets or cancels it before is not disturbed later.
        """
        loop = asyncio.get_running_loop()
        waiter: Waiter = loop.create_future()
        now_us = self._clock.now_us()
        if due_us <= now_us:
            waiter.set_result(None)
            return waiter
        # Who came first is woken first of those that are due together.
        heappush(self._line, (due_us, next(self._turns), waiter))
        if self._timer is None or due_us < self._set_for_us:
            self._set(loop, now_us)
        return waiter

    def _set(self, loop: asyncio.AbstractEventLoop, now_us: int) -> None:
        """Set the timer for the first in line."""
        if self._timer is not None:
            self._timer.cancel()
        self._set_for_us = self._line[0][0]
        self._timer = loop.call_later((self._set_for_us - now_us) / 1e6, self._ring, loop)

    def _ring(self, loop: asyncio.AbstractEventLoop) -> None:
        """Wake all whose moment has come."""
        self._timer, line = None, self._line
        now_us = self._clock.now_us()
        if self._set_for_us - now_us <= EARLY_US:
            until_us = max(now_us, self._set_for_us)
            while line and line[0][0] <= until_us:
                waiter = heappop(line)[2]
                if not waiter.done():
                    waiter.set_result(None)
        if line:
            self._set(loop, now_us)
