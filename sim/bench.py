"""How long the engines take on one model, in turns with each other and with an idiomatic queue."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Final

import msgspec

from fewseconds.plan import Plan
from sim import baseline, engines
from sim.rows_file import RowsFile

if TYPE_CHECKING:
    from collections.abc import Callable

PACE: Final = "simpy: M/M/c of Resource and process"


class Pace(msgspec.Struct, frozen=True):
    """How fast one engine is: processor time, the median of some repeats."""

    consumers: int
    events: int
    us_per_consumer: float
    us_per_event: float
    repeats_us_per_consumer: tuple[float, ...]
    wall_s: float
    """Median of the walks alone, or of the whole where rows are written."""


def bench(
    plan: Plan,
    simpy_journeys: int,
    customers: int,
    repeats: int,
    progress: Callable[[str, float], None],
) -> dict[str, Pace]:
    """Measure everything ``repeats`` times, in turns."""
    middle = len(plan) // 2
    few = Plan(plan.scenario, plan.seed, plan.table.slice(middle, simpy_journeys))
    engines.walk(few, "numba", rows=False)  # Compiled, or loaded, before anything is measured.
    ways: dict[str, Callable[[], tuple[int, int, float]]] = {
        "numba": lambda: _walk(plan, "numba"),
        "numba, all rows to Parquet": lambda: _to_parquet(plan),
        "simpy": lambda: _walk(few, "simpy"),
        PACE: lambda: _queue(customers),
    }
    took: dict[str, list[tuple[int, int, float, float]]] = {name: [] for name in ways}
    for turn in range(repeats):
        for number, (name, way) in enumerate(ways.items()):
            progress(name, (turn + number / len(ways)) / repeats)
            begun = time.process_time()
            consumers, events, wall_s = way()
            took[name].append((consumers, events, wall_s, time.process_time() - begun))
    return {name: _pace(found) for name, found in took.items()}


def _pace(found: list[tuple[int, int, float, float]]) -> Pace:
    consumers, events, _, _ = found[0]
    each = tuple(cpu_s / consumers * 1e6 for *_, cpu_s in found)
    typical = median(each)
    return Pace(
        consumers, events, typical, typical * consumers / events, each,
        median(wall_s for _, _, wall_s, _ in found),
    )  # fmt: skip


def _walk(plan: Plan, engine: engines.Engine) -> tuple[int, int, float]:
    done = engines.walk(plan, engine, rows=False)
    return done.journeys, done.events, done.wall_s


def _to_parquet(plan: Plan) -> tuple[int, int, float]:
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, RowsFile(Path(folder) / "rows.parquet") as rows:
        done = engines.walk(plan, "numba", sink=rows.take)
    return done.journeys, done.events, time.perf_counter() - begun


def _queue(customers: int) -> tuple[int, int, float]:
    begun = time.perf_counter()
    baseline.mmc(customers, 1)
    wall_s = time.perf_counter() - begun
    return customers, customers * baseline.EVENTS_A_CUSTOMER, wall_s
