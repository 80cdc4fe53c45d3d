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
from numpy.typing import NDArray

from fewseconds.plan import Plan, plan
from fewseconds.scenario import Scenario
from sim import engines
from sim.summary import MEASURES, Summary
from sim.window import Window

if TYPE_CHECKING:
    import pyarrow as pa


PLANS_KEPT: Final = 24
"""Windows of plans that a worker keeps: variants of one seed mostly share theirs."""


class Case(msgspec.Struct, frozen=True, eq=False):
    """A variant of a scenario: what is walked, at how many times its arrivals."""

    scenario: Scenario
    window: Window
    rate: float = 1.0
    """The population is so many times as large; below 1, so much of it is left."""
    engine: str = engines.DEFAULT

    @property
    def key(self) -> str:
        """The same for two cases whose replications are the same."""
        whole = (self.scenario.digest, self.window, self.rate, self.engine)
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
    return Reading(
        seed=seed,
        samples={name: np.sort(summary.samples(name, first, last)) for name in MEASURES},
        uses=uses(summary, window),
        fates=summary.fates,
        judged=last - first,
        walked=len(walk),
        wall_s=done.wall_s,
    )


def uses(summary: Summary, window: Window) -> dict[str, Use]:
    """Every station's use within the window."""
    hours, length_us = window.hours, window.length_us
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

    More arrivals are a larger population, whose plan is made for the next power of two and thinned
    by the consumer's number: a higher rate keeps everybody of a lower one, and nothing else moves.
    """
    scale = 2 ** max(math.ceil(math.log2(case.rate)), 0)
    scenario = msgspec.structs.replace(
        case.scenario, stations={}, steps={}, slo=(), fault=(),
        consumers=case.scenario.consumers * scale,
    )  # fmt: skip
    table = _table(_Hashed(scenario), seed, case.window)
    people = round(case.scenario.consumers * case.rate)
    if people < scenario.consumers:
        table = table.filter(table["consumer"].to_numpy() < people)
    return Plan(case.scenario, seed, table)


class _Hashed:
    """A scenario that can be looked up: equal when its digest is."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario, self.digest = scenario, scenario.digest

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Hashed) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)


@functools.lru_cache(maxsize=PLANS_KEPT)
def _table(planned: _Hashed, seed: int, window: Window) -> pa.Table:
    whole = plan(planned.scenario, seed)
    first, last = whole.starts_us.searchsorted([window.walked_from_us, window.walked_until_us])
    # Taken, not sliced: a slice would keep the whole month in memory.
    return whole.table.take(np.arange(first, last))
