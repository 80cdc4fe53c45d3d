"""The clock of the plan, read by every service: real time, told as the plan tells it."""

from __future__ import annotations

import datetime as dt
import time

from fewseconds.identity import IST


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
        return self.moment().date()


def wall_s() -> int:
    """Seconds since 1970 by the wall clock: what signatures of callbacks are dated with."""
    return int(time.time())


def monotonic_us() -> int:
    """CLOCK_MONOTONIC in microseconds."""
    return time.monotonic_ns() // 1000
