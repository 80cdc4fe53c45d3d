"""Objectives: their rows on the page, and the flip point of those that fail."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fewseconds import measures, report, slo
from fewseconds.report import parts, words
from fewseconds.scenario import Slo

if TYPE_CHECKING:
    from fewseconds.record import Evidence
    from fewseconds.scenario import Scenario
    from tests.report.conftest import Workshop


@given(
    st.lists(st.tuples(st.floats(0.1, 9), st.floats(0.1, 9)), min_size=60, max_size=90),
    st.floats(1.0, 12.0),
    st.sampled_from(["p50", "p95"]),
)
def test_the_flip_point_is_where_the_verdict_turns(
    shop: Workshop, pairs: list[tuple[float, float]], limit: float, statistic: str
) -> None:
    """With a part at its flip factor the limit is met, and with a thousandth more it is not."""
    one, other = (np.array(values) for values in zip(*pairs, strict=True))
    objective = Slo(name="x", measure="end_to_end", statistic=statistic, limit=limit, source="t")  # type: ignore[arg-type]
    judged = slo.judge(objective, "measured", one + other, slo.Validity(valid=True))
    factor = parts.flip_factor(judged, {"people": one, "the machine": other}, "people")
    probability = slo.QUANTILES[statistic]
    if factor is None:
        assert shop.nearest_rank(list(other), probability) > limit
    else:
        assert shop.nearest_rank(list(factor * one + other), probability) <= limit
        if judged.word == "fail":
            assert shop.nearest_rank(list((factor + 1e-3) * one + other), probability) > limit


def test_a_failed_claim_says_what_would_have_to_change(
    shop: Workshop, city: Scenario, seen: Evidence
) -> None:
    """The page names the value, the limit, the parts and the people's laws of a failed claim."""
    whole = shop.record(seen)
    failed = next(
        v for v in whole.verdicts if v.name == "end to end, median" and v.engine == "measured"
    )
    assert failed.word == "fail"
    said = shop.page(report.html(city, whole, seen)).words
    assert "This claim fails." in said
    observed = shop.nearest_rank(
        list(measures.samples("end_to_end", seen.measured_journeys, seen.measured)), 0.5
    )
    assert f"Measured: {observed:.1f} s against at most 10 s" in said
    assert "people took" in said
    assert "median 4.2 s, 95th percentile 7.5 s" in said


def test_every_verdict_is_in_its_table(shop: Workshop, city: Scenario, seen: Evidence) -> None:
    """Gates and claims stand apart, each with limit and value as they were judged."""
    whole = shop.record(seen)
    said = shop.page(report.html(city, whole, seen)).words
    gates, claims = said.index("Gates Objective"), said.index("Claims Objective")
    for verdict in whole.verdicts:
        place = said.lower().index(
            f"{verdict.name.lower()} {words.MEASURES[verdict.measure].lower()}"
        )
        assert place > gates
        assert (place < claims) == verdict.gate
        value = words.quantity(verdict.measure, verdict.observed).replace(words.NBSP, " ")
        assert value in said[place : place + 400]
