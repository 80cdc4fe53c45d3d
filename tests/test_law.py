"""Laws of time, held against SciPy's distributions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from fewseconds import chance
from fewseconds.law import Law

SIGMA = math.log(3000 / 1200) / stats.norm.ppf(0.95)
# The corners lie on knots of the table; between knots a corner would be cut off.
POINTS = ((0.0, 5.0), (0.25, 5.0), (0.875, 40.0), (1.0, 400.0))
LAWS: dict[str, tuple[dict[str, Any], Any]] = {
    # Parameters in milliseconds; the quantile function of the same law, by SciPy or numpy.
    "constant": ({"value_ms": 12.5}, lambda p: np.full_like(p, 12.5)),
    "uniform": ({"low_ms": 300, "high_ms": 1500}, stats.uniform(300, 1200).ppf),
    "exponential": ({"mean_ms": 80}, stats.expon(scale=80).ppf),
    "lognormal": ({"median_ms": 1200, "p95_ms": 3000}, stats.lognorm(SIGMA, scale=1200).ppf),
    "quantiles": (
        {"points": POINTS},
        lambda p: np.interp(p, [a for a, _ in POINTS], [b for _, b in POINTS]),
    ),
}
BODY = np.linspace(0.001, 0.999, 4001)
TAILS = np.array([1e-6, 1e-5, 1e-4, 1 - 1e-4, 1 - 1e-5, 1 - 1e-6, 1 - 1e-7, 1 - 1e-8])
TOLERANCE = 0.012
"""Straight lines between knots err most where a law bends most: next to the refined tail."""


def law(name: str, **parameters: Any) -> Law:  # noqa: ANN401 - any parameter of a law
    """A law as a scenario would write it."""
    return Law(law=name, source="made up", **parameters)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", LAWS)
def test_quantile_functions_are_those_of_scipy(name: str) -> None:
    """The quantile function agrees with SciPy's from one in ten million to its complement."""
    parameters, oracle = LAWS[name]
    inverse = law(name, **parameters).inverse()
    for probability in (*BODY[::100], *TAILS):
        expected_us = 1000 * float(oracle(np.array([probability]))[0])
        assert inverse(float(probability)) == pytest.approx(expected_us, rel=1e-9)


@pytest.mark.parametrize("name", LAWS)
def test_drawn_times_are_the_quantiles_of_scipy(name: str) -> None:
    """A draw at any probability, deep tails included, gives the microseconds that SciPy gives."""
    parameters, oracle = LAWS[name]
    draws = np.round(np.concatenate([BODY, TAILS]) * chance.SPAN).astype(np.int64)
    drawn = chance.quantile_array(law(name, **parameters).table(), draws)
    expected_us = 1000 * oracle(draws / chance.SPAN)
    np.testing.assert_allclose(drawn, expected_us, rtol=TOLERANCE, atol=2)


@pytest.mark.parametrize(
    ("name", "mean_ms"),
    [
        ("constant", 12.5),
        ("uniform", stats.uniform(300, 1200).mean()),
        ("exponential", 80.0),
        ("lognormal", stats.lognorm(SIGMA, scale=1200).mean()),
        ("quantiles", 0.25 * 5 + 0.625 * 22.5 + 0.125 * 220),
    ],
)
def test_draws_have_the_mean_of_the_law(name: str, mean_ms: float) -> None:
    """Draws spread evenly over all of their range average to the mean of the law."""
    draws = np.arange(0, chance.SPAN, 2003, dtype=np.int64)
    drawn = chance.quantile_array(law(name, **LAWS[name][0]).table(), draws)
    assert drawn.mean() / 1000 == pytest.approx(mean_ms, rel=1e-3)


@pytest.mark.parametrize("name", LAWS)
def test_a_cut_law_never_exceeds_its_cut(name: str) -> None:
    """With ``max_ms`` every draw is the smaller of the law's own value and the cut."""
    parameters, oracle = LAWS[name]
    cut = law(name, max_ms=1000.0, **parameters)
    draws = np.round(np.concatenate([BODY, TAILS]) * chance.SPAN).astype(np.int64)
    drawn = chance.quantile_array(cut.table(), draws)
    assert drawn.max() <= 1_000_000
    expected_us = 1000 * np.minimum(oracle(draws / chance.SPAN), 1000.0)
    np.testing.assert_allclose(drawn, expected_us, rtol=TOLERANCE, atol=2)


BAD: list[tuple[str, dict[str, Any], str]] = [
    # A law; its parameters; what each complaint has to name.
    ("constant", {}, "value_ms: missing"),
    ("constant", {"value_ms": -1.0}, "value_ms: -1.0"),
    ("constant", {"value_ms": math.nan}, "value_ms: nan"),
    ("constant", {"value_ms": math.inf}, "value_ms: inf"),
    ("constant", {"value_ms": 1.0, "mean_ms": 2.0}, "mean_ms: not a parameter"),
    ("constant", {"value_ms": 1.0, "max_ms": 0.0}, "max_ms: 0.0"),
    ("constant", {"value_ms": 1.0, "max_ms": -3.0}, "max_ms: -3.0"),
    ("constant", {"value_ms": 1.0, "max_ms": math.nan}, "max_ms: nan"),
    ("uniform", {"low_ms": 1.0}, "high_ms: missing"),
    ("uniform", {"low_ms": 2.0, "high_ms": 1.0}, "low_ms: 2.0"),
    ("exponential", {"mean_ms": -2.0}, "mean_ms: -2.0"),
    ("exponential", {"mean_ms": 1.0, "p95_ms": 2.0}, "p95_ms: not a parameter"),
    ("lognormal", {"median_ms": 0.0, "p95_ms": 2.0}, "median_ms: 0.0"),
    ("lognormal", {"median_ms": 3.0, "p95_ms": 2.0}, "median_ms: 3.0"),
    ("lognormal", {"median_ms": 3.0}, "p95_ms: missing"),
    ("quantiles", {}, "points: missing"),
    ("quantiles", {"points": ()}, "points: must rise"),
    ("quantiles", {"points": ((0.0, 1.0),)}, "points: must rise"),
    ("quantiles", {"points": ((0.1, 1.0), (1.0, 2.0))}, "points: must rise"),
    ("quantiles", {"points": ((0.0, 1.0), (0.9, 2.0))}, "points: must rise"),
    ("quantiles", {"points": ((0.0, 2.0), (1.0, 1.0))}, "points: must rise"),
    ("quantiles", {"points": ((0.0, 1.0), (0.0, 1.0), (1.0, 2.0))}, "points: must rise"),
    ("quantiles", {"points": ((0.0, -5.0), (1.0, 2.0))}, "points: -5.0"),
    ("quantiles", {"points": ((0.0, 1.0), (1.0, math.inf))}, "points: inf"),
    ("quantiles", {"points": ((0.0, math.nan), (1.0, 2.0))}, "points: nan"),
]


@pytest.mark.parametrize(("name", "parameters", "said"), BAD)
def test_a_bad_parameter_is_named(name: str, parameters: dict[str, Any], said: str) -> None:
    """Every bad parameter is one complaint that begins with its name and its value."""
    assert [said in line for line in law(name, **parameters).problems()] == [True]


def test_all_bad_parameters_are_named_at_once() -> None:
    """A law with three bad parameters is told all three."""
    bad = law("uniform", low_ms=-1.0, high_ms=-2.0, mean_ms=3.0)
    assert sorted(line.split(":")[0] for line in bad.problems()) == ["high_ms", "low_ms", "mean_ms"]


durations = st.floats(0, 1e12) | st.sampled_from([0.0, 5e-324, 1e-300, 1e300, 1.7e308])


@settings(max_examples=40)
@given(st.sampled_from(list(LAWS)), durations, durations, st.none() | durations)
def test_a_law_without_problems_can_be_tabulated(
    name: str, one: float, other: float, cut: float | None
) -> None:
    """Whatever passes the checks gives a table that rises from 0 or more."""
    low, high = sorted((one, other))
    parameters: dict[str, dict[str, Any]] = {
        "constant": {"value_ms": one},
        "uniform": {"low_ms": low, "high_ms": high},
        "exponential": {"mean_ms": one},
        "lognormal": {"median_ms": low, "p95_ms": high},
        "quantiles": {"points": ((0.0, low), (1.0, high))},
    }
    made = law(name, max_ms=cut, **parameters[name])
    if not made.problems():
        body = made.table()[: chance.CELLS + 1]
        assert body[0] >= 0
        assert list(body) == sorted(body)
