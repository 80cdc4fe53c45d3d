"""The compiled engine's stations: the rules of :mod:`sim.reference_station` on flat arrays."""

from __future__ import annotations

from typing import Final

from fewseconds import journey as j
from fewseconds.station import PRIORITIES
from fewseconds.timeline import OPEN, REFUSING
from sim import layout as at
from sim.jit import draw, inlined, last_refresh, pick, quantile, scaled, taken_ns, token_us
from sim.layout import City  # noqa: TC001 - compiled with its annotations
from sim.ready import BEGIN, CHANGE, PATIENCE_END, SERVICE_END, TIME_OUT
from sim.slots import new_visit, new_walker, push

KEY_BITS: Final = 58
HOUR_US: Final = 3_600_000_000
QUEUE_FULL: Final = 1
PENDING: Final = 2
"""Codes that every scenario has, in this order after the empty one."""
ACCEPTED: Final = -1
"""What :func:`enter` says of a visit that is under way."""


@inlined
def rank_of(kind: int, key: int) -> int:
    """:func:`sim.ready.rank`, with all but the class packed already."""
    return 2 + (kind << KEY_BITS | key)


@inlined
def key_of(journey_id: int, branch: int, leg: int, attempt: int) -> int:
    """Everything of a rank but its class."""
    return ((journey_id << 4 | branch) << 8 | leg) << 8 | attempt


@inlined
def has_room(station: at.Table) -> bool:
    """Whether a server is free for a visit."""
    servers = station[at.ST_SERVERS]
    return station[at.ST_DOOR] == OPEN and (servers == 0 or station[at.ST_BUSY] < servers)


@inlined
def start_us(c: City, station: at.Table) -> int:
    """When the next service may begin, if visits wait for tokens."""
    if station[at.ST_TOKENS] != at.TOKENS_WAIT:
        return 0
    return token_us(station[at.ST_FULL_NS], station[at.ST_SLACK_NS], c.n[at.GRID_US])


@inlined
def take_token(c: City, station: at.Table) -> None:
    """Take a token out of the bucket now."""
    station[at.ST_FULL_NS] = taken_ns(
        station[at.ST_FULL_NS], station[at.ST_INTERVAL_NS], c.n[at.NOW]
    )


@inlined
def serve(c: City, station: at.Table, visit: int) -> None:
    """Begin the work."""
    one, now = c.visits[visit], c.n[at.NOW]
    station[at.ST_BUSY] += 1
    if station[at.ST_TOKENS] == at.TOKENS_WAIT:
        take_token(c, station)
    if station[at.ST_PACE] != 1000:  # noqa: PLR2004 - thousandths
        one[at.V_SERVICE] = scaled(one[at.V_SERVICE], station[at.ST_PACE], c.n[at.GRID_US])
    one[at.V_SERVICE_START] = now
    push(c, now + one[at.V_SERVICE], rank_of(SERVICE_END, one[at.V_KEY]), visit)


@inlined
def join_queue(c: City, station: at.Table, visit: int, priority: int) -> None:
    """Stand at the end of the line of a priority."""
    tail = station[at.ST_TAILS + priority]
    c.visits[visit, at.V_WAITING] = 1
    c.visits[visit, at.V_BEFORE] = tail
    c.visits[visit, at.V_NEXT] = at.NONE
    if tail == at.NONE:
        station[at.ST_HEADS + priority] = visit
    else:
        c.visits[tail, at.V_NEXT] = visit
    station[at.ST_TAILS + priority] = visit
    station[at.ST_WAITING] += 1


@inlined
def leave_queue(c: City, station: at.Table, visit: int) -> None:
    """Stop waiting, wherever in the line."""
    one = c.visits[visit]
    priority = c.legs[one[at.V_LEG], at.LEG_PRIORITY]
    before, after = one[at.V_BEFORE], one[at.V_NEXT]
    if before == at.NONE:
        station[at.ST_HEADS + priority] = after
    else:
        c.visits[before, at.V_NEXT] = after
    if after == at.NONE:
        station[at.ST_TAILS + priority] = before
    else:
        c.visits[after, at.V_BEFORE] = before
    one[at.V_WAITING] = 0
    one[at.V_SERVICE_START] = c.n[at.NOW]
    station[at.ST_WAITING] -= 1


@inlined
def first_in_line(c: City, station: at.Table) -> int:
    """Who waits longest among those of the highest priority, no longer in the queue."""
    priority = PRIORITIES - 1
    while station[at.ST_HEADS + priority] == at.NONE:
        priority -= 1
    visit = station[at.ST_HEADS + priority]
    leave_queue(c, station, visit)
    return visit


@inlined
def admit(c: City, number: int) -> int:
    """Take visits from the queue while there are servers and tokens; how many."""
    station, begun = c.stations[number], 0
    while station[at.ST_WAITING] > 0 and has_room(station):
        token = start_us(c, station)
        if token > c.n[at.NOW]:
            if station[at.ST_TOKEN_AWAITED] == 0:
                station[at.ST_TOKEN_AWAITED] = 1
                push(c, token, rank_of(CHANGE, key_of(number, 0, 0, 1)), number)
            break
        serve(c, station, first_in_line(c, station))
        begun += 1
    return begun


@inlined
def drawn_failure(c: City, draws: at.Table, journey_id: int, attempt: int) -> int:
    """How the work fails; NONE if it does not."""
    count, first = draws[at.DRAW_FAILURES], draws[at.DRAW_FIRST_FAILURE]
    for number in range(draws[at.DRAW_OUTAGES]):
        outage = c.outages[draws[at.DRAW_FIRST_OUTAGE] + number]
        if outage[at.OUTAGE_FROM_US] <= c.n[at.NOW] < outage[at.OUTAGE_UNTIL_US]:
            return outage[at.OUTAGE_FAILURE]
    if count == 0:
        return at.NONE
    burst_us = draws[at.DRAW_BURST_US]
    if burst_us > 0:
        luck = draw(draws[at.DRAW_BURST_KEY], c.n[at.NOW] // burst_us, 1)
        if luck < draws[at.DRAW_BURST_BELOW]:
            first += count
    persistence = draws[at.DRAW_PERSISTENCE]
    if persistence > 0 and attempt > 1:
        attempt = last_refresh(
            c.n[at.SEED], draws[at.DRAW_REFRESH], journey_id, attempt, persistence
        )
    luck = draw(draws[at.DRAW_FAILURE_KEY], journey_id, attempt)
    index = pick(c.edges[first : first + count], luck)
    return first + index if index < count else at.NONE


@inlined
def span(c: City, number: int, field: int, from_us: int, until_us: int) -> None:
    """Add a span of time that ends now, or before, to the hours it covers."""
    hours = c.hours[number]
    if from_us >= c.n[at.HOUR_FROM_US]:
        hours[c.n[at.HOUR], field] += until_us - from_us
        return
    hour = from_us // HOUR_US
    while from_us < until_us:
        edge = min((hour + 1) * HOUR_US, until_us)
        hours[hour, field] += edge - from_us
        from_us, hour = edge, hour + 1


@inlined
def write_row(c: City, walk: at.Table, branch: int, step: int, leg: int, attempt: int) -> int:
    """Begin a row that ends now; the rest of it is for the caller to fill in."""
    place = c.n[at.ROW_COUNT]
    row = c.rows[place]
    c.n[at.ROW_COUNT] = place + 1
    first = c.kinds[walk[at.WALK_KIND], at.KIND_FIRST_BRANCH]
    row[at.ROW_JOURNEY] = walk[at.WALK_JOURNEY]
    row[at.ROW_BRANCH] = c.branches[first + branch, at.BRANCH_NAME]
    row[at.ROW_STEP] = c.steps[step, at.STEP_NAME]
    row[at.ROW_LEG] = leg
    row[at.ROW_ATTEMPT] = attempt
    row[at.ROW_END] = c.n[at.NOW]
    return place


@inlined
def note_visit(
    c: City, walk: at.Table, place: tuple[int, int, int], times_us: tuple[int, int],
    outcome: int, code: int, queue_length: int,
) -> None:  # fmt: skip
    """Count a visit that ends now, and write its row.

    ``place``: branch, row of ``legs``, attempt; ``times_us``: arrival and beginning of service.
    """
    branch, leg_at, attempt = place
    leg, now = c.legs[leg_at], c.n[at.NOW]
    number = leg[at.LEG_STATION]
    station = c.stations[number]
    arrived, served = times_us
    c.n[at.EVENTS] += 1
    c.n[at.LAST_END_US] = now
    station[at.ST_VISITS] += 1
    if outcome == j.REJECTED:
        station[at.ST_REJECTED] += 1
    elif outcome == j.RENEGED:
        station[at.ST_RENEGED] += 1
    if arrived >= c.n[at.HOUR_FROM_US]:
        c.hours[number, c.n[at.HOUR], at.HOUR_VISITS] += 1
    else:
        c.hours[number, arrived // HOUR_US, at.HOUR_VISITS] += 1
    station[at.ST_QUEUE_MAX] = max(station[at.ST_QUEUE_MAX], queue_length)
    span(c, number, at.HOUR_BUSY, served, now)
    if served > arrived:
        span(c, number, at.HOUR_WAITING, arrived, served)
    if station[at.ST_MEASURED] & at.BILLER:
        stay = c.stays[c.n[at.STAY_COUNT]]
        stay[at.STAY_JOURNEY] = walk[at.WALK_PLACE]
        stay[at.STAY_US] = now - arrived
        c.n[at.STAY_COUNT] += 1
    if station[at.ST_MEASURED] & at.TAKER and outcome == j.OK:
        walk[at.WALK_ACCEPTED] = 1
    if walk[at.WALK_KEEP] > 0:
        row = c.rows[write_row(c, walk, branch, leg[at.LEG_STEP], leg[at.LEG_INDEX], attempt)]
        row[at.ROW_STATION] = number + 1
        row[at.ROW_INTENDED] = arrived
        row[at.ROW_START] = arrived
        row[at.ROW_SERVICE_START] = served
        row[at.ROW_OUTCOME] = outcome
        row[at.ROW_CODE] = code
        row[at.ROW_QUEUE_LENGTH] = queue_length


@inlined
def happen(c: City, walk: int, event: int) -> None:
    """Note an event; the first time, start the branches that wait for it."""
    one = c.walks[walk]
    if event == at.NONE or (one[at.WALK_HAPPENED] >> event) & 1:
        return
    one[at.WALK_HAPPENED] |= 1 << event
    kind, number = one[at.WALK_KIND], 0
    waiting = c.starts[kind, event]
    while waiting > 0:
        if waiting & 1:
            first = c.branches[c.kinds[kind, at.KIND_FIRST_BRANCH] + number, at.BRANCH_FIRST_STEP]
            walker = new_walker(c, walk, number, first)
            rules_at = one[at.WALK_RULES] + first * j.WIDTH
            wait_for_turn(c, walker, c.rules[rules_at + j.DELAY_US], 0)
        waiting, number = waiting >> 1, number + 1


@inlined
def wait_for_turn(c: City, walker: int, delay_us: int, least_us: int) -> bool:
    """Begin an attempt after a delay, in the order of the instant; False if that is too short."""
    delay_us = scaled(delay_us, 1000, c.n[at.GRID_US])
    if delay_us < least_us:
        return False
    one = c.walkers[walker]
    walk = c.walks[one[at.BR_WALK]]
    step = c.kinds[walk[at.WALK_KIND], at.KIND_FIRST_STEP] + one[at.BR_STEP]
    number = c.legs[c.steps[step, at.STEP_FIRST_LEG], at.LEG_NUMBER]
    key = key_of(walk[at.WALK_JOURNEY], one[at.BR_NUMBER], number, one[at.BR_ATTEMPT])
    push(c, c.n[at.NOW] + delay_us, rank_of(BEGIN, key), walker)
    return True


@inlined
def refusal(c: City, station: at.Table) -> int:
    """Code with which a visit that comes now is turned away at the door; NONE if it is not."""
    if station[at.ST_DOOR] == REFUSING:
        return station[at.ST_CODE]
    if station[at.ST_TOKENS] == at.TOKENS_REJECT:
        if token_us(station[at.ST_FULL_NS], station[at.ST_SLACK_NS], c.n[at.GRID_US]) > c.n[at.NOW]:
            return station[at.ST_TOKEN_CODE]
        take_token(c, station)
    limit = station[at.ST_QUEUE_LIMIT]
    if limit == at.NONE or station[at.ST_WAITING] < limit or at_once(c, station):
        return at.NONE
    return QUEUE_FULL


@inlined
def at_once(c: City, station: at.Table) -> bool:
    """Whether a visit that comes now is served at once."""
    return station[at.ST_WAITING] == 0 and has_room(station) and start_us(c, station) <= c.n[at.NOW]


@inlined
def enter(c: City, walker: int) -> tuple[int, int]:
    """Let a walker visit its next leg's station: outcome and code, ACCEPTED if it is under way."""
    one, now = c.walkers[walker], c.n[at.NOW]
    walk_at, attempt, branch = one[at.BR_WALK], one[at.BR_ATTEMPT], one[at.BR_NUMBER]
    walk = c.walks[walk_at]
    step = c.kinds[walk[at.WALK_KIND], at.KIND_FIRST_STEP] + one[at.BR_STEP]
    leg_at = c.steps[step, at.STEP_FIRST_LEG] + one[at.BR_LEG]
    leg = c.legs[leg_at]
    station = c.stations[leg[at.LEG_STATION]]
    queue_length = station[at.ST_WAITING]
    code = refusal(c, station)
    if code != at.NONE:
        place = (branch, leg_at, attempt)
        note_visit(c, walk, place, (now, now), j.REJECTED, code, queue_length)
        return j.REJECTED, code
    journey_id = walk[at.WALK_JOURNEY]
    told = (walk[at.WALK_COHORT] >> leg[at.LEG_SHIFT]) & leg[at.LEG_MASK]
    draws = c.draws[c.draw_of[leg[at.LEG_DRAWS] + told]]
    luck = draw(draws[at.DRAW_SERVICE_KEY], journey_id, attempt)
    service_us = quantile(c.laws[draws[at.DRAW_LAW]], luck)
    visit = new_visit(c)
    mine = c.visits[visit]
    mine[at.V_KEY] = key_of(journey_id, branch, leg[at.LEG_NUMBER], attempt)
    mine[at.V_WALK] = walk_at
    mine[at.V_CALLER] = walker
    mine[at.V_LEG] = leg_at
    mine[at.V_ATTEMPT] = attempt
    mine[at.V_BRANCH] = branch
    mine[at.V_ARRIVED] = now
    mine[at.V_SERVICE] = scaled(service_us, draws[at.DRAW_MILLI], c.n[at.GRID_US])
    mine[at.V_QUEUE_LENGTH] = queue_length
    mine[at.V_FAILURE] = drawn_failure(c, draws, journey_id, attempt)
    mine[at.V_WAITING] = 0
    mine[at.V_DONE] = 0
    if at_once(c, station):
        serve(c, station, visit)
    else:
        join_queue(c, station, visit, leg[at.LEG_PRIORITY])
        if draws[at.DRAW_PATIENCE] != at.NONE:
            luck = draw(draws[at.DRAW_PATIENCE_KEY], journey_id, attempt)
            patience_us = scaled(
                quantile(c.laws[draws[at.DRAW_PATIENCE]], luck), 1000, c.n[at.GRID_US]
            )
            push(c, now + patience_us, rank_of(PATIENCE_END, mine[at.V_KEY]), visit)
        admit(c, leg[at.LEG_STATION])
    await_answer(c, leg[at.LEG_LIMIT_US], visit)
    return ACCEPTED, 0


@inlined
def await_answer(c: City, limit_us: int, visit: int) -> None:
    """Set the caller's alarm, unless the answer cannot but come in time."""
    mine = c.visits[visit]
    failure = mine[at.V_FAILURE]
    lost = failure != at.NONE and c.failures[failure, at.FAILURE_OUTCOME] == j.TIMED_OUT
    if limit_us != at.NONE and (lost or mine[at.V_WAITING] == 1 or mine[at.V_SERVICE] > limit_us):
        push(c, c.n[at.NOW] + limit_us, rank_of(TIME_OUT, mine[at.V_KEY]), visit)
