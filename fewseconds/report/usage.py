"""How busy the stations were, and who waited, hour by hour."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

from fewseconds.plan import HOUR_US
from fewseconds.report import charts, words
from fewseconds.report.page import Cell, Section, Table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from fewseconds.report.drawing import Panel
    from fewseconds.scenario import Scenario

DRAWN_MAX: Final = 4
"""Stations whose use is drawn; the table lists all."""


class Use(Protocol):
    """How much a station was used; hours count from the first midnight of the month."""

    servers: int
    visits: int
    rejected: int
    reneged: int
    queue_max: int
    busy_us_by_hour: NDArray[np.int64]
    waiting_us_by_hour: NDArray[np.int64]


def stations(scenario: Scenario, uses: Mapping[str, Any], span_us: tuple[int, int]) -> Section:
    """Every station that was visited, as a :class:`Use` each; the busiest ones are drawn."""
    used: dict[str, Use] = {name: use for name, use in uses.items() if use.visits}
    by_peak = sorted((n for n, u in used.items() if u.servers), key=lambda n: -peak(used[n])[0])
    first, last = (int(us // HOUR_US) for us in span_us)
    hours = slice(first, last + 2)
    panels = []
    for name in by_peak[:DRAWN_MAX]:
        panels += _drawn(scenario, name, used[name], hours)
    rows = [_used(scenario, name, used[name]) for name in by_peak]
    free = [words.label(name, {}) for name, use in used.items() if not use.servers]
    return Section(
        "Stations: how busy, and who waited",
        "Ordered by the busiest hour. A station above 80 % for an hour has queues that a small "
        "surge makes long.",
        (
            Table(
                ("station", "servers", "busiest hour", "mean wait", "longest queue", "turned away"),
                tuple(rows),
                note=f"Nobody ever waits at: {', '.join(free)}." if free else "",
            ),
            *panels,
        ),
    )


def _used(scenario: Scenario, name: str, use: Use) -> tuple[str | Cell, ...]:
    share, hour = peak(use)
    wait_s = int(use.waiting_us_by_hour.sum()) / 1e6 / use.visits
    return (
        Cell(words.label(name, {}), f"{words.whole(use.visits)} visits"),
        words.whole(use.servers),
        Cell(words.percent(share), moment(scenario, hour), shade=min(share, 1.0)),
        words.seconds(wait_s) if use.waiting_us_by_hour.any() else "nobody waited",
        words.whole(use.queue_max),
        words.whole(use.rejected + use.reneged) if use.rejected + use.reneged else "none",
    )


def _drawn(scenario: Scenario, name: str, use: Use, hours: slice) -> list[Panel]:
    """Busy servers and the queue by the hour, one under the other."""
    label = words.label(name, {})
    busy = use.busy_us_by_hour[hours] / HOUR_US
    waiting = use.waiting_us_by_hour[hours] / HOUR_US
    ticks = charts.moments(hours.start, hours.start + len(busy), scenario.first_day)
    panels = [
        charts.bars(
            f"{label}: busy servers, mean of each hour",
            busy,
            until=len(busy),
            x_ticks=ticks,
            name="busy",
            limit=("servers", use.servers) if busy.max() > use.servers / 4 else None,
        ),
        charts.bars(
            f"{label}: waiting, mean of each hour", waiting, until=len(waiting), x_ticks=ticks
        )
        if waiting.max() > 0
        else None,
    ]
    return [panel for panel in panels if panel is not None]


def peak(use: Use) -> tuple[float, int]:
    """Share of the servers' time in the busiest hour, and that hour of the month."""
    hour = int(np.argmax(use.busy_us_by_hour))
    return float(use.busy_us_by_hour[hour]) / HOUR_US / max(use.servers, 1), hour


def moment(scenario: Scenario, hour: int) -> str:
    """An hour of the month in words."""
    begin = words.plan_moment(scenario.first_day, hour * HOUR_US)
    return f"{begin:%a %d %b} {begin.hour:02d}–{(begin.hour + 1) % 24:02d}{words.NBSP}h"
