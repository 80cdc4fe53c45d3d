"""What a walk comes to, computed from its rows: what an engine counts by itself must equal this."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from fewseconds import journey as j
from fewseconds import measures
from fewseconds.plan import HOUR_US
from sim.summary import MEASURES, Samples, StationUse, Summary, hours_observed

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from fewseconds.plan import Plan


def summary_of_rows(
    outcomes: pa.Table, plan: Plan, *, events: int = 0, wall_s: float = 0.0
) -> Summary:
    """Summarise the rows of one walk of ``plan``."""
    rows = measures.frame(outcomes)
    walked = measures.journeys(rows, plan)
    visits = rows.filter(pl.col("leg") != j.STEP_ROW)
    last_us: Any = 0 if visits.is_empty() else visits["end_us"].max()
    hours = hours_observed(plan.scenario, int(last_us))
    by_station = visits.partition_by("station", as_dict=True)
    return Summary(
        fates=dict(sorted(walked["fate"].value_counts().iter_rows())),
        ends=_ends(walked, plan),
        says={name: _samples(measures.says(name, walked, rows), plan) for name in MEASURES},
        stations={
            name: _use(table.servers, by_station.get((name,), visits.clear()), hours)
            for name, table in plan.scenario.stations.items()
        },
        journeys=len(plan),
        events=events,
        wall_s=wall_s,
    )


def _ends(walked: pl.DataFrame, plan: Plan) -> NDArray[np.int8]:
    order = pl.DataFrame({"journey_id": pl.from_arrow(plan.table["journey_id"])})
    fates = walked.select("journey_id", "fate")
    found = order.join(fates, "journey_id", "left", maintain_order="left")
    return measures.ends(found["fate"].fill_null("unexplained"))


def _samples(says: pl.DataFrame, plan: Plan) -> Samples:
    order = pl.DataFrame(
        {
            "journey_id": pl.from_arrow(plan.table["journey_id"]),
            "row": np.arange(len(plan), dtype=np.int64),
        }
    )
    found = says.join(order, "journey_id").sort("row", maintain_order=True)
    return Samples(found["row"].to_numpy(), found["seconds"].to_numpy())


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
