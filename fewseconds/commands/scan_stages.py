"""``fewseconds scan stages``: what each repair of the cascade reads, and what it costs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from fewseconds.commands import console
from fewseconds.commit import commit

if TYPE_CHECKING:
    from pathlib import Path

    from fixtures.stage_table import StageTable


def scan_stages(
    folder: Path | None,
    seed: int,
    pictures: int,
    without_codes: int,
    megapixels: float,
    *,
    as_json: bool,
) -> int:
    """Measure on large simulated photographs, or on those in a folder, and print the table."""
    state = commit()
    what = f"seed={seed} megapixels={megapixels:g}" if folder is None else f"folder={folder}"
    console.say(f"{what} engine=decoders commit={state}")
    from fixtures import decoding, stage_table
    from fixtures.photographs import photographs

    for sentence in decoding.unavailable().values():
        console.say(sentence)
    if folder is None:
        total, done = pictures + without_codes, 0
        samples = stage_table.scenes(seed, pictures, without_codes, megapixels)
        fields: dict[str, object] = {"seed": seed, "megapixels": megapixels}
    else:
        found, done = photographs(folder), 0
        samples, total = stage_table.from_photographs(found), len(found)
        fields = {"folder": str(folder)}
    with console.progress() as say:

        def tick() -> None:
            nonlocal done
            done += 1
            say("looking at pictures", min(done / total, 1.0))

        table = stage_table.stage_table(samples, tick)
    if as_json:
        fields |= {"engine": "decoders", "commit": state}
        console.print_json(fields | msgspec.to_builtins(table))
    else:
        _print(table)
    return 0


def _print(result: StageTable) -> None:
    from rich.table import Table

    stages = Table("stage", "reads alone", "beyond those before", "mean ms")
    for row in result.stages:
        stages.add_row(row.stage, str(row.alone), str(row.new), f"{row.ms_mean:.1f}")
    categories = Table("pictures", "of them", "read as they are", "with all stages")
    for one in result.categories:
        counts = (one.pictures, one.as_they_are, one.with_stages)
        categories.add_row(one.name, *map(str, counts))
    for table in (stages, categories):
        console.out.print(table)
    console.show(
        f"{result.pictures} pictures show a code: {result.read_as_they_are} read by zxing-cpp as "
        f"they are, {result.read_by_stages} more by the stages; {result.misread} wrong texts"
    )
    console.show(
        f"{result.without_code} pictures show none: {result.false_positives} texts read there"
    )
    console.show(
        f"processor time of a picture with a code: median {result.ms_median:.1f} ms, 95 % "
        f"{result.ms_p95:.0f} ms; of one that nothing reads, 95 % {result.ms_unread_p95:.0f} ms"
    )
