"""Little's law as a watchman: how often it cries without cause, and what it does not miss."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from fewseconds import promise

Times = NDArray[np.float64]


def watched(luck: np.random.Generator, begin: Times, end: Times) -> tuple[float, float]:
    """What a gauge sees that is read at irregular moments: the integral and its variance."""
    last = float(end.max())
    gaps = luck.uniform(0.05, 0.15, int(last / 0.05) + 2)
    moments = np.cumsum(gaps)
    count = int(np.searchsorted(moments, last)) + 1
    gaps, moments = gaps[:count], moments[:count]
    seen = np.searchsorted(np.sort(begin), moments, "right") - np.searchsorted(
        np.sort(end), moments, "right"
    )
    steps = np.diff(seen, prepend=0)
    return float(seen @ gaps), float((steps**2 / 2) @ gaps**2)


def stays(
    luck: np.random.Generator, rate: float, length_s: float, kind: str
) -> tuple[Times, Times]:
    """When requests begin and end that take ``kind`` each; ``freeze`` is a second of every five."""
    begin = np.arange(int(rate * length_s)) / rate
    if kind == "freeze":
        phase = (begin + luck.uniform(0, 5)) % 5
        return begin, begin + np.where(phase < 1, 1 - phase, 0.0005)
    mean_s = float(kind.removesuffix(" exponential"))
    constant = np.full(len(begin), mean_s)
    taken = luck.exponential(mean_s, len(begin)) if kind.endswith("exponential") else constant
    return begin, begin + taken


SMALL = [
    (10, 1, "0.0003"), (2, 5, "0.005 exponential"), (10, 10, "0.001"), (1, 40, "0.005"),
    (10, 10, "0.02 exponential"), (200, 5, "0.0003"), (200, 5, "0.02"), (100, 10, "freeze"),
    (20, 10, "freeze"), (3, 10, "2.0 exponential"), (50, 20, "0.5 exponential"),
]  # fmt: skip


@pytest.mark.parametrize(("rate", "length_s", "kind"), SMALL)
def test_right_gauges_are_hardly_ever_called_wrong(rate: float, length_s: float, kind: str) -> None:
    """However few and short the requests, at most 0.27 % of 400 right runs are doubted."""
    luck, doubted = np.random.default_rng(5), 0
    for _ in range(400):
        begin, end = stays(luck, rate, length_s, kind)
        residual, limit = promise.little(
            *watched(luck, begin, end), float((end - begin).sum()), len(begin)
        )
        assert residual is not None
        assert limit is not None
        doubted += residual > limit
    assert doubted <= 0.0027 * 400


@pytest.mark.parametrize("kind", ["0.2", "0.2 exponential", "1.0 exponential"])
def test_outcomes_that_are_missing_are_found(kind: str) -> None:
    """Where a tenth of two thousand requests left no outcome, no run of a hundred is believed."""
    luck = np.random.default_rng(6)
    for _ in range(100):
        begin, end = stays(luck, 200, 10, kind)
        there = np.arange(len(begin)) % 10 > 0
        residual, limit = promise.little(
            *watched(luck, begin, end), float((end - begin)[there].sum()), int(there.sum())
        )
        assert residual is not None
        assert limit is not None
        assert residual > limit


def test_one_request_that_hangs_without_an_outcome_is_found() -> None:
    """Among ten answers of 5 ms, one that was in flight for five seconds and told of nothing."""
    luck = np.random.default_rng(7)
    for _ in range(100):
        begin, end = stays(luck, 2, 5, "0.005")
        sojourn_s, count = float((end - begin).sum()), len(begin)
        end[3] = begin[3] + 5
        residual, limit = promise.little(*watched(luck, begin, end), sojourn_s, count)
        assert residual is not None
        assert limit is not None
        assert residual > limit


def test_nothing_has_no_residual() -> None:
    """Without a stay there is nothing to compare."""
    assert promise.little(0.0, 0.0, 0.0, 0) == (None, None)
