"""A page as Markdown: its sentences, tables and ways; charts are left to the HTML."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fewseconds.report.page import Cell, Diagram, Ranges, Table, Text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fewseconds.report.page import Page, Part


def markdown(page: Page) -> str:
    """The page as GitHub-flavoured Markdown that ends in a newline."""
    lines = [f"# {_flat(page.title)}", "", f"*{_flat(page.kicker)}*", ""]
    lines += [f"**{_flat(page.answer.sentence)}**", ""]
    for text in (*page.answer.reasons, page.about, " · ".join(page.answer.facts)):
        lines += [_flat(text), ""] if text else []
    for figure in page.figures:
        lines.append(f"- {_flat(figure.value)}: {_flat(figure.meaning)}")
    for section in page.sections:
        lines += ["", f"## {_flat(section.title)}", ""]
        lines += [_flat(section.lead), ""] if section.lead else []
        for part in section.shown:
            lines += [*_part(part), ""]
    lines += ["", f"    {page.command}", ""] if page.command else []
    lines += [f"- {_flat(name)}: `{value}`" for name, value in page.facts]
    return "\n".join(lines).rstrip() + "\n"


def _part(part: Part) -> Iterator[str]:
    if isinstance(part, Text):
        if part.text:
            yield _flat(part.text)
        yield from (f"- {_flat(point)}" for point in part.points)
    elif isinstance(part, Table):
        yield from _table(part.caption, part.columns, part.cells)
        if part.note:
            yield from ("", _flat(part.note))
    elif isinstance(part, Ranges):
        rows = [[Cell(r.label), Cell(r.shown), Cell(r.note)] for r in part.rows]
        yield from _table(part.title, ("", "value", "95 % interval"), rows)
    elif isinstance(part, Diagram):
        yield f"### {_flat(part.title)}"
        for lane in part.lanes:
            yield from ("", f"{_flat(lane.start)}:", "")
            for number, box in enumerate(lane.boxes, 1):
                told = "; ".join(box.lines)
                person = " (a person)" if box.human else ""
                yield f"{number}. **{_flat(box.title)}**{person}" + (
                    f": {_flat(told)}" if told else ""
                )


def _table(caption: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> Iterator[str]:
    if caption:
        yield from (f"**{_flat(caption)}**", "")
    yield _row(columns)
    yield "|" + "---|" * len(columns)
    for row in rows:
        yield _row([f"{cell.text} ({cell.note})" if cell.note else cell.text for cell in row])


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(_flat(cell).replace("|", r"\|") for cell in cells) + " |"


def _flat(text: str) -> str:
    """One line, with the signs that Markdown would take for its own made plain."""
    flat = " ".join(text.split())
    for sign in r"\`*_<>#":
        flat = flat.replace(sign, "\\" + sign)
    return flat
