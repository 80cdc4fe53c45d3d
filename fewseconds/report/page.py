"""A page that answers one question: a sentence, figures, charts and tables, in the house's style.

Whoever has results (a simulation, a sweep, a capacity search, a comparison) hands over plain values
and gets one HTML file without script or network::

    page = Page(
        kicker="Comparison",
        title="70 % against 80 % digital",
        answer=Answer("Yes: at 80 % …", word="pass", facts=("seed 7", "20 replications")),
        figures=(Figure("3.1 s", "machine time, half of the payments"),),
        sections=(
            Section("Machine time", "What changes when …", (
                lines("Share of …", curves, x="s"),                    # charts.lines → Panel
                Ranges("Difference", "s", (Range("p95", 0.1, 0.0, 0.2, "+0.1 s"),), mark=0.0),
                Table(("", "70 %", "80 %"), (("median", "3.0 s", "3.1 s"),)),
                Text("Where the numbers come from …"),
            )),
        ),
        command="fewseconds compare adoption_70 adoption_80",
    )
    write(folder, page)                                                # folder/report.html

Charts are made by :mod:`fewseconds.report.charts`; durations and shares become words in
:mod:`fewseconds.report.words` (``words.seconds(0.25)``, ``words.percent(0.8)``). All text is
escaped. A table's columns after the first are numbers, right-aligned, unless ``numbers=False``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import jinja2
import msgspec

from fewseconds.report import words
from fewseconds.report.drawing import Panel, Tick, axis

FILE_NAME: Final = "report.html"
"""The page of a folder of results."""


class Answer(msgspec.Struct, frozen=True):
    """What the reader came for, in one sentence."""

    sentence: str
    word: str = ""
    """``pass``, ``fail`` or ``inconclusive`` colour it; empty is no verdict."""
    facts: tuple[str, ...] = ()
    """What was done to know it: sizes, seeds, engine, time."""
    reasons: tuple[str, ...] = ()
    """Further sentences that the answer needs, one line each."""


class Figure(msgspec.Struct, frozen=True):
    """One of the few numbers that a reader in a hurry takes away."""

    value: str
    meaning: str


class Text(msgspec.Struct, frozen=True):
    """A paragraph, or several points of a list."""

    text: str = ""
    points: tuple[str, ...] = ()
    part: str = "text"


class Cell(msgspec.Struct, frozen=True):
    """A cell that says more than a text: ``word`` colours it, ``shade`` (0 to 1) fills it."""

    text: str
    note: str = ""
    word: str = ""
    shade: float | None = None


class Table(msgspec.Struct, frozen=True):
    """A table; cells are texts or :class:`Cell`."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str | Cell, ...], ...]
    caption: str = ""
    note: str = ""
    numbers: bool = True
    folded: bool = False
    """Shown only when its caption is opened: for long lists."""
    part: str = "table"

    @property
    def cells(self) -> list[list[Cell]]:
        """The rows with every cell a :class:`Cell`."""
        return [[Cell(c) if isinstance(c, str) else c for c in row] for row in self.rows]


class Range(msgspec.Struct, frozen=True):
    """A value with its interval; None is an end without a bound, or no value at all."""

    label: str
    value: float | None
    low: float | None
    high: float | None
    shown: str
    """The value in words."""
    note: str = ""
    """The interval and the sample in words."""
    word: str = ""


class Drawn(msgspec.Struct, frozen=True):
    """A range in per cent of its track."""

    range: Range
    at: float | None
    left: float
    width: float


class Ranges(msgspec.Struct, frozen=True):
    """Values with intervals, one a row, on one axis: a dot on a bar."""

    title: str
    unit: str
    rows: tuple[Range, ...]
    mark: float | None = None
    """A value that matters: no difference, or a limit."""
    mark_text: str = ""
    note: str = ""
    part: str = "ranges"

    @property
    def scale(self) -> tuple[float, float]:
        """Both ends of the axis."""
        ends = [v for row in self.rows for v in (row.value, row.low, row.high) if v is not None]
        ends += [] if self.mark is None else [self.mark]
        low, high = min(ends, default=0.0), max(ends, default=1.0)
        if low > 0 and low < (high - low):
            low = 0.0
        pad = 0.04 * ((high - low) or abs(high) or 1.0)
        return (low - pad if low else low), high + pad

    @property
    def ticks(self) -> tuple[Tick, ...]:
        """Ticks of the axis."""
        return axis(*self.scale, self.unit, 6)

    @property
    def mark_at(self) -> float | None:
        """Where the mark stands."""
        return None if self.mark is None else self._place(self.mark)

    @property
    def drawn(self) -> list[Drawn]:
        """The rows as places; an open end reaches the edge."""
        found = []
        for row in self.rows:
            known = row.value is not None
            left = 0.0 if row.low is None else self._place(row.low)
            right = 100.0 if row.high is None else self._place(row.high)
            at = self._place(row.value) if row.value is not None else None
            found.append(Drawn(row, at, left, right - left if known else 0.0))
        return found

    def _place(self, value: float) -> float:
        low, high = self.scale
        return min(max(100 * (value - low) / ((high - low) or 1.0), 0.0), 100.0)


class Box(msgspec.Struct, frozen=True):
    """A step of a way."""

    title: str
    lines: tuple[str, ...] = ()
    human: bool = False
    detour: bool = False
    """Not what follows the box before it as a rule."""


class Lane(msgspec.Struct, frozen=True):
    """Steps one after another; ``start`` says what sets them off."""

    start: str
    boxes: tuple[Box, ...]


class Diagram(msgspec.Struct, frozen=True):
    """Ways through steps, drawn as boxes: the first lane is the way, the others set out from it."""

    title: str
    lanes: tuple[Lane, ...]
    part: str = "diagram"


class Panels(msgspec.Struct, frozen=True):
    """Charts that share one axis, or stand for one thing."""

    panels: tuple[Panel, ...]
    axis_title: str = ""
    part: str = "panels"


Part = Text | Table | Ranges | Diagram | Panels


class Section(msgspec.Struct, frozen=True):
    """A heading, what there is to see in a sentence or two, and the parts that show it."""

    title: str
    lead: str = ""
    parts: tuple[Part | Panel | None, ...] = ()
    """None is skipped, so that a chart without data needs no branch."""

    @property
    def shown(self) -> list[Part]:
        """The parts that are there."""
        return [
            Panels((part,)) if isinstance(part, Panel) else part
            for part in self.parts
            if part is not None
        ]


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """A whole page."""

    kicker: str
    """What kind of page it is: ``Simulation``, ``Comparison`` …"""
    title: str
    answer: Answer
    about: str = ""
    figures: tuple[Figure, ...] = ()
    sections: tuple[Section, ...] = ()
    command: str = ""
    """What makes the same page again."""
    facts: tuple[tuple[str, str], ...] = ()
    """Names and values at the end: commit, versions, seed, hashes."""


def environment() -> jinja2.Environment:
    """The templates with the words that every page uses."""
    found = jinja2.Environment(
        loader=jinja2.PackageLoader("fewseconds", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= {
        "seconds": words.seconds,
        "change": words.change,
        "percent": words.percent,
        "whole": words.whole,
        "label": words.label,
    }
    found.globals |= {"words": words}
    return found


def html(page: Page) -> str:
    """The page as text."""
    return environment().get_template("page.html").render(page=page)


def write(folder: Path, page: Page) -> Path:
    """Write ``report.html`` into ``folder`` (which must exist) and return its path.

    Raises OSError if it cannot be written.
    """
    path = Path(folder) / FILE_NAME
    path.write_text(html(page), encoding="utf-8")
    return path
