"""How busy a generator was, on made-up clocks, against a search through all stretches of time."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewseconds.promise import BUSIEST_S, CPU_SHARE_MAX
from loadtests.busyness import Busyness


def watched(starting_s: float, stretches: list[tuple[float, float]]) -> Busyness:
    """A process that is looked at after stretches of ``(seconds, share of a processor)``."""
    walls = [0.0, *itertools.accumulate(length_s for length_s, _ in stretches)]
    used = [0.0, *itertools.accumulate(length_s * share for length_s, share in stretches)]
    wall, cpu = iter(walls), iter(used)
    busyness = Busyness(starting_s, lambda: next(wall), lambda: next(cpu))
    for _ in stretches:
        busyness.look()
    return busyness


def test_waiting_for_the_last_answers_hides_nothing() -> None:
    """Twelve seconds without breath, then forty of waiting: 23 % on average, 100 % at the worst."""
    found = watched(12.0, [(1.0, 1.0)] * 12 + [(1.0, 0.0)] * 40)
    assert found.cpu_s / found.wall_s < CPU_SHARE_MAX
    assert found.share_max == 1.0


def test_a_short_breath_is_allowed() -> None:
    """Five busy seconds in a minute are half of the busiest ten."""
    calm = [(1.0, 0.1)] * 20
    found = watched(45.0, [*calm, *[(1.0, 0.9)] * 5, *calm])
    assert found.share_max == pytest.approx(0.5)


def test_a_run_shorter_than_the_stretch_is_judged_while_it_started_things() -> None:
    """Three busy seconds, then twenty of waiting: the three are what counts."""
    assert watched(3.0, [(1.0, 0.95)] * 3 + [(1.0, 0.0)] * 20).share_max == pytest.approx(0.95)


def test_a_run_that_was_stopped_is_judged_by_all_there_was() -> None:
    """Of a minute that was stopped after four seconds, those four count."""
    assert watched(60.0, [(1.0, 0.5), (3.0, 0.9)]).share_max == pytest.approx(0.8)


@given(
    st.lists(st.tuples(st.floats(0.5, 3.0), st.floats(0.0, 1.0)), min_size=30, max_size=60),
    st.floats(1.0, 30.0),
)
def test_it_is_the_worst_of_all_stretches(
    stretches: list[tuple[float, float]], starting_s: float
) -> None:
    """Of all stretches that end with a look and are as short as looks allow, the busiest."""
    window_s = min(starting_s, BUSIEST_S)
    walls = [0.0, *itertools.accumulate(length_s for length_s, _ in stretches)]
    used = [0.0, *itertools.accumulate(length_s * share for length_s, share in stretches)]
    shares = []
    for end in range(1, len(walls)):
        begins = [begin for begin in range(end) if walls[end] - walls[begin] >= window_s]
        if begins:
            begin = begins[-1]
            shares.append((used[end] - used[begin]) / (walls[end] - walls[begin]))
    assert watched(starting_s, stretches).share_max == pytest.approx(max(shares))
