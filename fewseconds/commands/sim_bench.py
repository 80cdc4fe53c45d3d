"""``fewseconds bench sim``: the engines of virtual time beside each other."""

from __future__ import annotations

import resource

import msgspec

from fewseconds.commands import console
from fewseconds.errors import EXIT_OK


def bench_sim(name: str, journeys: int, customers: int, repeats: int, *, as_json: bool) -> int:
    """Measure, and print."""
    scenario = console.load(name)
    fields = console.header(scenario, scenario.seed, "numba+simpy")
    from rich.table import Table

    from fewseconds.plan import plan
    from sim.bench import bench

    with console.progress() as say:
        found = bench(plan(scenario), journeys, customers, repeats, say)
    base = found["numba"]
    ratios = {
        engine: {
            "per_consumer": pace.us_per_consumer / base.us_per_consumer,
            "per_event": pace.us_per_event / base.us_per_event,
        }
        for engine, pace in found.items()
    }
    if as_json:
        rss_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        paces = msgspec.to_builtins(found)
        console.print_json(fields | {"rss_mb": rss_mb, "engines": paces, "ratio_to_numba": ratios})
        return EXIT_OK
    table = Table("engine", "consumers", "µs a consumer", "µs an event", "ratio an event")
    for engine, pace in found.items():
        table.add_row(
            engine, f"{pace.consumers}", f"{pace.us_per_consumer:.2f}",
            f"{pace.us_per_event:.3f}", f"{ratios[engine]['per_event']:.1f}",
        )  # fmt: skip
    console.out.print(table)
    return EXIT_OK
