"""The page of a walk in virtual time: does it hold, when is it busy, and which way is fast?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from fewseconds import slo
from fewseconds.plan import DAY_US, HOUR_US
from fewseconds.report import charts, funnel, provenance, words
from fewseconds.report.channels import paired, ways
from fewseconds.report.drawing import Rule
from fewseconds.report.page import (
    Answer,
    Cell,
    Figure,
    Page,
    Panels,
    Section,
    Table,
)
from fewseconds.report.usage import moment, peak, stations
from fewseconds.scenario import Scenario

HOUR_S: Final = HOUR_US / 1e6
PERCENTILES: Final = (0.5, 0.9, 0.95, 0.99, 0.999)
DRAWN: Final = ("machine_time", "end_to_end")
TIMES: Final = ("machine_time", "end_to_end", "sms_time", "portal_time", "biller_time")


class Walked(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """What one walk gave."""

    scenario: Scenario
    hourly: NDArray[np.int64]
    """Payments by hour of the whole month, walked or not."""
    span_us: tuple[int, int]
    """First and last intended start that were walked."""
    engine: str
    journeys: int
    events: int
    wall_s: float
    verdicts: tuple[slo.Verdict, ...]
    samples: Mapping[str, slo.Sample]
    """Seconds (or 0 and 1) by measure; see ``measures.samples``."""
    fates: Mapping[str, int]
    paise: Mapping[str, Mapping[str, int]] = {}
    """What was owed, by kind of journey and by how it ended; empty if it is not known."""
    stations: Mapping[str, Any]
    """A :class:`fewseconds.report.usage.Use` each."""
    rows: pl.DataFrame
    """Outcomes of a part of the walk, or of a sample of it, that was looked at closely, and ..."""
    table: pl.DataFrame
    """... its journeys."""
    pairs: tuple[NDArray[np.float64], NDArray[np.float64]]
    """Seconds of the same consumers by QR and by the portal."""
    command: str
    facts: tuple[tuple[str, str], ...]


def page(walked: Walked) -> Page:
    """Everything there is to say about a walk, its answer first."""
    scenario = walked.scenario
    return Page(
        kicker="A month of payments in virtual time",
        title=scenario.title,
        about=scenario.description.strip().replace("\n", " "),
        answer=_answer(walked),
        figures=_figures(walked),
        sections=(
            _objectives(walked),
            ways(walked),
            _arrivals(walked),
            stations(scenario, walked.stations, walked.span_us),
            _times(walked),
            _ends(walked),
            assumptions(scenario),
        ),
        command=walked.command,
        facts=walked.facts,
    )


# --- the answer ------------------------------------------------------------------------------


def _answer(walked: Walked) -> Answer:
    word = slo.overall(walked.verdicts)
    medians = tuple(words.seconds(_quantile(walked, "machine_time", p)) for p in (0.5, 0.95))
    gates = [v for v in walked.verdicts if v.gate]
    failed = [v for v in gates if v.word == "fail"]
    if word == "fail":
        first = failed[0]
        more = f", and {words.counted(len(failed) - 1, 'more gate')} missed" if failed[1:] else ""
        found = words.quantity(first.measure, first.observed)
        said = f"“{first.name}” is {found} where {words.limit(first)} was wanted"
        if found == "never":
            said = f"too many payments fail for “{first.name}” to be {words.limit(first)}"
        sentence = f"No: {said}{more}."
    elif word == "pass":
        sentence = (
            f"Yes: the system takes {medians[0]} for half of the QR payments and at most "
            f"{medians[1]} for 95 of 100, and all {len(gates)} gates hold."
        )
    else:
        sentence = "This walk cannot say: some gate could not be judged."
    reasons = [_busiest(walked), paired(walked)]
    claims = [v.name for v in walked.verdicts if not v.gate and v.word == "fail"]
    if claims:
        reasons.append(f"Not met, though it decides nothing: {'; '.join(claims)}.")
    month = int(walked.hourly.sum())
    facts = (
        f"{words.whole(walked.journeys)} of {words.counted(month, 'payment')} walked",
        f"{words.counted(walked.events, 'event')} in {words.seconds(walked.wall_s)}",
        f"{walked.engine} engine",
    )
    return Answer(sentence, word, facts, tuple(reason for reason in reasons if reason))


def _busiest(walked: Walked) -> str:
    peaks = {name: peak(use) for name, use in walked.stations.items() if use.servers}
    if not peaks:
        return ""
    name = max(peaks, key=lambda station: peaks[station][0])
    share, hour = peaks[name]
    return (
        f"The busiest station is the {words.label(name, {})}: {words.percent(share)} of its "
        f"servers' time in its busiest hour, {moment(walked.scenario, hour)}."
    )


def _figures(walked: Walked) -> tuple[Figure, ...]:
    wanted = (
        ("machine_time", 0.5, "the system alone, half of the QR payments"),
        ("end_to_end", 0.5, "with people, half of the QR payments"),
        ("portal_time", 0.5, "by the portal, half of the payments"),
        ("sms_time", 0.95, "Pay pressed to SMS, 95 of 100"),
    )
    return tuple(
        Figure(words.seconds(_quantile(walked, measure, share)), meaning)
        for measure, share, meaning in wanted
        if len(walked.samples.get(measure, ()))
    )


# --- sections --------------------------------------------------------------------------------


def _objectives(walked: Walked) -> Section:
    rows = [
        (
            Cell(v.name, "gate" if v.gate else "claim"),
            Cell(v.word, word=v.word, note=v.reason),
            Cell(words.quantity(v.measure, v.observed), words.interval(v)),
            words.limit(v),
            words.whole(v.count),
        )
        for v in walked.verdicts
    ]
    return Section(
        "What was wanted, and what was found",
        "Gates decide; claims are judged all the same. Below each value is its 95 % interval.",
        (Table(("objective", "", "found", "wanted", "n"), tuple(rows)),),
    )


def _arrivals(walked: Walked) -> Section:
    scenario = walked.scenario
    days = scenario.arrivals.days
    hourly, month_total = walked.hourly, int(walked.hourly.sum())
    by_day = hourly.reshape(days, 24).sum(axis=1)
    most, mean = int(hourly.max()), float(hourly.mean())
    when = moment(scenario, int(hourly.argmax()))
    first, last = walked.span_us
    walked_days = (first / DAY_US, last / DAY_US)
    begins = f"{scenario.first_day:%A, %d %B %Y}"
    text = (
        f"Bills are staggered over {words.counted(scenario.arrivals.cycles, 'billing cycle')} and "
        f"paid around their due dates. The busiest hour, {when}, has {words.whole(most)} payments "
        f"({most / HOUR_S:.2g} a second), {most / max(mean, 1e-9):.1f} times the mean; the busiest "
        f"day has {words.whole(int(by_day.max()))}."
    )
    if walked.journeys < month_total:
        text += " Only the stretch between the dashed lines was walked."
    month = charts.bars(
        "Payments an hour over the month",
        hourly.astype(np.float64),
        until=days,
        x_ticks=charts.days(days),
    )
    hours = hourly.reshape(days, 24).mean(axis=0)
    day = charts.bars(
        "Payments an hour over the day, mean of all days",
        hours,
        until=24,
        x_ticks=charts.hours(),
    )
    if month and walked.journeys < month_total:
        edges = zip(walked_days, ("walked from here", "to here"), strict=True)
        rules = tuple(Rule(100 * at / days, text) for at, text in edges)
        month = msgspec.structs.replace(month, rules=rules)
    parts = (
        Panels((month,), f"day of the month that begins on {begins}") if month else None,
        Panels((day,), "hour of the day (IST)") if day else None,
    )
    return Section("Payments over the month", text, parts)


def _times(walked: Walked) -> Section:
    kept = [name for name in TIMES if len(walked.samples.get(name, ()))]
    rows: list[tuple[str | Cell, ...]] = []
    for name in kept:
        cells, count = [], len(walked.samples[name])
        for share in PERCENTILES:
            supported = slo.supports(count, share)
            found = words.seconds(_quantile(walked, name, share))
            cells.append(found if supported else words.NOTHING)
        meaning = words.MEASURES[name]
        rows.append((Cell(name.replace("_", " "), meaning), *cells, words.whole(count)))
    limits = {
        f"limit {v.statistic}": (v.limit, slo.QUANTILES[v.statistic])
        for v in walked.verdicts
        if v.measure == "machine_time" and v.statistic in slo.QUANTILES
    }
    shown = {name.replace("_", " "): walked.samples[name] for name in DRAWN if name in kept}
    drawn = {name: sample.drawn() for name, sample in shown.items()}
    counts = {name: len(sample) for name, sample in shown.items()}
    return Section(
        "How long it takes",
        "What the system failed counts as never. A dash is a percentile that the sample is too "
        "small for.",
        (
            charts.distributions(
                "Share of the QR payments done within …", drawn, limits=limits, counts=counts
            ),
            Table(
                ("", *(f"{100 * share:g} %" for share in PERCENTILES), "n"),
                tuple(rows),
                caption="Done within",
            ),
        ),
    )


def _ends(walked: Walked) -> Section:
    found = funnel.funnel(walked.scenario, walked.rows, walked.table)
    stages: list[tuple[str | Cell, ...]] = []
    for stage in found.stages if found else ():
        lost = "; ".join(f"{words.whole(one.count)} {one.reason}" for one in stage.losses)
        on_the_way = "; ".join(stage.detours)
        share = stage.reached / found.started if found else 0.0
        stages.append(
            (
                Cell(stage.label, lost),
                words.whole(stage.reached),
                Cell(words.percent(share), shade=share),
                Cell(words.whole(stage.entered - stage.reached), on_the_way),
            )
        )
    kinds: list[tuple[str | Cell, ...]] = [
        (
            Cell(one.label),
            words.whole(one.started),
            *(words.whole(one.fates[fate]) for fate in words.FATES if walked.fates.get(fate)),
        )
        for one in funnel.ends(walked.table)
    ]
    shown = [words.FATES[fate] for fate in words.FATES if walked.fates.get(fate)]
    total = sum(walked.fates.values())
    told = [f"{words.whole(walked.fates[f])} {f}" for f in words.FATES if walked.fates.get(f)]
    return Section(
        "Where journeys end",
        f"Of {words.counted(total, 'journey')}: {', '.join(told)}.",
        (
            Table(
                ("stage of a QR payment", "reached", "of all", "lost"), tuple(stages),
                caption="From the QR to the SMS",
            )
            if stages
            else None,
            Table(("kind", "started", *shown), tuple(kinds), caption="By kind of journey"),
        ),
    )  # fmt: skip


def assumptions(scenario: Scenario) -> Section:
    """What the page rests on: every number with its source, and how many are assumed."""
    general, stations = provenance.general(scenario), provenance.stations(scenario)
    both = (*general, *stations)
    assumed = sum(one.assumed for one in both)
    return Section(
        "What it rests on",
        f"{len(both)} numbers or groups of numbers; {assumed} of them are assumptions, the others "
        "have a public source or were measured.",
        tuple(
            Table(
                ("what", "value", "source"),
                tuple((Cell(o.subject, o.detail), o.value, o.source) for o in rows),
                caption=caption,
                numbers=False,
                folded=True,
            )
            for caption, rows in (("Who pays, when and how", general), ("Stations", stations))
        ),
    )


# --- small things ----------------------------------------------------------------------------


def _quantile(walked: Walked, measure: str, share: float) -> float | None:
    sample = walked.samples.get(measure)
    return sample.quantile(share)[0] if sample else None
