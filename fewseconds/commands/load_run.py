"""``fewseconds load run``: load alone, in any shape."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from fewseconds.commands import console
from fewseconds.commands.load import insisted

if TYPE_CHECKING:
    from pathlib import Path

    from fewseconds.load_run import LoadRecord
    from fewseconds.run import LoadWish


def load_run(
    name: str,
    seed: int | None,
    results: Path,
    wish: LoadWish,
    slow: list[str],
    on_inconclusive: str,
    *,
    as_json: bool,
) -> int:
    """Put the load on, and print; returns the exit code."""
    scenario = console.load(name, slow)
    seed = scenario.seed if seed is None else seed
    fields = console.header(scenario, seed, "locust")
    from fewseconds.load_run import run

    console.say(wish.shape.says())

    def once() -> tuple[str, LoadRecord]:
        with console.progress() as say:
            record = run(scenario, seed, results, wish, say)
        return record.word, record

    record, tries, code = insisted(once, on_inconclusive)
    if as_json:
        console.print_json(fields | msgspec.to_builtins(record) | {"tries": tries})
    else:
        _show(record)
    return code


def _show(record: LoadRecord) -> None:
    fates = ", ".join(f"{count} {fate}" for fate, count in record.fates.items())
    console.show(f"{record.journeys} journeys at {record.journeys_per_s:.1f}/s: {fates}")
    for verdict in record.verdicts:
        observed = "–" if verdict.observed is None else f"{verdict.observed:.3g}"
        console.show(f"{verdict.word:13} {verdict.name:36} {observed:>8} limit {verdict.limit:g}")
    held = sum(check.passed for check in record.checks)
    console.show(f"the ledger: {held} of {len(record.checks)} checks hold")
    for check in record.checks:
        if not check.passed:
            console.show(f"  {check.name}: {check.violations} of {check.checked}")
    for reason in record.validity.reasons:
        console.show(reason)
    console.show(f"{record.word.upper()}  {record.folder}")
