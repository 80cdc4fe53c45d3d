"""Every measure and step of a run beside its baseline, and the word for all of it.

A gate *fails* when the run is surely worse than the baseline by more than the margin, *passes* when
it is surely not, and is *inconclusive* when the runs cannot tell. "Surely" is wrong at most once in
twenty for all gates together: failing risks are shared out among them (Bonferroni), and to pass,
every gate has to pass by itself (an intersection-union test: Berger, Technometrics 24(4), 1982).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import msgspec
from scipy import stats

from fewseconds import slo
from fewseconds.baseline.effect import MEAN, SHARE, Effect, Series, effect
from fewseconds.baseline.side import MEASURE, SENT, STEP, Of, Side
from fewseconds.errors import UsageError
from fewseconds.report import words

if TYPE_CHECKING:
    from fewseconds.baseline.side import Told

RISK: Final = 1 - slo.CONFIDENCE
POWER: Final = 0.8
ORDER: Final = {MEASURE: 0, STEP: 1, SENT: 2}


class Margins(msgspec.Struct, frozen=True):
    """How much worse a run may be before it matters."""

    times: float = 0.10
    """As a share of the baseline."""
    shares: float = 0.01
    """In the share's own units: 0.01 is one failure more in a hundred."""

    def says(self) -> str:
        """The margins in words."""
        shares = f"{100 * self.shares:g}"
        points = f"{shares}{words.NBSP}point{'' if shares == '1' else 's'}"
        return f"{100 * self.times:g}{words.NBSP}% (failures: by {points})"


class Row(msgspec.Struct, frozen=True):
    """One statistic of one thing."""

    kind: str
    name: str
    statistic: str
    gate: bool
    margin: float
    word: slo.Word
    """What a gate says; for any other row, what it would say."""
    significant: bool
    """Whether there is a change at all, wrong once in twenty for all rows together (Holm, 1979)."""
    detectable: float | None
    """The smallest change for the worse that these runs would show four times in five."""
    effect: Effect

    @property
    def label(self) -> str:
        """The row in words."""
        name = words.label(self.name, {} if self.kind == MEASURE else words.STEPS)
        if self.statistic == SHARE:
            return name if self.kind == MEASURE else f"{name}, failed"
        return f"{name}, {self.statistic}"


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """A comparison."""

    run: str
    base: str
    tool: str
    """What measured the baseline."""
    runs: tuple[int, int]
    """Runs of the baseline and of the run."""
    word: slo.Word
    sentence: str
    margins: Margins
    rows: tuple[Row, ...]
    reasons: tuple[str, ...] = ()
    """Why nothing can be concluded."""
    notes: tuple[str, ...] = ()


def compare(run: Side, base: Side, margins: Margins, *, across: bool = False) -> Found:
    """Compare ``run`` with ``base``; ``across`` allows other scenarios and loads.

    Raises UsageError if the two are not of one kind, or have nothing in common.
    """
    if not across:
        _same_kind(run, base)
    pairs = _pairs(run, base)
    if not pairs:
        message = f"{run.name} and {base.name}: have nothing in common; name two runs of one kind"
        raise UsageError(message)
    gates = _gates(pairs, run, base)
    risk = RISK / max(len(gates), 1)
    effects = {pair: _effect(pair, run, base) for pair in pairs}
    held = _holm(effects)
    rows = []
    for pair in sorted(pairs, key=lambda p: (ORDER[p[0].kind], pairs.index(p))):
        of, statistic = pair
        margin = margins.shares if statistic == SHARE else margins.times
        found = effects[pair]
        rows.append(
            Row(
                of.kind, of.name, statistic, pair in gates, margin,
                _word(found, margin, risk if pair in gates else RISK),
                pair in held, _detectable(found, statistic), found,
            )
        )  # fmt: skip
    troubles = (
        *(f"the run is not valid: {text}" for text in run.troubles),
        *(f"the baseline is not valid: {text}" for text in base.troubles),
    )
    word = slo.overall(rows)
    # A broken promise of the generator makes nothing worse or better.
    word = "inconclusive" if troubles else word
    return Found(
        run=run.name, base=base.name, tool=base.tool, runs=(base.runs, run.runs), word=word,
        sentence=_sentence(word, rows, margins, troubles), margins=margins, rows=tuple(rows),
        reasons=troubles, notes=(*base.notes, *_notes(run, base, rows)),
    )  # fmt: skip


Pair = tuple[Of, str]


def _same_kind(run: Side, base: Side) -> None:
    if base.digest and run.digest != base.digest:
        of = " of another content" if run.scenario == base.scenario else ""
        message = (
            f"{run.name} is of scenario {run.scenario!r}, {base.name} of {base.scenario!r}{of}: "
            "what differs is not the system alone; say --across to compare them all the same"
        )
        raise UsageError(message)
    if base.load and run.load != base.load:
        message = (
            f"{run.name} was {run.load}, {base.name} was {base.load}: these are different loads; "
            "say --across to compare them all the same"
        )
        raise UsageError(message)


def _pairs(run: Side, base: Side) -> list[Pair]:
    """What both sides can say, in the run's order."""
    foreign = not base.digest
    found: list[Pair] = []
    for of in run.series:
        if of.kind == SENT and not foreign:
            continue
        if of in base.series and of.share:
            found.append((of, SHARE))
        elif of in base.series:
            found += [(of, statistic) for statistic in base.statistics]
        elif of in base.told:
            found += [(of, statistic) for statistic in base.told[of].quantiles]
    return found


def _gates(pairs: list[Pair], run: Side, base: Side) -> list[Pair]:
    """The scenario's own gates; beside another tool's figures, its highest percentile but one."""
    if base.digest:
        return [
            (of, statistic)
            for of, statistic in pairs
            if of.kind == MEASURE and (of.name, statistic) in run.gates
        ]
    return [(of, s) for of, s in pairs if s in ("p95", MEAN, SHARE)]


def _effect(pair: Pair, run: Side, base: Side) -> Effect:
    of, statistic = pair
    if of in base.told and statistic != SHARE:
        return _beside_printed(base.told[of], run.series[of], statistic)
    return effect(base.series[of], run.series[of], statistic)


def _beside_printed(told: Told, run: list[Series], statistic: str) -> Effect:
    """Our percentile with its interval against one of which only its bounds are known.

    Both intervals hold at 97.5 %, so the change lies between their farthest ends at 95 %.
    """
    # Without keys the run is not paired with itself: its error is that of two independent runs.
    plain = [Series(one.values) for one in run]
    alone = effect(plain, plain, statistic)
    sizes = (told.count, alone.counts[1])
    figure, low, high = told.quantiles[statistic]
    if alone.reason:
        return Effect(figure, None, None, counts=sizes, reason=alone.reason)
    assert alone.run is not None  # noqa: S101 - there is no refusal
    centre = math.log(alone.run)
    half = float(stats.t.ppf(1 - RISK / 4, alone.freedom)) * alone.error / math.sqrt(2)
    ends = centre - half - math.log(high), centre + half - math.log(low)
    middle, reach = sum(ends) / 2, (ends[1] - ends[0]) / 2
    return Effect(
        figure, alone.run, change=alone.run / figure - 1,
        low=math.expm1(ends[0]), high=math.expm1(ends[1]), counts=sizes, blocks=alone.blocks,
        centre=middle, error=reach / float(stats.norm.ppf(1 - RISK / 2)), freedom=math.inf,
    )  # fmt: skip


def _holm(effects: dict[Pair, Effect]) -> set[Pair]:
    """The pairs whose change is significant when all of them are looked at."""
    known = sorted(
        ((e.p_value, pair) for pair, e in effects.items() if e.p_value is not None),
        key=lambda found: found[0],
    )
    held: set[Pair] = set()
    for rank, (p_value, pair) in enumerate(known):
        if p_value > RISK / (len(known) - rank):
            break
        held.add(pair)
    return held


def _word(found: Effect, margin: float, risk: float) -> slo.Word:
    if found.surely_above(margin, risk):
        return "fail"
    return "pass" if found.surely_below(margin, RISK) else "inconclusive"


def _detectable(found: Effect, statistic: str) -> float | None:
    if found.reason or not math.isfinite(found.error):
        return None
    both = stats.t.ppf(1 - RISK, found.freedom) + stats.t.ppf(POWER, found.freedom)
    size = float(both) * found.error
    return size if statistic == SHARE else math.expm1(size)


def amount(row: Row, value: float | None, *, signed: bool = True) -> str:
    """A change in words: per cent of the baseline, or percentage points."""
    if value is None or not math.isfinite(value):
        return words.NOTHING
    unit = "points" if row.statistic == SHARE else "%"
    sign = "+" if signed else ""
    return f"{100 * value:{sign}.1f}{words.NBSP}{unit}".replace("-", "−")


def _sentence(word: slo.Word, rows: list[Row], margins: Margins, troubles: tuple[str, ...]) -> str:
    allowed = margins.says()
    gates = [row for row in rows if row.gate]
    if troubles:
        return f"Nothing can be said: {troubles[0]}."
    if not gates:
        return "Nothing can be said: no gate of the scenario was measured on both sides."
    wrong = [row for row in gates if row.word == word]
    row = max(wrong, key=lambda one: one.effect.change or -math.inf)
    told = f"{row.label} {amount(row, row.effect.change)}"
    if row.effect.low is not None:
        low, high = (amount(row, end) for end in (row.effect.low, row.effect.high))
        told += f" (95{words.NBSP}% interval {low} to {high})"
    if word == "fail":
        return f"Worse by more than {allowed}: {told}."
    if word == "pass":
        return f"Not worse by more than {allowed}: at most {told}."
    return f"The runs cannot tell whether it is worse by {allowed}: {row.effect.reason or told}."


def _notes(run: Side, base: Side, rows: list[Row]) -> list[str]:
    notes = []
    if min(run.runs, base.runs) < 3 and base.digest:  # noqa: PLR2004 - effect.RUNS_MIN
        notes.append(
            "With fewer than three runs a side, what differs from one run to the next of the same "
            "system is not in the intervals; name two folders of three runs each to have it there."
        )
    if any(row.effect.paired for row in rows):
        notes.append("Both sides played the same journeys, so they were compared pair by pair.")
    return notes
