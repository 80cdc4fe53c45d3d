"""``fewseconds scan validate``: is the simulated camera right about real photographs?"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec

from fewseconds.commands import console
from fewseconds.commit import commit

if TYPE_CHECKING:
    from pathlib import Path

    from fixtures.validation import Validation


def scan_validate(
    folder: Path, negatives: list[Path], seed: int, workers: int | None, *, as_json: bool
) -> int:
    """Compare, and say in one sentence how far the simulation can be believed."""
    state = commit()
    console.say(f"seed={seed} folder={folder} engine=camera commit={state}")
    from fixtures import decoding
    from fixtures.photographs import photographs
    from fixtures.validation import validate

    for sentence in decoding.unavailable().values():
        console.say(sentence)
    workers = workers or len(os.sched_getaffinity(0))
    with console.progress() as say:
        found = validate(photographs(folder, negatives), seed, workers, say)
    if as_json:
        fields = {"seed": seed, "folder": str(folder), "engine": "camera", "commit": state}
        console.print_json(fields | msgspec.to_builtins(found))
    else:
        _show(found)
    return 0


def _show(found: Validation) -> None:
    from rich.table import Table

    table = Table("category", "decoder", "real", "simulated", "gap (95 %)", "Kendall's tau")
    for category in found.categories:
        tau = "–" if category.tau is None else f"{category.tau:+.2f}"
        for number, one in enumerate(category.decoders):
            gap = f"{one.gap_pp:+.0f} ({one.gap_low_pp:+.0f} to {one.gap_high_pp:+.0f})"
            gap += "" if one.agrees else " !"
            shares = (f"{one.real_share:.0%}", f"{one.simulated_share:.0%}")
            head, tail = (category.name, tau) if number == 0 else ("", "")
            table.add_row(head, one.decoder, *shares, gap, tail)
    console.out.print(table)
    for category in found.categories:
        fit = category.fit
        console.show(
            f"{category.name}: fitted on {category.fitted_on}, judged on {category.judged_on}: "
            f"{fit.medium}, severity {fit.severity:g}, size {fit.size:g}"
        )
    if found.left_out:
        console.show(f"too few photographs to be split: {', '.join(found.left_out)}")
    for sentence in (*found.broken, found.verdict):
        console.show(sentence)
