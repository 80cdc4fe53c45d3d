"""The page of a comparison: what changes, with intervals, beside what both are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fewseconds import slo
from fewseconds.report import words
from fewseconds.report.page import (
    Answer,
    Cell,
    Figure,
    Page,
    Range,
    Ranges,
    Section,
    Table,
    Text,
)
from sim.comparison import UTILISATION

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sim.comparison import Comparison, Difference

POINTS = "percentage points"


def page(found: Comparison, command: str, header: Mapping[str, Any]) -> Page:
    """The whole page."""
    times = [d for d in found.measures if d.statistic != "share" and d.difference.low is not None]
    return Page(
        kicker="Comparison",
        title=f"{found.titles[0]} → {found.titles[1]}",
        about=f"Both in {found.window}, walked with the same consumers, banks and luck.",
        answer=Answer(
            found.sentence,
            word=slo.overall(found.verdicts[1]),
            facts=(
                words.counted(found.replications, "pair") + " of replications",
                f"{words.whole(sum(found.judged))} judged journeys",
                f"seed {header['seed']}",
                str(header["engine"]),
            ),
            reasons=(found.unsettled,) if found.unsettled else (),
        ),
        figures=tuple(_figure(d) for d in times[:4]),
        sections=(_changes(found, times), _busy(found), _how()),
        command=command,
        facts=tuple((name, str(value)) for name, value in header.items()),
    )


def _changes(found: Comparison, times: list[Difference]) -> Section:
    # The portal's minutes would flatten the seconds of everything else on one axis.
    drawn = [
        Ranges(title, "s", tuple(_range(d) for d in some), mark=0.0, mark_text="no difference")
        for title, some in (
            ("Difference of durations", [d for d in times if d.of != "portal_time"]),
            ("Difference of durations at the portal", [d for d in times if d.of == "portal_time"]),
        )
        if some
    ]
    return Section(
        "What changes",
        f"From {found.names[0]} to {found.names[1]}: the difference of each pair of "
        "replications, and the interval that holds the true one nineteen times in twenty.",
        (*drawn, _table(found, found.measures), _refusals(found)),
    )


def _busy(found: Comparison) -> Section:
    drawn = Ranges(
        "Difference of utilisation",
        POINTS,
        tuple(_share(d) for d in found.stations if d.statistic == UTILISATION),
        mark=0.0,
        mark_text="no difference",
    )
    return Section(
        "How busy the stations are",
        "Utilisation: the share of a station's servers that work, on average. "
        "Stations without a queue show the mean number of busy servers.",
        (drawn, _table(found, found.stations)),
    )


def _how() -> Section:
    text = (
        "Common random numbers: the same consumer has the same bank, patience and third-attempt "
        "debit time in both scenarios. The last column of the tables says how many times as much "
        "the difference would vary without them."
    )
    return Section("How it was compared", "", (Text(text),))


def _figure(found: Difference) -> Figure:
    return Figure(
        words.change(found.difference.observed),
        f"{_name(found)}: {words.seconds(found.first.observed)} → "
        f"{words.seconds(found.second.observed)}",
    )


def _name(found: Difference) -> str:
    statistic = {"share": "", UTILISATION: ""}.get(found.statistic, f", {found.statistic}")
    return found.of.replace("_", " ") + statistic


def _range(found: Difference) -> Range:
    change = found.difference
    note = f"{words.change(change.low)} to {words.change(change.high)}"
    return Range(
        _name(found), change.observed, change.low, change.high,
        words.change(change.observed), note,
    )  # fmt: skip


def _share(found: Difference) -> Range:
    change = found.difference
    value, low, high = (
        None if x is None else 100 * x for x in (change.observed, change.low, change.high)
    )
    return Range(_name(found), value, low, high, words.points(change.observed))


def _table(found: Comparison, rows: tuple[Difference, ...]) -> Table:
    cells = []
    for row in rows:
        change = row.difference
        if change.observed is None:
            continue
        share = row.statistic in ("share", UTILISATION)
        shown = words.percent if share else words.seconds if row in found.measures else _plain
        moved = words.points if share else words.change if row in found.measures else _signed
        cells.append(
            (
                _name(row),
                shown(row.first.observed),
                shown(row.second.observed),
                Cell(moved(change.observed), note=f"{moved(change.low)} to {moved(change.high)}"),
                words.NOTHING if row.unpaired_variance is None else f"{row.unpaired_variance:.0f}×",
            )
        )
    columns = ("", *found.names, "difference", "without common numbers")
    return Table(columns, tuple(cells), note=f"Differences of shares are {POINTS}.")


def _plain(value: float | None) -> str:
    return words.NOTHING if value is None else f"{value:.3g}"


def _signed(value: float | None) -> str:
    return words.NOTHING if value is None else f"{value:+.2g}"


def _refusals(found: Comparison) -> Text | None:
    points = tuple(
        f"{_name(d)}: {d.difference.reason}."
        for d in found.measures
        if d.difference.observed is None
    )
    return Text("Not said, because the sample cannot support it:", points) if points else None
