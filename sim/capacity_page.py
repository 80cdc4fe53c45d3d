"""The page of a capacity search: the answer, the stations, the knee, flips and what to buy."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from fewseconds.report import words
from fewseconds.report.page import Answer, Cell, Figure, Page, Range, Ranges, Section, Table, Text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sim.answer import CapacityAnswer
    from sim.capacity import Need
    from sim.drain import Drain
    from sim.purchases import Purchase

PAISE = 100


def page(found: CapacityAnswer, title: str, command: str, header: Mapping[str, Any]) -> Page:
    """The whole page."""
    return Page(
        kicker="Capacity",
        title=title,
        about=f"Judged: {found.window}.",
        answer=Answer(
            found.sentence,
            word=found.capacity.word,
            facts=(
                f"{found.replications} replications of every variant",
                words.counted(found.walks, "walk"),
                f"seed {header['seed']}",
                str(header["engine"]),
            ),
            reasons=(found.purchases.sentence,),
        ),
        figures=_figures(found),
        sections=(_stations(found), _knee(found), _drains(found), _flips(found), _buy(found)),
        command=command,
        facts=tuple((name, str(value)) for name, value in header.items()),
    )


def _figures(found: CapacityAnswer) -> tuple[Figure, ...]:
    figures = []
    knee = found.capacity.knee
    if knee is not None:
        span = f"{knee.low:.3g}–{knee.high:.3g}×" if knee.high else f"{knee.low:.3g}× and more"
        figures.append(Figure(span, "the arrivals that are sustained"))
    for station in (found.capacity.bottleneck, found.capacity.next):
        for need in found.capacity.needs:
            if need.station == station:
                name = words.label(station, {})
                figures.append(Figure(words.percent(need.utilisation), f"{name} busy"))
    return tuple(figures)


def _stations(found: CapacityAnswer) -> Section:
    needs = found.capacity.needs
    bars = Ranges(
        "Utilisation in the judged hours, if nobody had to wait elsewhere",
        "%",
        tuple(_bar(need) for need in needs),
        mark=100.0,
        mark_text="full",
    )
    rows: list[tuple[str | Cell, ...]] = [
        (
            Cell(words.label(need.station, {}), note=need.rush),
            words.whole(need.servers),
            Cell(
                words.whole(need.servers_min),
                note=need.why,
                word="fail" if need.servers < need.servers_min else "pass",
            ),
            f"{need.offered.observed or 0.0:.3g}",
            words.percent(need.utilisation),
            words.whole(need.alone_min) if need.alone_min else words.NOTHING,
            "yes" if need.gated else "no",
        )
        for need in needs
    ]
    columns = (
        "", "servers", "least", "offered, erlangs", "utilisation", "least, others ample",
        "gates feel it",
    )  # fmt: skip
    return Section(
        "What each station needs",
        "The least servers that meet every gate, all stations together; beside them the least "
        "while every other station has more than enough.",
        (bars, Table(columns, tuple(rows))),
    )


def _bar(need: Need) -> Range:
    def share(value: float | None) -> float | None:
        return None if value is None else 100 * value / need.servers

    offered = need.offered
    return Range(
        words.label(need.station, {}),
        share(offered.observed),
        share(offered.low),
        share(offered.high),
        words.percent(need.utilisation),
        word="fail" if need.utilisation >= 1 else "",
    )


def _knee(found: CapacityAnswer) -> Section:
    knee = found.capacity.knee
    if knee is None:
        return Section("How much more can come", found.capacity.hopeless + ".")
    low_s = knee.low * knee.rate_per_s
    if knee.high is None:
        text = (
            f"Every gate surely holds up to {knee.low:.3g} times the arrivals ({low_s:.3g} "
            f"journeys a second) and none surely fails up to {knee.most:.3g} times; the search "
            f"ends there: {knee.most_because}."
        )
    else:
        text = (
            f"Every gate surely holds up to {knee.low:.3g} times the arrivals ({low_s:.3g} "
            f"journeys a second) and surely fails from {knee.high:.3g} times on: "
            f"{', '.join(knee.failing) or 'not settled which'}. Busiest there: "
            f"{words.label(knee.limiting, {})}."
        )
    rows = tuple(
        (
            f"{probe.rate:.3g}×",
            f"{probe.rate * knee.rate_per_s:.3g}",
            Cell(probe.word, word=probe.word),
            ", ".join(probe.gates) or words.NOTHING,
            words.whole(probe.replications),
        )
        for probe in knee.probes
    )
    columns = ("arrivals", "a second", "gates", "not met, or open", "replications")
    return Section("How much more can come", text, (Table(columns, rows) if rows else None,))


def _drains(found: CapacityAnswer) -> Section:
    columns = ("", "outage", "most waiting", "turned away", "drained after", "fluid limit")
    rows = tuple(_drain(one) for one in found.drains)
    return Section(
        "After an outage",
        "The station is closed as the judged hours begin; who comes is held in the queue. The "
        "fluid limit knows neither retries nor people who give up.",
        (Table(columns, rows) if rows else None,),
    )


def _drain(found: Drain) -> tuple[str | Cell, ...]:
    return (
        words.label(found.station, {}),
        words.seconds(found.outage_s),
        f"{found.backlog.observed or 0.0:.0f}",
        f"{found.lost.observed or 0.0:.0f}",
        words.seconds(found.drain_s.observed),
        words.seconds(found.fluid_s),
    )


def _flips(found: CapacityAnswer) -> Section:
    flipping = tuple(one.sentence for one in found.flips if one.factor is not None)
    rest = tuple(one.sentence for one in found.flips if one.factor is None)
    if not found.flips:
        return Section("Which assumption decides", "Not searched (--no-flips).")
    lead = (
        "The assumptions at which the verdict changes, the nearest first."
        if flipping
        else "No single assumption changes the verdict."
    )
    parts = (
        Text("", flipping) if flipping else None,
        Text("Looked at in their whole range, and found not to change it:", rest) if rest else None,
    )
    return Section("Which assumption decides", lead, parts)


def _buy(found: CapacityAnswer) -> Section:
    columns = ("", "now", "needed", "buy", "price", "order by")
    rows = tuple(_line(line) for line in found.purchases.lines)
    return Section("What to buy", found.purchases.sentence, (Table(columns, rows),))


def _line(line: Purchase) -> tuple[str | Cell, ...]:
    price = words.NOTHING
    if line.price_paise:
        price = f"₹{words.whole(round(line.price_paise / PAISE))}"
    return (
        Cell(line.item, note=line.reason),
        Cell("no limit" if math.isinf(line.now) else f"{line.now:g}", note=line.unit),
        f"{line.needed:g}",
        Cell(words.whole(line.buy), word="fail" if line.buy else ""),
        Cell(price, note=line.source),
        f"{line.order_by:%d %b %Y}" if line.order_by else words.NOTHING,
    )
