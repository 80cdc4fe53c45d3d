"""When requests of a probe are intended to start: one dispatcher, many schedules.

A schedule is a list of stages, each at a rate for a while; a ramp is many short stages. Every
worker makes the same schedule and takes its own share of it, so n workers together play exactly
what one would.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

SECOND_US: Final = 1_000_000
CHUNK: Final = 4096
RATE_MIN_PER_S: Final = 1e-6
"""One request in eleven days: below it, nothing is sent."""
RATE_MAX_PER_S: Final = 1e6
"""One a microsecond, in which times are counted."""


LENGTH_MAX_S: Final = 366 * 86_400
"""Nobody waits longer than a year for a load test; and far above it, microseconds overflow."""


class Stage(msgspec.Struct, frozen=True):
    """A stretch at one rate."""

    rate_per_s: float
    duration_s: float


def ramp(from_per_s: float, to_per_s: float, duration_s: float) -> list[Stage]:
    """From one rate to another in stages of about a second, each at its middle's rate."""
    count = max(round(duration_s), 1)
    width = (to_per_s - from_per_s) / count
    return [
        Stage(from_per_s + (number + 0.5) * width, duration_s / count) for number in range(count)
    ]


def steps(from_per_s: float, to_per_s: float, count: int, duration_s: float) -> list[Stage]:
    """``count`` equal steps from one rate up (or down) to another, both played."""
    width = (to_per_s - from_per_s) / max(count - 1, 1)
    return [Stage(from_per_s + number * width, duration_s / count) for number in range(count)]


def spike(base_per_s: float, peak_per_s: float, duration_s: float) -> list[Stage]:
    """A fifth of the time at the peak, in the middle of a steady base."""
    return [
        Stage(base_per_s, duration_s * 0.4),
        Stage(peak_per_s, duration_s * 0.2),
        Stage(base_per_s, duration_s * 0.4),
    ]


def portion(total: int, index: int, count: int) -> int:
    """What worker ``index`` of ``count`` may have of a limit of the whole run; at least one."""
    return max(-(-(total - index) // count), 1)


def starts_us(
    stages: list[Stage], seed: int | None, share: tuple[int, int] = (0, 1)
) -> Iterator[NDArray[np.int64]]:
    """Intended starts from time 0, in chunks, of worker i of n: those numbered i, i + n, i + 2n.

    Without a seed they are evenly spaced; with one they are a Poisson process (exponential gaps).
    Rates change at the ends of stages and nowhere else.
    """
    index, count = share
    luck = None if seed is None else np.random.default_rng(seed)
    begin_s, place = 0.0, 0
    for stage in stages:
        at_s, end_s, sent = begin_s, begin_s + stage.duration_s, 0
        while stage.rate_per_s > RATE_MIN_PER_S and at_s < end_s:
            if luck is None:
                times = begin_s + np.arange(sent, sent + CHUNK) / stage.rate_per_s
            else:
                times = at_s + np.cumsum(luck.exponential(1 / stage.rate_per_s, CHUNK))
            at_s, sent = (
                float(times[-1])
                if luck is not None
                else float(begin_s + (sent + CHUNK) / stage.rate_per_s),
                sent + CHUNK,
            )
            inside = times[times < end_s - 1e-9]
            mine = inside[(index - place) % count :: count]
            place = (place + len(inside)) % count
            yield np.rint(mine * SECOND_US).astype(np.int64)
        begin_s = end_s
