"""Measured and simulated side by side: differences, scores, distributions."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewseconds.report import comparison

if TYPE_CHECKING:
    from fewseconds.record import Evidence
    from fewseconds.scenario import Scenario
    from tests.report.conftest import Workshop


def test_the_comparison_is_the_difference_of_the_quantiles(
    shop: Workshop, city: Scenario, seen: Evidence
) -> None:
    """Each row holds both worlds' percentiles, their difference, and the paired median."""
    compared = {row.step: row for row in comparison.rows(city, seen)}
    one, other = (shop.spans(table, "pay") for table in (seen.measured, seen.simulated))
    pay = compared["pay"]
    for probability, change in ((0.5, pay.p50_change), (0.95, pay.p95_change)):
        first, second = (
            shop.nearest_rank(list(took.values()), probability) for took in (one, other)
        )
        assert change == pytest.approx(first - second)
    paired = [one[journey] - other[journey] for journey in one]
    assert pay.paired_change == pytest.approx(shop.nearest_rank(paired, 0.5))
    # The simulated payments last half as long again: far outside both intervals.
    assert pay.agrees is False


def test_rows_of_people_and_modelled_parties_are_not_scored(shop: Workshop, city: Scenario) -> None:
    """A row is scored exactly if one of its stations is a device or measured."""
    reversed_walk = [*shop.paid()[:7], ("reversal", "ok", "", 1.0)]
    compared = comparison.rows(city, shop.evidence([("qr_ebill", reversed_walk)] * 9))
    for row in compared:
        roles = {city.stations[leg.station].role for leg in city.steps[row.step].legs}
        assert row.by_construction == (not roles & {"device", "measured"})
        assert (row.agrees is None) == row.by_construction
    greyed = {row.step for row in compared if row.by_construction}
    assert greyed == {"open_app", "review", "enter_pin", "reversal"}


def test_the_same_rows_agree(shop: Workshop, city: Scenario) -> None:
    """Evidence compared with itself agrees in every row that is scored, without any difference."""
    draws = np.random.default_rng(6).lognormal(0, 0.3, 80)
    seen = shop.evidence([("qr_ebill", shop.paid(draw)) for draw in draws])
    scored = [row for row in comparison.rows(city, seen) if row.agrees is not None]
    assert scored
    assert all(row.agrees and row.p50_change == 0 and row.p95_change == 0 for row in scored)


@given(st.lists(st.floats(0.01, 60) | st.just(math.inf), min_size=1, max_size=400))
def test_a_curve_is_the_distribution_function(values: list[float]) -> None:
    """Every point of a curve is a value with the share of journeys that took no longer."""
    found = comparison.curve(np.array(values))
    assert found is not None
    for at, share in found.points[1:]:
        # Of several equal values a thinned curve may show any; the last one is the true share.
        assert share <= sum(value <= at for value in values) / len(values) + 1e-12
        assert share > sum(value < at for value in values) / len(values) - 1e-12
    assert found.failed == sum(math.isinf(value) for value in values)
