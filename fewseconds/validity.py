"""The verdict before the verdicts: did the load generator do what it promised?

A measurement says something about the system only if journeys started when they were meant to,
none was dropped by us, the bookkeeping of journeys in flight adds up (Little's law, with the
in-flight count sampled by a gauge of its own), the generator had processor time to spare, and the
mocked parties did not take longer than the times they stand for. The limits are those of
:mod:`fewseconds.promise`, for journeys as for probes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import polars as pl

from fewseconds import promise, slo
from fewseconds.promise import LATE_MS, OVERRUN_MS
from fewseconds.record import Generator
from fewseconds.slo import Validity

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from fewseconds.scenario import Scenario, Slo

__all__ = [
    "LATE_MS", "OVERRUN_MS", "Seen", "all_refused", "before", "generator",
    "journey_lags_ms", "kept", "overruns", "refusals", "seen", "step_lags_ms", "validity",
]  # fmt: skip


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What outcome rows of some journeys say about the generator; those of others add to it."""

    lags_ms: Any
    """float64, one a step that should begin when the step before it ended."""
    sojourn_s: float
    """Sum of the times between first start and last end of each journey that was started."""
    journeys: int
    overruns: int


def seen(scenario: Scenario, client: pl.DataFrame, server: pl.DataFrame) -> Seen:
    """Look at the rows of clients and services."""
    spans = (
        client.filter(pl.col("outcome") != "dropped")
        .group_by("journey_id")
        .agg(start=pl.col("start_us").min(), end=pl.col("end_us").max())
    )
    return Seen(
        lags_ms=step_lags_ms(scenario, client),
        sojourn_s=float((spans["end"] - spans["start"]).sum()) / 1e6,
        journeys=spans.height,
        overruns=overruns(server),
    )


def overruns(server: pl.DataFrame) -> int:
    """How many visits took longer than the time that they stand for."""
    return server.filter(pl.col("overrun_us") > OVERRUN_MS * 1000).height


def kept(
    parts: Sequence[Seen], summary: Mapping[str, float], overruns_elsewhere: int = 0
) -> Generator:
    """How well the generator kept its promise.

    ``parts`` hold every journey once, and ``summary`` is what the generator counted itself (see
    ``loadtests.spec.LoadSummary``); ``overruns_elsewhere`` are not among the rows of the parts.
    """
    lags_ms = np.concatenate([part.lags_ms for part in parts])
    steps = len(lags_ms)
    lags_ms = lags_ms if steps else np.zeros(1)
    residual, limit = promise.little(
        summary["in_flight_integral_s"],
        summary["in_flight_variance_s2"],
        sum(part.sojourn_s for part in parts),
        sum(part.journeys for part in parts),
    )
    return Generator(
        intended=int(summary["intended"]),
        started=int(summary["started"]),
        steps=steps,
        late=int((lags_ms > LATE_MS).sum()),
        dropped=int(summary["dropped"]),
        lag_ms_p50=float(np.quantile(lags_ms, 0.5, method="inverted_cdf")),
        lag_ms_p99=float(np.quantile(lags_ms, 0.99, method="inverted_cdf")),
        lag_ms_max=float(lags_ms.max()),
        littles_law_residual=residual,
        littles_law_limit=limit,
        cpu_share=summary["cpu_share_max"],
        overruns=overruns_elsewhere + sum(part.overruns for part in parts),
    )


def generator(
    scenario: Scenario, client: pl.DataFrame, server: pl.DataFrame, summary: Mapping[str, float]
) -> Generator:
    """:func:`kept` of rows that are all at hand."""
    return kept([seen(scenario, client, server)], summary)


def _at_once(scenario: Scenario, client: pl.DataFrame) -> pl.DataFrame:
    """First attempts that should begin when the step before ended: the scenario has others wait.

    What was dropped never began, so its row says nothing of a lag; it counts as dropped.
    """
    waiting = [name for name, step in scenario.steps.items() if step.delay_ms > 0]
    return client.filter(
        (pl.col("attempt") == 1) & (pl.col("outcome") != "dropped") & ~pl.col("step").is_in(waiting)
    )


def step_lags_ms(scenario: Scenario, client: pl.DataFrame) -> NDArray[np.float64]:
    """How late each step began that should have begun when the step before it ended."""
    at_once = _at_once(scenario, client)
    lags_ms: NDArray[np.float64] = (at_once["start_us"] - at_once["intended_us"]).to_numpy() / 1e3
    return lags_ms


def journey_lags_ms(scenario: Scenario, client: pl.DataFrame) -> NDArray[np.float64]:
    """The lag of every journey, which is the largest of its steps."""
    lag_us = pl.col("start_us") - pl.col("intended_us")
    lags = _at_once(scenario, client).group_by("journey_id").agg(lag_us.max())
    lags_ms: NDArray[np.float64] = lags["start_us"].to_numpy() / 1e3
    return lags_ms


def refusals(walked: pl.DataFrame) -> int:
    """Journeys that failed because nobody listened (rows of ``measures.journeys``)."""
    failed = pl.col("fate") == "failed"
    return walked.filter(failed & pl.col("last_code").is_in(list(promise.REFUSALS))).height


def all_refused(walked: pl.DataFrame) -> bool:
    """:func:`promise.dead` of journeys that are at hand (rows of ``measures.journeys``)."""
    return promise.dead(dict(walked["fate"].value_counts().iter_rows()), refusals(walked))


def before(
    objectives: Sequence[Slo],
    samples: Mapping[str, NDArray[np.float64]],
    facts: Generator,
    mocked_visits: int,
    troubles: Sequence[str],
) -> Validity:
    """The verdict before the verdicts; ``troubles`` are what broke in the run besides.

    Drops fail objectives; they spoil the run only where no gate is broken by them.
    """
    trial = slo.judge_all(objectives, "measured", samples, Validity(valid=True))
    found = validity(facts, mocked_visits, failed_anyway=slo.overall(trial) == "fail")
    return Validity(not troubles and found.valid, (*troubles, *found.reasons))


def validity(facts: Generator, mocked_visits: int, *, failed_anyway: bool = False) -> Validity:
    """Whether the measurement says anything, with the reasons why not.

    ``failed_anyway``: an objective is broken with what was dropped counted as failed.
    """
    reasons = promise.reasons(
        promise.Promise(
            what="journeys",
            intended=facts.intended,
            started=facts.started,
            dropped=facts.dropped,
            begun=facts.steps,
            late=facts.late,
            lag_ms_p99=facts.lag_ms_p99,
            cpu_share=facts.cpu_share,
            residual=facts.littles_law_residual,
            residual_limit=facts.littles_law_limit,
            visits=mocked_visits,
            overruns=facts.overruns,
            failed_anyway=failed_anyway,
        )
    )
    return Validity(not reasons, reasons)
