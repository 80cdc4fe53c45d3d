"""What a walk in virtual time comes to: ends of journeys, samples of the measures, use of stations.

An engine may keep this alone instead of all its rows. :meth:`Summary.of` computes it from rows, the
long way round, and is the specification of what an engine counts by itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from fewseconds import journey as j
from fewseconds import measures
from fewseconds.plan import DAY_US, HOUR_US

if TYPE_CHECKING:
    import pyarrow as pa

    from fewseconds.plan import Plan
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
    says: dict[str, Samples]
    """Each of :data:`MEASURES`. A journey has one sample or none, of ``biller_time`` any number."""
    stations: dict[str, StationUse]
    journeys: int
    events: int
    wall_s: float

    @classmethod
    def of(cls, outcomes: pa.Table, plan: Plan, *, events: int = 0, wall_s: float = 0.0) -> Summary:
        """Summarise the rows of one walk of ``plan``."""
        rows = measures.frame(outcomes)
        walked = measures.journeys(rows, plan)
        visits = rows.filter(pl.col("leg") != j.STEP_ROW)
        last_us: Any = 0 if visits.is_empty() else visits["end_us"].max()
        hours = hours_observed(plan.scenario, int(last_us))
        by_station = visits.partition_by("station", as_dict=True)
        return cls(
            fates=dict(sorted(walked["fate"].value_counts().iter_rows())),
            says={name: _samples(measures.says(name, walked, rows), plan) for name in MEASURES},
            stations={
                name: _use(table.servers, by_station.get((name,), visits.clear()), hours)
                for name, table in plan.scenario.stations.items()
            },
            journeys=len(plan),
            events=events,
            wall_s=wall_s,
        )

    def samples(self, measure: str, first: int = 0, last: int | None = None) -> NDArray[np.float64]:
        """Seconds of every journey that has a say in ``measure``; see ``measures.samples``.

        Only journeys in rows ``first`` to ``last`` (excluded) of the plan, to leave a warm-up out.
        """
        found = self.says[measure]
        ends = [first, self.journeys if last is None else last]
        begin, end = np.searchsorted(found.rows, ends)
        return found.seconds[begin:end]


def _samples(says: pl.DataFrame, plan: Plan) -> Samples:
    order = pl.DataFrame(
        {
            "journey_id": pl.from_arrow(plan.table["journey_id"]),
            "row": np.arange(len(plan), dtype=np.int64),
        }
    )
    found = says.join(order, "journey_id").sort("row", maintain_order=True)
    return Samples(found["row"].to_numpy(), found["seconds"].to_numpy())


def hours_observed(scenario: Scenario, last_end_us: int) -> int:
    """Length of the arrays by hour: the whole month, and until the last visit is over."""
    return max(scenario.arrivals.days * HOURS_A_DAY, last_end_us // HOUR_US + 1)


def _use(servers: int, visits: pl.DataFrame, hours: int) -> StationUse:
    begin, grant, end = (
        visits[name].to_numpy() for name in ("start_us", "service_start_us", "end_us")
    )
    outcomes = visits["outcome"]
    return StationUse(
        servers=servers,
        visits=len(visits),
        busy_us=int((end - grant).sum()),
        waiting_us=int((grant - begin).sum()),
        rejected=int((outcomes == "rejected").sum()),
        reneged=int((outcomes == "reneged").sum()),
        queue_max=int(visits["queue_length"].max() or 0),  # type: ignore[arg-type]
        busy_us_by_hour=overlap_us(grant, end, hours),
        waiting_us_by_hour=overlap_us(begin, grant, hours),
        visits_by_hour=np.bincount(begin // HOUR_US, minlength=hours).astype(np.int64),
    )


def overlap_us(
    begin_us: NDArray[np.int64], end_us: NDArray[np.int64], hours: int
) -> NDArray[np.int64]:
    """Total time, by hour, of the spans ``[begin_us, end_us)``; shape ``(hours,)``, exact.

    The number of open spans is a step function of time; its integral up to the end of hour h is
    the sum of ``min(end, h) - min(begin, h)``, and what falls into one hour is a difference of two.
    """
    # The sums may pass 2**63 and wrap around; their differences, which fit, come out right again.
    edges = np.arange(1, hours + 1, dtype=np.int64) * HOUR_US
    upto = _shortfall(end_us, edges) - _shortfall(begin_us, edges)
    return np.diff(upto, prepend=0)


def _shortfall(moments: NDArray[np.int64], edges: NDArray[np.int64]) -> NDArray[np.int64]:
    """Sum of ``min(moment, edge)`` over all moments, for each edge."""
    ordered = np.sort(moments)
    below = np.searchsorted(ordered, edges)
    running = np.concatenate([np.zeros(1, np.int64), np.cumsum(ordered)])
    total: NDArray[np.int64] = running[below] + (len(ordered) - below) * edges
    return total
