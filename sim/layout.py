"""How the compiled engine keeps a city: flat arrays of int64, one row per thing.

A row's fields are named by the constants below, in the order of the columns. Things that come and
go (journeys on their way, branches being walked, visits) live in slots that are used again; the
free ones hang together by their field ``*_NEXT``.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple, TypeAlias

from fewseconds.station import PRIORITIES

NONE: Final = -1
"""No such thing, no limit, nothing drawn."""

# --- what is counted, once a city (``n``) --------------------------------------------------------
(
    NOW, EVENTS, SEED, GRID_US, HEAP_SIZE, FREE_WALK, FREE_BRANCH, FREE_VISIT, WALKS_LEFT,
    BRANCHES_LEFT, VISITS_LEFT, NEXT_ARRIVAL, ARRIVALS, ARRIVALS_BEFORE, PLAN_OVER, ROW_COUNT,
    ENDED_COUNT, STAY_COUNT, ROWS_A_MOVE, HOUR, HOUR_FROM_US, HOUR_UNTIL_US, LAST_END_US, NEEDED,
    COUNTERS,
) = range(25)  # fmt: skip

OVER, WANTS_PLAN, WANTS_ROOM, WANTS_HOURS = range(4)
"""Why the engine came back."""
SLOTS_A_MOVE: Final = 40
"""Slots and events that one event may use up: every branch of a journey may begin by it."""

# --- tables that stay as they are -----------------------------------------------------------------
(
    LEG_STATION, LEG_LIMIT_US, LEG_EMITS, LEG_ASKS, LEG_GIVEN_UP, LEG_GIVEN_UP_OUTCOME,
    LEG_GIVEN_UP_CODE, LEG_STEP, LEG_INDEX, LEG_NUMBER, LEG_PRIORITY, LEG_DRAWS, LEG_SHIFT,
    LEG_MASK, LEG_WIDTH,
) = range(15)  # fmt: skip
(
    STEP_FIRST_LEG, STEP_LEGS, STEP_OK, STEP_NAME, STEP_MOVE_KEY, STEP_JITTER, STEP_MACHINE,
    STEP_PART, STEP_WIDTH,
) = range(9)  # fmt: skip
OTHER, AIM, PAY, PENDING, MESSAGE = range(5)
"""What a step marks for the measures (``STEP_PART``)."""
KIND_FIRST_STEP, KIND_FIRST_BRANCH, KIND_WIDTH = range(3)
BRANCH_FIRST_STEP, BRANCH_NAME, BRANCH_WIDTH = range(3)
(
    DRAW_SERVICE_KEY, DRAW_LAW, DRAW_MILLI, DRAW_FAILURE_KEY, DRAW_FIRST_FAILURE, DRAW_FAILURES,
    DRAW_REFRESH, DRAW_PERSISTENCE, DRAW_PATIENCE_KEY, DRAW_PATIENCE, DRAW_BURST_US,
    DRAW_BURST_KEY, DRAW_BURST_BELOW, DRAW_FIRST_OUTAGE, DRAW_OUTAGES, DRAW_WIDTH,
) = range(16)  # fmt: skip
OUTAGE_FROM_US, OUTAGE_UNTIL_US, OUTAGE_FAILURE, OUTAGE_WIDTH = range(4)
FAILURE_OUTCOME, FAILURE_CODE, FAILURE_WIDTH = range(3)
PHASE_FROM_US, PHASE_SERVERS, PHASE_DOOR, PHASE_CODE, PHASE_PACE, PHASE_WIDTH = range(6)

# --- stations -------------------------------------------------------------------------------------
(
    ST_WAITING, ST_BUSY, ST_SERVERS, ST_DOOR, ST_CODE, ST_PACE, ST_QUEUE_LIMIT, ST_TOKENS,
    ST_TOKEN_CODE, ST_INTERVAL_NS, ST_SLACK_NS, ST_FULL_NS, ST_TOKEN_AWAITED, ST_NEXT_PHASE,
    ST_PHASES_END, ST_MEASURED, ST_VISITS, ST_BUSY_US, ST_WAITING_US, ST_REJECTED, ST_RENEGED,
    ST_QUEUE_MAX, ST_HEADS,
) = range(23)  # fmt: skip
ST_TAILS: Final = ST_HEADS + PRIORITIES
ST_WIDTH: Final = ST_TAILS + PRIORITIES
NO_TOKENS, TOKENS_REJECT, TOKENS_WAIT = range(3)
BILLER, TAKER = 1, 2
"""Bits of stations that a measure looks at (``ST_MEASURED``)."""
HOUR_BUSY, HOUR_WAITING, HOUR_VISITS, HOUR_WIDTH = range(4)

# --- what comes and goes --------------------------------------------------------------------------
(
    WALK_JOURNEY, WALK_PLACE, WALK_KIND, WALK_LAST_STEP, WALK_LAST_OUTCOME, WALK_LAST_CODE,
    WALK_LAST_ATTEMPT, WALK_LAST_TOOK, WALK_BEGUN, WALK_ENDED, WALK_AIM, WALK_PAY, WALK_MACHINE,
    WALK_PENDING, WALK_SMS_END, WALK_SMS_OUTCOME, WALK_ACCEPTED, ENDED_WIDTH,
) = range(18)  # fmt: skip
"""A journey on its way; this first part is what is kept of it at its end."""
(
    WALK_COHORT, WALK_RULES, WALK_HAPPENED, WALK_OPEN, WALK_KEEP, WALK_NEXT, WALK_WIDTH,
) = range(ENDED_WIDTH, 24)  # fmt: skip
"""``WALK_COHORT`` holds the traits, packed: a leg finds those that matter to it by its shift and
mask. ``WALK_RULES`` is where the rules of its kind and app begin."""
(
    BR_WALK, BR_NUMBER, BR_STEP, BR_ATTEMPT, BR_LEG, BR_INTENDED, BR_START, BR_FIRST_START, BR_NEXT,
    BR_WIDTH,
) = range(10)  # fmt: skip
(
    V_KEY, V_WALK, V_CALLER, V_LEG, V_ATTEMPT, V_BRANCH, V_ARRIVED, V_SERVICE_START, V_SERVICE,
    V_QUEUE_LENGTH, V_FAILURE, V_WAITING, V_DONE, V_BEFORE, V_NEXT, V_WIDTH,
) = range(16)  # fmt: skip
(
    ROW_JOURNEY, ROW_BRANCH, ROW_STEP, ROW_LEG, ROW_ATTEMPT, ROW_STATION, ROW_INTENDED, ROW_START,
    ROW_SERVICE_START, ROW_END, ROW_OUTCOME, ROW_CODE, ROW_QUEUE_LENGTH, ROW_WIDTH,
) = range(14)  # fmt: skip
STAY_JOURNEY, STAY_US, STAY_WIDTH = range(3)

Table: TypeAlias = Any
"""An array of int64. numpy's annotations would make every element a type of its own."""


class City(NamedTuple):
    """All of it; every field is an array of int64."""

    n: Table
    heap: Table
    """Shape ``(events, 3)``: time, rank, slot of whom it concerns."""
    # The scenario.
    legs: Table
    steps: Table
    rules: Table
    """Rules of all kinds of journeys, as they are in each app, end to end."""
    kinds: Table
    branches: Table
    starts: Table
    """Shape ``(kinds, events)``: the branches that an event starts, one bit each."""
    draw_of: Table
    """Draws of each leg for all values of the traits that matter to it, end to end."""
    draws: Table
    laws: Table
    """Shape ``(laws, knots)``: quantile tables."""
    edges: Table
    failures: Table
    """Of a leg's draws: those outside bursts, then the same again in a burst."""
    outages: Table
    """Spans in which every visit of a leg fails."""
    phases: Table
    # The plan, or the part of it that is being walked.
    journeys: Table
    arrivals_us: Table
    journey_kinds: Table
    cohorts: Table
    rules_from: Table
    keeps: Table
    """1 for journeys whose rows are written."""
    # What moves.
    stations: Table
    walks: Table
    walkers: Table
    """Branches being walked."""
    visits: Table
    # What is kept.
    rows: Table
    ended: Table
    """Journeys that have ended."""
    stays: Table
    """Visits to the biller: journey and sojourn."""
    hours: Table
    """Shape ``(stations, hours, HOUR_WIDTH)``."""


RANKS: Final = {
    "n": 1, "rules": 1, "edges": 1, "journeys": 1, "arrivals_us": 1, "journey_kinds": 1,
    "cohorts": 1, "rules_from": 1, "draw_of": 1, "keeps": 1, "hours": 3,
}  # fmt: skip
"""Axes of the fields that have not two."""
SHAPE_WIDTH: Final = 3
