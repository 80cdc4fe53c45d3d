"""What part of a plan a load test plays, and how fast; each shape says what it is.

Time is never compressed for people and services: only the gaps between journeys change.
"""

from __future__ import annotations

import msgspec
import numpy as np
import pyarrow as pa

from fewseconds.errors import UsageError
from fewseconds.plan import Plan

SECOND_US = 1_000_000


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """A window at its true rate, unless said otherwise."""

    rate_scale: float = 1.0
    """So many times the true rate (a stress test): a longer stretch in the same time."""
    constant_rate: float = 0.0
    """Journeys per second, in the plan's order with its gaps replaced (an endurance run); 0 is the
    plan's own gaps."""
    everything: bool = False
    """The whole plan instead of the window; needs a constant rate."""
    journeys_max: int = 0
    """At most so many journeys; 0 is no limit."""

    def says(self) -> str:
        """What a reader must know about the load."""
        if self.constant_rate:
            part = "the whole plan" if self.everything else "the window"
            return (
                f"an endurance run: {part} in its order at a constant {self.constant_rate:g} "
                "journeys/s; its gaps are not the plan's"
            )
        if self.rate_scale != 1.0:
            return f"a stress test: the window at {self.rate_scale:g} times its true rate"
        return "the window at its true rate"

    def window(self, whole: Plan) -> tuple[Plan, tuple[int, int]]:
        """The journeys to play, with their intended starts, and the window they are in.

        Raises UsageError for a shape that contradicts itself.
        """
        if self.rate_scale <= 0 or self.constant_rate < 0:
            message = "--rate-scale and --constant-rate: must be above 0; correct them"
            raise UsageError(message)
        if self.constant_rate and self.rate_scale != 1.0:
            message = "--rate-scale and --constant-rate: both given; choose one of them"
            raise UsageError(message)
        if self.everything and not self.constant_rate:
            message = "--all: takes a month at its true rate; give --constant-rate as well"
            raise UsageError(message)
        from_us, until_us = whole.busiest_window()
        length_us = until_us - from_us
        if self.constant_rate:
            rows = whole if self.everything else whole.window(from_us, until_us)
            rows = self._first(rows.real_time())
            offsets = np.arange(len(rows)) * (SECOND_US / self.constant_rate)
            end_us = from_us + round(len(rows) * SECOND_US / self.constant_rate)
            return started(rows, from_us + np.rint(offsets).astype(np.int64)), (from_us, end_us)
        # Scaled up, the stretch is longer than the window and ends where the window does.
        begin_us = until_us - round(length_us * self.rate_scale)
        if begin_us < 0:
            message = (
                f"--rate-scale {self.rate_scale:g}: reaches back before the plan begins; lower it "
                "or shorten load.duration_s"
            )
            raise UsageError(message)
        rows = self._first(whole.window(begin_us, until_us).real_time())
        offsets = (rows.starts_us - begin_us) / self.rate_scale
        # The plan's order is kept: rounding never lets a later start come first.
        return started(rows, from_us + offsets.astype(np.int64)), (from_us, until_us)

    def _first(self, rows: Plan) -> Plan:
        if not self.journeys_max:
            return rows
        return Plan(rows.scenario, rows.seed, rows.table.slice(0, self.journeys_max))


def started(rows: Plan, starts_us: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> Plan:
    """The same journeys with other intended starts (int64 µs, ascending, one a journey)."""
    column = rows.table.schema.get_field_index("intended_start_us")
    table = rows.table.set_column(column, "intended_start_us", pa.array(starts_us, pa.int64()))
    return Plan(rows.scenario, rows.seed, table)
