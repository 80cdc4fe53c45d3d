"""The verdict before the verdicts: did the load generator do what it promised?

A measurement says something about the system only if journeys started when they were meant to,
none was dropped by us, the bookkeeping of journeys in flight adds up (Little's law, with the
in-flight count sampled by a gauge of its own), the generator had processor time to spare, and the
mocked parties did not take longer than the times they stand for.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

from fewseconds.record import Generator
from fewseconds.slo import Validity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from fewseconds.scenario import Scenario

LATE_MS: Final = 50.0
"""A step that begins this much later than it should is late: 1 % of the tightest time limit that is
shipped. Latency runs from the intended start, so the lag is charged to the system all the same;
beyond this it would begin to matter."""
LATE_SHARE_MAX: Final = 0.05
LAG_MS_P99_MAX: Final = 100.0
LITTLE_SHARE_MAX: Final = 0.02
CPU_SHARE_MAX: Final = 0.8
OVERRUN_MS: Final = 20.0
"""A mocked visit this much longer than its draw is an overrun: scheduling jitter is below it."""
OVERRUN_SHARE_MAX: Final = 0.05


def generator(
    scenario: Scenario, client: pl.DataFrame, server: pl.DataFrame, summary: dict[str, float]
) -> Generator:
    """How well the generator kept its promise.

    ``client`` and ``server`` are outcome rows, and ``summary`` is what the generator counted itself
    (see ``loadtests.spec.LoadSummary``).
    """
    lags_ms = journey_lags_ms(scenario, client)
    lags_ms = lags_ms if len(lags_ms) else np.zeros(1)
    residual, limit = little(client, summary)
    return Generator(
        intended=int(summary["intended"]),
        started=int(summary["started"]),
        late=int((lags_ms > LATE_MS).sum()),
        dropped=int(summary["dropped"]),
        lag_ms_p50=float(np.quantile(lags_ms, 0.5, method="inverted_cdf")),
        lag_ms_p99=float(np.quantile(lags_ms, 0.99, method="inverted_cdf")),
        lag_ms_max=float(lags_ms.max()),
        littles_law_residual=residual,
        littles_law_limit=limit,
        cpu_share=summary["cpu_s"] / max(summary["wall_s"], 1e-9),
        overruns=server.filter(pl.col("overrun_us") > OVERRUN_MS * 1000).height,
    )


def journey_lags_ms(scenario: Scenario, client: pl.DataFrame) -> NDArray[np.float64]:
    """The lag of every journey, which is the largest of its steps.

    Each should begin when the step before it ended, unless the scenario itself has it wait.
    """
    waiting = [name for name, step in scenario.steps.items() if step.delay_ms > 0]
    at_once = client.filter((pl.col("attempt") == 1) & ~pl.col("step").is_in(waiting))
    lags = at_once.group_by("journey_id").agg((pl.col("start_us") - pl.col("intended_us")).max())
    lags_ms: NDArray[np.float64] = lags["start_us"].to_numpy() / 1e3
    return lags_ms


def little(client: pl.DataFrame, summary: dict[str, float]) -> tuple[float | None, float | None]:
    """Residual of Little's law over the whole run, and its limit.

    The time integral of the journeys in flight must equal the sum of their sojourns. The gauge
    samples every Δ; a sojourn measured on such a grid has variance Δ²/6, so the standard error of
    the sum over n journeys is Δ·√(n/6). The limit is the larger of 2 % and three standard errors.
    """
    spans = (
        client.filter(pl.col("outcome") != "dropped")
        .group_by("journey_id")
        .agg(start=pl.col("start_us").min(), end=pl.col("end_us").max())
    )
    total_s = float((spans["end"] - spans["start"]).sum()) / 1e6
    if total_s <= 0:
        return None, None
    residual = abs(summary["in_flight_integral_s"] - total_s) / total_s
    error = summary["gauge_interval_s"] * math.sqrt(spans.height / 6) / total_s
    return residual, max(LITTLE_SHARE_MAX, 3 * error)


def validity(facts: Generator, mocked_visits: int) -> Validity:
    """Whether the measurement says anything, with the reasons why not."""
    reasons = tuple(_reasons(facts, mocked_visits))
    return Validity(not reasons, reasons)


def _reasons(facts: Generator, mocked_visits: int) -> Iterator[str]:
    if facts.started + facts.dropped < facts.intended:
        lost = facts.intended - facts.started - facts.dropped
        yield f"{lost} journeys were never started; see load.log"
    if facts.lag_ms_p99 > LAG_MS_P99_MAX:
        yield (
            f"the generator began steps up to {facts.lag_ms_p99:.0f} ms late (99th percentile; at "
            f"most {LAG_MS_P99_MAX:.0f} ms is allowed); free a processor or lower the rate"
        )
    if facts.late > LATE_SHARE_MAX * max(facts.started, 1):
        yield (
            f"{facts.late} of {facts.started} journeys had a step begin over {LATE_MS:.0f} ms "
            "late; "
            "free a processor or lower the rate"
        )
    residual, limit = facts.littles_law_residual, facts.littles_law_limit
    if residual is None and facts.started:
        yield f"{facts.started} journeys were started, but none has an outcome; run it again"
    if residual is not None and limit is not None and residual > limit:
        yield (
            f"journeys in flight and their sojourns differ by {residual:.1%} (at most {limit:.1%} "
            "is allowed): outcomes are missing or the clock stood still; run it again"
        )
    if facts.cpu_share > CPU_SHARE_MAX:
        yield f"the generator used {facts.cpu_share:.0%} of a processor; lower the rate"
    if mocked_visits and facts.overruns > OVERRUN_SHARE_MAX * mocked_visits:
        yield (
            f"{facts.overruns} of {mocked_visits} visits of mocked parties took over "
            f"{OVERRUN_MS:.0f} ms longer than the time they stand for; free a processor"
        )
