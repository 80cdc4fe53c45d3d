"""Verdicts and the statistics under them, held against SciPy and plain counting."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from fewseconds import slo
from fewseconds.scenario import Slo
from fewseconds.slo import Validity, Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

VALID = Validity(valid=True)
times = st.lists(st.floats(0, 100) | st.just(math.inf), min_size=1, max_size=300)


def objective(**changes: Any) -> Slo:  # noqa: ANN401 - any field of an objective
    """An objective, with changes."""
    fields: dict[str, Any] = {
        "name": "machine time", "measure": "machine_time", "statistic": "p95", "limit": 10.0,
        "gate": True, "source": "made up",
    }  # fmt: skip
    return Slo(**(fields | changes))


def judged(values: Sequence[float], validity: Validity = VALID, **changes: Any) -> Verdict:  # noqa: ANN401
    """The verdict on some values."""
    return slo.judge(objective(**changes), "measured", np.array(values, float), validity)


@given(times, st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_a_quantile_is_an_observation_by_nearest_rank(
    values: list[float], probability: float
) -> None:
    """The quantile is numpy's inverted distribution function, and its interval surrounds it."""
    centre, low, high = slo.quantile(np.array(values), probability)
    ordered = np.sort(values)
    assert centre == ordered[max(math.ceil(round(probability * len(values), 9)), 1) - 1]
    assert low is None or (low <= centre and low in values)
    assert high is None or (high >= centre and high in values)


@pytest.mark.parametrize(
    ("probability", "count"), [(0.5, 30), (0.5, 400), (0.95, 200), (0.99, 2000)]
)
def test_the_interval_of_a_quantile_covers_it(probability: float, count: int) -> None:
    """In simulation, a 95 % interval holds the true quantile in 93 to 100 of 100 samples."""
    truth = stats.expon.ppf(probability)
    rng, covered = np.random.default_rng(7), 0
    for _ in range(1000):
        _, low, high = slo.quantile(rng.exponential(size=count), probability)
        covered += (low is None or low <= truth) and (high is None or truth <= high)
    assert covered >= 930


@pytest.mark.parametrize("confidence", [0.95, 0.999])
@pytest.mark.parametrize("probability", [0.0, 0.003, 0.2, 0.5, 0.973, 1.0])
@pytest.mark.parametrize("count", [1, 2, 17, 330, 5000])
def test_binomial_intervals_are_those_of_scipy(
    count: int, probability: float, confidence: float
) -> None:
    """The range of successes ends at SciPy's quantiles of the binomial law."""
    tail = (1 - confidence) / 2
    low, high = stats.binom.ppf([tail, 1 - tail], count, probability)
    assert slo.binomial_interval(count, probability, confidence) == (low, high)


@given(st.integers(1, 5000), st.floats(0, 1))
def test_shares_have_the_interval_of_wilson(count: int, share: float) -> None:
    """A share's interval is SciPy's Wilson score interval."""
    successes = round(count * share)
    expected = stats.binomtest(successes, count).proportion_ci(0.95, "wilson")
    observed, low, high = slo.share(successes, count)
    assert observed == successes / count
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-12)


@given(st.integers(0, 600), st.sampled_from([0.01, 0.5, 0.9, 0.95, 0.99]))
def test_a_sample_supports_a_quantile_if_some_lie_beyond(count: int, probability: float) -> None:
    """A quantile is supported once none beyond it has at most 5 % probability, by SciPy."""
    none_beyond = stats.binom.pmf(0, count, min(probability, 1 - probability))
    assert slo.supports(count, probability) == (count > 0 and none_beyond <= 0.05)


def test_the_fewest_values_for_each_statistic() -> None:
    """Five values support a median, 59 a 95th percentile, 299 a 99th."""
    fewest = {p: next(n for n in range(1000) if slo.supports(n, p)) for p in (0.5, 0.9, 0.95, 0.99)}
    assert fewest == {0.5: 5, 0.9: 29, 0.95: 59, 0.99: 299}


@given(st.lists(st.floats(0, 20) | st.sampled_from([10.0, math.inf]), min_size=59, max_size=300))
def test_a_percentile_passes_if_enough_values_are_within_the_limit(values: list[float]) -> None:
    """The 95th percentile is met exactly if 95 in 100 values lie within the limit."""
    enough = 100 * sum(value <= 10 for value in values) >= 95 * len(values)
    verdict = judged(values)
    assert verdict.word == ("pass" if enough else "fail")
    assert (verdict.count, verdict.limit, verdict.gate) == (len(values), 10.0, True)


@given(st.lists(st.floats(0, 120) | st.just(60.0), min_size=5, max_size=100))
def test_a_claim_of_at_least_is_turned_round(values: list[float]) -> None:
    """A median of at least the limit is met if the lower half reaches up to it."""
    below = sum(value < 60 for value in values)
    verdict = judged(values, statistic="p50", limit=60.0, at_least=True)
    assert verdict.word == ("pass" if 2 * below < len(values) else "fail")


@pytest.mark.parametrize("at_least", [False, True])
def test_a_value_at_the_limit_meets_it(*, at_least: bool) -> None:
    """Whichever side is wanted, exactly the limit is enough and a little less is not."""
    beyond = 9.999 if at_least else 10.001
    assert judged([10.0] * 60, at_least=at_least).word == "pass"
    assert judged([beyond] * 60, at_least=at_least).word == "fail"


@given(st.integers(1, 400), st.integers(0, 400))
def test_a_share_is_judged_by_counting(count: int, failed: int) -> None:
    """An error rate passes if at most the allowed number of journeys failed."""
    failed = min(failed, count)
    verdict = judged(
        [1.0] * failed + [0.0] * (count - failed),
        measure="error_rate",
        statistic="share",
        limit=0.02,
    )
    assert verdict.word == ("pass" if 50 * failed <= count else "fail")
    assert verdict.observed == failed / count


def test_what_cannot_be_judged_is_inconclusive() -> None:
    """Nothing observed, too little observed or a bad measurement: no pass, no fail, a reason."""
    assert judged([]).word == "inconclusive"
    assert judged([]).observed is None
    few = judged([1.0] * 58)
    assert (few.word, few.observed, few.count) == ("inconclusive", None, 58)
    assert few.reason.startswith("58 values cannot support a p95")
    spoiled = judged([99.0] * 100, Validity(valid=False, reasons=("The clock stood still.",)))
    assert (spoiled.word, spoiled.observed) == ("inconclusive", 99.0)
    assert spoiled.reason == "The clock stood still."
    assert judged([99.0] * 100, Validity(valid=False)).word == "inconclusive"


@pytest.mark.parametrize(
    ("values", "at_least", "margin"),
    [([5.0], False, 0.5), ([15.0], False, -0.5), ([15.0], True, 0.5), ([math.inf], False, None)],
)
def test_a_margin_is_the_share_of_the_limit_that_is_left(
    values: list[float], *, at_least: bool, margin: float | None
) -> None:
    """Margins are positive on the right side of the limit, negative on the wrong, or none."""
    assert judged(values * 60, at_least=at_least).margin == margin


def test_objectives_are_judged_for_their_engines_where_there_are_samples() -> None:
    """An objective for one engine only, or without samples, is left out for the others."""
    slos = [objective(name="both"), objective(name="virtual", engines=("simulated",)),
            objective(name="SMS", measure="sms_time")]  # fmt: skip
    samples = {"machine_time": np.ones(100)}
    names = {
        engine: [verdict.name for verdict in slo.judge_all(slos, engine, samples, VALID)]
        for engine in ("measured", "simulated")
    }
    assert names == {"measured": ["both"], "simulated": ["both", "virtual"]}


def test_only_gates_decide_the_run() -> None:
    """For every set of verdicts: a failed gate fails, an open one is open, claims say nothing."""
    words = {"pass": [1.0] * 60, "fail": [99.0] * 60, "inconclusive": []}
    for gates in itertools.chain.from_iterable(
        itertools.combinations_with_replacement(words, size) for size in range(4)
    ):
        verdicts = [judged(words[word], gate=True) for word in gates]
        expected = "inconclusive"
        if "fail" in gates:
            expected = "fail"
        elif set(gates) == {"pass"}:
            expected = "pass"
        for claim in ("pass", "fail", "inconclusive"):
            assert slo.overall([*verdicts, judged(words[claim], gate=False)]) == expected


def test_exit_codes_are_those_of_the_manual() -> None:
    """Zero says that gates are met, one that one failed, three that nothing can be said."""
    assert [slo.exit_code(word) for word in ("pass", "fail", "inconclusive")] == [0, 1, 3]
