"""What a walk in virtual time comes to: ends of journeys, samples of the measures, use of stations.

An engine may keep this alone instead of all its rows. :mod:`sim.summary_of_rows` computes it from
rows, the long way round, and is the specification of what an engine counts by itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from fewseconds.plan import DAY_US, HOUR_US

if TYPE_CHECKING:
    from fewseconds.scenario import Scenario

MEASURES: Final = (
    "machine_time", "end_to_end", "sms_time", "portal_time", "error_rate", "biller_time",
)  # fmt: skip
"""Measures that have samples in a single walk."""
HOURS_A_DAY: Final = DAY_US // HOUR_US


class StationUse(msgspec.Struct, frozen=True, eq=False):
    """How much one station was used; hours count from the first midnight of the month.

    With ``T`` the time observed, ``waiting_us / T`` is the mean queue length and ``busy_us / T``
    the mean number of busy servers (Little's law, exactly).
    """

    servers: int
    """0 means that nobody waits here."""
    visits: int
    """All that came, whether they were served or not."""
    busy_us: int
    """Time that servers worked, added up."""
    waiting_us: int
    """Time spent in the queue, added up: the time integral of the queue length."""
    rejected: int
    reneged: int
    queue_max: int
    """The longest queue that a visit found in front of it."""
    busy_us_by_hour: NDArray[np.int64]
    """Shape ``(hours,)``; adds up to ``busy_us``."""
    waiting_us_by_hour: NDArray[np.int64]
    visits_by_hour: NDArray[np.int64]
    """Visits by the hour they came in."""


class Samples(msgspec.Struct, frozen=True, eq=False):
    """The samples of one measure, and whose they are."""

    rows: NDArray[np.int64]
    """Position in the plan of the journey that each sample belongs to, ascending."""
    seconds: NDArray[np.float64]
    """Infinite for what the system failed; 0 or 1 for ``error_rate``."""


class Summary(msgspec.Struct, frozen=True, eq=False):
    """A walk in virtual time without its rows."""

    fates: dict[str, int]
    """How many journeys ended how; see ``measures.FATES``."""
    ends: NDArray[np.int8]
    """How the journey in each row of the plan ended, as its place in ``measures.ENDS``."""
    says: dict[str, Samples]
    """Each of :data:`MEASURES`. A journey has one sample or none, of ``biller_time`` any number."""
    stations: dict[str, StationUse]
    journeys: int
    events: int
    wall_s: float

    def samples(self, measure: str, first: int = 0, last: int | None = None) -> NDArray[np.float64]:
        """Seconds of every journey that has a say in ``measure``; see ``measures.samples``.

        Only journeys in rows ``first`` to ``last`` (excluded) of the plan, to leave a warm-up out.
        """
        found = self.says[measure]
        ends = [first, self.journeys if last is None else last]
        begin, end = np.searchsorted(found.rows, ends)
        return found.seconds[begin:end]


def hours_observed(scenario: Scenario, last_end_us: int) -> int:
    """Length of the arrays by hour: the whole month, and until the last visit is over."""
    return max(scenario.arrivals.days * HOURS_A_DAY, last_end_us // HOUR_US + 1)
