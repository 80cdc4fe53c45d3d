"""What a time is made of, and how much quicker one part would have to be: the flip point."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

from fewseconds import slo
from fewseconds.measures import QR, SYSTEM_FATES
from fewseconds.report import words
from fewseconds.report.steps import spans

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from fewseconds.scenario import Scenario
    from fewseconds.slo import Verdict

    Parts = Mapping[str, NDArray[np.float64]]

PEOPLE: Final = "people"
MACHINE: Final = "the machine"
BAND: Final = 0.05
"""Half the width, in ranks, of the neighbourhood of a quantile whose parts are described."""
PARTS_NAMED: Final = 2
PRECISION: Final = 1e-4


def parts(
    scenario: Scenario, measure: str, journeys: pl.DataFrame, outcomes: pl.DataFrame
) -> dict[str, NDArray[np.float64]]:
    """Seconds of every judged journey, split into parts; what the system failed is infinite.

    ``end_to_end`` splits into people and the machine, ``machine_time`` into its steps; the parts of
    other measures are not known, and the answer is empty.
    """
    failed = pl.col("fate").is_in(SYSTEM_FATES)
    judged = journeys.filter((pl.col("way") == QR) & ((pl.col("fate") == "confirmed") | failed))
    if judged.is_empty() or measure not in {"machine_time", "end_to_end"}:
        return {}
    lost = judged["fate"].is_in(SYSTEM_FATES).to_numpy()
    machine = judged["machine_us"].fill_null(0).to_numpy() / 1e6
    if measure == "end_to_end":
        whole = judged["end_to_end_us"].fill_null(0).to_numpy() / 1e6
        split = {PEOPLE: whole - machine, MACHINE: machine}
    else:
        split = _steps(scenario, judged, outcomes)
    return {name: np.where(lost, np.inf, seconds) for name, seconds in split.items()}


def _steps(
    scenario: Scenario, judged: pl.DataFrame, outcomes: pl.DataFrame
) -> dict[str, NDArray[np.float64]]:
    taken, split = spans(outcomes), {}
    for name, step in scenario.steps.items():
        if step.clock == "machine" and step.after is None:
            own = taken.filter(pl.col("step") == name).select("journey_id", "seconds")
            column = judged.select("journey_id").join(own, "journey_id", "left")["seconds"]
            if column.drop_nulls().len():
                split[f"“{words.label(name, words.STEPS)}”"] = column.fill_null(0.0).to_numpy()
    return split


def near(split: Parts, probability: float) -> dict[str, float]:
    """Medians of the parts among the finished journeys whose total lies near a quantile.

    Empty if the system failed all journeys there.
    """
    if not split:
        return {}
    total = np.sum(list(split.values()), axis=0)
    order, count = np.argsort(total, kind="stable"), len(total)
    first = int(max(probability - BAND, 0.0) * count)
    last = max(math.ceil(min(probability + BAND, 1.0) * count), 1)
    band = order[first:last]
    band = band[np.isfinite(total[band])]
    if len(band) == 0:
        return {}
    return {name: float(np.median(seconds[band])) for name, seconds in split.items()}


def flip_factor(verdict: Verdict, split: Parts, name: str) -> float | None:
    """The largest factor on part ``name`` with which the limit is met; None if not even 0 does."""
    part = split[name]
    others = [seconds for other, seconds in split.items() if other != name]
    rest = np.sum([np.zeros_like(part), *others], axis=0)
    lost, length = np.isinf(part), np.where(np.isinf(part), 0.0, part)

    def met(factor: float) -> bool:
        total = np.where(lost, np.inf, rest + factor * length)
        return slo.quantile(total, slo.QUANTILES[verdict.statistic])[0] <= verdict.limit

    if not met(0.0):
        return None
    low, high = 0.0, 1.0
    while high - low > PRECISION:
        middle = (low + high) / 2
        low, high = (middle, high) if met(middle) else (low, middle)
    return low


def flip_point(verdict: Verdict, split: Parts) -> str:
    """In words: where the time of a failed objective went, and what would meet its limit."""
    medians = near(split, slo.QUANTILES[verdict.statistic])
    if not medians:
        return "The system failed so many journeys that no speed would help."
    largest = sorted(medians, key=lambda name: -medians[name])[:PARTS_NAMED]
    spent = " and ".join(f"{name} {words.seconds(medians[name])}" for name in largest)
    factors = {name: flip_factor(verdict, split, name) for name in largest}
    ways = [
        f"{name} took {words.percent(1 - factor, 0)} less time"
        for name, factor in factors.items()
        if factor is not None
    ]
    hopeless = [name for name, factor in factors.items() if factor is None]
    if not ways:
        would = "No single part, however quick, would meet the limit."
    else:
        alone = (
            f"; a quicker {hopeless[0].removeprefix('the ')} alone would not do" if hopeless else ""
        )
        would = f"The limit would be met if {', or if '.join(ways)}{alone}."
    return f"Journeys near that value spent, at the median: {spent}. {would}"
