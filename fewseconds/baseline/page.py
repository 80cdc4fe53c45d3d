"""The page, the JUnit file and the Markdown summary of a comparison with a baseline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

from fewseconds.baseline.comparison import amount
from fewseconds.baseline.effect import SHARE
from fewseconds.baseline.side import MEASURE, SENT, STEP
from fewseconds.junit import Case
from fewseconds.markdown import SIGNS, plain
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

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from fewseconds.baseline.comparison import Found, Row

KINDS: Final = {
    MEASURE: ("Measures", "What people feel, journey by journey."),
    STEP: ("Steps", "From a step's intended start to the end of its last attempt."),
    SENT: ("Requests", "Attempt by attempt, from the actual send."),
}
HOW: Final = (
    "Requests that follow one another are alike, so the runs were cut into blocks that are no "
    "longer correlated, and only blocks were taken for independent: the intervals hold the true "
    "change nineteen times in twenty. A change is called significant when it would still be after "
    "looking at every row of this page (Holm)."
)


def page(found: Found, command: str, header: Mapping[str, Any]) -> Page:
    """The whole page."""
    gates = [row for row in found.rows if row.gate]
    return Page(
        kicker="Run against baseline",
        title=f"{found.run} against {found.base}",
        answer=Answer(
            found.sentence,
            word=found.word,
            facts=_facts(found),
            reasons=found.reasons,
        ),
        figures=tuple(_figure(row) for row in gates[:4] if row.effect.change is not None),
        sections=(
            *_sections(found),
            Section("How it was compared", "", (Text(HOW), _notes(found))),
        ),
        command=command,
        facts=tuple((name, str(value)) for name, value in header.items()),
    )


def _facts(found: Found) -> tuple[str, ...]:
    return (
        f"{words.counted(found.runs[1], 'run')} against {found.runs[0]} of the baseline",
        f"baseline measured by {found.tool}",
        f"may be worse by {found.margins.says()}",
    )


def _notes(found: Found) -> Text | None:
    return Text(points=found.notes) if found.notes else None


def _figure(row: Row) -> Figure:
    return Figure(
        amount(row, row.effect.change),
        f"{row.label}: {_value(row, row.effect.base)} → {_value(row, row.effect.run)}",
    )


def _sections(found: Found) -> Iterator[Section]:
    for kind, (title, lead) in KINDS.items():
        rows = [row for row in found.rows if row.kind == kind]
        if rows:
            yield Section(title, lead, (*_drawn(rows), _table(rows)))


def _drawn(rows: list[Row]) -> Iterator[Ranges]:
    known = [row for row in rows if row.effect.change is not None]
    for share, title, unit in (
        (False, "Change of times, in per cent of the baseline", "%"),
        (True, "Change of failures, in percentage points", "points"),
    ):
        some = [row for row in known if (row.statistic == SHARE) is share]
        if some:
            yield Ranges(
                title, unit, tuple(_range(row) for row in some), mark=0.0, mark_text="no change"
            )


def _range(row: Row) -> Range:
    effect = row.effect
    value, low, high = (
        None if one is None else 100 * one for one in (effect.change, effect.low, effect.high)
    )
    word = row.word if row.gate else ""
    return Range(row.label, value, low, high, amount(row, effect.change), _interval(row), word)


def _interval(row: Row) -> str:
    if row.effect.low is None:
        return ""
    return f"{amount(row, row.effect.low)} to {amount(row, row.effect.high)}"


def _table(rows: list[Row]) -> Table:
    cells = []
    for row in rows:
        effect = row.effect
        if effect.change is None:
            change = Cell(words.NOTHING, note=effect.reason)
        else:
            change = Cell(amount(row, effect.change), note=_interval(row))
        verdict = Cell(row.word, word=row.word) if row.gate else Cell("")
        cells.append(
            (
                row.label,
                _value(row, effect.base),
                _value(row, effect.run),
                change,
                "yes" if row.significant else "no" if effect.p_value is not None else "",
                amount(row, row.detectable, signed=False),
                verdict,
            )
        )
    columns = ("", "baseline", "run", "change", "significant", "would have shown", "gate")
    return Table(
        columns,
        tuple(cells),
        note="“Would have shown”: the smallest change for the worse that these runs would have "
        "shown four times in five.",
    )


def _value(row: Row, value: float | None) -> str:
    return words.percent(value) if row.statistic == SHARE else words.seconds(value)


def _told(row: Row) -> str:
    effect = row.effect
    if effect.change is None:
        return effect.reason
    return (
        f"{_value(row, effect.base)} → {_value(row, effect.run)}, {amount(row, effect.change)} "
        f"({_interval(row) or 'no interval'})"
    )


def cases(found: Found) -> Iterator[Case]:
    """Test cases: gates that fail are failures, open ones errors, and no other row turns red."""
    for reason in found.reasons:
        yield Case("Both measurements allow a conclusion", "error", reason)
    for row in found.rows:
        if not row.gate:
            kind: Literal["", "skipped"] = "skipped" if row.effect.change is None else ""
            yield Case(row.label, kind, row.effect.reason, _told(row))
        elif row.word == "pass":
            yield Case(row.label, "", "", _told(row))
        else:
            red: Literal["failure", "error"] = "failure" if row.word == "fail" else "error"
            yield Case(row.label, red, _told(row), _told(row))


def summary(found: Found, command: str) -> str:
    """The comparison in Markdown: the sentence, the gates, and what is significant besides."""
    lines = [
        f"## {SIGNS[found.word]} {found.word}: {plain(found.run)} against {plain(found.base)}",
        "",
        plain(found.sentence),
        "",
        "| | | baseline | run | change | 95 % |",
        "|---|---|---|---|---|---|",
    ]
    for row in found.rows:
        if row.gate or row.significant:
            kind = f"{SIGNS[row.word]} gate" if row.gate else "significant"
            effect = row.effect
            cells = (
                kind, plain(row.label), _value(row, effect.base), _value(row, effect.run),
                amount(row, effect.change), _interval(row) or plain(effect.reason),
            )  # fmt: skip
            lines.append(f"| {' | '.join(cells)} |")
    lines += ["", *(f"- {plain(text)}" for text in (*found.reasons, *found.notes)), ""]
    lines += ["```console", command.replace("```", "'''"), "```", ""]
    return "\n".join(lines).replace(words.NBSP, " ")
