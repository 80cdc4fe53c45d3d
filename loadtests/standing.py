"""How a run stands while it is under way: counts and histograms that several workers add up.

What a worker tells is everything since the beginning, so a report that gets lost does no harm.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import msgspec

from fewseconds import promise, slo
from loadtests.histogram import Histogram

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fewseconds.scenario import Scenario, Slo

UNSEEN: Final = ("faster_than_portal", "biller_time")
"""Measures that no generator can see: of pairs of journeys, of which real time plays only one, and
of what happens between services."""
ADDED: Final = (
    "intended", "started", "dropped", "late", "in_flight", "in_flight_max", "begun_late", "refused",
)  # fmt: skip


class Standing(msgspec.Struct, kw_only=True):
    """What one worker has seen so far; :func:`together` adds several up."""

    intended: int = 0
    started: int = 0
    dropped: int = 0
    late: int = 0
    """Journeys that have ended and had a step begin too late (see ``validity.LATE_MS``)."""
    in_flight: int = 0
    in_flight_max: int = 0
    begun_late: int = 0
    """Of the steps in ``lags``, those that began too late."""
    refused: int = 0
    """Journeys that have ended because nobody listened (see ``promise.REFUSALS``)."""
    cpu_share: float = 0.0
    """Of the busiest worker (see ``loadtests.busyness.Busyness``)."""
    elapsed_s: float = 0.0
    """Since the window began, also while the last journeys are waited for."""
    fates: dict[str, dict[str, int]] = {}
    """Journeys that have ended, by kind and fate (see ``measures.FATES``)."""
    failed: dict[str, int] = {}
    """Journeys that left a step for good without its having succeeded, by step."""
    lag: dict[str, Any] = {}
    """Packed histogram of each journey's largest lag."""
    lags: dict[str, Any] = {}
    """Packed histogram of the lag of every step that should begin when the step before ended."""
    steps: dict[str, dict[str, Any]] = {}
    """Packed histogram a step: intended start of its first attempt → end of its last."""
    measures: dict[str, dict[str, Any]] = {}
    """Packed histogram a measure that an objective bounds by a quantile."""
    waiting: dict[str, dict[str, Any]] = {}
    """Packed histogram a measure of what journeys under way are waiting for just now: the measure
    will be at least that."""
    shares: dict[str, tuple[int, int]] = {}
    """A measure that an objective bounds as a share: how many, and of how many."""


class Objective(msgspec.Struct, frozen=True):
    """An objective on what has been seen so far."""

    name: str
    measure: str
    statistic: str
    gate: bool
    limit: float
    at_least: bool
    observed: float | None
    """Seconds or a share; None while the sample cannot support the statistic."""
    count: int
    word: slo.Word


def together(parts: Iterable[Standing]) -> Standing:
    """What several workers have seen; nothing is averaged."""
    total = Standing(fates={}, failed={}, steps={}, measures={}, waiting={}, shares={})
    lag, lags = Histogram(), Histogram()
    sums: dict[str, dict[str, Histogram]] = {"steps": {}, "measures": {}, "waiting": {}}
    for part in parts:
        for name in ADDED:
            setattr(total, name, getattr(total, name) + getattr(part, name))
        total.elapsed_s = max(total.elapsed_s, part.elapsed_s)
        total.cpu_share = max(total.cpu_share, part.cpu_share)
        for kind, fates in part.fates.items():
            _add(total.fates.setdefault(kind, {}), fates)
        _add(total.failed, part.failed)
        for name, (some, of) in part.shares.items():
            before = total.shares.get(name, (0, 0))
            total.shares[name] = before[0] + some, before[1] + of
        if part.lag:
            lag.merge(Histogram.unpacked(part.lag))
        if part.lags:
            lags.merge(Histogram.unpacked(part.lags))
        for field, merged in sums.items():
            for name, packed in getattr(part, field).items():
                merged.setdefault(name, Histogram()).merge(Histogram.unpacked(packed))
    total.lag, total.lags = lag.packed(), lags.packed()
    for field, merged in sums.items():
        setattr(total, field, {name: one.packed() for name, one in merged.items()})
    return total


def _add(total: dict[str, int], part: dict[str, int]) -> None:
    for name, count in part.items():
        total[name] = total.get(name, 0) + count


class SoFar(msgspec.Struct, frozen=True):
    """The verdict on what has been seen so far, with the verdict before it."""

    word: slo.Word
    broken: tuple[tuple[promise.Rule, str], ...]
    """Which of the generator's promises are broken, and what that means, one sentence each."""
    objectives: list[Objective]

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why nothing can be concluded so far; empty if all is well."""
        return tuple(sentence for _, sentence in self.broken)


def so_far(scenario: Scenario, standing: Standing) -> SoFar:
    """What would be said if this were all, by the rules that hold at the end.

    Three of those need the end, or the services' rows: that nothing got lost, Little's law, and
    whether mocked parties overran (see ``promise.LIVE``).
    """
    found = objectives(scenario, standing)
    lags = Histogram.unpacked(standing.lags) if standing.lags else Histogram()
    fates: dict[str, int] = {}
    for some in standing.fates.values():
        _add(fates, some)
    broken = promise.broken(
        promise.Promise(
            what="journeys",
            intended=standing.intended,
            started=standing.started,
            dropped=standing.dropped,
            begun=lags.total,
            late=standing.begun_late,
            lag_ms_p99=(lags.quantile_us(0.99) or 0.0) / 1e3,
            cpu_share=standing.cpu_share,
            failed_anyway=slo.overall(found) == "fail",
            over=False,
        )
    )
    if broken and not promise.dead(fates, standing.refused):
        found = [msgspec.structs.replace(one, word="inconclusive") for one in found]
    return SoFar(slo.overall(found), broken, found)


def objectives(scenario: Scenario, standing: Standing) -> list[Objective]:
    """Every objective that the generator alone can judge, whether or not it kept its promise.

    A journey under way that has waited longer than a limit already has broken it: what ended alone
    would say nothing of a system that answers nobody.
    """
    found = []
    for one in scenario.slo:
        if "measured" not in one.engines or one.measure in UNSEEN:
            continue
        observed, count = _observed(one, standing)
        word: slo.Word = "inconclusive"
        if observed is not None:
            word = "pass" if slo.met(one, observed) else "fail"
        found.append(
            Objective(
                one.name, one.measure, one.statistic, one.gate, one.limit, one.at_least, observed,
                count, word,
            )
        )  # fmt: skip
    return found


def _observed(one: Slo, standing: Standing) -> tuple[float | None, int]:
    if one.statistic == "share":
        some, of = standing.shares.get(one.measure, (0, 0))
        return (some / of if of else None), of
    packed = standing.measures.get(one.measure)
    if packed is None:
        return None, 0
    histogram = Histogram.unpacked(packed)
    if not one.at_least and one.measure in standing.waiting:
        waiting = Histogram.unpacked(standing.waiting[one.measure])
        histogram.merge(waiting.above(round(one.limit * 1e6)))
    probability, count = slo.QUANTILES[one.statistic], histogram.total
    if not slo.supports(count, probability):
        return None, count
    found_us = histogram.quantile_us(probability)
    return (math.inf if found_us is None else found_us / 1e6), count
