"""Whether a load run says anything: synthetic runs with answers worked out by hand."""

from __future__ import annotations

import math
from typing import Any

import polars as pl
import pytest
from scipy import integrate

from fewseconds import scenario_file, validity
from fewseconds.journey import STEP_ROW
from fewseconds.record import Generator
from fewseconds.slo import Validity

SCENARIO = scenario_file.load("smoke")
MS = 1000
S = 1_000_000
COLUMNS = {
    "journey_id": pl.Int64, "step": pl.String, "leg": pl.Int32, "attempt": pl.Int32,
    "intended_us": pl.Int64, "start_us": pl.Int64, "end_us": pl.Int64, "outcome": pl.String,
    "overrun_us": pl.Int64,
}  # fmt: skip


def row(journey_id: int, step: str, intended_us: int, end_us: int, **more: Any) -> dict[str, Any]:  # noqa: ANN401
    """A step of a journey that began when it should, unless ``late_us`` says otherwise."""
    return {
        "journey_id": journey_id, "step": step, "leg": STEP_ROW, "attempt": more.get("attempt", 1),
        "intended_us": intended_us, "start_us": intended_us + more.get("late_us", 0),
        "end_us": end_us, "outcome": more.get("outcome", "ok"),
        "overrun_us": more.get("overrun_us", 0),
    }  # fmt: skip


def frame(*rows: dict[str, Any]) -> pl.DataFrame:
    """Rows as a table."""
    return pl.DataFrame(list(rows), schema=COLUMNS)


def counted(intended: int, **more: float) -> dict[str, float]:
    """What a generator counts itself in a run where all went well."""
    return {
        "intended": intended, "started": intended, "dropped": 0, "in_flight_integral_s": 0.0,
        "in_flight_variance_s2": 0.0, "cpu_share_max": 0.1,
    } | more  # fmt: skip


def orderly(count: int, late_ms: int = 0, late: int = 0) -> pl.DataFrame:
    """Journeys a second apart that last two seconds; the last ``late`` ones pay late."""
    rows = []
    for number in range(count):
        lag_us = late_ms * MS if number >= count - late else 0
        begin_us = number * S
        rows.append(row(number, "open_app", begin_us, begin_us + S))
        rows.append(row(number, "pay", begin_us + S, begin_us + 2 * S, late_us=lag_us))
    return frame(*rows)


def judged(client: pl.DataFrame, summary: dict[str, float], visits: int = 0) -> Validity:
    """The verdict on a run without visits of mocked parties."""
    facts = validity.generator(SCENARIO, client, frame(), summary)
    return validity.validity(facts, visits)


def little(client: pl.DataFrame, summary: dict[str, float]) -> tuple[float | None, float | None]:
    """Residual of Little's law and its limit, of a run."""
    facts = validity.generator(SCENARIO, client, frame(), summary)
    return facts.littles_law_residual, facts.littles_law_limit


def test_a_run_that_kept_its_promise_is_valid() -> None:
    """Everything on time, all rows there, the gauge right: valid, with nothing to say."""
    client = orderly(50)
    assert judged(client, counted(50, in_flight_integral_s=100.0)) == Validity(valid=True)


def test_lags_are_those_of_steps() -> None:
    """Every step counts, the quantiles are values that occurred, and 10 ms are not late yet."""
    client = frame(
        row(1, "open_app", 0, S, late_us=7 * MS),
        row(1, "resolve", S, 2 * S, late_us=20 * MS),
        row(2, "open_app", 0, S, late_us=3 * MS),
        row(3, "open_app", 0, S),
        row(3, "resolve", S, 2 * S, late_us=60 * MS),
    )
    facts = validity.generator(SCENARIO, client, frame(), counted(3))
    assert facts.steps == 5
    assert facts.lag_ms_p50 == 7.0
    assert facts.lag_ms_p99 == facts.lag_ms_max == 60.0
    assert facts.late == 2
    assert sorted(validity.journey_lags_ms(SCENARIO, client).tolist()) == [3.0, 20.0, 60.0]


def test_what_was_dropped_has_no_lag() -> None:
    """A generator that starts one in 120 and each half a second late was late, not on time."""
    late = [
        row(number, "open_app", number * S, number * S + 2 * S, late_us=500 * MS)
        for number in range(100)
    ]
    # As a phone writes what could not be started.
    dropped = [
        row(number, "open_app", number * S, number * S, outcome="dropped")
        for number in range(100, 12_000)
    ]
    client = frame(*late, *dropped)
    summary = counted(12_000, started=100, dropped=11_900, in_flight_integral_s=150.0)
    facts = validity.generator(SCENARIO, client, frame(), summary)
    assert (facts.steps, facts.late, facts.lag_ms_p50, facts.lag_ms_p99) == (100, 100, 500.0, 500.0)
    assert validity.journey_lags_ms(SCENARIO, client).tolist() == [500.0] * 100
    # Also where the drops have broken an objective, the system cannot be blamed for them.
    found = validity.validity(facts, 0, failed_anyway=True)
    assert [reason.split(" began")[0] for reason in found.reasons] == ["steps", "100 of 100 steps"]


def test_waits_of_the_scenario_are_no_lag() -> None:
    """A step that waits by its own rule, and a second attempt after its back-off, are not late."""
    waiting = {name for name, step in SCENARIO.steps.items() if step.delay_ms > 0}
    assert {"scan", "check_status"} <= waiting
    client = frame(
        row(1, "open_app", 0, S),
        row(1, "scan", S, 2 * S, late_us=250 * MS),
        row(1, "check_status", 2 * S, 30 * S, late_us=20 * S),
        row(1, "pay", 30 * S, 31 * S),
        row(1, "pay", 31 * S, 36 * S, late_us=4 * S, attempt=2),
    )
    facts = validity.generator(SCENARIO, client, frame(), counted(1))
    assert (facts.lag_ms_max, facts.late) == (0.0, 0)


@pytest.mark.parametrize(("late", "valid"), [(0, True), (10, True), (11, False), (100, False)])
def test_a_twentieth_of_the_steps_may_be_late(late: int, valid: bool) -> None:  # noqa: FBT001
    """Up to ten of two hundred steps may begin over 10 ms late."""
    client = orderly(100, late_ms=11, late=late)
    found = judged(client, counted(100, in_flight_integral_s=200.0))
    assert found.valid is valid
    assert all("late" in reason and "free a processor" in reason for reason in found.reasons)
    assert len(found.reasons) == (0 if valid else 1)


def test_a_step_on_the_edge_is_not_late() -> None:
    """Exactly 10 ms is not late yet, however many steps have it."""
    client = orderly(100, late_ms=10, late=100)
    assert judged(client, counted(100, in_flight_integral_s=200.0)).valid


@pytest.mark.parametrize(("late", "valid"), [(2, True), (3, False)])
def test_the_hundredth_part_may_not_be_very_late(late: int, valid: bool) -> None:  # noqa: FBT001
    """Three of two hundred steps beyond 20 ms are too many, two are not."""
    client = orderly(100, late_ms=21, late=late)
    found = judged(client, counted(100, in_flight_integral_s=200.0))
    assert found.valid is valid
    assert valid or "21 ms late" in found.reasons[0]


def test_rows_that_are_missing_make_the_run_inconclusive() -> None:
    """Ten of fifty journeys without their rows leave the gauge 25 % above the sojourns."""
    client = orderly(50).filter(pl.col("journey_id") >= 10)
    found = judged(client, counted(50, in_flight_integral_s=100.0))
    assert not found.valid
    (reason,) = found.reasons
    assert reason.startswith("journeys in flight and their sojourns differ by 25.0%")
    assert reason.endswith("run it again")


def test_littles_law_compares_sums() -> None:
    """The residual is a share of the summed sojourns, from first start to last end of each."""
    client = frame(
        row(1, "open_app", 0, 100 * MS),
        row(1, "pay", 100 * MS, 300 * MS),
        row(1, "sms", 300 * MS, 700 * MS),
        row(2, "open_app", 100 * MS, 400 * MS),
        row(3, "open_app", 900 * MS, 900 * MS, outcome="dropped"),
    )
    residual, limit = little(client, counted(3, in_flight_integral_s=1.1))
    assert residual == pytest.approx(0.1)
    # Three standard errors of two stays that gaps of 50 to 150 ms begin and end: either end errs by
    # the age of a gap, whose first two moments are E[L²]/2E[L] and E[L³]/3E[L].
    moments = [integrate.quad(lambda gap, k=k: gap**k, 0.5, 1.5)[0] for k in (1, 2, 3)]
    age = moments[2] / (3 * moments[0]) - (moments[1] / (2 * moments[0])) ** 2
    assert limit == pytest.approx(3 * math.sqrt(2 * 2 * age * 0.1**2), rel=1e-3)


def test_the_limit_of_littles_law_is_never_below_two_percent() -> None:
    """With very many journeys the grid no longer matters and 2 % are allowed."""
    client = orderly(2000)
    residual, limit = little(client, counted(2000, in_flight_integral_s=4079.0))
    assert limit == 0.02
    assert residual is not None
    assert residual < 0.02
    assert not judged(client, counted(2000, in_flight_integral_s=4081.0)).valid


def test_without_journeys_nothing_is_compared() -> None:
    """A run of which no row is left has no residual, and is not valid either."""
    residual, limit = little(frame(), counted(0))
    assert (residual, limit) == (None, None)
    assert not judged(frame(), counted(50, started=0)).valid
    found = judged(frame(), counted(50, in_flight_integral_s=100.0))
    assert found.reasons == ("50 journeys were started, but none has an outcome; run it again",)


def test_journeys_that_were_never_started_are_told() -> None:
    """What was neither started nor dropped is named."""
    client = orderly(50)
    lost = judged(client, counted(56, started=50, in_flight_integral_s=100.0))
    assert lost.reasons == ("6 journeys were never started; see load.log",)


def test_what_is_dropped_counts_unless_it_decides_nothing() -> None:
    """Above one in a thousand, drops spoil the run, but not where an objective is broken anyway."""
    client = orderly(50)
    summary = counted(60, started=50, dropped=10, in_flight_integral_s=100.0)
    (reason,) = judged(client, summary).reasons
    assert reason.startswith("10 of 60 journeys were dropped")
    facts = validity.generator(SCENARIO, client, frame(), summary)
    assert validity.validity(facts, 0, failed_anyway=True).valid
    few = counted(10_050, started=10_040, dropped=10, in_flight_integral_s=100.0)
    assert judged(client, few).valid


def test_parts_of_a_run_add_up_to_the_whole() -> None:
    """Journeys looked at in groups say what all of them together say."""
    client = orderly(40, late_ms=30, late=7)
    summary = counted(40, in_flight_integral_s=80.0)
    parts = [
        validity.seen(SCENARIO, client.filter(pl.col("journey_id") % 3 == group), frame())
        for group in range(3)
    ]
    assert validity.kept(parts, summary) == validity.generator(SCENARIO, client, frame(), summary)


def test_a_generator_out_of_breath_is_inconclusive() -> None:
    """Above 85 % of a processor, what is measured is the generator."""
    client = orderly(50)
    summary = counted(50, in_flight_integral_s=100.0)
    assert judged(client, summary | {"cpu_share_max": 0.85}).valid
    (reason,) = judged(client, summary | {"cpu_share_max": 0.86}).reasons
    assert reason.startswith("the generator used 86% of a processor")
    assert "lower the rate" in reason


def test_mocked_parties_may_not_take_longer_than_they_stand_for() -> None:
    """Visits more than 20 ms too long are counted, and above one in twenty they spoil the run."""
    server = frame(
        *(row(1, "pay", 0, S, overrun_us=20 * MS) for _ in range(94)),
        *(row(1, "pay", 0, S, overrun_us=20 * MS + 1) for _ in range(6)),
    )
    facts = validity.generator(
        SCENARIO, orderly(50), server, counted(50, in_flight_integral_s=100.0)
    )
    assert facts.overruns == 6
    assert validity.validity(facts, 120).valid
    assert validity.validity(facts, 0).valid
    found = validity.validity(facts, 100)
    assert found.reasons[0].startswith("6 of 100 visits of mocked parties took over 20 ms longer")


def test_every_reason_is_told_at_once() -> None:
    """A run with everything wrong says everything, each with what to do."""
    facts = Generator(
        intended=100, started=90, steps=90, late=50, dropped=0, lag_ms_p50=60.0, lag_ms_p99=500.0,
        lag_ms_max=900.0, littles_law_residual=0.5, littles_law_limit=0.02, cpu_share=0.99,
        overruns=50,
    )  # fmt: skip
    found = validity.validity(facts, 100)
    assert not found.valid
    assert len(found.reasons) == 6
    assert all("; " in reason for reason in found.reasons)
