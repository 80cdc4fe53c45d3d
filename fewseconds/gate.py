"""How good a gate is: how often it cries wolf, and the smallest regression that it catches.

Runs of the unchanged system (A/A) show how much an observed statistic differs from run to run.
From that follow the limit that a chosen rate of false alarms asks for, and the power against a
slow-down.

* A quantile of times: its logarithm is taken as normal from run to run, so that slow-downs are
  factors. With n runs of mean m and standard deviation s, a further run of the same system stays
  below ``m + t(n - 1, 1 - alpha) s sqrt(1 + 1/n)`` with probability 1 - alpha (prediction interval;
  Hahn and Meeker, Statistical Intervals, section 4.7), and the same t says how likely a run that is
  slower by a factor exceeds a limit.
* A share of journeys: exact binomial. The rate that is assumed is the upper end of the interval of
  Clopper and Pearson (1934) over all runs.

The false alarms that were counted have the interval of Clopper and Pearson as well. Runs that were
slowed down on purpose check all this: how much slower they really became is measured, and how many
of them are above the proposed limit is set beside what the model expects of that factor.
"""

from __future__ import annotations

import math
from collections import defaultdict
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np
from scipy import special

from fewseconds.errors import UsageError
from fewseconds.slo import Word

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from fewseconds.slo import Verdict

RUNS_MIN: Final = 3
CONFIDENCE: Final = 0.95
SLOWDOWNS: Final = (1.02, 1.05, 1.1, 1.15, 1.2, 1.3, 1.5, 2.0, 3.0)
"""Factors at which the power is told."""


class Rate(msgspec.Struct, frozen=True):
    """A share that was counted, with its exact 95 % interval."""

    count: int
    of: int
    low: float
    high: float


class Power(msgspec.Struct, frozen=True):
    """How likely one run that is slower (or fails more often) by ``factor`` is caught."""

    factor: float
    at_own_limit: float
    at_proposed_limit: float


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """One objective."""

    name: str
    measure: str
    statistic: str
    limit: float
    """The scenario's own; seconds, or a share."""
    observed: tuple[float, ...]
    """Of each run."""
    false_alarms: Rate
    """Runs of the unchanged system above the scenario's own limit."""
    false_alarm_rate: float
    """Expected of one more run, at the scenario's own limit."""
    proposed_limit: float
    """The lowest limit with the rate of false alarms that was asked for."""
    left_out: Rate
    """False alarms of each run at the limit that all the others propose: a check of the model."""
    power: tuple[Power, ...]
    detectable: float | None
    """The smallest factor that the proposed limit catches with the power asked for; None if even
    twenty times as much would not be."""
    detectable_at_own_limit: float | None


class Gate(msgspec.Struct, frozen=True, kw_only=True):
    """All objectives that gate, from one set of runs."""

    runs: int
    inconclusive: int
    """Runs that say nothing and were left out."""
    alpha: float
    power: float
    gates: tuple[Calibration, ...]
    overall: Rate
    """Runs of the unchanged system that any gate would have failed."""


class Caught(msgspec.Struct, frozen=True, kw_only=True):
    """What runs that were slowed down on purpose showed of one objective."""

    name: str
    measure: str
    observed: tuple[float, ...]
    """Of each conclusive run."""
    factor: float | None
    """By how much it became slower (the ratio of geometric means) or, a share, how many times the
    assumed rate it failed; None if there was no conclusive run."""
    expected: float | None
    """How likely the model takes one run at that factor to be above the proposed limit."""
    above_proposed: Rate
    above_own: Rate


class Slowed(msgspec.Struct, frozen=True):
    """Runs with a known slow-down: what was really caught."""

    slow: tuple[str, ...]
    """What was planted: stations and factors."""
    words: tuple[Word, ...]
    """Of every run, at the scenario's own limits."""
    gates: tuple[Caught, ...]


def exact(count: int, of: int) -> Rate:
    """A share with the interval of Clopper and Pearson; nothing at all may be anything."""
    if of == 0:
        return Rate(0, 0, 0.0, 1.0)
    tail = (1 - CONFIDENCE) / 2
    low = float(special.betaincinv(count, of - count + 1, tail)) if count else 0.0
    high = float(special.betaincinv(count + 1, of - count, 1 - tail)) if count < of else 1.0
    return Rate(count, of, low, high)


def calibrated(runs: Sequence[Iterable[Verdict]], alpha: float, power: float) -> Gate:
    """Judge the gates of runs of the unchanged system.

    Raises UsageError if too few of them are conclusive, or if a quantile was never reached in one:
    it has no logarithm, and no limit allows for it.
    """
    words, found = _judged(runs)
    failed = words.count("fail")
    conclusive = failed + words.count("pass")
    if conclusive < RUNS_MIN:
        message = (
            f"load gate: {conclusive} of {len(runs)} runs are conclusive, at least {RUNS_MIN} are "
            "needed; give --runs more, or free the machine"
        )
        raise UsageError(message)
    for name, verdicts in found.items():
        if never := sum(math.isinf(one) for one in _observed(verdicts)):
            message = (
                f"load gate: {name!r}: in {never} of {len(verdicts)} runs too many journeys had no "
                f"answer for a {verdicts[0].statistic}, and no limit allows for that; see to it, "
                "or name the other runs with --from"
            )
            raise UsageError(message)
    return Gate(
        runs=conclusive,
        inconclusive=len(runs) - conclusive,
        alpha=alpha,
        power=power,
        gates=tuple(_calibration(some, alpha, power) for some in found.values()),
        overall=exact(failed, conclusive),
    )


def slowed(
    unchanged: Sequence[Iterable[Verdict]],
    changed: Sequence[Iterable[Verdict]],
    slow: Sequence[str],
    found: Gate,
) -> Slowed:
    """Set runs that were slowed down on purpose beside what :func:`calibrated` made of others."""
    before, (words, after) = _judged(unchanged)[1], _judged(changed)
    gates = (_caught(one, before[one.name], after[one.name]) for one in found.gates)
    return Slowed(tuple(slow), tuple(words), tuple(gates))


def _judged(runs: Sequence[Iterable[Verdict]]) -> tuple[list[Word], dict[str, list[Verdict]]]:
    """The word of every run, and by objective the verdicts of the runs that say something."""
    words: list[Word] = []
    found: dict[str, list[Verdict]] = defaultdict(list)
    for run in runs:
        gates = [one for one in run if one.gate and one.engine == "measured" and not one.at_least]
        said = {one.word for one in gates}
        if not gates or "inconclusive" in said:
            words.append("inconclusive")
            continue
        words.append("fail" if "fail" in said else "pass")
        for one in gates:
            found[one.name].append(one)
    return words, found


class _Times:
    """A quantile of times, of which the logarithm varies from run to run."""

    def __init__(self, observed: Sequence[float]) -> None:
        logs = np.log(np.maximum(np.array(observed, float), 1e-9))
        self._freedom = len(logs) - 1
        self._middle = float(logs.mean())
        # Runs that agree to the last digit would promise the impossible: a thousandth is a grid.
        self._spread = max(float(logs.std(ddof=1)), 1e-3) * math.sqrt(1 + 1 / len(logs))

    def above(self, limit: float, factor: float) -> float:
        """Probability that one more run, slower by ``factor``, is above ``limit``."""
        distance = math.log(max(limit, 1e-9)) - self._middle - math.log(factor)
        return float(special.stdtr(self._freedom, -distance / self._spread))

    def factor(self, observed: Sequence[float]) -> float:
        """By how much further runs are slower."""
        return math.exp(float(np.log(np.maximum(observed, 1e-9)).mean()) - self._middle)

    def limit(self, alpha: float) -> float:
        """The limit that one more run exceeds with probability ``alpha``."""
        away = -float(special.stdtrit(self._freedom, alpha))
        return math.exp(self._middle + away * self._spread)


class _Share:
    """A share of journeys; every run has as many as the smallest."""

    def __init__(self, observed: Sequence[float], counts: Sequence[int]) -> None:
        failed = sum(round(share * count) for share, count in zip(observed, counts, strict=True))
        self._count = min(counts)
        self._rate = exact(failed, sum(counts)).high

    def above(self, limit: float, factor: float) -> float:
        """Probability that one more run, failing ``factor`` times as often, is above ``limit``."""
        allowed = math.floor(limit * self._count + 1e-9)
        rate = min(self._rate * factor, 1.0)
        return float(special.bdtrc(allowed, self._count, rate)) if allowed < self._count else 0.0

    def factor(self, observed: Sequence[float]) -> float:
        """How many times the assumed rate further runs fail."""
        return float(np.mean(observed)) / self._rate

    def limit(self, alpha: float) -> float:
        """The lowest share that one more run exceeds with probability ``alpha`` at most."""
        above = special.bdtrc(np.arange(self._count), self._count, self._rate)
        return int((above > alpha).sum()) / self._count


def _observed(verdicts: Sequence[Verdict]) -> tuple[float, ...]:
    return tuple(math.inf if one.observed is None else one.observed for one in verdicts)


def _model(verdicts: Sequence[Verdict]) -> _Times | _Share:
    observed = _observed(verdicts)
    if verdicts[0].statistic == "share":
        return _Share(observed, [one.count for one in verdicts])
    return _Times(observed)


def _calibration(verdicts: list[Verdict], alpha: float, power: float) -> Calibration:
    first, model = verdicts[0], _model(verdicts)
    proposed = model.limit(alpha)
    observed = _observed(verdicts)
    out = sum(
        value > _model([*verdicts[:place], *verdicts[place + 1 :]]).limit(alpha)
        for place, value in enumerate(observed)
    )
    return Calibration(
        name=first.name,
        measure=first.measure,
        statistic=first.statistic,
        limit=first.limit,
        observed=observed,
        false_alarms=exact(sum(one.word == "fail" for one in verdicts), len(verdicts)),
        false_alarm_rate=model.above(first.limit, 1.0),
        proposed_limit=proposed,
        left_out=exact(out, len(observed)),
        power=tuple(
            Power(factor, model.above(first.limit, factor), model.above(proposed, factor))
            for factor in SLOWDOWNS
        ),
        detectable=smallest(model, proposed, power),
        detectable_at_own_limit=smallest(model, first.limit, power),
    )


def _caught(gate: Calibration, before: Sequence[Verdict], after: Sequence[Verdict]) -> Caught:
    model, observed = _model(before), _observed(after)
    factor = model.factor(observed) if observed else None
    above = (sum(one > limit for one in observed) for limit in (gate.proposed_limit, gate.limit))
    proposed, own = (exact(count, len(observed)) for count in above)
    return Caught(
        name=gate.name,
        measure=gate.measure,
        observed=observed,
        factor=factor,
        expected=None if factor is None else model.above(gate.proposed_limit, factor),
        above_proposed=proposed,
        above_own=own,
    )


def smallest(model: _Times | _Share, limit: float, power: float) -> float | None:
    """The smallest factor that is above ``limit`` with probability ``power``, to a thousandth."""
    low, high = 1.0, 20.0
    if model.above(limit, high) < power:
        return None
    while high - low > 0.0005:  # noqa: PLR2004 - half a thousandth
        middle = (low + high) / 2
        low, high = (low, middle) if model.above(limit, middle) >= power else (middle, high)
    return high
