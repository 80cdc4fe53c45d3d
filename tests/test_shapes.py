"""Shapes of load: arithmetic on the plan's own starts is the oracle."""

from __future__ import annotations

import numpy as np
import pytest

from fewseconds import scenario_file
from fewseconds.errors import UsageError
from fewseconds.plan import Plan, plan
from fewseconds.shapes import Shape


@pytest.fixture(scope="module")
def whole() -> Plan:
    """A small month."""
    return plan(scenario_file.load("smoke"), 7)


def ids(rows: Plan) -> list[int]:
    """Who is played, in order."""
    found: list[int] = rows.table["journey_id"].to_pylist()
    return found


def test_the_plain_shape_is_the_window(whole: Plan) -> None:
    """Without wishes the busiest window is played as it is."""
    rows, window_us = Shape().window(whole)
    assert window_us == whole.busiest_window()
    assert rows.digest == whole.window(*window_us).real_time().digest


@pytest.mark.parametrize("scale", [0.5, 2.0, 3.0])
def test_a_scaled_rate_keeps_order_and_proportions(whole: Plan, scale: float) -> None:
    """So many times the stretch is played in the window's time, every gap shrunk alike."""
    rows, (from_us, until_us) = Shape(rate_scale=scale).window(whole)
    stretch_us = round((until_us - from_us) * scale)
    original = whole.window(until_us - stretch_us, until_us).real_time()
    assert ids(rows) == ids(original)
    expected = from_us + (original.starts_us - (until_us - stretch_us)) / scale
    assert np.abs(rows.starts_us - expected).max() <= 1
    assert (rows.starts_us >= from_us).all()
    assert (rows.starts_us < until_us).all()


def test_a_constant_rate_replaces_the_gaps_and_nothing_else(whole: Plan) -> None:
    """The whole plan in its order, one journey every 4 ms."""
    rows, (from_us, until_us) = Shape(constant_rate=250, everything=True).window(whole)
    assert ids(rows) == ids(whole.real_time())
    assert (np.diff(rows.starts_us) == 4000).all()
    assert rows.starts_us[0] == from_us
    assert until_us - from_us == 4000 * len(rows)


def test_a_limit_takes_the_first_journeys(whole: Plan) -> None:
    """Of every shape, only the first so many are played."""
    for shape in (Shape(journeys_max=10), Shape(journeys_max=10, constant_rate=5)):
        rows, _ = shape.window(whole)
        assert len(rows) == 10


@pytest.mark.parametrize(
    "shape",
    [
        Shape(rate_scale=0),
        Shape(constant_rate=-1),
        Shape(rate_scale=2, constant_rate=5),
        Shape(everything=True),
        Shape(rate_scale=1e9),
    ],
)
def test_shapes_that_contradict_themselves_are_refused(whole: Plan, shape: Shape) -> None:
    """The message names the option to correct."""
    with pytest.raises(UsageError, match=r"--(rate-scale|constant-rate|all)"):
        shape.window(whole)


@pytest.mark.parametrize(
    ("shape", "word"),
    [
        (Shape(), "true rate"),
        (Shape(rate_scale=2), "a stress test"),
        (Shape(constant_rate=5), "an endurance run: the window"),
        (Shape(constant_rate=5, everything=True), "an endurance run: the whole plan"),
    ],
)
def test_each_shape_says_what_it_is(shape: Shape, word: str) -> None:
    """A reader is never left to guess whether time was compressed."""
    assert word in shape.says()
