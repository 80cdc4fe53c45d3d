"""The difference between two series of a load test, and how surely it is one.

Requests of one run are not independent: a busy second makes all of its requests slow. So values are
kept in the order of their intended starts and cut into blocks, and only blocks are taken for
independent: their number is halved until neighbouring blocks are no longer correlated (the batch
sizes of Law, Simulation Modeling and Analysis, 5th ed., section 9.5.3). The standard error is that
of a bootstrap over whole blocks (Künsch 1989, Carlstein 1986), which needs no law for the values
and none for their correlation; because blocks are few, the interval takes Student's t with one
degree of freedom less than blocks, as sectioning does (Asmussen and Glynn, Stochastic Simulation,
III.5a). Several runs of one side are blocks of their own kind: from three a side on, their spread
between runs is what counts, and it includes what one run can never show.

Times are compared as ratios, on the scale of logarithms, so that "twice" and "half" are equally
far; shares as differences. Where both sides played the same journeys, blocks hold the same ones,
and are drawn together.
"""

from __future__ import annotations

import math
from typing import Final, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy import stats

from fewseconds import slo

Values = NDArray[np.float64]

SHARE: Final = "share"
MEAN: Final = "mean"
BLOCKS: Final = (64, 32, 16, 8)
BLOCK_MIN: Final = 10
"""Values a block: with fewer, the correlation of neighbours is too weak a sign."""
BEYOND_MIN: Final = 10
"""So many independent values must lie beyond a percentile that is compared."""
RUNS_MIN: Final = 3
"""From so many runs a side on, the spread between runs is used instead of that within."""
DRAWS: Final = 1000
AT_ONCE: Final = 100
CELLS: Final = 1024
CORRELATED: Final = 0.5
SURELY_CORRELATED: Final = 1.645
"""Lag-1 correlation of blocks, in 1/√blocks. From the first on they are joined, although three in
ten independent series reach it: blocks too few cost a little precision, blocks too small coverage
(with the 5 % point instead, one A/A comparison in ten was significant at a correlation of 0.9). The
fewest blocks are refused from the second on, the one-sided 5 % point."""
Word = Literal["pass", "fail", "inconclusive"]


class Series(msgspec.Struct, frozen=True):
    """What one run says about one thing, in the order of the intended starts."""

    values: Values
    """Seconds, infinite for what never ended; or 0 and 1 for a share."""
    keys: NDArray[np.int64] | None = None
    """Intended start of the journey each value belongs to, in µs; None where it is not known."""


class Effect(msgspec.Struct, frozen=True):
    """A statistic on both sides, and the change from the baseline to the run."""

    base: float | None
    run: float | None
    change: float | None
    """``run / base - 1`` of times, ``run - base`` of shares."""
    low: float | None = None
    high: float | None = None
    """95 % interval of ``change``; None where it has no bound or nothing can be said."""
    p_value: float | None = None
    """Of "there is no change", two-sided."""
    counts: tuple[int, int] = (0, 0)
    """Values of the baseline and of the run."""
    blocks: int = 0
    """Independent pieces behind the standard error."""
    paired: bool = False
    reason: str = ""
    """Why nothing is said; empty if something is."""
    centre: float = 0.0
    error: float = math.inf
    """Change and its standard error on the scale of the test (logarithms for times)."""
    freedom: float = 1.0

    def surely_above(self, margin: float, risk: float) -> bool:
        """Whether the change is greater than ``margin``, wrong at most ``risk`` of the time."""
        return self.reason == "" and self._place(margin) > stats.t.ppf(1 - risk, self.freedom)

    def surely_below(self, margin: float, risk: float) -> bool:
        """As :meth:`surely_above`, for less."""
        return self.reason == "" and self._place(margin) < stats.t.ppf(risk, self.freedom)

    def _place(self, margin: float) -> float:
        scaled = math.log1p(margin) if self.scale == "log" else margin
        gap = self.centre - scaled
        return gap / self.error if self.error else math.copysign(math.inf, gap) if gap else 0.0

    scale: Literal["log", "plain"] = "log"


def effect(base: list[Series], run: list[Series], statistic: str) -> Effect:
    """The change of ``statistic`` (``p50`` … ``p99``, ``mean`` or ``share``), one series a run."""
    sizes = sum(len(s.values) for s in base), sum(len(s.values) for s in run)
    if not all(len(one.values) for one in (*base, *run)):
        return Effect(None, None, None, counts=sizes, reason="nothing of the kind was observed")
    centres = _pooled(base, statistic), _pooled(run, statistic)
    refusal = _support(base, statistic, "the baseline") or _support(run, statistic, "the run")
    if not refusal and statistic != SHARE:
        refusal = _refused(centres)
    if refusal:
        shown = [c if math.isfinite(c) else math.inf for c in centres]
        keep = "cannot support" not in refusal
        return Effect(
            shown[0] if keep else None, shown[1] if keep else None, None, counts=sizes,
            reason=refusal,
        )  # fmt: skip
    if min(len(base), len(run)) >= RUNS_MIN:
        error, freedom, blocks, paired = (*_between(base, run, statistic), False)
    else:
        error, freedom, blocks, paired = _within(base, run, statistic)
    return _told(centres, statistic, sizes, (error, freedom, blocks, paired))


def _told(
    centres: tuple[float, float], statistic: str, sizes: tuple[int, int],
    found: tuple[float, float, int, bool],
) -> Effect:  # fmt: skip
    error, freedom, blocks, paired = found
    centre = _scaled(centres[1], statistic) - _scaled(centres[0], statistic)
    if statistic == SHARE:
        error = max(error, _least(centres, sizes))
    if not math.isfinite(error):
        reason = "in some of the blocks more failed than the percentile leaves out"
        return Effect(*centres, None, counts=sizes, blocks=blocks, paired=paired, reason=reason)
    half = float(stats.t.ppf(0.5 + slo.CONFIDENCE / 2, freedom)) * error
    back = math.expm1 if statistic != SHARE else float
    place = abs(centre) / error if error else (math.inf if centre else 0.0)
    return Effect(
        *centres,
        change=back(centre),
        low=back(centre - half),
        high=back(centre + half),
        p_value=float(2 * stats.t.sf(place, freedom)),
        counts=sizes,
        blocks=blocks,
        paired=paired,
        centre=centre,
        error=error,
        freedom=freedom,
        scale="plain" if statistic == SHARE else "log",
    )


def _refused(centres: tuple[float, float]) -> str:
    if not all(map(math.isfinite, centres)):
        return "on one side it is never: more fail than the percentile leaves out"
    return "on one side it is zero, so there is no ratio" if min(centres) <= 0 else ""


def _least(centres: tuple[float, float], sizes: tuple[int, int]) -> float:
    """The standard error of two shares is never below that of independent values.

    With one success and one failure more each, so that 0 of n has one as well (Agresti and Caffo,
    The American Statistician 54(4), 2000).
    """
    shares = [(c * n + 1) / (n + 2) for c, n in zip(centres, sizes, strict=True)]
    return math.sqrt(sum(s * (1 - s) / (n + 2) for s, n in zip(shares, sizes, strict=True)))


def of(values: Values, statistic: str) -> float:
    """The statistic of one series; percentiles are nearest-rank."""
    if statistic in (SHARE, MEAN):
        return float(values.mean())
    rank = max(math.ceil(slo.QUANTILES[statistic] * len(values)), 1)
    return float(np.partition(values, rank - 1)[rank - 1])


def _pooled(side: list[Series], statistic: str) -> float:
    return of(np.concatenate([one.values for one in side]), statistic)


def _scaled(value: float, statistic: str) -> float:
    return value if statistic == SHARE else math.log(value)


# --- how many pieces are independent ------------------------------------------------------------


def _signs(values: Values, statistic: str) -> Values:
    """What makes the statistic uncertain, value by value: for a percentile, which lie above it."""
    if statistic in (SHARE, MEAN):
        return values
    return (values > of(values, statistic)).astype(float)


def block_count(values: Values, statistic: str) -> int:
    """The most blocks that are not correlated with their neighbours; 0 if even 8 are."""
    signs = _signs(values, statistic)
    for count in BLOCKS:
        if len(values) < BLOCK_MIN * count:
            continue
        means = np.array([part.mean() for part in np.array_split(signs, count)])
        gaps = means - means.mean()
        spread = float((gaps**2).sum())
        limit = SURELY_CORRELATED if count == BLOCKS[-1] else CORRELATED
        if spread == 0 or float((gaps[1:] * gaps[:-1]).sum()) / spread < limit / count**0.5:
            return count
    return 0


def _support(side: list[Series], statistic: str, whose: str) -> str:
    """Why one side cannot support a statistic; empty if it can."""
    count = sum(len(one.values) for one in side)
    if len(side) < RUNS_MIN:
        for one in side:
            if len(one.values) < BLOCK_MIN * BLOCKS[-1]:
                return (
                    f"{len(one.values)} values of {whose} cannot support an interval; it takes "
                    f"{BLOCK_MIN * BLOCKS[-1]} at least"
                )
            if not block_count(one.values, statistic):
                return (
                    f"values of {whose} hang together over an eighth of the run, so it cannot "
                    "support an interval; run for longer"
                )
    if statistic in (SHARE, MEAN):
        return ""
    probability = slo.QUANTILES[statistic]
    beyond = min(probability, 1 - probability)
    tau = max(_worth(one.values, statistic) for one in side)
    needed = math.ceil(BEYOND_MIN * tau / beyond)
    if count >= needed:
        return ""
    worth = "" if tau < 1.05 else f", as {tau:.1f} of them are worth one"  # noqa: PLR2004 - 5 %
    return f"{count} values of {whose} cannot support a {statistic}: it takes {needed}{worth}"


def _worth(values: Values, statistic: str) -> float:
    """How many values are worth one independent value (Kish, Survey Sampling, section 8.2)."""
    count = block_count(values, statistic)
    signs = _signs(values, statistic)
    centre = float(signs.mean())
    if not count or not 0 < centre < 1:
        return 1.0
    means = np.array([part.mean() for part in np.array_split(signs, count)])
    inside = centre * (1 - centre) / (len(values) / count)
    return max(float(means.var(ddof=1)) / inside, 1.0)


# --- standard errors ----------------------------------------------------------------------------


def _between(base: list[Series], run: list[Series], statistic: str) -> tuple[float, float, int]:
    """From the spread between runs, with Welch's degrees of freedom (1947)."""
    sides = [
        np.array([_scaled(of(one.values, statistic), statistic) for one in side])
        for side in (base, run)
    ]
    parts = [float(each.var(ddof=1)) / len(each) for each in sides]
    total = sum(parts)
    below = sum(
        part**2 / (len(each) - 1) for part, each in zip(parts, sides, strict=True) if part > 0
    )
    return math.sqrt(total), total**2 / below if below else 1.0, len(base) + len(run)


def _within(
    base: list[Series], run: list[Series], statistic: str
) -> tuple[float, float, int, bool]:
    """From a bootstrap over blocks of each run: error, degrees of freedom, blocks, paired."""
    paired = len(base) == len(run) == 1 and _same_journeys(base[0], run[0])
    rng = np.random.default_rng(1)
    counts = [[block_count(one.values, statistic) for one in side] for side in (base, run)]
    if paired:
        count = min(counts[0][0], counts[1][0])
        weights = rng.multinomial(count, [1 / count] * count, DRAWS)
        both = _keys(base[0]), _keys(run[0])
        every = np.union1d(*both)
        edges = np.array([part[0] for part in np.array_split(every, count)[1:]], np.int64)
        each = [
            _drawn(series.values, np.searchsorted(edges, keys, "right"), weights, statistic)
            for series, keys in zip((base[0], run[0]), both, strict=True)
        ]
        freedom = count - 1
    else:
        each, count = [], min(min(one) for one in counts)
        freedom = sum(sum(one) - len(one) for one in counts)
        for side, some in zip((base, run), counts, strict=True):
            places: list[NDArray[np.int64]] = []
            draws: list[NDArray[np.int64]] = []
            begun = 0
            for series, parts in zip(side, some, strict=True):
                split = np.array_split(np.arange(len(series.values)), parts)
                places += [np.full(len(part), begun + i) for i, part in enumerate(split)]
                draws.append(rng.multinomial(parts, [1 / parts] * parts, DRAWS))
                begun += parts
            values = np.concatenate([one.values for one in side])
            each.append(_drawn(values, np.concatenate(places), np.hstack(draws), statistic))
    gaps = each[1] - each[0]
    if not np.isfinite(gaps).all():
        return math.inf, 1.0, count, paired
    # Drawing n of n blocks with replacement has (n - 1)/n of the variance between blocks.
    error = float(gaps.std()) * math.sqrt(count / (count - 1))
    return error, float(freedom), count, paired


def _same_journeys(base: Series, run: Series) -> bool:
    if base.keys is None or run.keys is None:
        return False
    shared = len(np.intersect1d(base.keys, run.keys))
    # A few may differ: what was declined, left or failed on one side has no say there.
    return shared >= 0.8 * max(len(np.unique(base.keys)), len(np.unique(run.keys)))


def _keys(series: Series) -> NDArray[np.int64]:
    assert series.keys is not None  # noqa: S101 - asked of known journeys only
    return series.keys


def _drawn(
    values: Values, places: NDArray[np.int64], weights: NDArray[np.int64], statistic: str
) -> Values:
    """The scaled statistic of every draw; ``weights`` says how often a draw holds each block.

    Percentiles are looked up among at most :data:`CELLS` values around the statistic, eight
    standard errors to either side, so a long run costs no more than a short one.
    """
    blocks = weights.shape[1]
    sizes = np.bincount(places, minlength=blocks)
    if statistic in (SHARE, MEAN):
        sums = np.bincount(places, values, blocks)
        found: Values = (weights @ sums) / np.maximum(weights @ sizes, 1)
        return found if statistic == SHARE else np.log(found)
    probability = slo.QUANTILES[statistic]
    above = np.bincount(places, _signs(values, statistic), blocks) / np.maximum(sizes, 1)
    reach = 8 * max(float(above.std()), 0.5 / math.sqrt(len(values))) / math.sqrt(blocks)
    first, last = (
        min(max(place, 0.0), 1.0) * (len(values) - 1)
        for place in (probability - reach, probability + reach)
    )
    ranks = np.linspace(first, last, min(CELLS, int(last - first) + 2)).astype(np.int64)
    grid = np.unique(np.append(np.sort(values)[ranks], values.max()))
    cells = np.searchsorted(grid, values)
    table = np.bincount(places * len(grid) + cells, minlength=blocks * len(grid))
    below = np.cumsum(table.reshape(blocks, len(grid)), axis=1).astype(np.float32)
    found = np.empty(len(weights))
    for begin in range(0, len(weights), AT_ONCE):
        drawn = weights[begin : begin + AT_ONCE].astype(np.float32) @ below
        # A little less, because binary fractions are not exact: 0.95 of 20 is the 19th.
        rank = np.ceil(probability * drawn[:, -1:] - 1e-3)
        found[begin : begin + AT_ONCE] = grid[(drawn < rank).sum(axis=1)]
    return np.log(found)
