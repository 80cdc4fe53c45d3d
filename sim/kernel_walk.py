"""The compiled engine's journeys: the rules of :mod:`sim.reference` on flat arrays."""

from __future__ import annotations

from fewseconds import journey as j
from fewseconds.timeline import REFUSING
from sim import layout as at
from sim.jit import draw, inlined, next_move
from sim.kernel_station import (
    ACCEPTED,
    PENDING,
    admit,
    enter,
    first_in_line,
    happen,
    key_of,
    leave_queue,
    note_visit,
    rank_of,
    wait_for_turn,
    write_row,
)
from sim.layout import City  # noqa: TC001 - compiled with its annotations
from sim.ready import CHANGE
from sim.slots import close, free_visit, free_walker, new_walker, push

BEGINNING = -2
"""In place of an outcome: an attempt begins."""
ATTEMPT_MASK = 0xFF
NOBODY = -1
"""No walker goes on."""


@inlined
def note_attempt(c: City, walker: int, step: int, outcome: int, code: int) -> None:
    """Account for an attempt of a step that ends now, and write its row."""
    one, now = c.walkers[walker], c.n[at.NOW]
    walk, part = c.walks[one[at.BR_WALK]], c.steps[step, at.STEP_PART]
    if one[at.BR_NUMBER] == 0:
        sojourn_us = now - one[at.BR_INTENDED]
        walk[at.WALK_LAST_STEP] = step
        walk[at.WALK_LAST_OUTCOME] = outcome
        walk[at.WALK_LAST_CODE] = code
        walk[at.WALK_LAST_ATTEMPT] = one[at.BR_ATTEMPT]
        walk[at.WALK_LAST_TOOK] = now - one[at.BR_FIRST_START]
        walk[at.WALK_ENDED] = now
        if c.steps[step, at.STEP_MACHINE] == 1:
            walk[at.WALK_MACHINE] += sojourn_us
        if part == at.AIM and walk[at.WALK_AIM] == at.NONE:
            walk[at.WALK_AIM] = one[at.BR_INTENDED]
        elif part == at.PAY and walk[at.WALK_PAY] == at.NONE:
            walk[at.WALK_PAY] = one[at.BR_INTENDED]
        elif part == at.PENDING:
            walk[at.WALK_PENDING] += sojourn_us
    if part == at.MESSAGE:
        walk[at.WALK_SMS_END] = now
        walk[at.WALK_SMS_OUTCOME] = outcome
    if walk[at.WALK_KEEP] > 0:
        number, attempt = one[at.BR_NUMBER], one[at.BR_ATTEMPT]
        row = c.rows[write_row(c, walk, number, step, j.STEP_ROW, attempt)]
        row[at.ROW_STATION] = 0
        row[at.ROW_INTENDED] = one[at.BR_INTENDED]
        row[at.ROW_START] = one[at.BR_START]
        row[at.ROW_SERVICE_START] = one[at.BR_START]
        row[at.ROW_OUTCOME] = outcome
        row[at.ROW_CODE] = code
        row[at.ROW_QUEUE_LENGTH] = 0


@inlined
def move(c: City, walker: int, step: int, outcome: int) -> bool:
    """Decide what follows an attempt; whether its next attempt begins at this very instant."""
    one, now = c.walkers[walker], c.n[at.NOW]
    walk = c.walks[one[at.BR_WALK]]
    luck = 0
    # Only a jittered wait after a failure looks at the draw.
    if outcome != j.OK and c.steps[step, at.STEP_JITTER] == 1:
        luck = draw(c.steps[step, at.STEP_MOVE_KEY], walk[at.WALK_JOURNEY], one[at.BR_ATTEMPT])
    elapsed_us = now - one[at.BR_FIRST_START]
    rules = c.rules[walk[at.WALK_RULES] :]
    following, delay_us = next_move(
        rules, one[at.BR_STEP], one[at.BR_ATTEMPT], outcome, elapsed_us, luck
    )
    if following == j.END:
        walk_at = one[at.BR_WALK]
        free_walker(c, walker)
        close(c, walk_at)
        return False
    one[at.BR_ATTEMPT] = one[at.BR_ATTEMPT] + 1 if following == one[at.BR_STEP] else 1
    one[at.BR_STEP] = following
    one[at.BR_LEG] = 0
    one[at.BR_INTENDED] = now
    return not wait_for_turn(c, walker, delay_us, 1)


@inlined
def go_on(c: City, walker: int, outcome: int, code: int) -> None:
    """Walk a branch on, after its leg had an outcome, until something is to be waited for."""
    going = True
    while going:
        one = c.walkers[walker]
        first = c.kinds[c.walks[one[at.BR_WALK], at.WALK_KIND], at.KIND_FIRST_STEP]
        step = first + one[at.BR_STEP]
        if outcome == j.OK and one[at.BR_LEG] + 1 < c.steps[step, at.STEP_LEGS]:
            one[at.BR_LEG] += 1
        elif outcome != BEGINNING:
            note_attempt(c, walker, step, outcome, code)
            if outcome == j.OK:
                happen(c, one[at.BR_WALK], c.steps[step, at.STEP_OK])
            going = move(c, walker, step, outcome)
            outcome = BEGINNING
        if going:
            if outcome == BEGINNING:
                one[at.BR_START] = c.n[at.NOW]
                if one[at.BR_ATTEMPT] == 1:
                    one[at.BR_FIRST_START] = c.n[at.NOW]
            outcome, code = enter(c, walker)
            going = outcome != ACCEPTED


@inlined
def arrive(c: City, arrival: int) -> int:
    """Begin a journey; its walker, or NOBODY if the first attempt comes later."""
    walk = c.n[at.FREE_WALK]
    one = c.walks[walk]
    c.n[at.FREE_WALK] = one[at.WALK_NEXT]
    c.n[at.WALKS_LEFT] -= 1
    c.n[at.EVENTS] += 1
    for field in range(at.WALK_LAST_STEP, at.ENDED_WIDTH):
        one[field] = at.NONE
    kind = c.journey_kinds[arrival]
    one[at.WALK_JOURNEY] = c.journeys[arrival]
    one[at.WALK_PLACE] = c.n[at.ARRIVALS_BEFORE] + arrival
    one[at.WALK_KIND] = kind
    one[at.WALK_BEGUN] = c.n[at.NOW]
    one[at.WALK_MACHINE] = 0
    one[at.WALK_PENDING] = 0
    one[at.WALK_ACCEPTED] = 0
    one[at.WALK_COHORT] = c.cohorts[arrival]
    one[at.WALK_RULES] = c.rules_from[arrival]
    one[at.WALK_KEEP] = c.keeps[arrival]
    one[at.WALK_HAPPENED] = 0
    one[at.WALK_OPEN] = 0
    walker = new_walker(c, walk, 0, 0)
    delay_us = c.rules[one[at.WALK_RULES] + j.DELAY_US]
    return NOBODY if wait_for_turn(c, walker, delay_us, 1) else walker


@inlined
def end(c: City, visit: int, outcome: int, code: int) -> int:
    """Account for a visit that ends now, let its event happen; who has an answer, if anybody."""
    mine = c.visits[visit]
    walk_at, leg_at, caller = mine[at.V_WALK], mine[at.V_LEG], mine[at.V_CALLER]
    note_visit(
        c, c.walks[walk_at], (mine[at.V_BRANCH], leg_at, mine[at.V_ATTEMPT]),
        (mine[at.V_ARRIVED], mine[at.V_SERVICE_START]), outcome, code, mine[at.V_QUEUE_LENGTH],
    )  # fmt: skip
    # An answer that is lost on the way back belongs to work that was done.
    if outcome in (j.OK, j.TIMED_OUT):
        happen(c, walk_at, c.legs[leg_at, at.LEG_EMITS])
    if caller == NOBODY:
        free_visit(c, visit)
        close(c, walk_at)
        return NOBODY
    if outcome == j.TIMED_OUT:
        mine[at.V_DONE] = 1
        return NOBODY
    free_visit(c, visit)
    return caller


@inlined
def leave(c: City, visit: int) -> tuple[int, int, int]:
    """The work is done; the walker that goes on with outcome and code, or NOBODY."""
    mine = c.visits[visit]
    leg = c.legs[mine[at.V_LEG]]
    number, failure, asks = leg[at.LEG_STATION], mine[at.V_FAILURE], leg[at.LEG_ASKS]
    c.stations[number, at.ST_BUSY] -= 1
    admit(c, number)
    outcome, code = j.OK, 0
    if failure != at.NONE:
        outcome = c.failures[failure, at.FAILURE_OUTCOME]
        code = c.failures[failure, at.FAILURE_CODE]
    elif asks != at.NONE and (c.walks[mine[at.V_WALK], at.WALK_HAPPENED] >> asks) & 1 == 0:
        outcome, code = j.UNFINISHED, PENDING
    return end(c, visit, outcome, code), outcome, code


@inlined
def give_up(c: City, visit: int, key: int) -> tuple[int, int, int]:
    """The caller's time is over, unless the answer came first; the work goes on."""
    mine = c.visits[visit]
    if mine[at.V_KEY] != key or mine[at.V_CALLER] == NOBODY:
        return NOBODY, 0, 0
    leg, walk_at, caller = c.legs[mine[at.V_LEG]], mine[at.V_WALK], mine[at.V_CALLER]
    c.n[at.EVENTS] += 1
    mine[at.V_CALLER] = NOBODY
    if mine[at.V_DONE] == 1:
        free_visit(c, visit)
    else:
        c.walks[walk_at, at.WALK_OPEN] += 1
    happen(c, walk_at, leg[at.LEG_GIVEN_UP])
    return caller, leg[at.LEG_GIVEN_UP_OUTCOME], leg[at.LEG_GIVEN_UP_CODE]


@inlined
def renege(c: City, visit: int, key: int) -> tuple[int, int, int]:
    """Somebody's patience is over: if still in the queue, leave it."""
    mine = c.visits[visit]
    if mine[at.V_KEY] != key or mine[at.V_WAITING] == 0:
        return NOBODY, 0, 0
    leave_queue(c, c.stations[c.legs[mine[at.V_LEG], at.LEG_STATION]], visit)
    return end(c, visit, j.RENEGED, 0), j.RENEGED, 0


@inlined
def await_change(c: City, number: int) -> None:
    """Put the next phase of a station on the list of events."""
    from_us = c.phases[c.stations[number, at.ST_NEXT_PHASE], at.PHASE_FROM_US]
    push(c, from_us, rank_of(CHANGE, key_of(number, 0, 0, 0)), number)


@inlined
def change(c: City, number: int, key: int) -> int:
    """A station goes over to its next phase; the first of the walkers it turned away.

    They are linked by ``BR_NEXT`` and go on when all have been turned away.
    """
    station = c.stations[number]
    if key & ATTEMPT_MASK:  # Not a phase: there is a token again, unless somebody was faster.
        station[at.ST_TOKEN_AWAITED] = 0
        c.n[at.EVENTS] += admit(c, number) > 0
        return NOBODY
    phase = c.phases[station[at.ST_NEXT_PHASE]]
    station[at.ST_NEXT_PHASE] += 1
    if station[at.ST_NEXT_PHASE] < station[at.ST_PHASES_END]:
        await_change(c, number)
    c.n[at.EVENTS] += 1
    station[at.ST_SERVERS] = phase[at.PHASE_SERVERS]
    station[at.ST_DOOR] = phase[at.PHASE_DOOR]
    station[at.ST_CODE] = phase[at.PHASE_CODE]
    station[at.ST_PACE] = phase[at.PHASE_PACE]
    first, last = NOBODY, NOBODY
    while station[at.ST_DOOR] == REFUSING and station[at.ST_WAITING] > 0:
        visit = first_in_line(c, station)
        caller = end(c, visit, j.REJECTED, station[at.ST_CODE])
        if caller != NOBODY:
            c.walkers[caller, at.BR_NEXT] = NOBODY
            if first == NOBODY:
                first = caller
            else:
                c.walkers[last, at.BR_NEXT] = caller
            last = caller
    admit(c, number)
    return first
