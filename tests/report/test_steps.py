"""Where the time goes: percentiles of steps, detours, and what a payment is made of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl
import pytest

from fewseconds import measures, outcomes
from fewseconds.outcomes import Outcome
from fewseconds.report import funnel, parts, steps

if TYPE_CHECKING:
    from fewseconds.record import Evidence
    from fewseconds.scenario import Scenario
    from tests.report.conftest import Walk, Workshop

SECOND = 1_000_000


def test_the_waterfall_is_the_quantiles_of_each_step(
    shop: Workshop, city: Scenario, seen: Evidence
) -> None:
    """Each bar carries nearest-rank percentiles of its step and starts after those before it."""
    drawn = steps.waterfall(city, ["qr_ebill"], seen.measured, seen.measured_journeys)
    assert drawn is not None
    mine = set(seen.measured_journeys.filter(pl.col("kind") == "qr_ebill")["journey_id"])
    clock = 0.0
    for bar in drawn.bars[:-2]:
        took = [s for journey, s in shop.spans(seen.measured, bar.step).items() if journey in mine]
        assert bar.times.p50 == pytest.approx(shop.nearest_rank(took, 0.5))
        assert bar.times.p95 == pytest.approx(shop.nearest_rank(took, 0.95))
        assert bar.times.p99 is None  # 108 journeys cannot support it.
        assert bar.offset == pytest.approx(clock - drawn.bars[0].times.p50)  # type: ignore[operator]
        clock += shop.nearest_rank(took, 0.5)
    assert [bar.step for bar in drawn.bars] == [
        "open_app", "scan", "resolve", "review", "enter_pin", "pay", "callback", "sms"
    ]  # fmt: skip
    assert [bar.human for bar in drawn.bars[:5]] == [True, False, False, True, True]


def test_a_step_that_few_take_is_a_detour(shop: Workshop, city: Scenario) -> None:
    """A step of one journey in four does not push the steps after it to the right."""
    typed = [*shop.paid()[:2], ("type_number", "ok", "", 18.0), *shop.paid()[3:]]
    walks: list[tuple[str, Walk]] = [("qr_ebill", shop.paid())] * 3 + [("qr_ebill", typed)]
    seen = shop.evidence(walks)
    drawn = steps.waterfall(city, ["qr_ebill"], seen.measured, seen.measured_journeys)
    assert drawn is not None
    assert [(bar.step, bar.times.count) for bar in drawn.detours] == [("type_number", 1)]
    assert next(bar.offset for bar in drawn.bars if bar.step == "review") == pytest.approx(1.15)


def test_a_step_nobody_wrote_is_put_together_from_its_legs(shop: Workshop, city: Scenario) -> None:
    """A callback that only services saw spans from its first leg to the end of its last."""
    seen = shop.evidence([("qr_ebill", shop.paid()[:-2])])
    legs = [
        Outcome(
            "server", "s", 0, "callback", "callback", leg, 1, station, at, at, at, at + 30, "ok"
        )
        for leg, station, at in ((0, "callback_network", 1000), (1, "biller", 1050))
    ]
    both = pl.concat([seen.measured, measures.frame(outcomes.table(legs))])
    callback = steps.spans(both).filter(pl.col("step") == "callback")
    assert callback.select("begun_us", "ended_us").row(0) == (1000, 1080)
    found = funnel.funnel(city, both, seen.measured_journeys)
    assert found is not None
    assert found.stages[3].reached == 1


def test_the_split_adds_up_near_the_median(shop: Workshop, city: Scenario, seen: Evidence) -> None:
    """People and machine together take what a payment near the median takes."""
    split = parts.parts(city, "end_to_end", seen.measured_journeys, seen.measured)
    near = parts.near(split, 0.5)
    whole = seen.measured_journeys["end_to_end_us"].drop_nulls().to_numpy() / SECOND
    assert sum(near.values()) == pytest.approx(shop.nearest_rank(list(whole), 0.5), rel=0.05)
    # All steps of one journey are stretched alike: 3.65 s of 10.65 s are the machine's.
    assert near[parts.MACHINE] / sum(near.values()) == pytest.approx(3.65 / 10.65, rel=1e-3)
