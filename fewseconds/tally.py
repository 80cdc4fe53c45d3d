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
import pyarrow.parquet as pq

from fewseconds import measures, outcomes, promise, slo, validity
from fewseconds.plan import Plan
from fewseconds.record import Generator

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from fewseconds.scenario import Scenario

ROWS_MAX: Final = 1_000_000
"""Rows in memory at a time, as strings about 200 bytes each."""
READS_MAX: Final = 5
"""So often may services tidy up just while their rows are read."""


class Tally(msgspec.Struct, kw_only=True):
    """What is judged of a run."""

    fates: Counter[str]
    samples: dict[str, Any]
    """Measure → float64 seconds; see ``measures.samples``."""
    seen: list[validity.Seen]
    mocked_visits: int
    rows: int
    refused: int
    """Journeys that failed because nobody listened."""


class Visits(msgspec.Struct, frozen=True):
    """What mocked parties did while somebody else's load was on them."""

    mocked: int = 0
    overruns: int = 0


NO_VISITS: Final = Visits()


def _mocked(scenario: Scenario) -> list[str]:
    return [name for name, station in scenario.stations.items() if station.role == "mocked"]


def tallied(
    folder: Path, window: Plan, wanted: Iterable[str], *, begun_only: bool = False
) -> Tally:
    """Read ``folder``; ``wanted`` are the measures to sample.

    ``begun_only``: the run was stopped on purpose, so journeys without rows are not judged.
    """
    scenario, names = window.scenario, sorted(wanted)
    mocked = _mocked(scenario)
    found: dict[str, list[NDArray[np.float64]]] = {name: [] for name in names}
    total = Tally(fates=Counter(), samples={}, seen=[], mocked_visits=0, rows=0, refused=0)
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
        total.refused += validity.refusals(walked)
        for name in names:
            found[name].append(measures.samples(name, walked, rows))
    total.samples = {name: np.concatenate(pieces) for name, pieces in found.items()}
    return total


class Judged(msgspec.Struct, frozen=True):
    """What a load says about the system, once it is known whether it says anything."""

    tally: Tally
    generator: Generator | None
    """None if the generator did not come to its end."""
    validity: slo.Validity
    verdicts: tuple[slo.Verdict, ...]
    dead: bool = False
    """Whether nobody listened, which is a verdict whatever the generator did."""


def judged(
    folder: Path, window: Plan, summary: Mapping[str, Any] | None, troubles: Sequence[str],
    unmeasured: Iterable[str] = (), visits: Visits = NO_VISITS,
) -> Judged:  # fmt: skip
    """Read the rows in ``folder`` and judge them; a load is judged so, whoever started it.

    ``summary`` is what the generator counted itself (see ``loadtests.spec.LoadSummary``),
    ``troubles`` are what broke in the run besides, ``visits`` those of services that write
    elsewhere.
    """
    objectives = window.scenario.slo
    names = {str(one.measure) for one in objectives} - {"faster_than_portal", *unmeasured}
    aborted = summary is not None and bool(summary["aborted"])
    found = tallied(folder, window, names, begun_only=aborted)
    facts, valid = None, slo.Validity(valid=False, reasons=tuple(troubles))
    if summary is not None:
        facts = validity.kept(found.seen, summary, visits.overruns)
        count = found.mocked_visits + visits.mocked
        valid = validity.before(objectives, found.samples, facts, count, troubles)
    dead = facts is not None and not troubles and promise.dead(found.fates, found.refused)
    weighed = slo.Validity(valid=True) if dead else valid
    verdicts = slo.judge_all(objectives, "measured", found.samples, weighed)
    return Judged(found, facts, valid, tuple(verdicts), dead)


def visits_since(folder: Path, scenario: Scenario, since_us: int) -> Visits:
    """Visits of mocked stations that began at ``since_us`` or later, on the services' own clock.

    Services go on while their rows are read: of the last seconds' visits some may be missing.
    """
    for _ in range(READS_MAX):
        try:
            return _visits(outcomes.files(folder), _mocked(scenario), since_us)
        except FileNotFoundError:
            # A service has just joined its parts into a bigger one.
            continue
    return NO_VISITS


def _visits(files: Iterable[Path], mocked: list[str], since_us: int) -> Visits:
    count = late = 0
    for file in files:
        rows = measures.frame(pq.read_table(file, schema=outcomes.SCHEMA))
        here = rows.filter(
            (pl.col("observer") == "server")
            & pl.col("station").is_in(mocked)
            & (pl.col("start_us") >= since_us)
        )
        count, late = count + here.height, late + validity.overruns(here)
    return Visits(count, late)
