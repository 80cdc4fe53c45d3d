"""``fewseconds load corpus``: the scans of a run, decoded once and kept for many runs."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from fewseconds.commands import console
from fewseconds.errors import EXIT_OK

if TYPE_CHECKING:
    from pathlib import Path

    from fewseconds.parties import Parties
    from fewseconds.shapes import Shape


class CorpusWish(NamedTuple):
    """What the command line says."""

    scenario: str
    file: Path
    seed: int | None
    consumers: int
    """0 is the scenario's own."""
    parties: Parties
    processes: int
    """0 is one a processor."""
    shape: Shape


def load_corpus(wish: CorpusWish, *, as_json: bool) -> int:
    """Photograph, decode and keep, and print; returns the exit code."""
    scenario = console.load(wish.scenario, consumers=wish.consumers)
    seed = scenario.seed if wish.seed is None else wish.seed
    from fewseconds.plan import plan
    from fewseconds.real_target import RealTarget, checked
    from loadtests.corpus import make

    target = checked(wish.parties, scenario, seed, wish.shape) or RealTarget()
    fields = console.header(scenario, seed, "camera")
    whole = plan(scenario, seed)
    window, _ = target.window(whole, wish.shape)
    plan_hash = target.plan_hash(whole)
    processes = wish.processes or len(os.sched_getaffinity(0))
    wish.file.parent.mkdir(parents=True, exist_ok=True)
    with console.progress() as say:
        made, found = make(
            wish.file, window, plan_hash, target.outside().bills, processes, say
        )  # fmt: skip
    if as_json:
        told = msgspec.to_builtins(made) | msgspec.to_builtins(found)
        console.print_json(fields | told | {"file": str(wish.file), "load": wish.shape.says()})
        return EXIT_OK
    console.show(
        f"{found.scans} scans of {len(window)} journeys: {found.unread} were not read, "
        f"{found.misread} misread; {found.frames} frames, {found.decode_ms_median:.1f} ms of a "
        f"processor a scan in the median"
    )
    console.show(str(wish.file))
    return EXIT_OK
