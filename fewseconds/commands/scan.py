"""``fewseconds scan``: how often and how fast each decoder reads each medium, and photographs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from fewseconds.commands import console
from fewseconds.commit import commit

if TYPE_CHECKING:
    from pathlib import Path

    from fixtures.evaluation import Evaluation
    from fixtures.read_rates import ReadRate


def scan_try(name: str, seed: int | None, consumers: int, *, as_json: bool) -> int:
    """Measure, and print the variants of a scenario's camera station."""
    scenario = console.load(name)
    seed = scenario.seed if seed is None else seed
    fields = console.header(scenario, seed, "camera")
    from fewseconds.scenario import MEDIA, SCANNERS
    from fixtures.read_rates import first_frame_rates

    persistence = scenario.stations["camera"].persistence if "camera" in scenario.stations else 0.0
    total, done = consumers * len(MEDIA), 0
    with console.progress() as say:

        def tick() -> None:
            nonlocal done
            done += 1
            say("photographing", done / total)

        rates = first_frame_rates(seed, consumers, MEDIA, SCANNERS, tick)
    if as_json:
        rows = [
            msgspec.to_builtins(rate) | {"persistence": kept(rate, persistence)} for rate in rates
        ]
        console.print_json(fields | {"consumers": consumers, "rates": rows})
    else:
        command = f"`fewseconds scan try {name} --seed {seed} --consumers {consumers}`"
        for rate in rates:
            console.show(variant(rate, persistence, command))
    return 0


def kept(rate: ReadRate, persistence: float) -> float:
    """The chance that a frame shares the luck of an unread one before it, as the engines model it.

    In the engines a frame either shares the luck of the one before it or is drawn afresh, so the
    frame after an unread one is read with probability ``(1 - kept) * first``. The camera keeps the
    pose with chance ``persistence``, but its noise is new in every frame: there it is
    ``persistence * same + (1 - persistence) * fresh``. Setting both equal gives ``kept``.
    """
    same, fresh = rate.same_after_failure_share, rate.fresh_after_failure_share
    if same is None or fresh is None or rate.first_read_share == 0:
        return 1.0
    after = persistence * same + (1 - persistence) * fresh
    return min(max(1 - after / rate.first_read_share, 0.0), 1.0)


def variant(rate: ReadRate, persistence: float, command: str) -> str:
    """A measured rate as the lines of a scenario file."""
    source = f"measured: {command}"
    place = f'[stations.camera.variants."{rate.medium}/{rate.decoder}"]'
    unread = round(1 - rate.first_read_share, 4)
    failure = f'{{ outcome = "error", code = "unread", share = {unread}, source = "{source}" }}'
    p50, p95 = (
        max(rate.decode_us_p50, 1) / 1000,
        max(rate.decode_us_p95, rate.decode_us_p50, 1) / 1000,
    )
    law = f'{{ law = "lognormal", median_ms = {p50:g}, p95_ms = {p95:g}, source = "{source}" }}'
    return (
        f"{place}\npersistence = {kept(rate, persistence):.3f}\n"
        f"failures = [{failure}]\nservice_time = {law}\n"
    )


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
