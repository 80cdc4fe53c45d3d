"""Durations second by second: nothing is lost on the way to disk, and hours take no more memory."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from loadtests.histogram import cells
from loadtests.seconds import OPEN_S, SECOND_US, Series, joined


def test_hours_keep_only_a_few_seconds_in_memory() -> None:
    """After three hours of turns a handful of seconds is open, and all of them are still known."""
    series, luck = Series(), np.random.default_rng(1)
    hours_s = 3 * 3600
    truth = luck.integers(0, 10**6, hours_s)
    for number in range(hours_s):
        series.add(np.array([number * SECOND_US]), truth[number : number + 1])
        series.put_aside()
        assert len(series.open) <= OPEN_S + 1
    seconds = series.all()
    assert [one.second for one in seconds] == list(range(hours_s))
    found = [one.histogram().quantile_us(0.5) for one in seconds]
    # Nearest-rank of one value is the value, to the width of its cell: one part in 1 024.
    assert np.all(np.abs(np.array(found, float) - truth) <= truth / 1024 + 1)


@settings(max_examples=30)
@given(
    st.lists(st.tuples(st.integers(0, 20), st.integers(0, 10**9)), max_size=200),
    st.integers(1, 4),
)
def test_workers_together_hold_what_one_would(pairs: list[tuple[int, int]], workers: int) -> None:
    """However values are dealt out and put aside, the joined counts are numpy's own."""
    series = [Series() for _ in range(workers)]
    for place, (second, value) in enumerate(pairs):
        one = series[place % workers]
        one.add(np.array([second * SECOND_US]), np.array([value]))
        one.put_aside()
    together = {one.second: one for one in joined([one.all() for one in series])}
    assert set(together) == {second for second, _ in pairs}
    for second, kept in together.items():
        mine = np.array([value for where, value in pairs if where == second])
        used, counts = np.unique(cells(mine), return_counts=True)
        assert np.frombuffer(kept.cells, "<i4").tolist() == used.tolist()
        assert np.frombuffer(kept.counts, "<i4").tolist() == counts.tolist()
