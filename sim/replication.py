"""One replication: a variant of a scenario under one seed, walked and read off.

Replications of compared variants share their seeds, and every draw is a hash of the seed and of
what it is for: consumer 734 112 has the same bank, patience and debit time in both. Common random
numbers need nothing more.
"""

from __future__ import annotations

import functools
import hashlib
import math
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fewseconds import chance
from fewseconds.plan import Plan, plan
from fewseconds.scenario import Scenario
from sim import engines, paired
from sim.summary import MEASURES
from sim.window import Window

if TYPE_CHECKING:
    from sim.summary import Summary


PAIRED_EACH: Final = 400
"""Consumers of a replication who walk both ways in."""
CELL_US: Final = 600_000_000
SQUEEZED_CELL_US: Final = 60_000_000
NEIGHBOUR_BITS: Final = 33
"""Numbers of journeys stay below this many bits (``sim.ready.rank`` has 38 for them)."""
PLANS_KEPT: Final = 24
"""Windows of plans that a worker keeps: variants of one seed mostly share theirs."""


class Case(msgspec.Struct, frozen=True, eq=False):
    """A variant of a scenario: what is walked, at how many times its arrivals."""

    scenario: Scenario
    window: Window
    rate: float = 1.0
    """So many times as many arrivals; below 1, so many of them are left."""
    engine: str = engines.DEFAULT
    paired: bool = False
    """Some of the judged also walk both ways in, by QR and by the portal; it costs two walks."""

    @property
    def key(self) -> str:
        """The same for two cases whose replications are the same."""
        whole = (self.scenario.digest, self.window, self.rate, self.engine, self.paired)
        return hashlib.sha256(repr(whole).encode()).hexdigest()


class Use(msgspec.Struct, frozen=True):
    """Use of one station in the judged hours."""

    servers: int
    visits: int
    busy: float
    """Mean number of busy servers (erlangs)."""
    waiting: float
    """Mean number in the queue."""
    rejected: int
    """In all that was walked, like those below."""
    reneged: int
    queue_max: int


class Reading(msgspec.Struct, frozen=True, eq=False):
    """What is kept of one replication."""

    seed: int
    samples: dict[str, NDArray[np.float64]]
    """Seconds of the judged journeys, ascending, by measure."""
    uses: dict[str, Use]
    fates: dict[str, int]
    """Of all that was walked."""
    judged: int
    walked: int
    wall_s: float


def read(case: Case, seed: int) -> Reading:
    """Walk one case under one seed."""
    window = case.window
    walk = rows(case, seed)
    done = engines.walk(walk, case.engine, rows=False)  # type: ignore[arg-type]
    summary = done.summarised(walk)
    first, last = (
        int(row) for row in walk.starts_us.searchsorted([window.from_us, window.until_us])
    )
    samples = {name: np.sort(summary.samples(name, first, last)) for name in MEASURES}
    if case.paired:
        judged = Plan(walk.scenario, seed, walk.table.slice(first, last - first))
        both = paired.pairs(judged, case.engine, PAIRED_EACH)  # type: ignore[arg-type]
        samples[paired.MEASURE] = np.sort(both.faster)
    return Reading(
        seed=seed,
        samples=samples,
        uses=uses(summary, window),
        fates=summary.fates,
        judged=last - first,
        walked=len(walk),
        wall_s=done.wall_s,
    )


def uses(summary: Summary, window: Window) -> dict[str, Use]:
    """Every station's use within the window."""
    hours, length_us = window.hours, window.walked_us
    return {
        name: Use(
            servers=use.servers,
            visits=int(use.visits_by_hour[hours].sum()),
            busy=int(use.busy_us_by_hour[hours].sum()) / length_us,
            waiting=int(use.waiting_us_by_hour[hours].sum()) / length_us,
            rejected=use.rejected,
            reneged=use.reneged,
            queue_max=use.queue_max,
        )
        for name, use in summary.stations.items()
    }


def rows(case: Case, seed: int) -> Plan:
    """The walked rows of the plan, at the case's rate.

    Below 1, so many consumers are left. Above 1, everybody has company: neighbours of the same app,
    bank and medium, with luck of their own, who come within the same ten minutes. A higher rate
    keeps everybody of a lower one, and nothing else moves; a plan of sixteen cities would say the
    same and take minutes.
    """
    scenario = msgspec.structs.replace(case.scenario, stations={}, steps={}, slo=(), fault=())
    window = case.window
    walked = (window.walked_from_us, window.walked_until_us)
    table = _table(_Hashed(scenario), seed, *(window.squeezed or walked))
    rate, cell_us = case.rate, CELL_US
    if window.squeezed is not None:
        table, part = _squeezed(table, window.squeezed, walked)
        rate, cell_us = rate * part, SQUEEZED_CELL_US
    consumers = table["consumer"].to_numpy()
    if rate < 1:
        people = round(case.scenario.consumers * rate)
        table = table.filter(pa.array(consumers < people))
    elif rate > 1:
        copies = [table]
        for number in range(1, math.ceil(rate)):
            luck = chance.uniform(seed, chance.stream("neighbour"), consumers, number)
            present = luck < chance.threshold(min(rate - number, 1.0))
            copies.append(_neighbours(table.filter(pa.array(present)), seed, number, cell_us))
        together = pa.concat_tables(copies)
        starts, ids = (together[n].to_numpy() for n in ("intended_start_us", "journey_id"))
        table = together.take(np.lexsort((ids, starts)))
    return Plan(case.scenario, seed, table)


def _neighbours(table: pa.Table, seed: int, number: int, cell_us: int) -> pa.Table:
    """The same rows for other people, each at another moment of its ``cell_us``."""
    ids = table["journey_id"].to_numpy() + (number << NEIGHBOUR_BITS)
    luck = chance.uniform(seed, chance.stream("neighbour", "moment"), ids, 1)
    cell = table["intended_start_us"].to_numpy() // cell_us
    table = _at(table, cell * cell_us + (luck * cell_us >> 32))
    for name, values in (("journey_id", ids), ("bill", ids)):
        place = table.schema.get_field_index(name)
        table = table.set_column(place, table.schema.field(name), pa.array(values, pa.int64()))
    return table


def _squeezed(
    table: pa.Table, hour: tuple[int, int], walked: tuple[int, int]
) -> tuple[pa.Table, float]:
    """The hour's people, all within ``walked``, and which part of the hour that is."""
    length_us, part_us = hour[1] - hour[0], walked[1] - walked[0]
    since_us = table["intended_start_us"].to_numpy() - hour[0]
    return _at(table, walked[0] + since_us * part_us // length_us), part_us / length_us


def _at(table: pa.Table, starts_us: NDArray[np.int64]) -> pa.Table:
    place = table.schema.get_field_index("intended_start_us")
    return table.set_column(place, table.schema.field(place), pa.array(starts_us, pa.int64()))


class _Hashed:
    """A scenario that can be looked up: equal when its digest is."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario, self.digest = scenario, scenario.digest

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Hashed) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)


@functools.lru_cache(maxsize=PLANS_KEPT)
def _table(planned: _Hashed, seed: int, from_us: int, until_us: int) -> pa.Table:
    whole = plan(planned.scenario, seed)
    first, last = whole.starts_us.searchsorted([from_us, until_us])
    # Taken, not sliced: a slice would keep the whole month in memory.
    return whole.table.take(np.arange(first, last))
