"""Charts from plain numbers: lines, bands, bars by the hour and distributions, as panels."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np

from fewseconds.report import words
from fewseconds.report.drawing import (
    HEIGHT,
    WIDTH,
    Dot,
    Frame,
    Panel,
    Rule,
    Shape,
    Style,
    Tick,
    axis,
    ceiling,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

STYLES: Final[tuple[Style, ...]] = ("line", "dashed", "dotted", "faint")
"""What tells up to four curves apart, in print as well."""
POINTS_MAX: Final = 400
"""A curve is drawn through at most so many points: a page is about as wide."""
TAIL: Final = 0.985
"""A distribution is drawn up to where this share of the slowest curve is done."""
TICKS_MAX: Final = 8
MARKS: Final = (0.5, 0.95)
"""Shares that get a dot."""
ROUND_S: Final = {
    0.1: "0.1 s", 0.3: "0.3 s", 1.0: "1 s", 3.0: "3 s", 10.0: "10 s", 30.0: "30 s", 60.0: "1 min",
    180.0: "3 min", 600.0: "10 min", 1800.0: "30 min", 3600.0: "1 h", 10_800.0: "3 h",
}  # fmt: skip
"""Durations that an axis spaced by logarithm names."""


class Series(msgspec.Struct, frozen=True):
    """A curve: points in order of x, and (if there is one) an interval around each y."""

    name: str
    points: Sequence[tuple[float, float]]
    band: Sequence[tuple[float, float]] = ()
    """(low, high) at every point."""
    dots: bool = False
    """Every point is a measurement of its own and gets a dot."""


def lines(
    title: str,
    series: Sequence[Series],
    *,
    x: str = "",
    y: str = "",
    limit: tuple[str, float] | None = None,
    x_ticks: tuple[Tick, ...] | None = None,
    low: float | None = 0.0,
    tall: bool = False,
) -> Panel | None:
    """Curves over one axis; ``x`` and ``y`` are units, ``limit`` a named level. None if empty.

    ``low`` is where the upright axis begins; None lets the data decide.
    """
    drawn = [one for one in series if len(one.points)]
    if not drawn:
        return None
    xs = [at for one in drawn for at, _ in one.points]
    ys = [y for one in drawn for _, y in one.points] + [
        bound for one in drawn for pair in one.band for bound in pair
    ]
    ys += [limit[1]] if limit else []
    finite = [value for value in ys if np.isfinite(value)]
    bottom = min(finite, default=0.0) if low is None else low
    top = bottom + ceiling(max(finite, default=1.0) - bottom)
    frame = Frame(min(xs), max(xs), bottom, top)
    shapes, dots = [], []
    for one, style in zip(drawn, STYLES * len(drawn), strict=False):
        if one.band:
            shapes.append(Shape(_band(frame, one), "area", "", f"{one.name}: 95 % interval"))
        last = one.points[-1]
        shapes.append(
            Shape(frame.line(one.points), style, one.name, f"{one.name}: {last[1]:.3g} at the end")
        )
        if one.dots:
            dots += [
                Dot(
                    frame.across(at),
                    frame.up(value),
                    f"{one.name}: {value:.4g} at {at:g}",
                    filled=True,
                )
                for at, value in one.points
                if np.isfinite(value)
            ]
    if limit:
        level = f"M0 {frame.down(limit[1])}H{WIDTH}"
        shapes.append(Shape(level, "limit", limit[0], f"{limit[0]}: {limit[1]:g} {y}"))
    return Panel(
        title=title,
        alt=f"{title}: " + "; ".join(f"{one.name} up to {_highest(one):.3g} {y}" for one in drawn),
        shapes=tuple(shapes),
        x_ticks=axis(frame.left, frame.right, x, 6) if x_ticks is None else x_ticks,
        y_ticks=axis(bottom, top, y, 3),
        dots=tuple(dots),
        tall=tall,
    )


def bars(
    title: str,
    values: NDArray[np.float64],
    *,
    until: float,
    unit: str = "",
    x_ticks: tuple[Tick, ...] = (),
    name: str = "",
    limit: tuple[str, float] | None = None,
) -> Panel | None:
    """Equally wide bars (a histogram, arrivals by the hour) over ``[0, until]``; None if empty."""
    if len(values) == 0:
        return None
    top = ceiling(max(float(values.max()), limit[1] if limit else 0.0))
    frame = Frame(0.0, until, 0.0, top)
    width = until / len(values)
    path = f"M0 {HEIGHT}" + "".join(
        f"V{frame.down(value)}H{frame.right_of((place + 1) * width)}"
        for place, value in enumerate(values)
    )
    title_of = f"{title}: at most {float(values.max()):.4g} {unit}"
    shapes = [Shape(path + f"V{HEIGHT}Z", "fill", name, title_of)]
    if limit:
        level = f"M0 {frame.down(limit[1])}H{WIDTH}"
        shapes.append(Shape(level, "limit", limit[0], f"{limit[0]}: {limit[1]:g} {unit}"))
    return Panel(
        title=title,
        alt=title_of,
        shapes=tuple(shapes),
        x_ticks=x_ticks,
        y_ticks=axis(0.0, top, unit, 3),
    )


def distributions(
    title: str,
    samples: dict[str, NDArray[np.float64]],
    *,
    limits: dict[str, tuple[float, float]] | None = None,
    far: bool = False,
    counts: dict[str, int] | None = None,
) -> Panel | None:
    """Share of each sample (seconds) that is done by a time; infinite values never are.

    ``limits``: words → (seconds, share that must be done by then). ``far`` spaces the time axis by
    its logarithm, for samples that lie seconds and minutes apart. ``counts``: how many values a
    sample stands for, where it is drawn from fewer. None if all samples are empty.
    """
    kept = {name: np.sort(values) for name, values in samples.items() if len(values)}
    if not kept:
        return None
    reach = [_at(values, TAIL) for values in kept.values()]
    reach += [1.05 * limit for limit, _ in (limits or {}).values()]
    top = max([value for value in reach if np.isfinite(value)] or [1.0])
    clock = (
        _far_clock(kept, top) if far else Clock(0.0, ceiling(top), axis(0, ceiling(top), "s", 6))
    )
    shapes, dots, told = [], [], []
    for (name, values), style in zip(kept.items(), STYLES * len(kept), strict=False):
        count = words.whole((counts or {}).get(name, len(values)))
        shapes.append(Shape(clock.curve(values), style, name, f"{name}: n = {count}"))
        for share in MARKS:
            if clock.low <= (at := _at(values, share)) <= clock.high:
                said = f"{name}, {words.percent(share, 0)} within {words.seconds(at)}"
                told.append(said)
                dots.append(Dot(clock.across(at), 100 * share, said, style == "line"))
    rules = tuple(
        Rule(clock.across(limit), text, 100 * share)
        for text, (limit, share) in (limits or {}).items()
    )
    return Panel(
        title=title,
        alt=f"{title}. " + "; ".join(told),
        shapes=tuple(shapes),
        x_ticks=clock.ticks,
        y_ticks=(Tick(0, "0"), Tick(50, "50 %"), Tick(95, "95 %")),
        dots=tuple(dots),
        rules=rules,
        tall=True,
    )


class Clock(msgspec.Struct, frozen=True):
    """An axis of durations from ``low`` to ``high`` seconds; spaced by logarithm above 0."""

    low: float
    high: float
    ticks: tuple[Tick, ...]

    def across(self, seconds: float) -> float:
        """Per cent from the left; what is too short stays at the edge."""
        if self.low == 0:
            return 100 * seconds / self.high
        if seconds <= self.low:
            return 0.0
        return 100 * math.log(seconds / self.low) / math.log(self.high / self.low)

    def curve(self, values: NDArray[np.float64]) -> str:
        """The path of a distribution; ``values`` are sorted."""
        shares = np.linspace(0, 1, POINTS_MAX + 1)[1:]
        places = np.ceil(shares * len(values)).astype(int) - 1
        points = [
            f"L{self.across(float(at)) * WIDTH / 100:.1f} {HEIGHT * (1 - share):.1f}"
            for at, share in zip(values[places], shares, strict=True)
            if at <= self.high
        ]
        return f"M0 {HEIGHT}" + "".join(points)


def _far_clock(samples: dict[str, NDArray[np.float64]], top: float) -> Clock:
    """An axis of round durations around all that the samples hold."""
    start = min(float(values[len(values) // 100]) for values in samples.values())
    low = max((at for at in ROUND_S if at <= start), default=min(ROUND_S))
    high = min((at for at in ROUND_S if at >= top), default=max(ROUND_S))
    bare = Clock(low, high, ())
    inside = [at for at in ROUND_S if low <= at <= high]
    return Clock(low, high, tuple(Tick(bare.across(at), ROUND_S[at]) for at in inside))


def days(count: int, first_day: int = 1, every: int = 5) -> tuple[Tick, ...]:
    """Ticks of a month: its days, numbered from ``first_day``, at their midnights."""
    return tuple(Tick(100 * day / count, str(first_day + day)) for day in range(0, count, every))


def hours() -> tuple[Tick, ...]:
    """Ticks of a day."""
    return tuple(Tick(100 * hour / 24, f"{hour}") for hour in range(0, 25, 3))


def moments(first: int, until: int, first_day: dt.date) -> tuple[Tick, ...]:
    """Ticks of a stretch of hours of the month: days if it is long, else hours of the day."""
    length = max(until - first, 1)
    every = next((step for step in (1, 3, 6, 12, 24, 72, 120) if length / step <= TICKS_MAX), 240)
    found = []
    for hour in range(-(-first // every) * every, until + 1, every):
        day = first_day + dt.timedelta(days=hour // 24)
        text = f"{day:%d %b}" if hour % 24 == 0 else f"{hour % 24} h"
        found.append(Tick(100 * (hour - first) / length, text))
    return tuple(found)


def _highest(series: Series) -> float:
    return max((value for _, value in series.points if np.isfinite(value)), default=0.0)


def _at(ordered: NDArray[np.float64], share: float) -> float:
    """The nearest-rank quantile of sorted values."""
    return float(ordered[max(int(np.ceil(share * len(ordered))) - 1, 0)])


def _band(frame: Frame, series: Series) -> str:
    """The area between both ends of the intervals."""
    ends = [(at, *pair) for (at, _), pair in zip(series.points, series.band, strict=True)]
    known = [(at, low, high) for at, low, high in ends if np.isfinite(low + high)]
    upper = [(at, high) for at, _, high in known]
    lower = [(at, low) for at, low, _ in reversed(known)]
    path = frame.line(upper + lower)
    return f"{path}Z" if path else ""
