"""Whether a measurement says anything: each promise of the generator, just kept and broken."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pytest

from fewseconds import measures, outcomes, scenario_file, validity
from fewseconds.journey import STEP_ROW
from fewseconds.outcomes import Outcome
from fewseconds.record import Generator
from fewseconds.slo import Validity

SMOKE = scenario_file.load("smoke")
MOCKED = 1000
SUMMARY: dict[str, float] = {
    "intended": 3, "started": 3, "dropped": 0, "in_flight_integral_s": 0.0,
    "gauge_interval_s": 0.1, "cpu_s": 3.0, "wall_s": 12.0,
}  # fmt: skip
FINE = Generator(
    intended=100, started=100, late=0, dropped=0, lag_ms_p50=1.0, lag_ms_p99=5.0, lag_ms_max=9.0,
    littles_law_residual=0.001, littles_law_limit=0.02, cpu_share=0.3, overruns=0,
)  # fmt: skip


def with_facts(**changes: Any) -> Generator:  # noqa: ANN401 - any field
    """A generator that kept all its promises, but for these."""
    return msgspec.structs.replace(FINE, **changes)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"started": 95, "dropped": 5},
        {"lag_ms_p99": validity.LAG_MS_P99_MAX},
        {"late": 5},
        {"littles_law_residual": 0.02},
        {"littles_law_residual": None, "littles_law_limit": None},
        {"cpu_share": 0.8},
        {"overruns": 50},
    ],
)
def test_promises_that_are_just_kept_leave_a_measurement_valid(changes: dict[str, Any]) -> None:
    """At each limit, a measurement still says something."""
    assert validity.validity(with_facts(**changes), MOCKED) == Validity(valid=True)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"started": 94, "dropped": 5}, "1 journeys were never started"),
        ({"started": 0}, "100 journeys were never started"),
        ({"lag_ms_p99": 101.0}, "up to 101 ms late"),
        ({"late": 6}, "6 of 100 journeys"),
        ({"littles_law_residual": 0.021}, "differ by 2.1%"),
        ({"cpu_share": 0.81}, "81% of a processor"),
        ({"overruns": 51}, "51 of 1000 visits"),
    ],
)
def test_a_broken_promise_is_a_reason(changes: dict[str, Any], said: str) -> None:
    """Beyond each limit, a measurement is invalid for one reason, said in one sentence."""
    judged = validity.validity(with_facts(**changes), MOCKED)
    assert not judged.valid
    assert [said in reason for reason in judged.reasons] == [True]


def test_all_broken_promises_are_reasons() -> None:
    """A measurement that broke every promise is told all of them."""
    wrong = with_facts(
        started=50, lag_ms_p99=500.0, late=40, littles_law_residual=0.5, cpu_share=1.0, overruns=900
    )
    assert len(validity.validity(wrong, MOCKED).reasons) == 6


def test_without_mocked_visits_nothing_overran() -> None:
    """Where no party was mocked, no share of overruns is taken."""
    assert validity.validity(with_facts(overruns=0), 0).valid


def step(
    number: int, name: str, intended_ms: float, start_ms: float, end_ms: float,
    outcome: str = "ok", attempt: int = 1, overrun_ms: float = 0,
) -> Outcome:  # fmt: skip
    """A row of a client, in milliseconds."""
    intended_us, start_us, end_us = (round(1000 * t) for t in (intended_ms, start_ms, end_ms))
    return Outcome(
        "client", "load", number, "main", name, STEP_ROW, attempt, "", intended_us, start_us,
        start_us, end_us, outcome, "", 0, round(1000 * overrun_ms),
    )  # fmt: skip


def facts(rows: list[Outcome], server: list[Outcome] | None = None, **summary: float) -> Generator:
    """What is said about a generator that left these rows."""
    client, other = (measures.frame(outcomes.table(some)) for some in (rows, server or []))
    return validity.generator(SMOKE, client, other, SUMMARY | summary)


def test_the_lag_of_a_journey_is_that_of_its_latest_step() -> None:
    """Lag is taken at each step that should begin at once, the largest a journey."""
    rows = [
        step(0, "open_app", 0, 1, 100),
        step(0, "resolve", 100, 160, 300),
        step(1, "open_app", 0, 20, 100),
        step(2, "open_app", 0, 2, 100),
        # These wait because the scenario says so.
        step(2, "scan", 100, 350, 360, "error"),
        step(2, "resolve", 600, 600, 700, "error"),
        step(2, "resolve", 700, 1900, 2000, attempt=2),
    ]
    found = facts(rows)
    assert (found.lag_ms_p50, found.lag_ms_p99, found.lag_ms_max) == (20, 60, 60)
    assert found.late == 1
    nothing = facts([])
    assert (nothing.lag_ms_p99, nothing.late, nothing.littles_law_residual) == (0, 0, None)


def test_overruns_beyond_the_jitter_of_the_scheduler_are_counted() -> None:
    """Only visits that lasted twenty milliseconds longer than drawn are overruns."""
    server = [step(0, "pay", 0, 0, 1, overrun_ms=ms) for ms in (0, 5, 20, 20.001, 300)]
    assert facts([step(0, "open_app", 0, 0, 1)], server).overruns == 2
    assert facts([], cpu_s=6.0, wall_s=12.0).cpu_share == 0.5


def test_littles_law_compares_the_gauge_with_the_rows() -> None:
    """The residual is the gap between journeys in flight over time and their summed sojourns."""
    rows = [
        step(0, "open_app", 0, 0, 1000),
        step(0, "pay", 1000, 1000, 10_000),
        step(1, "open_app", 500, 500, 10_500),
        step(2, "open_app", 600, 600, 600, "dropped"),
    ]
    client = measures.frame(outcomes.table(rows))
    for integral_s, residual in ((20.0, 0.0), (21.0, 0.05), (15.0, 0.25)):
        summary = {"in_flight_integral_s": integral_s, "gauge_interval_s": 0.1}
        found, limit = validity.little(client, summary)
        assert found == pytest.approx(residual)
        # Two journeys of ten seconds: the standard error is 0.3 %.
        assert limit == 0.02
    assert validity.little(client.filter(pl.col("journey_id") == 2), SUMMARY) == (None, None)


@pytest.mark.parametrize("interval_s", [0.1, 1.0])
def test_an_honest_gauge_stays_within_the_limit(interval_s: float) -> None:
    """In simulation, a gauge that samples real journeys is almost never taken for a liar."""
    rng, beyond = np.random.default_rng(7), 0
    for _ in range(200):
        starts = rng.uniform(0, 60, 100)
        ends = starts + rng.exponential(2.0, 100)
        rows = [
            step(n, "pay", 0, 1000 * a, 1000 * b)
            for n, (a, b) in enumerate(zip(starts, ends, strict=True))
        ]
        ticks = np.arange(rng.uniform(0, interval_s), ends.max() + interval_s, interval_s)
        counted = ((starts <= ticks[:, None]) & (ticks[:, None] < ends)).sum() * interval_s
        summary = {"in_flight_integral_s": float(counted), "gauge_interval_s": interval_s}
        residual, limit = validity.little(measures.frame(outcomes.table(rows)), summary)
        assert residual is not None
        assert limit is not None
        beyond += residual > limit
    assert beyond <= 2


def test_missing_rows_break_littles_law() -> None:
    """If one journey in ten left no row, the gauge gives it away."""
    rows = [step(n, "pay", 0, 100 * n, 100 * n + 2000) for n in range(100)]
    summary = {"in_flight_integral_s": 200.0, "gauge_interval_s": 0.1}
    lost = measures.frame(outcomes.table([row for row in rows if row.journey_id % 10]))
    residual, limit = validity.little(lost, summary)
    assert residual == pytest.approx(1 / 9)
    assert limit == pytest.approx(max(0.02, 3 * 0.1 * math.sqrt(90 / 6) / 180))
    assert residual is not None
    assert limit is not None
    assert residual > limit
