"""Which part of the month is judged: its busiest hours, with a warm-up, or all of it."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np

from fewseconds.errors import UsageError
from fewseconds.plan import DAY_US, HOUR_US, plan

if TYPE_CHECKING:
    from fewseconds.scenario import Scenario

WARM_UP_US: Final = 1_200_000_000
"""Walked before the judged hours, so that these do not begin with empty queues: twenty minutes,
four times what the longest status checks take."""
SETTLE_US: Final = 300_000_000
"""Arrivals go on so long after the judged hours, so that their last journeys meet company."""
WHOLE_UP_TO: Final = 2.0
"""Up to so many times the arrivals the whole hour is walked."""
PART_US: Final = HOUR_US // 10
PART_WARM_UP_US: Final = 300_000_000
PART_SETTLE_US: Final = 60_000_000


class Window(msgspec.Struct, frozen=True):
    """A stretch of whole hours whose journeys are judged, inside the stretch that is walked."""

    from_us: int
    until_us: int
    walked_from_us: int
    walked_until_us: int
    text: str
    """The window in words, for every answer that rests on it."""
    squeezed: tuple[int, int] | None = None
    """The hour whose people come within the walked stretch; None if that has people of its own."""

    @property
    def hours(self) -> slice:
        """Its place in arrays by hour: the whole hours that it touches."""
        return slice(self.from_us // HOUR_US, -(-self.until_us // HOUR_US))

    @property
    def length_us(self) -> int:
        """How long it is."""
        return self.until_us - self.from_us

    @property
    def walked_us(self) -> int:
        """How much of its :attr:`hours` is walked: all of it, unless it is a part of an hour."""
        touched = self.hours
        from_us = max(int(touched.start) * HOUR_US, self.walked_from_us)
        return min(int(touched.stop) * HOUR_US, self.walked_until_us) - from_us

    def at_rate(self, rate: float) -> Window:
        """A part of it that is enough at ``rate`` times its arrivals; windows of one hour only.

        Arrivals come evenly within an hour, so a part has the hour's own rate. All people of the
        hour come within the part, and fewer of them stand for many, so that what is known about
        the mix of ways does not become less. A tenth of the hour is judged at the least: with the
        five minutes before it, three per cent too many build up a queue of 15 seconds.
        """
        if self.length_us != HOUR_US or rate <= WHOLE_UP_TO:
            return self
        from_us = self.from_us + PART_WARM_UP_US
        until_us = from_us + max(round(HOUR_US / rate), PART_US)
        text = f"{(until_us - from_us) // 60_000_000} minutes of {self.text}"
        hour = (self.from_us, self.until_us)
        return Window(from_us, until_us, self.from_us, until_us + PART_SETTLE_US, text, hour)

    def day(self, first_day: dt.date) -> dt.date:
        """The day it begins on."""
        return first_day + dt.timedelta(days=self.from_us // DAY_US)


def busiest(scenario: Scenario, hours: int = 1, kinds: frozenset[str] | None = None) -> Window:
    """The ``hours`` whole hours in a row with the most journeys, under the scenario's own seed.

    Only journeys of ``kinds`` are counted, those of all digital channels if none are given: a rush
    at the counters is no load for anything but clerks.
    Raises UsageError if the month is shorter than that.
    """
    total = scenario.arrivals.days * DAY_US // HOUR_US
    if not 1 <= hours <= total:
        message = f"--hours {hours!r}: not in the month; write 1 to {total} whole hours"
        raise UsageError(message)
    whole = plan(scenario)
    planned = whole.digital() if kinds is None else whole.of_kinds(kinds)
    counts = np.bincount(planned.starts_us // HOUR_US, minlength=total)[:total]
    inside = np.convolve(counts, np.ones(hours, np.int64), "valid")
    from_us = int(np.argmax(inside)) * HOUR_US
    until_us = from_us + hours * HOUR_US
    begin = scenario.arrivals.first_day + dt.timedelta(days=from_us // DAY_US)
    first_hour = from_us % DAY_US // HOUR_US
    warm_up_us = min(WARM_UP_US, from_us)
    span = "hour" if hours == 1 else f"{hours} hours"
    of = "" if kinds is None else " for " + ", ".join(sorted(kinds))
    text = (
        f"the busiest {span} of the month{of} "
        f"({begin:%a %d %b}, {first_hour:02d}:00 to {(first_hour + hours) % 24:02d}:00), after "
        f"{warm_up_us // 60_000_000} minutes of warm-up that are not judged"
    )
    return Window(from_us, until_us, from_us - warm_up_us, until_us + SETTLE_US, text)


def whole_month(scenario: Scenario) -> Window:
    """Everything: a month begins and ends with empty queues, so nothing needs a warm-up."""
    until_us = scenario.arrivals.days * DAY_US
    return Window(0, until_us, 0, until_us, f"the whole month ({scenario.arrivals.days} days)")
