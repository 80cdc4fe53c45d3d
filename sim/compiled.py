"""The journeys in virtual time, compiled: the rows of :mod:`sim.reference`, far sooner.

The event loop below runs until something has to be done outside: the part of the plan at hand has
been used up, an array is full, or everything has come to its end.
"""

from __future__ import annotations

from typing import Final

from fewseconds import journey as j
from sim import layout as at
from sim.jit import inlined
from sim.kernel_station import HOUR_US, KEY_BITS, key_of, rank_of
from sim.kernel_walk import (
    BEGINNING,
    NOBODY,
    arrive,
    change,
    give_up,
    go_on,
    leave,
    renege,
)
from sim.layout import City  # noqa: TC001 - compiled with its annotations
from sim.ready import BEGIN, CHANGE, SERVICE_END, TIME_OUT
from sim.slots import drop_first

KEY_MASK: Final = (1 << KEY_BITS) - 1


@inlined
def room(c: City) -> int:
    """How many events may happen before any array could be full."""
    n = c.n
    left = min(n[at.VISITS_LEFT], n[at.BRANCHES_LEFT], c.heap.shape[0] - n[at.HEAP_SIZE])
    left = min(left // at.SLOTS_A_MOVE, n[at.WALKS_LEFT], c.ended.shape[0] - n[at.ENDED_COUNT])
    left = min(left, (c.stays.shape[0] - n[at.STAY_COUNT]) // n[at.ROWS_A_MOVE])
    if c.rows.shape[0] > 0:
        left = min(left, (c.rows.shape[0] - n[at.ROW_COUNT]) // n[at.ROWS_A_MOVE])
    return left


@inlined
def precedes(c: City, arrival: int) -> bool:
    """Whether an arrival comes before the first event on the list."""
    time_us = c.arrivals_us[arrival]
    if time_us != c.heap[0, 0]:
        return time_us < c.heap[0, 0]
    return rank_of(BEGIN, key_of(c.journeys[arrival], 0, 0, 0)) < c.heap[0, 1]


@inlined
def enter_hour(c: City, now: int) -> bool:
    """Note the hour that has come; False if the arrays by hour end before it."""
    hour = now // HOUR_US
    if hour >= c.hours.shape[1]:
        c.n[at.NEEDED] = hour + 1
        return False
    c.n[at.HOUR] = hour
    c.n[at.HOUR_FROM_US] = hour * HOUR_US
    c.n[at.HOUR_UNTIL_US] = (hour + 1) * HOUR_US
    return True


@inlined
def has_room_for_first(c: City) -> bool:
    """Whether nothing gets full when the first event of the list happens after a check of one.

    A change of a station may set everybody in its queue in motion.
    """
    if (c.heap[0, 1] - 2) >> KEY_BITS != CHANGE:
        return True
    waiting = c.stations[c.heap[0, 2], at.ST_WAITING]
    c.n[at.NEEDED] = waiting + 1
    return room(c) > waiting


@inlined
def happening(c: City) -> tuple[int, int, int]:
    """Let the first event of the list happen; the walker that goes on with an outcome and code."""
    rank, slot = c.heap[0, 1] - 2, c.heap[0, 2]
    kind, key = rank >> KEY_BITS, rank & KEY_MASK
    drop_first(c)
    if kind == SERVICE_END:
        return leave(c, slot)
    if kind == BEGIN:
        c.n[at.EVENTS] += 1
        return slot, BEGINNING, 0
    if kind == TIME_OUT:
        return give_up(c, slot, key)
    if kind == CHANGE:
        return change(c, slot, key), j.REJECTED, c.stations[slot, at.ST_CODE]
    return renege(c, slot, key)


@inlined
def run(c: City) -> int:
    """Walk on; says why it stopped, with the events that had no room in ``n[NEEDED]``."""
    n = c.n
    budget = 0
    while True:
        if budget == 0:
            budget = room(c)
            n[at.NEEDED] = 1
            if budget == 0:
                return at.WANTS_ROOM
        arrival = n[at.NEXT_ARRIVAL]
        arriving = arrival < n[at.ARRIVALS]
        if not arriving and n[at.PLAN_OVER] == 0:
            return at.WANTS_PLAN
        if n[at.HEAP_SIZE] == 0 and not arriving:
            return at.OVER
        from_plan = arriving and (n[at.HEAP_SIZE] == 0 or precedes(c, arrival))
        now = c.arrivals_us[arrival] if from_plan else c.heap[0, 0]
        if now >= n[at.HOUR_UNTIL_US] and not enter_hour(c, now):
            return at.WANTS_HOURS
        if not from_plan and not has_room_for_first(c):
            return at.WANTS_ROOM
        budget -= 1
        n[at.NOW] = now
        changing = False
        if from_plan:
            n[at.NEXT_ARRIVAL] = arrival + 1
            walker, outcome, code = arrive(c, arrival), BEGINNING, 0
        else:
            changing = (c.heap[0, 1] - 2) >> KEY_BITS == CHANGE
            walker, outcome, code = happening(c)
        if changing:
            budget = 0
        while walker != NOBODY:
            # A change turns many away, who go on one after the other.
            following = c.walkers[walker, at.BR_NEXT] if changing else NOBODY
            go_on(c, walker, outcome, code)
            walker = following
