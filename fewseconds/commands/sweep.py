"""``fewseconds sweep``: every combination of some keys, or a ranking of the keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from fewseconds.commands import console, studies
from fewseconds.errors import UsageError

if TYPE_CHECKING:
    from fewseconds.commands.studies import Effort
    from sim.sweep import Sweep


def sweep(
    name: str,
    vary: list[str],
    design: tuple[int, int],
    seed: int | None,
    effort: Effort,
    *,
    as_json: bool,
) -> int:
    """Walk the variants and say which meet every gate; ``design`` is (sobol, morris)."""
    base = console.load(name)
    seed = base.seed if seed is None else seed
    engine = effort.chosen_engine()
    from fewseconds import slo
    from sim import sensitivity, sweep_page, variants
    from sim import sweep as sweeps

    sobol, morris = design
    if sobol and morris:
        message = "--sobol and --morris: one ranking at a time; leave one of them out"
        raise UsageError(message)
    method: sensitivity.Method = "sobol" if sobol else "morris"
    varied = [variants.parse(text, base, continuous=any(design)) for text in vary]
    keys = [one.key for one in varied]
    if len(set(keys)) < len(keys):
        message = f"--vary: a key is given twice ({', '.join(keys)}); write all its values at once"
        raise UsageError(message)
    until = effort.until()
    fields = console.header(base, seed, engine)
    with console.progress() as say:
        say("planning", 0.0)
        window = effort.window(base)
        if any(design):
            rows = sensitivity.design(varied, sobol or morris, method, seed)
            made = sweeps.cases(
                name, base, variants.drawn(varied, rows), window, engine, paired=False
            )
            with effort.workers() as workers:
                found = sweeps.over_design(made, varied, rows, method, workers, seed, say)
        else:
            points = variants.grid(varied)
            made = sweeps.cases(name, base, points, window, engine, paired=True)
            with effort.workers() as workers:
                found = sweeps.over_grid(made, points, until, workers, seed, say)
    parts = ["sweep", name, *(part for text in vary for part in ("--vary", text))]
    parts += [f"--{method}", str(sobol or morris)] if any(design) else []
    command = studies.command_line(parts, seed, effort)
    content = fields | {"command": command, "word": found.word} | msgspec.to_builtins(found)
    _print(found)
    page = sweep_page.page(found, base.title, command, fields)
    places = studies.publish(page, content, effort.results, f"{base.name}-sweep")
    if as_json:
        console.print_json(content | places)
    return slo.exit_code(found.word)


def _print(found: Sweep) -> None:
    from rich.table import Table

    console.say(found.sentence)
    for ranking in found.rankings:
        spread = f"{ranking.objective}: {ranking.least:.3g} to {ranking.most:.3g}"
        table = Table(title=spread, title_justify="left", box=None, pad_edge=False)
        names = ("total", "alone") if found.method == "sobol" else ("mean effect", "spread of it")
        for column in ("", *names):
            table.add_column(column, justify="right" if column else "left")
        for index in ranking.indices:
            half = "" if index.total_half is None else f" ± {index.total_half:.2g}"
            table.add_row(
                index.key, studies.estimate(index.total) + half, studies.estimate(index.first)
            )
        console.err.print(table)
    if found.points:
        gates = [v.name for v in found.points[0].verdicts if v.gate]
        table = Table(box=None, pad_edge=False)
        for column in (*found.keys, "gates", *gates, "replications"):
            table.add_column(column, justify="right")
        for point in found.points:
            numbers = [studies.estimate(v.observed) for v in point.verdicts if v.gate]
            values = [str(value) for value in point.values.values()]
            table.add_row(*values, point.word, *numbers, str(point.replications))
        console.err.print(table)
        for point in found.points:
            if point.unsettled:
                said = ", ".join(f"{k}={v}" for k, v in point.values.items())
                console.say(f"  ? {said}: {point.unsettled}")
    console.say(f"{found.runs} walks of {found.window}")
