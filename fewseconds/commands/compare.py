"""``fewseconds compare``: two scenarios with common random numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from fewseconds.commands import console, studies

if TYPE_CHECKING:
    from fewseconds.commands.studies import Effort
    from sim.comparison import Comparison, Difference


def compare(first: str, second: str, seed: int | None, effort: Effort, *, as_json: bool) -> int:
    """Compare scenario ``second`` with ``first``; returns the exit code of the second's gates."""
    before, after = console.load(first), console.load(second)
    seed = before.seed if seed is None else seed
    engine = effort.chosen_engine()
    fields = console.header(before, seed, engine)
    from fewseconds import slo
    from sim import comparison_page
    from sim.comparison import comparison
    from sim.experiments import replicate
    from sim.replication import Case

    until = effort.until()
    with console.progress() as say:
        say("planning", 0.0)
        cases = [Case(s, effort.window(s), engine=engine, paired=True) for s in (before, after)]
        with effort.workers() as workers:
            one, other = replicate(cases, until, workers, seed, say, in_pairs=True)
    found = comparison(one, other, one.unsettled(until) or other.unsettled(until))
    command = studies.command_line(["compare", first, second], seed, effort)
    content = fields | {"command": command} | msgspec.to_builtins(found)
    _print(found)
    page = comparison_page.page(found, command, fields)
    places = studies.publish(page, content, effort.results, f"{before.name}-{after.name}")
    if as_json:
        console.print_json(content | places)
    return slo.exit_code(slo.overall(found.verdicts[1]))


def _print(found: Comparison) -> None:
    from rich.table import Table

    console.say(found.sentence)
    from sim.comparison import UTILISATION

    limited = [row for row in found.stations if row.statistic == UTILISATION]
    tables = (
        ("Measures (differences of shares in percentage points)", found.measures),
        ("Utilisation (differences in percentage points)", limited),
    )
    for title, rows in tables:
        table = Table(title=title, title_justify="left", box=None, pad_edge=False)
        for column in ("", *found.names, "difference", "95 %"):
            table.add_column(column, justify="right" if column else "left")
        for row in rows:
            if row.difference.observed is not None:
                table.add_row(*_cells(row))
        console.err.print(table)
    for row in found.measures:
        if row.difference.observed is None:
            console.say(f"  – {row.of} {row.statistic}: {row.difference.reason}")
    if found.unsettled:
        console.say(f"  ? {found.unsettled}")
    console.say(f"{found.replications} pairs of replications of {found.window}")


def _cells(row: Difference) -> list[str]:
    from fewseconds.report import words

    change = row.difference
    share = row.statistic in ("utilisation", "share")
    shown, moved = (words.percent, words.points) if share else (words.seconds, words.change)
    cells = (
        row.of if share else f"{row.of} {row.statistic}",
        shown(row.first.observed),
        shown(row.second.observed),
        moved(change.observed),
        f"{moved(change.low)} to {moved(change.high)}",
    )
    # Spaces that a search finds.
    return [cell.replace(words.NBSP, " ") for cell in cells]
