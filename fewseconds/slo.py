"""Verdicts: what the measures mean for the objectives of a scenario."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import TYPE_CHECKING, Final, Literal, Protocol

import msgspec
import numpy as np

from fewseconds.errors import EXIT_GATE_FAILED, EXIT_INCONCLUSIVE, EXIT_OK

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from fewseconds.scenario import Slo

CONFIDENCE: Final = 0.95
QUANTILES: Final = {"p50": 0.50, "p90": 0.90, "p95": 0.95, "p99": 0.99}
Word = Literal["pass", "fail", "inconclusive"]
Numbers = tuple[float | None, float | None, float | None]
"""Observed, low and high end of its interval."""


class Verdict(msgspec.Struct, frozen=True):
    """One objective, judged on what one engine saw."""

    name: str
    measure: str
    statistic: str
    engine: str
    """``measured`` (real time) or ``simulated`` (virtual time)."""
    gate: bool
    limit: float
    at_least: bool
    word: Word
    observed: float | None
    """Seconds or a share; None when the sample cannot support the statistic."""
    low: float | None
    high: float | None
    """95 % interval; None where it has no bound."""
    count: int
    reason: str = ""
    source: str = ""

    @property
    def margin(self) -> float | None:
        """Distance to the limit as a share of it; negative on the wrong side."""
        if self.observed is None or not math.isfinite(self.observed):
            return None
        gap = self.observed - self.limit if self.at_least else self.limit - self.observed
        return gap / self.limit


class Validity(msgspec.Struct, frozen=True):
    """Whether a measurement says anything at all: the verdict before the verdicts."""

    valid: bool
    reasons: tuple[str, ...] = ()
    """What spoiled it, and what to do, one sentence each."""


def quantile(
    values: NDArray[np.float64], probability: float
) -> tuple[float, float | None, float | None]:
    """The nearest-rank quantile with a distribution-free 95 % interval of order statistics.

    The ranks follow the binomial law of the number of observations below the quantile, in its
    normal approximation (Conover, Practical Nonparametric Statistics, 3rd ed., section 3.2).
    """
    ordered = np.sort(values)
    count = len(ordered)
    centre = ordered[max(math.ceil(probability * count), 1) - 1]
    z = NormalDist().inv_cdf(0.5 + CONFIDENCE / 2)
    spread = z * math.sqrt(count * probability * (1 - probability))
    low, high = (
        math.floor(count * probability - spread),
        math.ceil(count * probability + spread) + 1,
    )
    return (
        float(centre),
        float(ordered[low - 1]) if low >= 1 else None,
        float(ordered[high - 1]) if high <= count else None,
    )


def share(successes: float, count: int) -> tuple[float, float, float]:
    """A share with its 95 % interval (Wilson, 1927)."""
    z = NormalDist().inv_cdf(0.5 + CONFIDENCE / 2)
    p = successes / count
    centre = (p + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(p * (1 - p) / count + z * z / (4 * count * count))
    return p, max(centre - half, 0.0), min(centre + half, 1.0)


def binomial_interval(count: int, probability: float, confidence: float) -> tuple[int, int]:
    """Smallest equal-tailed range of successes that ``count`` trials fall into.

    Exact: the tails are summed from the binomial probabilities themselves.
    """
    tail = (1 - confidence) / 2
    low, running = 0, 0.0
    while low < count:
        running += binomial_probability(count, probability, low)
        if running > tail:
            break
        low += 1
    high, running = count, 0.0
    while high > 0:
        running += binomial_probability(count, probability, high)
        if running > tail:
            break
        high -= 1
    return low, high


def binomial_probability(count: int, probability: float, successes: int) -> float:
    """Probability of exactly ``successes`` in ``count`` trials."""
    if probability in (0.0, 1.0):
        return float(successes == count * probability)
    choose = (
        math.lgamma(count + 1) - math.lgamma(successes + 1) - math.lgamma(count - successes + 1)
    )
    return math.exp(
        choose + successes * math.log(probability) + (count - successes) * math.log1p(-probability)
    )


def supports(count: int, probability: float) -> bool:
    """Whether ``count`` values can say anything about a quantile: some must lie beyond it."""
    beyond = min(probability, 1 - probability)
    return count > 0 and (1 - beyond) ** count <= 1 - CONFIDENCE


def judge(slo: Slo, engine: str, values: NDArray[np.float64], validity: Validity) -> Verdict:
    """Judge one objective on the samples of its measure."""

    def verdict(word: Word, numbers: Numbers, reason: str = "") -> Verdict:
        observed, low, high = numbers
        return Verdict(
            name=slo.name,
            measure=slo.measure,
            statistic=slo.statistic,
            engine=engine,
            gate=slo.gate,
            limit=slo.limit,
            at_least=slo.at_least,
            word=word,
            observed=observed,
            low=low,
            high=high,
            count=len(values),
            reason=reason,
            source=slo.source,
        )

    nothing: Numbers = (None, None, None)
    if len(values) == 0:
        return verdict("inconclusive", nothing, "nothing of the kind was observed")
    if slo.statistic == "share":
        numbers: Numbers = share(float(values.sum()), len(values))
    else:
        probability = QUANTILES[slo.statistic]
        if not supports(len(values), probability):
            reason = f"{len(values)} values cannot support a {slo.statistic}; run a longer window"
            return verdict("inconclusive", nothing, reason)
        numbers = quantile(values, probability)
    if not validity.valid:
        return verdict("inconclusive", numbers, " ".join(validity.reasons[:1]))
    observed = math.nan if numbers[0] is None else numbers[0]
    return verdict("pass" if met(slo, observed) else "fail", numbers)


def met(slo: Slo, observed: float) -> bool:
    """Whether an observed value is on the right side of its limit; the limit itself is."""
    return observed >= slo.limit if slo.at_least else observed <= slo.limit


def judge_all(
    slos: Sequence[Slo], engine: str, samples: Mapping[str, NDArray[np.float64]], validity: Validity
) -> list[Verdict]:
    """Judge every objective that applies to ``engine`` and whose measure has samples."""
    return [
        judge(slo, engine, samples[slo.measure], validity)
        for slo in slos
        if engine in slo.engines and slo.measure in samples
    ]


class Judged(Protocol):
    """What has a word, and may be a gate."""

    @property
    def gate(self) -> bool:
        """Whether it decides the exit code."""

    @property
    def word(self) -> Word:
        """What was found."""


def overall(verdicts: Sequence[Judged]) -> Word:
    """The word for the whole run: only gates decide it; an inconclusive gate outranks a pass."""
    words = {verdict.word for verdict in verdicts if verdict.gate}
    if "fail" in words:
        return "fail"
    return "inconclusive" if "inconclusive" in words or not words else "pass"


def exit_code(word: Word) -> int:
    """The exit code that says ``word``."""
    return {"pass": EXIT_OK, "fail": EXIT_GATE_FAILED, "inconclusive": EXIT_INCONCLUSIVE}[word]
