"""``fewseconds scan bench``: how fast codes are drawn, photographed and decoded here."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any

import msgspec

from fewseconds.commands import console
from fewseconds.commit import commit

if TYPE_CHECKING:
    from fixtures.bench import Bench, Line

_TITLES = {
    "matrices": "codes, beside segno",
    "frames": "frames, beside albumentations",
    "effects": "effects, beside albumentations",
    "decodes": "decodes, beside bare zxing-cpp",
}


def scan_bench(seed: int, repeats: int, *, as_json: bool) -> int:
    """Measure, and print every rate with its anchor from the same run."""
    state = commit()
    console.say(f"seed={seed} engine=bench commit={state}")
    from fixtures import decoding
    from fixtures.bench import bench

    for sentence in decoding.unavailable().values():
        console.say(sentence)
    with console.progress() as say:
        done = bench(seed, repeats, say)
    if as_json:
        fields = {"seed": seed, "engine": "bench", "commit": state}
        console.print_json(fields | headline(done) | msgspec.to_builtins(done))
    else:
        _print(done)
    return 0


def headline(done: Bench) -> dict[str, Any]:
    """The figures that others ask for first, each with its ratio."""
    first = {(line.group, line.name): line for line in reversed(done.lines)}
    free, fixed = (line for line in done.lines if line.group == "matrices")
    shared = first["frames", "these seven in a row"]
    return {
        "matrices_per_s": free.rate.per_s,
        "matrices_ratio_to_segno": free.ratio,
        "matrices_ratio_to_segno_fixed_mask": fixed.ratio,
        "frames_per_s": first["frames", "core effects, decoded"].rate.per_s,
        "frames_per_s_all_effects": first["frames", "all effects, decoded"].rate.per_s,
        "frames_ratio_to_albumentations": shared.ratio,
        "decodes_per_s": first["decodes", "cascade"].rate.per_s,
        "decodes_ratio_to_zxing_cpp": first["decodes", "cascade"].ratio,
    }


def _print(done: Bench) -> None:
    """One table, and what it was measured on."""
    from rich import box
    from rich.table import Table

    table = Table("", "a second", "range", "ratio", "theirs", box=box.SIMPLE, padding=(0, 1, 0, 0))
    for column in table.columns:
        column.no_wrap = True
    for column in table.columns[1:]:
        column.justify = "right"
    for group, lines in groupby(done.lines, key=lambda line: line.group):
        table.add_section()
        table.add_row(f"[bold]{_TITLES[group]}[/bold]")
        for line in lines:
            table.add_row(*_cells(line))
    console.out.print(table)
    versions = ", ".join(f"{name} {version}" for name, version in done.versions.items())
    machine = "{cpu}, {cores} cores, {system}".format_map(done.machine)
    for note in sorted({line.note for line in done.lines if line.anchor is None}):
        console.show(f"– without a ratio: {note}")
    console.show(f"medians of {done.repeats} repeats, by processor time of one core")
    console.show(f"{machine}; {versions}")


def _cells(line: Line) -> tuple[str, ...]:
    rate, anchor = line.rate, line.anchor_rate
    mask = (line.anchor or "").partition(", ")[2]
    more = {"matrices": mask, "decodes": line.note}.get(line.group)
    return (
        f"{line.name}; {more}" if more else line.name,
        f"{rate.per_s:,.0f}",
        f"{rate.per_s_min:,.0f}–{rate.per_s_max:,.0f}",
        "–" if line.ratio is None else f"{line.ratio:,.2f}",
        "–" if anchor is None else f"{anchor.per_s:,.0f}",
    )
