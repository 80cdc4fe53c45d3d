"""What a load generator promises, and the limits within which it has kept its word.

One place for probes and journeys alike: beyond any of these limits a measurement says more about
the generator than about the system, and nothing is concluded from it. Each reason says what to do.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, Literal

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

LATE_MS: Final = 10.0
"""What begins this much later than it should is late. Latency runs from the intended start, so the
lag is charged to the system all the same."""
LATE_SHARE_MAX: Final = 0.05
LAG_MS_P99_MAX: Final = 20.0
"""A fiftieth of the shortest limit that people feel, a second."""
DROPPED_SHARE_MAX: Final = 0.001
BUSIEST_S: Final = 10.0
"""The processor time that counts is that of the busiest stretch of this length."""
CPU_SHARE_MAX: Final = 0.85
"""Above it a single-threaded event loop queues: at 85 % of M/D/1 the wait is 2.8 services."""
LITTLE_SHARE_MAX: Final = 0.02
GAUGE_INTERVAL_S: Final = 0.1
"""Mean time between two readings of what is in flight."""
STANDARD_ERRORS: Final = 3
"""Beyond so many, 0.27 % of all right gauges would be called wrong."""
SHORT_VARIANCE, LONG_VARIANCE = 13 / 12, 0.2467
"""See :func:`little`; in units of Δ times the stay, and of Δ²."""
OVERRUN_MS: Final = 20.0
"""A mocked visit this much longer than its draw is an overrun: scheduling jitter is below it."""
OVERRUN_SHARE_MAX: Final = 0.05
ADVICE: Final = "lower the rate, free a processor, or use --processes"
REFUSALS: Final = frozenset({"ConnectionRefusedError"})
"""Ends of requests that say nothing of when they were sent: no generator, however late or busy,
makes a system refuse connections. Who is late may miss an answer, so time-outs are none."""
DEAD: Final = (
    "Every connection was refused, so it has failed whatever the generator did: start what is to "
    "be loaded, or correct its address."
)


Rule = Literal[
    "intended", "never_started", "dropped", "lag", "late", "cpu", "outcomes", "little", "overruns"
]
LIVE: Final[tuple[Rule, ...]] = ("dropped", "lag", "late", "cpu")
"""Rules that can be judged while the load goes on; the others need its end, or the services."""


class Promise(msgspec.Struct, frozen=True, kw_only=True):
    """What was to be done, and how it went; what is not known stays at its default."""

    what: str
    """What is started: ``requests`` or ``journeys``."""
    intended: int
    started: int
    dropped: int
    begun: int
    """What can be late: requests, or steps of journeys."""
    late: int
    lag_ms_p99: float
    cpu_share: float
    residual: float | None = None
    """Of Little's law; None where nothing ended."""
    residual_limit: float | None = None
    visits: int = 0
    """Of mocked parties."""
    overruns: int = 0
    failed_anyway: bool = False
    """What is dropped has failed: it takes the right to judge only where it decides nothing."""
    over: bool = True
    """While it goes on, what has not begun yet or has no outcome yet is no fault."""


def little(
    integral_s: float, variance_s2: float, sojourn_s: float, count: int
) -> tuple[float | None, float | None]:
    """Residual of Little's law and its limit, the larger of 2 % and three standard errors.

    The time integral of what a gauge saw in flight must equal the sum of the sojourns of ``count``
    pieces of work; None of nothing. ``variance_s2`` is that of the integral as the gauge's own
    readings tell it. A gauge that met little or nothing knows too little of it, so there is a
    floor. Readings come Δ apart, evenly between Δ/2 and 3Δ/2. A stay much shorter than that is met
    with probability s/Δ and then counts as the gap before the reading, whose mean square is
    13Δ²/12: variance 13Δs/12. One much longer errs by a piece of a gap at either end, each of
    variance 0.123 Δ² (that of the age of a renewal process; Cox, Renewal Theory, section 5.2). The
    sum of either over all stays is an upper bound, and the smaller of the two is the floor.
    """
    if sojourn_s <= 0:
        return None, None
    residual = abs(integral_s - sojourn_s) / sojourn_s
    floor_s2 = min(
        SHORT_VARIANCE * GAUGE_INTERVAL_S * sojourn_s,
        LONG_VARIANCE * GAUGE_INTERVAL_S**2 * count,
    )
    error = math.sqrt(max(variance_s2, floor_s2)) / sojourn_s
    return residual, max(LITTLE_SHARE_MAX, STANDARD_ERRORS * error)


def dead(fates: Mapping[str, int], refused: int) -> bool:
    """Whether every journey that came to ask was refused, which no generator is to blame for.

    ``fates`` counts journeys by ``measures.FATES``; confirmed and declined ones were answered. Who
    left, or was cut off between two attempts, had heard nothing else.
    """
    answered = fates.get("confirmed", 0) + fates.get("declined", 0)
    return refused > 0 and not answered and refused == fates.get("failed", 0)


def reasons(kept: Promise) -> tuple[str, ...]:
    """Why nothing can be concluded, and what to do, one sentence each; empty if all is well."""
    return tuple(sentence for _, sentence in broken(kept))


def broken(kept: Promise) -> tuple[tuple[Rule, str], ...]:
    """The rules that are broken, each with its sentence."""
    return (*_not_started(kept), *_late(kept), *_wrong(kept))


def _not_started(kept: Promise) -> Iterator[tuple[Rule, str]]:
    if not kept.intended and kept.over:
        sentence = "nothing was intended to start; lengthen the duration or raise the rate"
        yield "intended", sentence
    lost = kept.intended - kept.started - kept.dropped
    if lost > 0 and kept.over:
        yield "never_started", f"{lost} {kept.what} were never started; see load.log"
    if kept.dropped > DROPPED_SHARE_MAX * kept.intended and not kept.failed_anyway:
        sentence = (
            f"{kept.dropped} of {kept.intended} {kept.what} were dropped, too many were in flight; "
            "raise --in-flight-max or lower the rate"
        )
        yield "dropped", sentence


def _late(kept: Promise) -> Iterator[tuple[Rule, str]]:
    noun = "requests" if kept.what == "requests" else "steps"
    if kept.lag_ms_p99 > LAG_MS_P99_MAX:
        sentence = (
            f"{noun} began up to {kept.lag_ms_p99:.0f} ms late (99th percentile; at most "
            f"{LAG_MS_P99_MAX:.0f} ms is allowed); {ADVICE}"
        )
        yield "lag", sentence
    if kept.late > LATE_SHARE_MAX * max(kept.begun, 1):
        sentence = (
            f"{kept.late} of {kept.begun} {noun} began over {LATE_MS:.0f} ms late (at most "
            f"{LATE_SHARE_MAX:.0%} are allowed); {ADVICE}"
        )
        yield "late", sentence
    if kept.cpu_share > CPU_SHARE_MAX:
        sentence = (
            f"the generator used {kept.cpu_share:.0%} of a processor in its busiest "
            f"{BUSIEST_S:.0f} s (at most {CPU_SHARE_MAX:.0%} is allowed); {ADVICE}"
        )
        yield "cpu", sentence


def _wrong(kept: Promise) -> Iterator[tuple[Rule, str]]:
    if kept.residual is None and kept.started and kept.over:
        sentence = f"{kept.started} {kept.what} were started, but none has an outcome; run it again"
        yield "outcomes", sentence
    if (
        kept.residual is not None
        and kept.residual_limit is not None
        and kept.residual > kept.residual_limit
    ):
        sentence = (
            f"{kept.what} in flight and their sojourns differ by {kept.residual:.1%} (at most "
            f"{kept.residual_limit:.1%} is allowed): outcomes are missing or the clock stood "
            "still; run it again"
        )
        yield "little", sentence
    if kept.visits and kept.overruns > OVERRUN_SHARE_MAX * kept.visits:
        sentence = (
            f"{kept.overruns} of {kept.visits} visits of mocked parties took over "
            f"{OVERRUN_MS:.0f} ms longer than the time they stand for; free a processor"
        )
        yield "overruns", sentence
