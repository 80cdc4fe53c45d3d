"""What the rows of a run say, read a group of journeys at a time.

A run of a million journeys leaves thirty million rows; only what is judged of them is kept.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np
import polars as pl
import pyarrow as pa

from fewseconds import measures, outcomes, validity
from fewseconds.plan import Plan

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from numpy.typing import NDArray

ROWS_MAX: Final = 1_000_000
"""Rows in memory at a time, as strings about 200 bytes each."""


class Tally(msgspec.Struct, kw_only=True):
    """What is judged of a run."""

    fates: Counter[str]
    samples: dict[str, Any]
    """Measure → float64 seconds; see ``measures.samples``."""
    seen: list[validity.Seen]
    mocked_visits: int
    rows: int


def tallied(
    folder: Path, window: Plan, wanted: Iterable[str], *, begun_only: bool = False
) -> Tally:
    """Read ``folder``; ``wanted`` are the measures to sample.

    ``begun_only``: the run was stopped on purpose, so journeys without rows are not judged.
    """
    scenario, names = window.scenario, sorted(wanted)
    mocked = [name for name, station in scenario.stations.items() if station.role == "mocked"]
    found: dict[str, list[NDArray[np.float64]]] = {name: [] for name in names}
    total = Tally(fates=Counter(), samples={}, seen=[], mocked_visits=0, rows=0)
    numbers = window.table["journey_id"].to_numpy()
    for table, mine in outcomes.groups(folder, numbers, ROWS_MAX):
        rows = measures.frame(table)
        plan = Plan(scenario, window.seed, window.table.filter(pa.array(mine)))
        client = rows.filter(pl.col("observer") == "client")
        server = rows.filter(pl.col("observer") == "server")
        if begun_only:
            begun = np.isin(plan.table["journey_id"].to_numpy(), client["journey_id"].to_numpy())
            plan = Plan(scenario, window.seed, plan.table.filter(pa.array(begun)))
        walked = measures.journeys(client, plan)
        total.fates.update(dict(walked["fate"].value_counts().iter_rows()))
        total.seen.append(validity.seen(scenario, client, server))
        total.mocked_visits += server.filter(pl.col("station").is_in(mocked)).height
        total.rows += rows.height
        for name in names:
            found[name].append(measures.samples(name, walked, rows))
    total.samples = {name: np.concatenate(pieces) for name, pieces in found.items()}
    return total
