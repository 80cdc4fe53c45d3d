"""A journey is data: a small tree of steps whose only behaviour is one pure function.

A *step* passes its *legs* in order, one station each. Steps follow one another along a *branch*;
a step with ``after`` starts a branch of its own when an event of another step happens (the
callback starts when the credit happened, even if the payer's screen has long timed out).

:func:`next_move` decides what follows an attempt: a retry, another step or the end. It is plain
Python on whole numbers, so that every engine, interpreted or compiled, calls the very same rule.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import msgspec

from fewseconds import chance

if TYPE_CHECKING:
    from collections.abc import Sequence

OUTCOMES: Final = (
    "ok", "declined", "timed_out", "reneged", "rejected", "dropped", "error", "unfinished",
)  # fmt: skip
OK, DECLINED, TIMED_OUT, RENEGED, REJECTED, DROPPED, ERROR, UNFINISHED = range(8)
TRIES_MAX: Final = 255
"""Attempts of a step; more would not fit into the number that orders events of one instant."""
END: Final = -1
"""What :func:`next_move` returns as the step when the branch is over."""

STEP_ROW: Final = -1
"""The ``leg`` of a row that describes a whole attempt of a step rather than one of its legs."""

TIMED_OUT_AS: Final = {
    "failed": (TIMED_OUT, ""),
    "reversed": (TIMED_OUT, "U67"),
    "deemed": (UNFINISHED, "RB"),
}
"""What a caller makes of a leg that did not answer in time: outcome and UPI response code (debit
time-out, deemed)."""

PENDING_CODE: Final = "01"
"""UPI status class of a payment that is still under way (public status tables of Juspay)."""


class Leg(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One station on the way of a step."""

    station: str
    timeout_ms: int | None = None
    """How long the caller waits. The work goes on when the caller has stopped waiting."""
    on_timeout: Literal["failed", "reversed", "deemed"] = "failed"
    """What a time-out means; the word is also an event of the step, that a branch may follow."""
    emits: str = ""
    """Event that happens when the work here has succeeded, even if the caller has gone."""
    asks: str = ""
    """The answer is positive only if this event of the journey (``step.event``) has happened."""
    app_limits: bool = False
    """Here the app's own limits apply: a payment that is too dear for them is declined."""
    priority: int = 0
    """From 0 to 3: in a queue, visits of a higher priority are served first."""


class After(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The event that starts a branch."""

    step: str
    event: str


class Step(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One step: where it goes, how often it is tried, and what follows."""

    legs: tuple[Leg, ...]
    source: str
    name: str = ""
    """Filled in from the name of the step's table."""
    clock: Literal["machine", "human"] = "machine"
    """Whose time it is: ``human`` time is never charged to the system."""
    marks: Literal["", "aim", "pay", "pending", "message"] = ""
    """What begins here for the measures: the camera is pointed at a QR, Pay is pressed, the screen
    says that a payment is pending, a message goes to the handset."""
    after: After | None = None
    then: str = ""
    """The step after success; empty means the next one of the branch, ``end`` ends the branch."""
    delay_ms: int = 0
    """Wait before the first attempt, counted in its sojourn."""
    attempts_max: int = 1
    retry_on: tuple[str, ...] = ("error", "timed_out", "rejected", "unfinished")
    backoff_ms: tuple[int, ...] = ()
    """Waits before the second, third, … attempt; the last one repeats."""
    backoff_jitter: float = 0.0
    """Each wait is stretched or shortened by up to this share of itself."""
    cadence_ms: int = 0
    """If set, attempts start on this grid after the first one (camera frames), not after a wait."""
    give_up_after_ms: int | None = None
    """No further attempt starts later than this after the step began."""
    on_failure: dict[str, str] = {}
    """Outcome → the step that follows it when no attempt is left; missing means the end."""


# --- the compiled form: one flat sequence of whole numbers per journey -------------------------

(
    ATTEMPTS_MAX,
    RETRY_MASK,
    DELAY_US,
    BACKOFF_AT,
    BACKOFF_COUNT,
    JITTER_MILLI,
    CADENCE_US,
    GIVE_UP_US,
    NEXT,
) = range(9)
WIDTH: Final = NEXT + len(OUTCOMES)
NEVER: Final = 1 << 62


def next_move(
    rules: Sequence[int], step: int, attempt: int, outcome: int, elapsed_us: int, draw: int
) -> tuple[int, int]:
    """What follows ``attempt`` (from 1) of ``step`` that ended in ``outcome``.

    ``elapsed_us`` runs from the start of the step's first attempt; ``draw`` is uniform on
    ``[0, 2**32)``. Returns ``(step, delay_us)``: the same step for a retry, :data:`END` at the end.
    """
    row = step * WIDTH
    if attempt < rules[row + ATTEMPTS_MAX] and (rules[row + RETRY_MASK] >> outcome) & 1:
        cadence_us = rules[row + CADENCE_US]
        if cadence_us > 0:
            delay_us = cadence_us - elapsed_us % cadence_us
        else:
            last = rules[row + BACKOFF_COUNT] - 1
            delay_us = rules[rules[row + BACKOFF_AT] + min(attempt - 1, last)]
            swing_us = delay_us * rules[row + JITTER_MILLI] // 1000
            delay_us += (swing_us * ((draw >> 16) * 2 - 65536)) >> 16
        if elapsed_us + delay_us <= rules[row + GIVE_UP_US]:
            return step, delay_us
    follower = rules[row + NEXT + outcome]
    if follower == END:
        return END, 0
    return follower, rules[follower * WIDTH + DELAY_US]


class Branch(msgspec.Struct, frozen=True):
    """A compiled branch: where it starts, and on which event (``None`` for the main branch)."""

    name: str
    first_step: int
    event: str | None


class Route(msgspec.Struct, frozen=True):
    """A journey made ready for an engine."""

    kind: str
    steps: tuple[Step, ...]
    rules: tuple[int, ...]
    branches: tuple[Branch, ...]
    move_streams: tuple[int, ...]
    """Stream of the draw that :func:`next_move` gets, a step."""
    positions: dict[str, int]
    """Those of the steps, by name."""

    def index(self, step: str) -> int:
        """Position of the step called ``step``; raises KeyError if there is none."""
        return self.positions[step]

    def followers(self, event: str) -> list[Branch]:
        """The branches that ``event`` (``step.event``) starts."""
        return [branch for branch in self.branches if branch.event == event]


def route(kind: str, steps: tuple[Step, ...]) -> Route:
    """Compile the steps of a journey; their names must have been checked (see ``scenario``)."""
    position = {step.name: index for index, step in enumerate(steps)} | {"end": END}
    rows: list[int] = []
    waits: list[int] = []
    branches = [Branch("main", 0, None)]
    for index, step in enumerate(steps):
        if step.after is not None:
            branches.append(Branch(step.name, index, f"{step.after.step}.{step.after.event}"))
        following = index + 1
        ends = following == len(steps) or steps[following].after is not None
        then = position[step.then] if step.then else (END if ends else following)
        targets = [position[step.on_failure.get(name, "end")] for name in OUTCOMES]
        targets[OK] = then
        backoff = step.backoff_ms or (0,)
        rows += [
            step.attempts_max,
            sum(1 << OUTCOMES.index(name) for name in step.retry_on),
            step.delay_ms * 1000,
            WIDTH * len(steps) + len(waits),
            len(backoff),
            round(step.backoff_jitter * 1000),
            step.cadence_ms * 1000,
            NEVER if step.give_up_after_ms is None else step.give_up_after_ms * 1000,
            *targets,
        ]
        waits += [wait * 1000 for wait in backoff]
    streams = tuple(chance.stream("move", step.name) for step in steps)
    positions = {step.name: index for index, step in enumerate(steps)}
    return Route(kind, steps, tuple(rows + waits), tuple(branches), streams, positions)
