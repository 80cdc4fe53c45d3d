"""``fewseconds describe``: the model of a scenario in words, for a paper or a review."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from fewseconds.commands import console

if TYPE_CHECKING:
    from pathlib import Path


def describe(name: str, month: int | None, results: Path, *, as_json: bool) -> int:
    """Write the description as a page and as Markdown; print where they are."""
    scenario = console.load(name, month=month)
    fields = console.header(scenario, scenario.seed, "describe")
    from fewseconds.commit import commit, versions
    from fewseconds.plan import plan
    from fewseconds.report import description
    from fewseconds.report.page import write
    from fewseconds.report.page_markdown import markdown
    from fewseconds.results import new_folder

    at = [] if month is None else ["--month", str(month)]
    facts = (
        ("scenario", f"{scenario.name}#{scenario.digest}"),
        ("hash of the plan", plan(scenario).digest),
        ("seed", str(scenario.seed)),
        ("commit", commit()),
        *versions().items(),
    )
    command = shlex.join(["fewseconds", "describe", name, *at])
    page = description.page(scenario, command, facts)
    folder = new_folder(results, f"{scenario.name}-description")
    report = write(folder, page)
    text = report.with_suffix(".md")
    text.write_text(markdown(page), encoding="utf-8")
    if as_json:
        console.print_json(fields | {"report": str(report), "markdown": str(text)})
    else:
        console.show(f"{report}\n{text}")
    return 0
