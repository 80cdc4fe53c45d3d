"""The report page of ``fewseconds simulate``: what was walked, as plain values."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fewseconds.commit import commit, versions
from fewseconds.report import simulation
from fewseconds.report.page import write
from fewseconds.results import new_folder

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

    from fewseconds.plan import Plan
    from fewseconds.slo import Verdict
    from sim.paired import Pairs
    from sim.summary import Summary


def write_page(
    whole: Plan,
    walk: Plan,
    summary: Summary,
    closely: tuple[pl.DataFrame, pl.DataFrame],
    pairs: Pairs,
    judged: tuple[Mapping[str, NDArray[np.float64]], list[Verdict]],
    place: tuple[Path, str, str],
) -> Path:
    """Write the page into a new folder; returns its path.

    ``closely``: outcome rows and journeys of the part that was looked at row by row. ``judged``:
    samples by measure and the verdicts on them. ``place``: folder of results, engine, command.
    """
    scenario, (out, engine, command) = whole.scenario, place
    samples, verdicts = judged
    starts = walk.starts_us
    libraries = versions()
    facts = (
        ("seed", str(whole.seed)),
        ("scenario", f"{scenario.name}#{scenario.digest[:12]}"),
        ("hash of the plan", whole.digest[:12]),
        ("commit", commit()),
        *((name, libraries[name]) for name in ("fewseconds", "python", "simpy")),
    )
    page = simulation.page(
        simulation.Walked(
            scenario=scenario,
            starts_us=whole.starts_us,
            span_us=(int(starts[0]), int(starts[-1])),
            engine=engine,
            journeys=summary.journeys,
            events=summary.events,
            wall_s=summary.wall_s,
            verdicts=tuple(verdicts),
            samples=samples,
            fates=summary.fates,
            stations=summary.stations,
            rows=closely[0],
            table=closely[1],
            pairs=(pairs.qr_s, pairs.portal_s),
            command=command,
            facts=facts,
        )
    )
    return write(new_folder(out, scenario.name), page)
