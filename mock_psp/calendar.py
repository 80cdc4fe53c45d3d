"""The calendar: the clock of what takes hours and days, which a test may move ahead.

Webhooks are tried again for 24 hours, settlements come the next day, and money that nobody
confirmed goes back after five days. Nobody waits for that, so these things read a clock of their
own, which runs with the wall clock until it is advanced. Latency is never measured with it. How far
it has been advanced is kept in a file, so that a restart does not turn it back.
"""

from __future__ import annotations

import asyncio
import heapq
import os
from itertools import count
from typing import TYPE_CHECKING

from mock_psp.clock import wall_s

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Calendar:
    """Seconds since 1970 that can be moved ahead; whoever sleeps past them then wakes."""

    def __init__(self, now_s: Callable[[], float] = wall_s, kept: Path | None = None) -> None:
        """``now_s`` is what it runs with, ``kept`` the file that says how far it is ahead of that.

        Without the file, or before the first advance, it is not ahead.
        """
        self._now_s, self._kept = now_s, kept
        self._ahead_s = float(kept.read_text("ascii")) if kept and kept.exists() else 0.0
        self._sleeping: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = count()
        self._alarm: asyncio.TimerHandle | None = None

    def now_s(self) -> int:
        """The time that the calendar shows, in seconds since 1970."""
        return int(self._now_s() + self._ahead_s)

    def advance(self, seconds: float) -> int:
        """Move ahead by ``seconds`` (not below 0), wake who is due, and say what time it is."""
        self._ahead_s += max(seconds, 0.0)
        if self._kept is not None:
            # Whole or not at all: a kill may come at any moment.
            written = self._kept.with_suffix(".new")
            written.write_text(repr(self._ahead_s), "ascii")
            os.replace(written, self._kept)  # noqa: PTH105 - one system call, no resolving
        self._wake()
        return self.now_s()

    async def sleep(self, seconds: float) -> None:
        """Return when the calendar has gone on by ``seconds``."""
        if seconds <= 0:
            return
        due_s = self._now_s() + self._ahead_s + seconds
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleeping, (due_s, next(self._order), turn))
        self._set_alarm()
        await turn

    def _wake(self) -> None:
        now_s = self._now_s() + self._ahead_s
        while self._sleeping and (self._sleeping[0][0] <= now_s or self._sleeping[0][2].done()):
            turn = heapq.heappop(self._sleeping)[2]
            if not turn.done():
                turn.set_result(None)
        self._set_alarm()

    def _set_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        if self._sleeping:
            rest_s = self._sleeping[0][0] - self._now_s() - self._ahead_s
            self._alarm = asyncio.get_running_loop().call_later(max(rest_s, 0.01), self._wake)
