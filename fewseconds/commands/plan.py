"""``fewseconds plan``: what will be attempted, and its hash."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from fewseconds.commands import console
from fewseconds.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path


def plan(name: str, seed: int | None, month: int | None, out: Path | None, *, as_json: bool) -> int:
    """Make the plan and say what is in it."""
    scenario = console.load(name, month=month)
    seed = scenario.seed if seed is None else seed
    fields = console.header(scenario, seed, "plan")
    from fewseconds.plan import plan as make

    begun, begun_cpu = time.perf_counter(), time.process_time()
    made = make(scenario, seed)
    took = {
        "wall_s": time.perf_counter() - begun,
        "cpu_s": time.process_time() - begun_cpu,
    }
    from_us, until_us = made.busiest_window()
    kinds = {row["values"]: row["counts"] for row in made.table["kind"].value_counts().to_pylist()}
    window = made.window(from_us, until_us)
    content = {
        "plan_hash": made.digest,
        "journeys": len(made),
        "kinds": dict(sorted(kinds.items())),
        "window_us": [from_us, until_us],
        "window_journeys": len(window),
        "window_real_time_journeys": len(window.real_time()),
    }
    if out is not None:
        import pyarrow.parquet as pq

        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(made.table, out)
        except OSError as error:
            message = f"{out}: cannot be written: {error.strerror or error}; choose another path"
            raise UsageError(message) from None
    if as_json:
        console.print_json(fields | content | took)
    else:
        for key, value in content.items():
            console.show(f"{key:28} {value}")
    return 0
