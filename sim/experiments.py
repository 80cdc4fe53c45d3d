"""Experiments: replications until the intervals are narrow, and what they say about objectives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

import msgspec

from fewseconds import slo
from sim import intervals, paired, replication
from sim.summary import MEASURES

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from fewseconds.scenario import Slo
    from sim.intervals import Estimate
    from sim.replication import Case, Reading
    from sim.workers import Workers

Say = Callable[[str, float], None]

STATISTICS: Final = (
    ("machine_time", "p50"), ("machine_time", "p95"), ("machine_time", "p99"),
    ("end_to_end", "p50"), ("end_to_end", "p95"),
    ("sms_time", "p50"), ("sms_time", "p95"),
    ("portal_time", "p50"), ("portal_time", "p95"),
    ("error_rate", "share"), (paired.MEASURE, "share"),
)  # fmt: skip
"""What is compared, whether an objective bounds it or not."""


class Precision(msgspec.Struct, frozen=True):
    """How many replications: at least ``first``, then more until every gate is known well enough.

    Law (Simulation Modeling and Analysis, 5th ed., 9.4.1) recommends at least ten to begin with
    and a relative half-width of at most 15 %: smaller ones stop too early too often.
    """

    relative: float = 0.05
    """Half-width as a share of a time, or of a share's limit."""
    first: int = 10
    most: int = 40


class Study:
    """A case and its replications so far."""

    def __init__(self, case: Case) -> None:
        """Begin without any."""
        self.case = case
        self.readings: list[Reading] = []

    def estimate(self, measure: str, statistic: str) -> Estimate:
        """A statistic of a measure with its interval, or why there is none."""
        return intervals.statistic(self._samples(measure), statistic)

    def _samples(self, measure: str) -> list[NDArray[np.float64]]:
        return [reading.samples[measure] for reading in self.readings]

    def busy(self, station: str) -> Estimate:
        """Mean number of busy servers in the judged hours."""
        return intervals.mean([r.uses[station].busy for r in self.readings])

    def waiting(self, station: str) -> Estimate:
        """Mean length of the queue in the judged hours."""
        return intervals.mean([r.uses[station].waiting for r in self.readings])

    def verdicts(self) -> list[slo.Verdict]:
        """Every objective that a single walk can be judged on."""
        return [self._verdict(one) for one in objectives(self.case)]

    def _verdict(self, objective: Slo) -> slo.Verdict:
        found = self.estimate(objective.measure, objective.statistic)
        word, reason = decide(objective, self._samples(objective.measure))
        reason = reason or found.reason
        return slo.Verdict(
            name=objective.name,
            measure=objective.measure,
            statistic=objective.statistic,
            engine="simulated",
            gate=objective.gate,
            limit=objective.limit,
            at_least=objective.at_least,
            word=word,
            observed=found.observed,
            low=found.low,
            high=found.high,
            count=found.count,
            reason=reason,
            source=objective.source,
        )

    def unsettled(self, precision: Precision) -> str:
        """The first gate whose interval is too wide, as a sentence; empty if all are narrow."""
        for objective in objectives(self.case):
            if not objective.gate:
                continue
            found = self.estimate(objective.measure, objective.statistic)
            if found.observed is None or found.half_width == float("inf"):
                return f"{objective.name}: {found.reason or 'some never end'}"
            # What has failed beyond doubt will not be settled by more of the same.
            if decide(objective, self._samples(objective.measure))[0] == "fail":
                continue
            scale = objective.limit if objective.statistic == "share" else found.observed
            if found.half_width > precision.relative * scale:
                known = f"±{found.half_width / scale:.1%}"
                return f"{objective.name}: known to {known} only, not to ±{precision.relative:.1%}"
        return ""


def objectives(case: Case) -> list[Slo]:
    """The objectives that one simulated walk can be judged on."""
    return [
        one
        for one in case.scenario.slo
        if one.measure in measured(case) and "simulated" in one.engines
    ]


def measured(case: Case) -> tuple[str, ...]:
    """The measures that a replication of the case has samples of."""
    return (*MEASURES, paired.MEASURE) if case.paired else MEASURES


def decide(objective: Slo, samples: Sequence[NDArray[np.float64]]) -> tuple[slo.Word, str]:
    """Pass or fail if the objective is beyond doubt; ``samples`` has one array a replication.

    A percentile lies within its limit exactly if no more than the rest lies beyond it, so that the
    share beyond the limit is judged: its interval needs no density and no long tail, and it exists
    also where the percentile itself cannot be printed.
    """
    lying, allowed = beyond(objective, samples)
    found = intervals.statistic(lying, intervals.SHARE)
    if found.low is None or found.high is None:
        return "inconclusive", found.reason
    if found.high <= allowed:
        return "pass", ""
    if found.low > allowed:
        return "fail", ""
    span = f"{found.low:.2%} to {found.high:.2%}"
    return "inconclusive", f"{span} lie beyond the limit, {allowed:.2%} may: run more replications"


def beyond(
    objective: Slo, samples: Sequence[NDArray[np.float64]]
) -> tuple[list[NDArray[np.float64]], float]:
    """1 for every value that lies beyond the objective's limit, else 0, and the share that may."""
    if objective.statistic != intervals.SHARE:
        rest = 1 - slo.QUANTILES[objective.statistic]
        allowed = 1 - rest if objective.at_least else rest
        low_side = objective.at_least
        return [
            (sample < objective.limit if low_side else sample > objective.limit).astype(float)
            for sample in samples
        ], allowed
    if objective.at_least:
        return [1 - sample for sample in samples], 1 - objective.limit
    return list(samples), objective.limit


def seeds(scenario_seed: int, first: int, last: int) -> list[int]:
    """The seeds of replications ``first`` to ``last`` (excluded): the scenario's own and on."""
    return [(scenario_seed + number) % (1 << 63) for number in range(first, last)]


def replicate(
    cases: Sequence[Case],
    precision: Precision,
    workers: Workers,
    seed: int,
    say: Say,
    *,
    in_pairs: bool = False,
) -> list[Study]:
    """Replicate every case until its gates are known well enough, or to the cap.

    All cases share their seeds, pair by pair: replication r of each has the same. ``in_pairs``
    gives all of them as many as the one that needs the most.
    """
    studies = [Study(case) for case in cases]
    pending = list(range(len(studies)))
    done, total = 0, len(studies) * precision.first
    begun, until = 0, precision.first
    while pending:
        # Seed by seed, because variants under one seed share their plan.
        tasks = [(index, n) for n in seeds(seed, begun, until) for index in pending]
        base, whole = done, max(total, done + len(tasks))
        readings = workers.map(
            replication.read,
            [(studies[index].case, number) for index, number in tasks],
            lambda count, base=base, whole=whole: say("replicating", (base + count) / whole),  # type: ignore[misc]
        )
        for (index, _), reading in zip(tasks, readings, strict=True):
            studies[index].readings.append(reading)
        done += len(tasks)
        begun, until = until, min(until + max(until // 2, 1), precision.most)
        if begun >= precision.most:
            break
        wide = [index for index in pending if studies[index].unsettled(precision)]
        pending = pending if in_pairs and wide else wide
    return studies
