"""Charts as geometry: paths in a stretchable square, everything with text as places in per cent.

An SVG that stretches with the page would stretch its letters too, so the shapes alone are SVG and
the page puts ticks, labels and dots over them as HTML. That keeps type at its size on a phone.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from fewseconds.report import words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fewseconds.report.comparison import Curve
    from fewseconds.report.load import Load
    from fewseconds.report.steps import Waterfall

WIDTH: Final = 1000
HEIGHT: Final = 100
"""Size of the square that paths are drawn in; the page stretches it."""
TAIL_SHARE: Final = 0.985
"""A distribution is drawn up to where this share is done: the rest would squeeze it to the left."""
Style = Literal["area", "line", "dashed", "dotted", "faint", "limit", "bars", "drops", "fill"]


class Tick(msgspec.Struct, frozen=True):
    """A place on an axis, in per cent, and what is written there."""

    at: float
    text: str


class Shape(msgspec.Struct, frozen=True):
    """One path with its style and the words that a pointer or a screen reader gets."""

    path: str
    style: Style
    name: str
    title: str


class Dot(msgspec.Struct, frozen=True):
    """A marked point, in per cent from the left and from the bottom."""

    x: float
    y: float
    title: str
    filled: bool


class Rule(msgspec.Struct, frozen=True):
    """An upright line in per cent from the left, as high as ``height`` per cent."""

    at: float
    text: str
    height: float = 100.0


class Panel(msgspec.Struct, frozen=True, kw_only=True):
    """One chart."""

    title: str
    alt: str
    shapes: tuple[Shape, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    dots: tuple[Dot, ...] = ()
    rules: tuple[Rule, ...] = ()
    """Limits, or the end of the window."""
    tall: bool = False


class Frame(msgspec.Struct, frozen=True):
    """The ends of both axes, and where a value lies between them."""

    left: float
    right: float
    bottom: float
    top: float

    def across(self, value: float) -> float:
        """Per cent from the left."""
        return 100 * (value - self.left) / ((self.right - self.left) or 1.0)

    def up(self, value: float) -> float:
        """Per cent from the bottom; what is too high stays at the top."""
        share = 100 * (value - self.bottom) / ((self.top - self.bottom) or 1.0)
        return min(max(share, 0.0), 100.0)

    def right_of(self, value: float) -> str:
        """A coordinate of a path, from the left."""
        return f"{self.across(value) * WIDTH / 100:.1f}".removesuffix(".0")

    def down(self, value: float) -> str:
        """A coordinate of a path, from the top."""
        return f"{HEIGHT - self.up(value) * HEIGHT / 100:.1f}".removesuffix(".0")

    def line(self, points: Sequence[tuple[float, float]]) -> str:
        """A path through points; those without a value interrupt it."""
        path, joined = [], False
        for at, value in points:
            if math.isfinite(value):
                path.append(f"{'L' if joined else 'M'}{self.right_of(at)} {self.down(value)}")
            joined = math.isfinite(value)
        return "".join(path)


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers from ``low`` to ``high``, about ``count`` of them, steps of 1, 2 or 5."""
    if not high > low:
        return [low]
    rough = (high - low) / max(count, 1)
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(size * factor for factor in (1, 2, 5, 10) if size * factor >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [n * step for n in range(first, math.floor(high / step + 1e-9) + 1)]


def axis(low: float, high: float, unit: str, count: int = 5) -> tuple[Tick, ...]:
    """Ticks of an axis; the unit is written at the last one."""
    values = ticks(low, high, count)
    return tuple(
        Tick(
            100 * (value - low) / ((high - low) or 1.0),
            f"{value:g}" + (f"{words.NBSP}{unit}" if unit and value == values[-1] else ""),
        )
        for value in values
    )


def ceiling(value: float) -> float:
    """The first round number at or above ``value``, so that the highest tick is inside."""
    if value <= 0:
        return 1.0
    step = ticks(0, value, 4)
    size = step[1] - step[0] if len(step) > 1 else value
    return math.ceil(value / size - 1e-9) * size


def _x(value: float, limit: float) -> str:
    return f"{WIDTH * value / limit:.1f}".removesuffix(".0")


def _y(value: float, limit: float) -> str:
    return f"{HEIGHT * (1 - value / limit):.1f}".removesuffix(".0")


def _stairs(
    values: Sequence[float], bin_s: float, until_s: float, high: float, end_s: float
) -> str:
    parts = [f"M0 {_y(values[0], high)}"]
    for index, value in enumerate(values):
        if index * bin_s >= end_s:
            break
        right = min((index + 1) * bin_s, end_s)
        parts.append(f"V{_y(value, high)}H{_x(right, until_s)}")
    return "".join(parts)


def _bars(values: Sequence[float], bin_s: float, until_s: float, high: float) -> str:
    return "".join(
        f"M{_x(index * bin_s, until_s)} {HEIGHT}V{_y(value, high)}"
        f"H{_x(min((index + 0.8) * bin_s, until_s), until_s)}V{HEIGHT}Z"
        for index, value in enumerate(values)
        if value > 0
    )


def load_panels(load: Load) -> tuple[Panel, ...]:
    """Rates, journeys in flight, and lag with drops, one under the other on one time axis."""
    until = load.until_s
    x_ticks = axis(0, until, "s", 6)
    drains = until > load.window_s
    window = (Rule(100 * load.window_s / until, "arrivals end"),) if drains else ()
    high = ceiling(max(*load.offered, *load.started, *load.finished))
    scale = (load.bin_s, until, high)
    offered = _stairs(load.offered, *scale, load.window_s) + f"V{HEIGHT}H0Z"
    per = f"journeys a second, in bins of {load.bin_s} s"
    rates = Panel(
        title="Journeys a second",
        alt=f"Offered, started and finished {per}; at most {max(load.offered):.2g} offered",
        shapes=(
            Shape(offered, "area", "offered by the plan", f"Offered by the plan: {per}"),
            Shape(
                _stairs(load.started, *scale, load.window_s), "line", "started",
                f"Started by the load generator: {per}",
            ),
            Shape(
                _stairs(load.finished, *scale, until), "dashed", "finished",
                f"Came to an end: {per}",
            ),
        ),
        x_ticks=(),
        y_ticks=axis(0, high, "", 3),
        rules=window,
    )  # fmt: skip
    peak = ceiling(max(load.in_flight_max, 1))
    levels = "".join(
        f"{'M' if index == 0 else 'L'}{_x(at, until)} {_y(level, peak)}"
        for index, (at, level) in enumerate(load.in_flight)
    )
    flight = Panel(
        title="Journeys in flight",
        alt=f"Journeys open at once over time; at most {load.in_flight_max}",
        shapes=(Shape(levels, "line", "in flight", f"At most {load.in_flight_max} at once"),),
        x_ticks=(),
        y_ticks=axis(0, peak, "", 3),
        rules=tuple(msgspec.structs.replace(rule, text="") for rule in window),
    )
    panels = [rates, flight]
    if max(load.lag_ms) > 0 or any(load.dropped):
        panels.append(_lag_panel(load))
    panels[-1] = msgspec.structs.replace(panels[-1], x_ticks=x_ticks)
    return tuple(panels)


def _lag_panel(load: Load) -> Panel:
    worst, drops = max(load.lag_ms, default=0.0), sum(load.dropped)
    high = ceiling(max(worst, 1.0))
    shapes = [
        Shape(
            _bars(load.lag_ms, load.bin_s, load.until_s, high), "bars", "longest lag",
            f"Longest lag of a start, in bins of {load.bin_s} s; at most {worst:.1f} ms",
        )
    ]  # fmt: skip
    if drops:
        marks = [high if count else 0.0 for count in load.dropped]
        path = _bars(marks, load.bin_s, load.until_s, high)
        shapes.append(Shape(path, "drops", "dropped", f"{drops} journeys dropped"))
    return Panel(
        title="Lag of the first step, ms",
        alt=f"Longest lag of a first step {worst:.1f} ms; {drops} journeys dropped",
        shapes=tuple(shapes),
        x_ticks=(),
        y_ticks=axis(0, high, "", 2),
    )


def distribution_panel(
    curves: dict[str, Curve | None], limits: dict[str, tuple[float, float]]
) -> Panel | None:
    """Distributions of machine time, measured as a line and simulated dashed; None if empty.

    ``limits``: words → (seconds, share of the journeys that must be done by then).
    """
    drawn = {name: curve for name, curve in curves.items() if curve and curve.points}
    if not drawn:
        return None
    tail = [
        next((at for at, share in curve.points if share >= TAIL_SHARE), curve.points[-1][0])
        for curve in drawn.values()
    ]
    high = ceiling(max(*tail, *(1.05 * limit for limit, _ in limits.values()), 0.001))
    shapes, dots, told = [], [], []
    for name, curve in drawn.items():
        inside = [point for point in curve.points if point[0] <= high]
        path = "M0 100" + "".join(f"H{_x(at, high)}V{_y(share, 1)}" for at, share in inside)
        path += f"H{WIDTH}"
        count = words.counted(curve.count, "journey")
        shapes.append(
            Shape(path, "line" if name == "measured" else "dashed", name, f"{name}: {count}")
        )
        for percentile, at, share in curve.marks:
            if at <= high:
                title = f"{name} {percentile}: {words.seconds(at)}"
                dots.append(Dot(100 * at / high, 100 * share, title, name == "measured"))
                told.append(title)
    return Panel(
        title="Share of the payments done within …",
        alt="Distribution of machine time. " + "; ".join(told),
        shapes=tuple(shapes),
        x_ticks=axis(0, high, "s", 6),
        y_ticks=(Tick(0, "0"), Tick(50, "50 %"), Tick(95, "95 %")),
        dots=tuple(dots),
        rules=tuple(
            Rule(100 * limit / high, text, 100 * share) for text, (limit, share) in limits.items()
        ),
        tall=True,
    )


class Track(msgspec.Struct, frozen=True):
    """A bar of the waterfall in per cent of its track; ``clipped`` if it goes on to the right."""

    left: float
    width: float
    p95: float | None
    """Where the thick part of the whisker ends."""
    end: float
    """Where the thin part of the whisker ends."""
    clipped: bool


def tracks(waterfall: Waterfall) -> tuple[tuple[Track, ...], tuple[Tick, ...]]:
    """The bars of a waterfall on their common axis, and the ticks of that axis."""
    low, high = waterfall.start, waterfall.end
    span = (high - low) or 1.0

    def at(value: float) -> float:
        return min(100 * (value - low) / span, 100.0)

    bars = []
    for bar in waterfall.bars:
        p50 = bar.times.p50 or 0.0
        far = bar.times.p99 if bar.times.p99 is not None else bar.times.longest or p50
        left = at(bar.offset)
        bars.append(
            Track(
                left,
                at(bar.offset + p50) - left,
                None if bar.times.p95 is None else at(bar.offset + bar.times.p95),
                at(bar.offset + far),
                bar.offset + far > high,
            )
        )
    return tuple(bars), axis(low, high, "s", 6)
