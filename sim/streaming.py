"""Walks of any length in constant memory: histograms and a sample of journeys instead of all rows.

The plan is made in pieces, in order of time, and every piece is forgotten when its journeys have
ended; what they come to is added to histograms. A seeded sample of journeys keeps its rows.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np
import pyarrow as pa

from fewseconds import chance
from fewseconds.outcomes import SCHEMA
from fewseconds.plan import Plan, chunks
from sim import layout as at
from sim import native
from sim.flat import Flat
from sim.histogram import Histogram
from sim.machine import Machine
from sim.summary import MEASURES, StationUse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from fewseconds.scenario import Scenario

SAMPLE: Final = 1000
"""Journeys whose rows are kept, about."""


class Streamed(msgspec.Struct, frozen=True, eq=False):
    """What a long walk came to."""

    journeys: int
    events: int
    wall_s: float
    """In the engine; the plan and the histograms come on top."""
    fates: dict[str, int]
    measures: dict[str, Histogram]
    """Every measure of :data:`sim.summary.MEASURES` but the error rate, which is in the fates."""
    stations: dict[str, StationUse]
    sample: pa.Table
    """All rows of the sampled journeys."""


def stream(
    scenario: Scenario,
    seed: int | None = None,
    progress: Callable[[int], None] | None = None,
    parts: Iterable[Plan] | None = None,
    sample: int = SAMPLE,
) -> Streamed:
    """Walk the whole plan of ``scenario``, or the ``parts`` of one, piece by piece."""
    seed = scenario.seed if seed is None else seed
    flat = Flat(scenario, seed)
    histograms = {name: Histogram() for name in MEASURES if name != "error_rate"}
    fates: Counter[str] = Counter()
    kept: list[pa.Table] = []
    nothing = np.zeros((0, at.STAY_WIDTH), np.int64)

    def on_ended(ended: NDArray[np.int64]) -> None:
        walked = native.journeys(ended, flat)
        fates.update(dict(walked["fate"].value_counts().iter_rows()))
        for name, said in native.says(walked, nothing):
            if name in histograms:
                histograms[name].add(said["seconds"].to_numpy())

    def on_stays(stays: NDArray[np.int64]) -> None:
        histograms["biller_time"].add(stays[:, at.STAY_US] / 1e6)

    machine = Machine(
        flat, on_ended, on_stays, lambda rows: kept.append(native.outcomes(rows, flat))
    )
    payments = scenario.consumers * scenario.arrivals.payments_per_consumer_month
    limit = chance.threshold(min(sample / max(payments, 1), 1.0))
    mark = chance.stream("sample")

    def keep(part: Plan) -> NDArray[np.int64]:
        numbers = part.table["journey_id"].to_numpy()
        return (chance.uniform_array(seed, mark, numbers, 1) < limit).astype(np.int64)

    machine.prepare()
    machine.walk(chunks(scenario, seed) if parts is None else parts, keep, progress)
    return Streamed(
        machine.begun,
        machine.events,
        machine.wall_s,
        dict(sorted(fates.items())),
        histograms,
        native.stations(machine, scenario),
        pa.concat_tables([SCHEMA.empty_table(), *kept]),
    )
