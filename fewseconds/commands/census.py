"""``fewseconds scan census``: every consumer's own bill, photographed, decoded and checked."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from fewseconds.commands import console
from fewseconds.commit import commit
from fewseconds.errors import EXIT_GATE_FAILED, EXIT_OK, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa

    from fewseconds.plan import Plan
    from fixtures.census import Misread, Task
    from fixtures.census_folder import CensusFolder, Tally

SHOWN_MAX = 20
"""Misreads that are printed; all are in the folder."""


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked for on the command line."""

    name: str
    seed: int | None = None
    consumers: int | None = None
    medium: str | None = None
    decoder: str = "quick"
    frames: int = 1
    workers: int | None = None
    cluster: str | None = None
    out: Path | None = None
    only: int | None = None

    def again(self, seed: int, misread: Misread) -> str:
        """The command that repeats one consumer's scan."""
        medium = "" if self.medium is None else f" --medium {self.medium}"
        return (
            f"fewseconds scan census {self.name} --seed {seed}{medium} "
            f"--decoder {self.decoder} --frames {self.frames} --only {misread.consumer}"
        )


def scan_census(wish: Wish, *, as_json: bool) -> int:
    """Count, say what was found, and return 1 if anything was misread."""
    scenario = console.load(wish.name)
    seed = scenario.seed if wish.seed is None else wish.seed
    fields = console.header(scenario, seed, "camera")
    began_s = time.monotonic()
    from fewseconds.plan import plan
    from fixtures import census

    with console.progress() as say:
        say("making the plan", 0.0)
        made = plan(scenario, seed)
        everybody = census.people(made, wish.medium)
        scanning = _chosen(everybody, wish)
        folder = _folder(made, scanning, wish)
        with folder.owned():
            tally, fresh = _counted(folder, made, scanning, wish, say)
    wall_s = time.monotonic() - began_s
    result = _result(tally, fresh, wall_s, _workers(wish))
    problems = [_sentence(misread, wish.again(seed, misread)) for misread in tally.misreads]
    for problem in problems[:SHOWN_MAX]:
        console.say(problem)
    if as_json:
        result |= {"out": str(folder.path), "misreads": problems}
        console.print_json(fields | result)
    else:
        _show(result, folder.path)
    return EXIT_GATE_FAILED if problems else EXIT_OK


def _chosen(everybody: pa.Table, wish: Wish) -> pa.Table:
    """The first so many of them, or one of them."""
    if wish.only is None:
        return everybody.slice(0, wish.consumers)
    import pyarrow.compute as pc

    chosen = everybody.filter(pc.equal(everybody["consumer"], wish.only))
    if not len(chosen):
        raise UsageError(f"--only {wish.only}: does not scan a bill; choose another consumer")
    return chosen


def _folder(made: Plan, scanning: pa.Table, wish: Wish) -> CensusFolder:
    """Where this census is written; without ``--out`` a place that no other census has."""
    from fixtures.census_folder import CensusFolder, Identity

    identity = Identity(
        scenario=made.scenario.name,
        scenario_hash=made.scenario.digest,
        plan_hash=made.digest,
        seed=made.seed,
        consumers=len(scanning),
        medium=wish.medium,
        decoder=wish.decoder,
        frames_max=wish.frames,
        only=wish.only,
        commit=commit(),
    )
    place = wish.out or Path("results") / "census" / f"{made.scenario.name}-{identity.digest[:12]}"
    return CensusFolder(place, identity)


def _counted(
    folder: CensusFolder,
    made: Plan,
    scanning: pa.Table,
    wish: Wish,
    say: Any,  # noqa: ANN401 - the progress of the console
) -> tuple[Tally, int]:
    """Carry out what is not counted yet; returns the whole tally, and how many are new in it."""
    from fixtures import census, census_workers
    from fixtures.census_folder import Tally

    blocks = -(-len(scanning) // census.BLOCK_CONSUMERS)
    waiting = [block for block in range(blocks) if not folder.done(block)]
    if len(waiting) < blocks:
        console.say(f"{blocks - len(waiting)} of {blocks} blocks are counted in {folder.path}")
    fresh = 0
    if waiting:
        census_workers.prepare(lambda share: say("building tables of codes", share))
        work = census_workers.carried_out(
            _waiting(folder, census.tasks(made, scanning, wish.decoder, wish.frames)),
            _workers(wish),
            wish.cluster,
        )
        say("scanning bills", 1 - len(waiting) / blocks)
        for number, block in enumerate(work, 1):
            folder.keep(block)
            fresh += block.consumers
            say("scanning bills", 1 - (len(waiting) - number) / blocks)
    tally = Tally()
    for block_number in range(blocks):
        tally.add(*folder.counted(block_number))
    folder.join(blocks)
    return tally, fresh


def _waiting(folder: CensusFolder, tasks: Iterator[Task]) -> Iterator[Task]:
    return (task for task in tasks if not folder.done(task.block))


def _workers(wish: Wish) -> int:
    """One process a core that this one may use, unless told otherwise."""
    return wish.workers or len(os.sched_getaffinity(0))


def _result(tally: Tally, fresh: int, wall_s: float, workers: int) -> dict[str, Any]:
    """The figures; shares and speeds are None where nothing was counted."""
    cpu_s = tally.cpu_us / 1e6
    return {
        "consumers": tally.consumers,
        "decoded": tally.decoded,
        "misread": len(tally.misreads),
        "scans_per_core_s": round(tally.consumers / cpu_s, 2) if cpu_s else None,
        "scans_per_wall_core_s": round(fresh / (wall_s * workers), 2) if fresh else None,
        "wall_s": round(wall_s, 3),
        "cpu_s": round(cpu_s, 3),
        "workers": workers,
        "resumed": tally.consumers - fresh,
        "cpu_us_per_scan": {
            stage: round(spent_us / max(tally.consumers, 1), 1)
            for stage, spent_us in tally.stages_us.items()
        },
        "by_medium": {
            medium: {"consumers": counts[0], "read": counts[1]}
            for medium, counts in sorted(tally.by_medium.items())
        },
    }


def _sentence(misread: Misread, command: str) -> str:
    return (
        f"consumer {misread.consumer}, frame {misread.frame} on {misread.medium}: "
        f"{misread.decoder} read {misread.text!r}, which {misread.what}; repeat it with `{command}`"
    )


def _show(result: dict[str, Any], place: Path) -> None:
    from rich.table import Table

    table = Table("medium", "consumers", "read in the frames given")
    for medium, counts in result["by_medium"].items():
        share = counts["read"] / counts["consumers"]
        table.add_row(medium, f"{counts['consumers']}", f"{counts['read']} ({share:.1%})")
    console.out.print(table)
    spent = ", ".join(f"{stage} {us:.0f}" for stage, us in result["cpu_us_per_scan"].items())
    console.show(
        f"{result['consumers']} consumers, {result['decoded']} decoded, "
        f"{result['misread']} misread\n"
        f"{result['scans_per_core_s']} scans a second of processor time, "
        f"{result['scans_per_wall_core_s']} a second and worker of this run, "
        f"{result['wall_s']:.1f} s\nmicroseconds a scan: {spent}\n"
        f"{place / 'outcomes.parquet'}"
    )
