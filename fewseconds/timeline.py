"""What a station is like from moment to moment: opening hours, outages, slow-downs, capacity.

All of them come to one list of phases, a step function of time that every engine follows.
"""

from __future__ import annotations

import datetime as dt
from bisect import bisect_right
from typing import TYPE_CHECKING, Final, NamedTuple

from fewseconds.identity import IST
from fewseconds.station import WEEKDAYS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fewseconds.scenario import Scenario
    from fewseconds.station import Fault, Opening

OPEN, HOLDING, REFUSING = range(3)
"""What a station does with visits: serves them, keeps them in the queue, turns them away."""
DAYS_AFTER: Final = 14
"""Opening hours go on this long after the month, for whoever still waits; then it stays open."""
MICROSECOND: Final = dt.timedelta(microseconds=1)
DAY_US: Final = dt.timedelta(days=1) // MICROSECOND


class Phase(NamedTuple):
    """What a station is like from a moment until the next phase."""

    from_us: int
    """Microseconds since the plan's first midnight; 0 in the first phase."""
    servers: int
    """0 means as many as are wanted."""
    door: int
    """:data:`OPEN`, :data:`HOLDING` or :data:`REFUSING`."""
    code: str
    """Code of those who are turned away, if they are."""
    pace_milli: int
    """Service that begins in this phase takes as many thousandths of its time."""


def phases(scenario: Scenario, station: str) -> tuple[Phase, ...]:
    """The phases of ``station``, in order; most stations have one."""
    first_day, table = scenario.first_day, scenario.stations[station]
    later = [(us_of(change.start, first_day), change.servers) for change in table.servers_later]
    outages, slowdowns = _faults(scenario, station)
    spans: list[tuple[int, int]] = []
    if table.opening is not None:
        spans = list(_open_spans(table.opening, first_day, scenario.arrivals.days))

    def at(now_us: int) -> Phase:
        servers = [table.servers, *(number for from_us, number in later if from_us <= now_us)][-1]
        factor, door, code = 1.0, OPEN, ""
        for from_us, until_us, fault in slowdowns:
            factor *= (fault.factor or 1.0) if from_us <= now_us < until_us else 1.0
        for from_us, until_us, fault in outages:
            if from_us <= now_us < until_us and door != REFUSING:
                door, code = (REFUSING, fault.code) if fault.visits == "reject" else (HOLDING, "")
        hours = table.opening
        if hours is not None and door != REFUSING and not _within(spans, now_us):
            door, code = (REFUSING, hours.code) if hours.outside == "turn_away" else (HOLDING, "")
        return Phase(now_us, servers, door, code, round(factor * 1000))

    windows = [*spans, *((a, b) for a, b, _ in (*outages, *slowdowns))]
    moments = {0, *(from_us for from_us, _ in later), *(edge for pair in windows for edge in pair)}
    found: list[Phase] = []
    for moment_us in sorted(moment for moment in moments if 0 <= moment < FOR_EVER_US):
        phase = at(moment_us)
        if not found or found[-1][1:] != phase[1:]:
            found.append(phase)
    return tuple(found)


def phase_at(of_station: tuple[Phase, ...], now_us: int) -> Phase:
    """The phase that holds at a moment."""
    index = bisect_right(of_station, now_us, key=lambda phase: phase.from_us) - 1
    return of_station[max(index, 0)]


FOR_EVER_US: Final = 1 << 62


def us_of(moment: dt.datetime, first_day: dt.date) -> int:
    """A moment on the plan's clock: microseconds since the midnight that begins ``first_day``."""
    return (moment - dt.datetime.combine(first_day, dt.time(), IST)) // MICROSECOND


Window = tuple[int, int, "Fault"]


def bank_outages(scenario: Scenario, station: str, account: str) -> list[Window]:
    """The outages of the bank whose account is paid from, with their spans."""
    first_day = scenario.first_day
    return [
        (us_of(fault.start, first_day), us_of(fault.until, first_day), fault)
        for fault in scenario.fault
        if fault.station == station and fault.bank and fault.bank == account
        and fault.start is not None and fault.until is not None
    ]  # fmt: skip


def _faults(scenario: Scenario, station: str) -> tuple[list[Window], list[Window]]:
    """Outages, and the slow-downs that hold for a time only, with their spans.

    Slow-downs that hold at all times are in the draws of the station already.
    """
    first_day = scenario.first_day
    outages: list[Window] = []
    slowdowns: list[Window] = []
    for fault in scenario.fault:
        if fault.station != station or (fault.start is None and fault.until is None):
            continue
        if fault.bank:
            continue  # Not the station's: it is in the draws of that bank's customers.
        from_us = 0 if fault.start is None else us_of(fault.start, first_day)
        until_us = FOR_EVER_US if fault.until is None else us_of(fault.until, first_day)
        (outages if fault.kind == "outage" else slowdowns).append((from_us, until_us, fault))
    return outages, slowdowns


def _open_spans(opening: Opening, first_day: dt.date, days: int) -> Iterator[tuple[int, int]]:
    last = days + DAYS_AFTER
    for day in range(last):
        weekday = WEEKDAYS[(first_day.weekday() + day) % 7]
        for span in opening.hours.get(weekday, ()):
            from_us, until_us = span_us(span)
            yield day * DAY_US + from_us, day * DAY_US + until_us
    yield last * DAY_US, FOR_EVER_US


def span_us(span: str) -> tuple[int, int]:
    """``"09:30-13:00"`` in microseconds of the day; ``24:00`` ends a day.

    Raises ValueError if it is written in another way or ends before it begins.
    """
    edges = []
    for text in span.split("-"):
        hours, minutes = (int(part) for part in text.split(":"))
        if not (0 <= minutes < 60 and 0 <= hours * 60 + minutes <= 24 * 60):  # noqa: PLR2004
            raise ValueError(span)
        edges.append((hours * 60 + minutes) * 60_000_000)
    from_us, until_us = edges
    if from_us >= until_us:
        raise ValueError(span)
    return from_us, until_us


def _within(spans: list[tuple[int, int]], now_us: int) -> bool:
    return any(from_us <= now_us < until_us for from_us, until_us in spans)
