"""The page of a sweep: which variants meet every gate, and what the keys do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fewseconds.report import charts, words
from fewseconds.report.page import Answer, Cell, Page, Range, Ranges, Section, Table, Text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fewseconds.report.drawing import Panel
    from fewseconds.slo import Verdict
    from sim.sweep import Point, Ranking, Sweep

LINES_MAX = 6
"""So many objectives get a chart of their own."""


def page(found: Sweep, title: str, command: str, header: Mapping[str, Any]) -> Page:
    """The whole page."""
    facts = (
        words.counted(found.runs, "walk"),
        found.window.split(" (")[0],
        f"seed {header['seed']}",
        str(header["engine"]),
    )
    sections = (_charts(found), _table(found)) if found.points else (_rankings(found),)
    return Page(
        kicker="Sweep",
        title=f"{title}: {', '.join(found.keys)}",
        about=f"Judged: {found.window}. All variants share their consumers and their luck.",
        answer=Answer(found.sentence, word=found.word if found.points else "", facts=facts),
        sections=sections,
        command=command,
        facts=tuple((name, str(value)) for name, value in header.items()),
    )


def _charts(found: Sweep) -> Section:
    (key, *others) = found.keys
    numeric = all(isinstance(point.values[key], int | float) for point in found.points)
    panels: list[Panel | None] = []
    if numeric and len(others) <= 1:
        names = [verdict.name for verdict in found.points[0].verdicts][:LINES_MAX]
        panels = [_panel(found, key, others, name) for name in names]
        panels.append(_stations(found, key) if not others else None)
    lead = "Bands are 95 % intervals; a variant without a point could not be judged."
    return Section(f"What {key} does", lead if any(panels) else "", tuple(panels))


def _panel(found: Sweep, key: str, others: list[str], name: str) -> Panel | None:
    groups: dict[str, list[tuple[float, Verdict]]] = {}
    for point in found.points:
        verdict = next(v for v in point.verdicts if v.name == name)
        if verdict.observed is not None and verdict.observed != float("inf"):
            label = "" if not others else f"{others[0]} = {point.values[others[0]]}"
            groups.setdefault(label, []).append((float(point.values[key]), verdict))
    series = [
        charts.Series(
            label,
            [(x, v.observed or 0.0) for x, v in pairs],
            [(_end(v.low, v), _end(v.high, v)) for _, v in pairs],
            dots=True,
        )
        for label, pairs in groups.items()
    ]
    if not series:
        return None
    verdict = next(v for v in found.points[0].verdicts if v.name == name)
    unit = "" if verdict.statistic == "share" else "s"
    return charts.lines(name, series, y=unit, limit=(words.limit(verdict), verdict.limit))


def _end(bound: float | None, verdict: Verdict) -> float:
    return (verdict.observed or 0.0) if bound is None else bound


def _stations(found: Sweep, key: str) -> Panel | None:
    """Utilisation of the stations that are busiest somewhere in the sweep."""
    names = found.points[0].utilisation
    top = sorted(names, key=lambda n: -max(p.utilisation[n].observed or 0 for p in found.points))
    series = [
        charts.Series(
            name.replace("_", " "),
            [
                (float(point.values[key]), 100 * (point.utilisation[name].observed or 0.0))
                for point in found.points
            ],
            dots=True,
        )
        for name in top[:4]
    ]
    return charts.lines("Utilisation of the busiest stations", series, y="%")


def _table(found: Sweep) -> Section:
    gates = [verdict.gate for verdict in found.points[0].verdicts]
    shown = gates if any(gates) else [True] * len(gates)
    names = [v.name for v, one in zip(found.points[0].verdicts, shown, strict=True) if one]
    rows: tuple[tuple[str | Cell, ...], ...] = tuple(
        (
            ", ".join(f"{value}" for value in point.values.values()),
            Cell(point.word, word=point.word),
            *(_cell(v) for v, one in zip(point.verdicts, shown, strict=True) if one),
            str(point.replications),
        )
        for point in found.points
    )
    columns = (", ".join(found.keys), "gates", *names, "replications")
    open_ones = tuple(_open(point) for point in found.points if point.unsettled)
    note = Text("Known less precisely than asked for:", open_ones) if open_ones else None
    return Section("Every variant", "", (Table(columns, rows), note))


def _open(point: Point) -> str:
    return ", ".join(f"{k} = {v}" for k, v in point.values.items()) + f": {point.unsettled}."


def _cell(verdict: Verdict) -> Cell:
    if verdict.observed is None:
        return Cell(words.NOTHING, word=verdict.word)
    shown = words.quantity(verdict.measure, verdict.observed)
    return Cell(shown, note=words.interval(verdict), word=verdict.word)


def _rankings(found: Sweep) -> Section:
    how = (
        "Sobol's total index: the share of the variance that would be left if all but this key "
        "were known. They may add up to more than 1, because keys act together."
        if found.method == "sobol"
        else "Morris' mu*: the mean size of the change that one step of the key makes."
    )
    return Section("What matters most", how, tuple(_ranges(one) for one in found.rankings))


def _ranges(ranking: Ranking) -> Ranges:
    rows = []
    for index in ranking.indices:
        half = index.total_half or 0.0
        low = None if index.total is None else max(index.total - half, 0.0)
        high = None if index.total is None else index.total + half
        shown = words.NOTHING if index.total is None else f"{index.total:.2f}"
        rows.append(Range(index.key, index.total, low, high, shown))
    spread = f"{ranking.objective}: {ranking.least:.3g} to {ranking.most:.3g} over the design"
    return Ranges(spread, "", tuple(rows))
