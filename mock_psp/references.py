"""Reference numbers (RRN): the twelve digits by which a bank knows a payment, never given twice.

Their form is NPCI's: last digit of the year, day of the year, hour, and a running number of six
digits (the layout of ISO 8583's field 37). That leaves a million for each hour,
278 a second. Where an hour's are used up, those of the next hour are given, however far that runs
ahead of the clock: a number that repeats would make real money a contradiction.
"""

from __future__ import annotations

import datetime as dt
from typing import Final

SIZE: Final = 1_000_000
"""Numbers that one hour has room for."""
HOURS: Final = 24


class References:
    """The reference numbers of a run's debits."""

    def __init__(self, first: int, last: str, moment: dt.datetime) -> None:
        """Each hour begins at number ``first``; a run goes on after ``last``, if there was one.

        ``moment`` is now: it tells which decade ``last`` is of.
        """
        self._first, self._hour, self._used, self._prefix = first, 0, 0, ""
        if last:
            self._turn(_hour_of(last, moment.year))
            self._used = (int(last[6:]) - first) % SIZE + 1

    def next(self, moment: dt.datetime) -> str:
        """The number of a debit at that moment."""
        hour = moment.toordinal() * HOURS + moment.hour
        if hour > self._hour:
            self._turn(hour)
        elif self._used == SIZE:
            self._turn(self._hour + 1)
        number = (self._first + self._used) % SIZE
        self._used += 1
        return f"{self._prefix}{number:06d}"

    def _turn(self, hour: int) -> None:
        day, of_day = divmod(hour, HOURS)
        self._hour, self._used = hour, 0
        date = dt.date.fromordinal(day)
        self._prefix = f"{date.year % 10}{date:%j}{of_day:02d}"


def _hour_of(number: str, year: int) -> int:
    """The hour, counted from the beginning of dates, that a number close to ``year`` is of."""
    ahead = (int(number[0]) - year + 4) % 10 - 4
    day = dt.date(year + ahead, 1, 1).toordinal() + int(number[1:4]) - 1
    return day * HOURS + int(number[4:6])
