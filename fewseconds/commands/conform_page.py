"""The page of a conformance check: what was put to a biller, what was expected, what came."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fewseconds.report.page import Answer, Cell, Figure, Page, Section, Table, html

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from mock_psp.conformance_cases import Verdict

AS_WANTED: Final = "as expected"
WORDS: Final = {"pass": "pass", "fail": "fail", "skipped": ""}


def page(url: str, verdicts: Sequence[Verdict], facts: dict[str, object], wall_s: float) -> Page:
    """The page as values."""
    counts = {word: sum(one.word == word for one in verdicts) for word in WORDS}
    failed = [one.name for one in verdicts if one.word == "fail"]
    asked = counts["pass"] + counts["fail"]
    if failed:
        more = f", and {len(failed) - 1} more" if failed[1:] else ""
        sentence = f"No: it does not hold that {_fact(failed[0])}{more}."
    else:
        sentence = f"Yes: the biller kept all {asked} rules that it could be asked about."
    skipped = [
        f"Not asked: {_fact(one.name)}, because {one.observed}."
        for one in verdicts
        if one.word == "skipped"
    ]
    groups = list(dict.fromkeys(one.group for one in verdicts))
    return Page(
        kicker="Conformance",
        title="Does this biller lose or double money?",
        answer=Answer(
            sentence, "fail" if failed else "pass", (url, f"{wall_s:.1f} s"), tuple(skipped)
        ),
        figures=(
            Figure(str(counts["pass"]), "cases passed"),
            Figure(str(counts["fail"]), "cases failed"),
            Figure(str(counts["skipped"]), "cases not asked"),
        ),
        about="One payment at a time is put to the biller as a payee PSP would do it; every case "
        "has one right answer.",
        sections=tuple(_section(group, verdicts) for group in groups),
        facts=tuple((name, str(value)) for name, value in facts.items()),
    )


def write(path: Path, shown: Page) -> None:
    """Write the page as one HTML file; raises OSError if it cannot be written."""
    path.write_text(html(shown), encoding="utf-8")


def _section(group: str, verdicts: Sequence[Verdict]) -> Section:
    rows = tuple(
        (one.name, Cell(one.word, word=WORDS[one.word]), one.expected, one.observed or AS_WANTED)
        for one in verdicts
        if one.group == group
    )
    shown = Table(("case", "", "expected", "what came"), rows, numbers=False)
    return Section(group, parts=(shown,))


def _fact(name: str) -> str:
    """The name of a case inside a sentence."""
    return f"“{name}”"
