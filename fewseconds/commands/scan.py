"""``fewseconds scan evaluate``: what every decoder reads of the photographs in a folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from fewseconds.commands import console
from fewseconds.commit import commit

if TYPE_CHECKING:
    from pathlib import Path

    from fixtures.evaluation import Evaluation


def scan_evaluate(
    folder: Path, negatives: list[Path], decoders: list[str], *, as_json: bool
) -> int:
    """Have every decoder, and the cascade of them, read the photographs in a folder."""
    state = commit()
    console.say(f"folder={folder} engine=decoders commit={state}")
    from fixtures import decoding
    from fixtures.evaluation import evaluate
    from fixtures.photographs import photographs

    found, done = photographs(folder, negatives), 0
    for sentence in decoding.unavailable().values():
        console.say(sentence)
    with console.progress() as say:

        def tick() -> None:
            nonlocal done
            done += 1
            say("reading photographs", done / len(found))

        names = [name for name in dict.fromkeys(decoders) if name != decoding.CASCADE]
        names = names if decoders else list(decoding.available())
        result = evaluate(found, (*names, decoding.CASCADE), tick)
    cascade = result.by_decoder[decoding.CASCADE]
    if as_json:
        fields = {"folder": str(folder), "engine": "decoders", "commit": state}
        totals = {"decoded": cascade.decoded, "misread": cascade.misread}
        totals["false_positives"] = cascade.false_positives
        console.print_json(fields | totals | msgspec.to_builtins(result))
    else:
        _print_evaluation(result)
    return 0


def _print_evaluation(result: Evaluation) -> None:
    """The table of decoders, and every file and reading that calls for a look."""
    from rich.table import Table

    table = Table("decoder", "read", "misread", "read where none is", "median ms", "p95 ms")
    for name, score in result.by_decoder.items():
        times = ["–" if ms is None else f"{ms:.2f}" for ms in (score.ms_median, score.ms_p95)]
        counts = (f"{score.decoded} of {result.images}", score.misread, score.false_positives)
        table.add_row(name, *map(str, counts), *times)
    console.out.print(table)
    summary = (
        f"{result.images} pictures show a code, the text of {result.labelled} is known; "
        f"{result.negatives} show none; {result.left_out} left out"
    )
    lines = [summary]
    for wrong in result.misreadings:
        known = "shows no code" if wrong.known is None else f"says {wrong.known[:60]!r}"
        lines.append(f"{wrong.photograph}: {known}, {wrong.decoder} read {wrong.text[:60]!r}")
    for line in (*lines, *result.broken):
        console.out.print(line, markup=False, soft_wrap=True)
