"""Offered against delivered load over the window: rates, journeys in flight, lag and drops."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np
import polars as pl

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fewseconds.plan import Plan

BIN_SECONDS: Final = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600)
BINS_MAX: Final = 150
EVENTS_MIN: Final = 5
"""Journeys that a bin should hold on average, so that a rate is more than noise."""


class Load(msgspec.Struct, frozen=True):
    """Series over the window and its drain; times are seconds after the window's start."""

    window_s: float
    until_s: float
    bin_s: int
    offered: tuple[float, ...]
    """Journeys a second that were meant to start, a bin."""
    started: tuple[float, ...]
    """Journeys a second that the generator started, a bin."""
    finished: tuple[float, ...]
    """Journeys a second that came to an end the system gave them, a bin."""
    dropped: tuple[int, ...]
    """Journeys that the generator could not start, a bin."""
    lag_ms: tuple[float, ...]
    """Longest lag of a start, a bin."""
    in_flight: tuple[tuple[float, int], ...]
    """(seconds, journeys open from then on), on an even grid."""
    in_flight_max: int


def load(plan: Plan, window_us: tuple[int, int], journeys: pl.DataFrame) -> Load | None:
    """The load of ``plan`` as its ``journeys`` found it; None if nothing was offered."""
    if len(plan) == 0:
        return None
    origin, close = window_us
    dropped = journeys.filter(pl.col("fate") == "dropped")
    begun = journeys.filter(pl.col("begun_us").is_not_null() & (pl.col("fate") != "dropped"))
    starts = _seconds(begun["begun_us"] + begun["lag_us"], origin)
    ends = _seconds(begun["ended_us"], origin)
    over = begun["fate"].is_in(["confirmed", "declined", "left", "failed"]).to_numpy()
    window_s = (close - origin) / 1e6
    until_s = max(window_s, float(ends.max()) if len(ends) else 0.0)
    width = _bin_seconds(len(plan), window_s, until_s)
    edges = np.arange(0.0, until_s + width, width)

    def counts(moments: NDArray[np.float64]) -> NDArray[np.int64]:
        return np.histogram(moments, edges)[0]

    due = _seconds(dropped["intended_start_us"], origin)
    grid = np.linspace(0.0, until_s, 2 * BINS_MAX + 1)
    level = np.searchsorted(np.sort(starts), grid, "right") - np.searchsorted(
        np.sort(ends), grid, "right"
    )
    return Load(
        window_s=window_s,
        until_s=until_s,
        bin_s=width,
        offered=_floats(counts(_seconds(pl.Series(plan.starts_us), origin)) / width),
        started=_floats(counts(starts) / width),
        finished=_floats(counts(ends[over]) / width),
        dropped=tuple(counts(due).tolist()),
        lag_ms=_floats(_longest(starts, begun["lag_us"].to_numpy() / 1e3, edges)),
        in_flight=tuple(zip(grid.tolist(), level.tolist(), strict=True)),
        in_flight_max=_peak(starts, ends),
    )


def _seconds(moments_us: pl.Series, origin_us: int) -> NDArray[np.float64]:
    return (moments_us.to_numpy() - origin_us) / 1e6


def _floats(values: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(float(value) for value in values)


def _bin_seconds(journeys: int, window_s: float, until_s: float) -> int:
    wanted = EVENTS_MIN * window_s / journeys
    for width in BIN_SECONDS:
        if width >= wanted and until_s / width <= BINS_MAX:
            return width
    return max(BIN_SECONDS[-1], int(until_s / BINS_MAX) + 1)


def _longest(
    starts: NDArray[np.float64], lag_ms: NDArray[np.float64], edges: NDArray[np.float64]
) -> NDArray[np.float64]:
    longest = np.zeros(len(edges) - 1)
    bins = np.clip(np.searchsorted(edges, starts, "right") - 1, 0, len(longest) - 1)
    np.maximum.at(longest, bins, lag_ms)
    return longest


def _peak(starts: NDArray[np.float64], ends: NDArray[np.float64]) -> int:
    """The most journeys that were ever open at once; one that ends as another starts is gone."""
    if len(starts) == 0:
        return 0
    moments = np.concatenate([ends, starts])
    changes = np.concatenate([np.full(len(ends), -1), np.full(len(starts), 1)])
    order = np.argsort(moments, kind="stable")
    return int(np.cumsum(changes[order]).max())
