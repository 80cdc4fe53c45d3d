"""Sweeps: every combination of some keys, or a design that ranks the keys by what they do."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from fewseconds import slo
from sim import experiments, intervals, sensitivity, variants
from sim.intervals import Estimate
from sim.replication import Case
from sim.sensitivity import Index

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fewseconds.scenario import Scenario
    from sim.experiments import Precision, Say, Study
    from sim.sensitivity import Method
    from sim.variants import Value, Vary
    from sim.window import Window
    from sim.workers import Workers


class Point(msgspec.Struct, frozen=True):
    """One combination and what it gave."""

    values: dict[str, Any]
    replications: int
    word: slo.Word
    verdicts: tuple[slo.Verdict, ...]
    utilisation: dict[str, Estimate]
    """Of the stations with a queue."""
    unsettled: str


class Ranking(msgspec.Struct, frozen=True):
    """What the keys do to one objective."""

    objective: str
    indices: tuple[Index, ...]
    least: float
    most: float
    """The range of its values over the design."""


class Sweep(msgspec.Struct, frozen=True):
    """A whole sweep."""

    scenario: str
    keys: tuple[str, ...]
    window: str
    points: tuple[Point, ...] = ()
    """Empty for a design."""
    method: str = ""
    runs: int = 0
    rankings: tuple[Ranking, ...] = ()
    sentence: str = ""

    @property
    def word(self) -> slo.Word:
        """Whether some variant meets every gate; a design judges nothing."""
        words = {point.word for point in self.points}
        if "pass" in words or not words:
            return "pass"
        return "inconclusive" if "inconclusive" in words else "fail"


def cases(
    name: str,
    base: Scenario,
    points: Sequence[dict[str, Value]],
    window: Window,
    engine: str,
    *,
    paired: bool,
) -> list[Case]:
    """A case a combination; raises ScenarioError for the first that makes no scenario."""
    return [
        Case(variants.variant(name, values, base), window, engine=engine, paired=paired)
        for values in points
    ]


def over_grid(
    made: Sequence[Case],
    points: Sequence[dict[str, Value]],
    precision: Precision,
    workers: Workers,
    seed: int,
    say: Say,
) -> Sweep:
    """Walk every combination until its gates are known well enough."""
    studies = experiments.replicate(made, precision, workers, seed, say)
    found = Sweep(
        scenario=made[0].scenario.name,
        keys=tuple(points[0]),
        window=made[0].window.text,
        points=tuple(
            _point(values, study, precision) for values, study in zip(points, studies, strict=True)
        ),
        runs=sum(len(study.readings) for study in studies),
    )
    return msgspec.structs.replace(found, sentence=_grid_sentence(found))


def _point(values: dict[str, Value], study: Study, precision: Precision) -> Point:
    verdicts = tuple(study.verdicts())
    stations = study.case.scenario.stations
    use = {
        name: intervals.mean([r.uses[name].busy / table.servers for r in study.readings])
        for name, table in stations.items()
        if table.servers
    }
    unsettled = study.unsettled(precision)
    return Point(dict(values), len(study.readings), slo.overall(verdicts), verdicts, use, unsettled)


def over_design(
    made: Sequence[Case],
    varied: Sequence[Vary],
    points: np.ndarray[Any, np.dtype[np.float64]],
    method: Method,
    workers: Workers,
    seed: int,
    say: Say,
) -> Sweep:
    """Walk a design, every point once and all under one seed, and rank the keys."""
    once = experiments.Precision(first=1, most=1)
    studies = experiments.replicate(made, once, workers, seed, say)
    rankings = []
    for objective in experiments.objectives(made[0]):
        samples = [study.readings[0].samples[objective.measure] for study in studies]
        if not all(len(sample) for sample in samples):
            continue
        answers = np.array([intervals.of_one(s, objective.statistic) for s in samples])
        indices = sensitivity.ranking(varied, points, answers, method, seed)
        low, high = float(answers.min()), float(answers.max())
        rankings.append(Ranking(objective.name, tuple(indices), low, high))
    found = Sweep(
        scenario=made[0].scenario.name,
        keys=tuple(vary.key for vary in varied),
        window=made[0].window.text,
        method=method,
        runs=len(studies),
        rankings=tuple(rankings),
    )
    return msgspec.structs.replace(found, sentence=_design_sentence(found))


def _grid_sentence(found: Sweep) -> str:
    passing = [point for point in found.points if point.word == "pass"]
    total = len(found.points)
    if len(found.keys) == 1 and passing:
        (key,) = found.keys
        values = [point.values[key] for point in found.points]
        good = [point.values[key] for point in passing]
        if len(good) == total:
            return f"Every gate holds at every {key} from {values[0]} to {values[-1]}."
        if good == values[total - len(good) :]:
            return f"Every gate holds from {key} = {good[0]} on, and not below."
        if good == values[: len(good)]:
            return f"Every gate holds up to {key} = {good[-1]}, and not beyond."
    if not passing:
        open_ones = sum(point.word == "inconclusive" for point in found.points)
        rest = f"; {open_ones} of them are not settled" if open_ones else ""
        return f"None of {total} variants surely meets every gate{rest}."
    return f"{len(passing)} of {total} variants meet every gate."


def _design_sentence(found: Sweep) -> str:
    telling = [one for one in found.rankings if one.indices and one.indices[0].total is not None]
    if not telling:
        return "None of the objectives changes over these ranges."
    first = telling[0]
    parts = [_index(found, index) for index in first.indices[:2]]
    most = f"{first.objective} depends most on {parts[0]}"
    return most + (f", then on {parts[1]}" if len(parts) > 1 else "") + "."


def _index(found: Sweep, index: Index) -> str:
    size = 0.0 if index.total is None else index.total
    half = index.total_half
    within = f" ± {half:.2g}" if half is not None and math.isfinite(half) else ""
    unit = "total index" if found.method == "sobol" else "mean effect"
    return f"{index.key} ({unit} {size:.2g}{within})"
