"""The highest rate at which a server still meets a limit: a ramp, then bisection.

Every step is a probe with a settling phase of its own, so what an earlier step left behind is not
counted. A step passes or fails by a test on the share of requests that are too slow: requests
follow each other and are alike, so the share is taken in batches of time and its mean is tested
with Student's t over the batches (the method of batch means; Law, Simulation Modeling and
Analysis, 5th ed., section 9.5.3). A step that is neither clearly good nor clearly bad is measured
again, longer; one that stays undecided is decided by its share and called so among the steps. One
that the generator spoilt is measured again as it was, a few times. Being late is no server's fault,
so it counts as too slow only if each of these measurements was, with all that the generator may
have added forgiven; else the search ends with what it knows and says why.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, Literal

import msgspec
import numpy as np
import scipy.stats

from fewseconds.errors import UsageError
from fewseconds.schedule import Stage
from loadtests.histogram import Histogram

if TYPE_CHECKING:
    from collections.abc import Callable

    from loadtests.probe import ProbeResult, ProbeSpec
    from loadtests.recorder import Limit, Report
    from loadtests.seconds import Second

BATCHES, BATCHES_MIN = 10, 5
CONFIDENCE: Final = 0.95
GROWTH: Final = 1.6
LONGER: Final = 2.0
EXTENSIONS_MAX: Final = 1
RETRIES_MAX: Final = 3
"""How often a step is measured again that the generator spoilt."""
STEPS_MAX: Final = 40
Word = Literal["pass", "fail", "undecided", "inconclusive"]


class SearchSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What is searched, and how closely."""

    rate_from: float
    rate_to: float
    """The search does not go beyond it."""
    step_s: float = 10.0
    settle_s: float = 2.0
    precision: float = 0.03
    """Width of the bracket at which the search ends, as a share of its middle."""


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One rate, measured."""

    rate: float
    word: Word
    too_slow_share: float
    """Of all requests: how many broke the limit or brought no answer."""
    low: float
    high: float
    """Interval of that share over the batches."""
    seconds: float
    observed_ms: float | None
    """The quantile that is limited."""
    outcomes: dict[str, int]
    """How the requests ended; what is not ``ok`` broke the limit."""


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """The answer."""

    verdict: Literal["pass", "fail", "inconclusive"]
    """``pass``: a bracket was found; ``fail``: even the lowest rate is too much."""
    lo: float | None
    """The highest rate that met the limit."""
    hi: float | None
    """The lowest rate above it that did not; None if even the highest rate met it."""
    steps: list[Step]
    reason: str = ""
    """Why there is no answer, or not even the lowest rate passed."""


def judged(seconds: list[Second], limit: Limit, skipped: int) -> tuple[Word, float, float, float]:
    """Whether the share of slow requests is clearly above or below what is allowed.

    Returns the word, the share and its interval. The first ``skipped`` seconds belong to settling.
    """
    rows = [
        (one.share_above(limit.limit_us) * total, total)
        for one in seconds
        if one.second >= skipped and (total := one.total)
    ]
    if len(rows) < BATCHES_MIN:
        message = f"search: {len(rows)} seconds are too few to test; lengthen --step"
        raise UsageError(message)
    count = min(BATCHES, len(rows))
    batches = [np.sum(part, axis=0) for part in np.array_split(np.array(rows), count)]
    shares = np.array([slow / total for slow, total in batches])
    total = np.sum(rows, axis=0)
    share, allowed = float(total[0] / total[1]), 1 - limit.share
    spread = float(shares.std(ddof=1)) / math.sqrt(count)
    # Batches without a single slow request would claim to know the share exactly.
    spread = max(spread, math.sqrt(allowed * (1 - allowed) / total[1]))
    half = float(scipy.stats.t(count - 1).ppf(0.5 + CONFIDENCE / 2)) * spread
    low, high = max(share - half, 0.0), min(share + half, 1.0)
    word: Word = "pass" if high <= allowed else "fail" if low > allowed else "undecided"
    return word, share, low, high


def slow_beyond_doubt(report: Report, limit: Limit, timeout_s: float) -> bool:
    """Whether too many requests were too slow whatever the generator did wrong.

    They are timed from when they really began, and the worst lag is taken off: a loop that is late
    to send is as late to read. What was dropped says nothing here, and a time-out nothing once the
    lag could have used it up.
    """
    sent, lag = Histogram.unpacked(report.sent), Histogram.unpacked(report.lag)
    sent.never -= report.dropped
    allowed_us = limit.limit_us + lag.max_us
    return allowed_us < timeout_s * 1e6 and sent.share_above(allowed_us) > 1 - limit.share


class Search:
    """Steps through rates until the bracket is narrow enough."""

    def __init__(
        self,
        spec: SearchSpec,
        base: ProbeSpec,
        probe: Callable[[ProbeSpec], tuple[ProbeResult, Report]],
        say: Callable[[str, float], None],
    ) -> None:
        """``base`` has the target and exactly one limit; ``probe`` sends one step.

        Raises UsageError if there is not one limit or no room between the rates.
        """
        if len(base.limits) != 1:
            message = (
                f"search: {len(base.limits)} limits; give exactly one --slo, such as p95=200ms"
            )
            raise UsageError(message)
        if not 0 < spec.rate_from < spec.rate_to:
            message = (
                f"search: from {spec.rate_from:g} to {spec.rate_to:g} requests/s is no range; "
                "give --from below --to"
            )
            raise UsageError(message)
        self.spec, self.base, self._probe, self._say = spec, base, probe, say
        self.steps: list[Step] = []
        self._trouble = ""

    def run(self) -> Found:
        """Ramp up to the first rate that fails, then halve the distance again and again."""
        spec, lo, hi = self.spec, 0.0, math.inf
        rate = spec.rate_from
        while hi == math.inf and lo < spec.rate_to and len(self.steps) < STEPS_MAX:
            word = self._step(rate)
            if word == "inconclusive":
                return self._answer(lo, hi, self._trouble)
            if word == "pass":
                lo, rate = rate, min(rate * GROWTH, spec.rate_to)
            else:
                hi = rate
        while hi < math.inf and lo > 0 and (hi - lo) > spec.precision * (hi + lo) / 2:
            if len(self.steps) >= STEPS_MAX:
                break
            middle = (lo + hi) / 2
            word = self._step(middle)
            if word == "inconclusive":
                return self._answer(lo, hi, self._trouble)
            lo, hi = (middle, hi) if word == "pass" else (lo, middle)
        return self._answer(lo, hi, "")

    def _step(self, rate: float) -> Word:
        """Measure a rate until it is decided; what stays undecided is judged by its share."""
        length_s, extensions, spoilt = self.spec.step_s, 0, []
        while True:
            self._say(f"{rate:.0f} requests/s", min(len(self.steps) / STEPS_MAX, 1.0))
            step, too_slow = self._measured(rate, length_s)
            self.steps.append(step)
            if step.word == "inconclusive":
                spoilt.append(too_slow)
                if len(spoilt) > RETRIES_MAX:
                    return "fail" if all(spoilt) else "inconclusive"
            elif step.word == "undecided" and extensions < EXTENSIONS_MAX:
                extensions, length_s = extensions + 1, length_s * LONGER
            else:
                break
        if step.word == "undecided":
            return "pass" if step.too_slow_share <= 1 - self.base.limits[0].share else "fail"
        return step.word

    def _measured(self, rate: float, length_s: float) -> tuple[Step, bool]:
        """One probe: what it counts as, and whether it was too slow whatever spoilt it."""
        spec, limit = self.spec, self.base.limits[0]
        order = msgspec.structs.replace(
            self.base,
            stages=[Stage(rate, spec.settle_s + length_s)],
            settle_s=spec.settle_s,
            # Each step has luck of its own.
            seed=None if self.base.seed is None else self.base.seed + len(self.steps),
        )
        result, report = self._probe(order)
        word, share, low, high = judged(report.seconds, limit, math.ceil(spec.settle_s))
        too_slow = word == "fail" and slow_beyond_doubt(report, limit, order.timeout_s)
        if result.verdict == "inconclusive":
            word = "inconclusive"
            self._trouble = (
                f"{rate:.0f} requests/s: {RETRIES_MAX + 1} times the generator could not keep its "
                f"promise, at last because {'; '.join(result.reasons)}"
            )
        observed = getattr(result.latency_ms, limit.name)
        step = Step(
            rate=rate, word=word, too_slow_share=share, low=low, high=high, seconds=length_s,
            observed_ms=observed, outcomes=report.outcomes,
        )  # fmt: skip
        return step, too_slow

    def _answer(self, lo: float, hi: float, trouble: str) -> Found:
        verdict: Literal["pass", "fail", "inconclusive"] = "pass" if lo else "fail"
        return Found(
            verdict="inconclusive" if trouble else verdict,
            lo=lo or None,
            hi=None if hi == math.inf else hi,
            steps=self.steps,
            reason=trouble or ("" if lo else self._too_slow()),
        )

    def _too_slow(self) -> str:
        """Why not even the lowest rate passed."""
        last = self.steps[-1]
        failed = [f"{n} {name}" for name, n in sorted(last.outcomes.items()) if name != "ok"]
        told = f" ({', '.join(failed)})" if failed else ""
        return (
            f"{last.too_slow_share:.1%} of the requests were too slow or brought no answer{told} "
            f"at {last.rate:g} requests/s already; look at the server, or lower --from"
        )
