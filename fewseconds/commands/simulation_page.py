"""The report page of ``fewseconds simulate``: what was walked, as plain values."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fewseconds import slo
from fewseconds.commit import commit, versions
from fewseconds.plan import DAY_US, HOUR_US
from fewseconds.report import simulation
from fewseconds.report.page import write
from fewseconds.results import new_folder

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import polars as pl
    from numpy.typing import NDArray

    from fewseconds.plan import Plan
    from fewseconds.scenario import Scenario
    from sim.paired import Pairs
    from sim.streaming import Streamed
    from sim.summary import Summary


def write_page(
    whole: Plan,
    walk: Plan,
    summary: Summary,
    paise: Mapping[str, Mapping[str, int]],
    closely: tuple[pl.DataFrame, pl.DataFrame],
    pairs: Pairs,
    judged: tuple[Mapping[str, NDArray[np.float64]], list[slo.Verdict]],
    place: tuple[Path, str, str],
) -> Path:
    """Write the page into a new folder; returns its path.

    ``paise``: see :func:`sim.money.money`. ``closely``: outcome rows and journeys of the part that
    was looked at row by row. ``judged``: samples by measure and the verdicts on them. ``place``:
    folder of results, engine, command.
    """
    scenario, (out, engine, command) = whole.scenario, place
    samples, verdicts = judged
    starts, hours = walk.starts_us, scenario.arrivals.days * DAY_US // HOUR_US
    page = simulation.page(
        simulation.Walked(
            scenario=scenario,
            hourly=np.bincount(whole.starts_us // HOUR_US, minlength=hours)[:hours],
            span_us=(int(starts[0]), int(starts[-1])),
            engine=engine,
            journeys=summary.journeys,
            events=summary.events,
            wall_s=summary.wall_s,
            verdicts=tuple(verdicts),
            samples={name: slo.Values(values) for name, values in samples.items()},
            fates=summary.fates,
            paise=paise,
            stations=summary.stations,
            rows=closely[0],
            table=closely[1],
            pairs=(pairs.qr_s, pairs.portal_s),
            command=command,
            facts=_facts(scenario, whole.seed, ("hash of the plan", whole.digest[:12])),
        )
    )
    return write(new_folder(out, scenario.name), page)


def write_streamed(
    scenario: Scenario,
    done: Streamed,
    closely: tuple[pl.DataFrame, pl.DataFrame],
    pairs: Pairs,
    judged: tuple[Mapping[str, slo.Sample], list[slo.Verdict]],
    place: tuple[Path, str],
) -> Path:
    """Write the page of a walk of which no rows were kept but a sample's; returns its path.

    ``closely``: outcome rows and journeys of the sample. ``place``: folder, command.
    """
    samples, verdicts = judged
    folder, command = place
    sampled = len(done.seen.sampled)
    page = simulation.page(
        simulation.Walked(
            scenario=scenario,
            hourly=done.seen.hourly,
            span_us=done.seen.span_us,
            engine="numba, as a stream",
            journeys=done.journeys,
            events=done.events,
            wall_s=done.wall_s,
            verdicts=tuple(verdicts),
            samples=samples,
            fates=done.fates,
            paise=done.paise,
            stations=done.stations,
            rows=closely[0],
            table=closely[1],
            pairs=(pairs.qr_s, pairs.portal_s),
            command=command,
            facts=_facts(
                scenario,
                done.seen.seed,
                ("percentiles", "from histograms, too high by at most 1 in 128"),
                ("ways of paying and stages", f"of a sample of {sampled} journeys"),
            ),
        )
    )
    return write(folder, page)


def _facts(scenario: Scenario, seed: int, *more: tuple[str, str]) -> tuple[tuple[str, str], ...]:
    libraries = versions()
    return (
        ("seed", str(seed)),
        ("scenario", f"{scenario.name}#{scenario.digest[:12]}"),
        *more,
        ("commit", commit()),
        *((name, libraries[name]) for name in ("fewseconds", "python", "simpy")),
    )
