"""The clock of the plan, read by every service: real time, told as the plan tells it."""

from __future__ import annotations

import datetime as dt
import time
from functools import lru_cache
from typing import Final

from fewseconds.identity import IST

DAY_US: Final = 86_400_000_000
MOMENTS: Final = 512
"""Ends of codes that are remembered: they are those of days."""


class PlanClock:
    """CLOCK_MONOTONIC, moved so that it shows the plan's microseconds.

    Processes of one host share CLOCK_MONOTONIC, so one pair of numbers makes their times
    comparable without any exchange.
    """

    def __init__(
        self,
        epoch_monotonic_us: int,
        plan_origin_us: int,
        first_day: dt.date,
        *,
        real_dates: bool = False,
    ) -> None:
        """At ``epoch_monotonic_us`` the plan's clock showed ``plan_origin_us``.

        The plan counts microseconds from the midnight (IST) that begins ``first_day``; with
        ``real_dates`` the date is today's all the same.
        """
        self._real_dates = real_dates
        self._offset_us = plan_origin_us - epoch_monotonic_us
        self._midnight = dt.datetime.combine(first_day, dt.time(), IST)
        self._day = 0, first_day
        self._us_of = lru_cache(MOMENTS)(self._us_from_midnight)

    def begin(self, zero_monotonic_us: int) -> None:
        """Show 0 at that moment of CLOCK_MONOTONIC, and go on from there.

        Whoever sleeps on the clock already is woken by as much too late as it is set back.
        """
        self._offset_us = -zero_monotonic_us

    def now_us(self) -> int:
        """Microseconds since the plan's first midnight."""
        return time.monotonic_ns() // 1000 + self._offset_us

    def moment(self) -> dt.datetime:
        """The date and time of day, in India, that the plan has reached."""
        if self._real_dates:
            return dt.datetime.now(IST)
        return self.moment_of(self.now_us())

    def moment_of(self, at_us: int) -> dt.datetime:
        """The date and time of a moment of the plan."""
        if self._real_dates:
            return dt.datetime.now(IST) + dt.timedelta(microseconds=at_us - self.now_us())
        return self._midnight + dt.timedelta(microseconds=at_us)

    def today(self) -> dt.date:
        """The day that the plan has reached."""
        if self._real_dates:
            return self.moment().date()
        number, day = self._day
        reached = self.now_us() // DAY_US
        if reached != number:
            day = (self._midnight + dt.timedelta(days=reached)).date()
            self._day = reached, day
        return day

    def is_over(self, moment: dt.datetime) -> bool:
        """Whether the plan has passed a moment."""
        return moment < self.moment() if self._real_dates else self._us_of(moment) < self.now_us()

    def _us_from_midnight(self, moment: dt.datetime) -> int:
        return (moment - self._midnight) // dt.timedelta(microseconds=1)


def wall_s() -> int:
    """Seconds since 1970 by the wall clock: what signatures of callbacks are dated with."""
    return int(time.time())


def monotonic_us() -> int:
    """CLOCK_MONOTONIC in microseconds."""
    return time.monotonic_ns() // 1000
