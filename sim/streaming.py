"""Walks of any length in constant memory: histograms and a sample of journeys instead of all rows.

The plan is made in pieces, in order of time, and every piece is forgotten when its journeys have
ended; what they come to is added to histograms. A seeded sample of journeys keeps its rows.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np
import pyarrow as pa

from fewseconds import chance, columns, measures
from fewseconds.outcomes import SCHEMA
from fewseconds.plan import HOUR_US, Plan, chunks
from fewseconds.plan import SCHEMA as PLAN
from sim import layout as at
from sim import native
from sim.flat import Flat
from sim.histogram import Histogram, Tally
from sim.machine import Machine
from sim.money import Paise, Sums
from sim.summary import HOURS_A_DAY, MEASURES, StationUse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from fewseconds.scenario import Scenario

SAMPLE: Final = 5000
"""Journeys whose rows are kept, about."""


PILE: Final = 64
"""Tables that are kept before they are made one."""


class Pile:
    """Rows of many small tables in few: a table weighs kilobytes, however few rows it has."""

    def __init__(self, schema: pa.Schema) -> None:
        """Begin empty."""
        self._tables = [schema.empty_table()]

    def add(self, table: pa.Table) -> None:
        """Put some rows on top."""
        if table.num_rows:
            self._tables.append(table)
        if len(self._tables) > PILE:
            self._tables = [self.whole()]

    def whole(self) -> pa.Table:
        """All rows, in the order in which they came."""
        return pa.concat_tables(self._tables).unify_dictionaries().combine_chunks()


class Seen:
    """What is remembered of a plan that goes by in parts."""

    def __init__(self, scenario: Scenario, seed: int, sample: int) -> None:
        """Nothing has gone by; about ``sample`` journeys of the month will be remembered."""
        payments = scenario.consumers * scenario.arrivals.payments_per_consumer_month
        self._limit = chance.threshold(min(sample / max(payments, 1), 1.0))
        self._sampled = Pile(PLAN)
        self._dense: tuple[float, Plan] | None = None
        self.scenario, self.seed = scenario, seed
        self.hourly = np.zeros(scenario.arrivals.days * HOURS_A_DAY, np.int64)
        """Intended starts by hour of the month."""
        self.span_us = (0, 0)
        """The first and the last intended start."""

    def keep(self, part: Plan) -> NDArray[np.int64]:
        """Remember a part; says whose rows are kept: 1 or 0 for each of its journeys."""
        starts = part.starts_us
        self.span_us = (self.span_us[0] if self.hourly.any() else int(starts[0]), int(starts[-1]))
        self.hourly += np.bincount(starts // HOUR_US, minlength=len(self.hourly))
        numbers = columns.values(part.table["journey_id"])
        luck = chance.uniform_array(self.seed, chance.stream("sample"), numbers, 1)
        chosen = luck < self._limit
        self._sampled.add(_rows(part, np.flatnonzero(chosen)))
        self._remember_if_dense(part)
        return chosen.astype(np.int64)

    def _remember_if_dense(self, part: Plan) -> None:
        count = min(self.scenario.simulate.journeys_max, len(part))
        starts = part.starts_us
        spans = starts[count - 1 :] - starts[: len(starts) - count + 1]
        first = int(spans.argmin())
        pace = count / (int(spans[first]) + 1)
        if self._dense is None or pace > self._dense[0]:
            rows = _rows(part, np.arange(first, first + count))
            self._dense = pace, Plan(self.scenario, self.seed, rows)

    @property
    def sampled(self) -> Plan:
        """The journeys whose rows are kept."""
        return Plan(self.scenario, self.seed, self._sampled.whole())

    @property
    def densest(self) -> Plan:
        """The ``simulate.journeys_max`` journeys in a row that follow each other fastest."""
        if self._dense is None:
            raise LookupError(self.scenario.name)
        return self._dense[1]


def _rows(part: Plan, places: NDArray[np.int64]) -> pa.Table:
    """Some rows, copied, so that the others may be forgotten."""
    return part.table.take(columns.numbers(places))


class Streamed(msgspec.Struct, frozen=True, eq=False):
    """What a long walk came to."""

    journeys: int
    events: int
    wall_s: float
    """In the engine; the plan and the histograms come on top."""
    fates: dict[str, int]
    paise: Paise
    """What its journeys set out to pay; see :mod:`sim.money`."""
    compile_s: float
    cpu_s: float
    """Processor time of everything: plan, tables, walk and histograms; without compilation."""
    measures: dict[str, Histogram]
    """Every measure of :data:`sim.summary.MEASURES` but the error rate."""
    errors: Tally
    """The error rate."""
    stations: dict[str, StationUse]
    seen: Seen
    sample: pa.Table
    """All rows of the sampled journeys, which are ``seen.sampled``."""


def stream(
    scenario: Scenario,
    seed: int | None = None,
    progress: Callable[[int], None] | None = None,
    parts: Iterable[Plan] | None = None,
    sample: int = SAMPLE,
) -> Streamed:
    """Walk the whole plan of ``scenario``, or the ``parts`` of one, piece by piece."""
    began_s = time.process_time()
    seed = scenario.seed if seed is None else seed
    flat = Flat(scenario, seed)
    histograms, errors = {name: Histogram() for name in MEASURES if name != "error_rate"}, Tally()
    fates: Counter[str] = Counter()
    sums = Sums(scenario, seed)
    kept = Pile(SCHEMA)
    nothing = np.zeros((0, at.STAY_WIDTH), np.int64)

    def on_ended(ended: NDArray[np.int64]) -> None:
        walked = native.journeys(ended, flat)
        fates.update(dict(walked["fate"].value_counts().iter_rows()))
        sums.end(walked["journey_id"].to_numpy(), measures.ends(walked["fate"]))
        for name, said in native.says(walked, nothing):
            kept_in = errors if name == "error_rate" else histograms[name]
            kept_in.add(said["seconds"].to_numpy())

    def on_stays(stays: NDArray[np.int64]) -> None:
        histograms["biller_time"].add(stays[:, at.STAY_US] / 1e6)

    def on_part(part: Plan) -> NDArray[np.int64]:
        sums.begin(part)
        return seen.keep(part)

    machine = Machine(flat, on_ended, on_stays, lambda rows: kept.add(native.outcomes(rows, flat)))
    seen = Seen(scenario, seed, sample)
    until_s = time.process_time()
    compile_s = machine.prepare()
    compiled_s = time.process_time() - until_s
    machine.walk(chunks(scenario, seed) if parts is None else parts, on_part, progress)
    return Streamed(
        machine.begun,
        machine.events,
        machine.wall_s,
        dict(sorted(fates.items())),
        sums.paise(),
        compile_s,
        time.process_time() - began_s - compiled_s,
        histograms,
        errors,
        native.stations(machine, scenario),
        seen,
        kept.whole(),
    )
