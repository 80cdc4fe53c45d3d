"""Where the time goes: one span per journey and step, and their waterfall."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
import polars as pl

from fewseconds import journey as j
from fewseconds import measures, slo
from fewseconds.report import words

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from fewseconds.scenario import Scenario

USUAL: Final = 0.5
"""A step that fewer journeys than this share take is a detour; it is listed apart."""


def spans(outcomes: pl.DataFrame) -> pl.DataFrame:
    """One row per journey and step: ``begun_us``, ``ended_us``, ``seconds``, ``attempts``.

    A span reaches from the intended start of the first attempt to the end of the last, so waits
    between attempts are part of it. Steps that nobody wrote whole-attempt rows for (the callback
    happens between services) are put together from the rows of their legs.
    """
    whole = pl.col("leg") == j.STEP_ROW
    written = outcomes.filter(whole)["step"].unique().implode()
    rows = outcomes.filter(
        (whole | ~pl.col("step").is_in(written))
        & (pl.col("outcome") != "dropped")
        & (pl.col("code").fill_null("") != measures.CUT_OFF)
    )
    return (
        rows.group_by("journey_id", "step", maintain_order=True)
        .agg(
            begun_us=pl.col("intended_us").min(),
            ended_us=pl.col("end_us").max(),
            attempts=pl.col("attempt").max(),
        )
        .with_columns(seconds=(pl.col("ended_us") - pl.col("begun_us")) / 1e6)
    )


class Quantiles(msgspec.Struct, frozen=True):
    """What a sample of seconds says; None where it is too small to say it."""

    count: int
    p50: float | None
    p95: float | None
    p99: float | None
    longest: float | None


def quantiles(values: NDArray[np.float64]) -> Quantiles:
    """Nearest-rank percentiles of ``values`` in seconds, as far as the sample supports them."""

    def at(probability: float) -> float | None:
        if not slo.supports(len(values), probability):
            return None
        return slo.quantile(values, probability)[0]

    median = slo.quantile(values, 0.5)[0] if len(values) else None
    longest = float(values.max()) if len(values) else None
    return Quantiles(len(values), median, at(0.95), at(0.99), longest)


class Bar(msgspec.Struct, frozen=True):
    """One step of the waterfall; seconds, counted from the moment the clock starts."""

    step: str
    label: str
    human: bool
    offset: float
    times: Quantiles


class Waterfall(msgspec.Struct, frozen=True):
    """The usual steps of some kinds of journey in order, and the detours that few take."""

    journeys: int
    bars: tuple[Bar, ...]
    detours: tuple[Bar, ...]
    start: float
    """Where the axis begins: what people do before the clock starts lies below zero."""
    end: float


def waterfall(
    scenario: Scenario, kinds: Sequence[str], outcomes: pl.DataFrame, journeys: pl.DataFrame
) -> Waterfall | None:
    """The waterfall of the journeys of ``kinds``; None if none of them took a step.

    Offsets are the sums of the medians of the usual steps before. The callback and the SMS begin
    at the confirmation: they run beside each other, and the SMS is timed from there to the handset.
    """
    mine = journeys.filter(pl.col("kind").is_in(kinds))
    taken = spans(outcomes.join(mine.select("journey_id"), "journey_id", "semi"))
    after_confirmation = mine.filter(pl.col("sms_us").is_not_null()).select(
        seconds=(pl.col("pay_us") + pl.col("sms_us") - pl.col("ended_us")).clip(0) / 1e6
    )
    order = _order(scenario, kinds)
    clock = 0.0
    bars: list[Bar] = []
    detours: list[Bar] = []
    for name in order:
        step = scenario.steps[name]
        own = after_confirmation if name == "sms" else taken.filter(pl.col("step") == name)
        times = quantiles(own["seconds"].to_numpy())
        if times.p50 is None:
            continue
        human, usual = step.clock == "human", times.count >= USUAL * len(mine)
        bar = Bar(name, words.label(name, words.STEPS), human, clock, times)
        (bars if usual else detours).append(bar)
        if usual and step.after is None:
            clock += times.p50
    return _finished(len(mine), bars, detours) if bars else None


def _order(scenario: Scenario, kinds: Sequence[str]) -> list[str]:
    """The steps of several kinds of journey in one order that suits them all."""
    longest_first = sorted(kinds, key=lambda kind: -len(scenario.journeys[kind].steps))
    order: list[str] = []
    for kind in longest_first:
        order += [name for name in scenario.journeys[kind].steps if name not in order]
    return order


def _finished(journeys: int, bars: list[Bar], detours: list[Bar]) -> Waterfall:
    """Let the clock start at the scan, if there is one, and find how far the axis must reach."""
    zero = next((bar.offset for bar in bars if bar.step == "scan"), bars[0].offset)
    moved = tuple(msgspec.structs.replace(bar, offset=bar.offset - zero) for bar in bars)
    main = [bar for bar in moved if bar.step not in {"callback", "sms"}]
    reach = [bar.offset + (bar.times.p95 or bar.times.longest or 0.0) for bar in main]
    reach += [bar.offset + (bar.times.p50 or 0.0) * 1.1 for bar in moved]
    return Waterfall(journeys, moved, tuple(detours), moved[0].offset, max(reach))
