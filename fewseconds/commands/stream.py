"""``fewseconds simulate --stream``: cities of any size in constant memory."""

from __future__ import annotations

import math
import resource
from typing import TYPE_CHECKING, Any, Final

from fewseconds.commands import console
from fewseconds.errors import EXIT_OK

if TYPE_CHECKING:
    from fewseconds.commands.simulate import Part
    from sim.histogram import Histogram

QUANTILES: Final = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p999": 0.999}


def stream(name: str, seed: int | None, part: Part, *, as_json: bool) -> int:
    """Walk the whole plan piece by piece, and print ends and percentiles."""
    scenario = part.scenario(name)
    seed = scenario.seed if seed is None else seed
    fields = console.header(scenario, seed, "numba")
    from sim.streaming import stream as walk

    payments = scenario.consumers * scenario.arrivals.payments_per_consumer_month
    with console.progress() as say:
        done = walk(scenario, seed, lambda count: say("simulating", count / payments))
    measures = {measure: _told(one) for measure, one in done.measures.items() if len(one)}
    if as_json:
        console.print_json(
            fields
            | {
                "consumers": scenario.consumers,
                "journeys": done.journeys,
                "events": done.events,
                "wall_s": done.wall_s,
                "rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
                "fates": done.fates,
                "measures": measures,
                "sampled_rows": done.sample.num_rows,
            }
        )
        return EXIT_OK
    console.show(f"{done.journeys} journeys, {done.events} events in {done.wall_s:.1f} s")
    for measure, told in measures.items():
        values = ", ".join(f"{key} {told[key]}" for key in QUANTILES)
        console.show(f"{measure:14} {told['count']:>11}  {values}")
    return EXIT_OK


def _told(histogram: Histogram) -> dict[str, Any]:
    """Seconds by quantile, null where the system failed so many that it is infinite."""
    values = {name: histogram.quantile_s(share) for name, share in QUANTILES.items()}
    finite = {name: value if math.isfinite(value) else None for name, value in values.items()}
    return {"count": len(histogram), "infinite": histogram.infinite, **finite}
