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


class Sample(Protocol):
    """The values of a measure, or what was kept of them."""

    def __len__(self) -> int:
        """How many values."""

    def quantile(self, probability: float) -> Numbers:
        """The nearest-rank quantile with its 95 % interval, as :func:`quantile` gives them."""

    def bounds(self, probability: float) -> tuple[float, float]:
        """Between what the sample's quantile lies; equal where all values were kept."""

    def total(self) -> float:
        """The sum of values that are 0 or 1."""

    def drawn(self) -> NDArray[np.float64]:
        """Values that look the same in a drawing."""


class Values:
    """A sample of which every value was kept."""

    def __init__(self, values: NDArray[np.float64]) -> None:
        """Seconds, or 0 and 1; infinite for what never ended."""
        self.values = values

    def __len__(self) -> int:
        """How many values."""
        return len(self.values)

    def quantile(self, probability: float) -> Numbers:
        """The nearest-rank quantile with its 95 % interval."""
        return quantile(self.values, probability)

    def bounds(self, probability: float) -> tuple[float, float]:
        """The quantile itself, twice."""
        found = quantile(self.values, probability)[0]
        return found, found

    def total(self) -> float:
        """The sum of the values."""
        return float(self.values.sum())

    def drawn(self) -> NDArray[np.float64]:
        """The values themselves."""
        return self.values


def ranks(count: int, probability: float) -> tuple[int, int | None, int | None]:
    """Ranks, from 1, of a quantile and of the ends of its distribution-free 95 % interval.

    They follow the binomial law of the number of observations below the quantile, in its normal
    approximation (Conover, Practical Nonparametric Statistics, 3rd ed., section 3.2).
    """
    z = NormalDist().inv_cdf(0.5 + CONFIDENCE / 2)
    spread = z * math.sqrt(count * probability * (1 - probability))
    low, high = (
        math.floor(count * probability - spread),
        math.ceil(count * probability + spread) + 1,
    )
    centre = max(math.ceil(probability * count), 1)
    return centre, low if low >= 1 else None, high if high <= count else None


def quantile(
    values: NDArray[np.float64], probability: float
) -> tuple[float, float | None, float | None]:
    """The nearest-rank quantile with a distribution-free 95 % interval of order statistics."""
    ordered = np.sort(values)
    centre, low, high = ranks(len(ordered), probability)
    return (
        float(ordered[centre - 1]),
        None if low is None else float(ordered[low - 1]),
        None if high is None else float(ordered[high - 1]),
    )


def share(successes: float, count: int) -> tuple[float, float, float]:
    """A share with its 95 % interval (Wilson, 1927).

    None and all of them are the ends of their intervals exactly, not but for a rounding error.
    """
    z = NormalDist().inv_cdf(0.5 + CONFIDENCE / 2)
    p = successes / count
    centre = (p + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(p * (1 - p) / count + z * z / (4 * count * count))
    low = 0.0 if successes <= 0 else max(centre - half, 0.0)
    high = 1.0 if successes >= count else min(centre + half, 1.0)
    return p, low, high


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


def judge(
    slo: Slo, engine: str, values: NDArray[np.float64] | Sample, validity: Validity
) -> Verdict:
    """Judge one objective on the samples of its measure."""
    sample: Sample = Values(values) if isinstance(values, np.ndarray) else values

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
            count=len(sample),
            reason=reason,
            source=slo.source,
        )

    nothing: Numbers = (None, None, None)
    if len(sample) == 0:
        return verdict("inconclusive", nothing, "nothing of the kind was observed")
    if slo.statistic == "share":
        numbers: Numbers = share(sample.total(), len(sample))
    else:
        probability = QUANTILES[slo.statistic]
        if not supports(len(sample), probability):
            reason = f"{len(sample)} values cannot support a {slo.statistic}; run a longer window"
            return verdict("inconclusive", nothing, reason)
        numbers = sample.quantile(probability)
        low, high = sample.bounds(probability)
        if met(slo, low) != met(slo, high):
            reason = f"the histogram knows only that it lies between {low:g} and {high:g} s"
            return verdict("inconclusive", numbers, reason)
    if not validity.valid:
        return verdict("inconclusive", numbers, " ".join(validity.reasons[:1]))
    observed = math.nan if numbers[0] is None else numbers[0]
    return verdict("pass" if met(slo, observed) else "fail", numbers)


def met(slo: Slo, observed: float) -> bool:
    """Whether an observed value is on the right side of its limit; the limit itself is."""
    return observed >= slo.limit if slo.at_least else observed <= slo.limit


def judge_all(
    slos: Sequence[Slo],
    engine: str,
    samples: Mapping[str, NDArray[np.float64]] | Mapping[str, Sample],
    validity: Validity,
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
