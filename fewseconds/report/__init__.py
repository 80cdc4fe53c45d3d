"""The report of a run: one HTML file that opens at once, with nothing to fetch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fewseconds import slo, validity
from fewseconds.measures import PORTAL, QR, samples
from fewseconds.report import (
    comparison,
    drawing,
    funnel,
    load,
    objectives,
    parts,
    pictures,
    provenance,
    steps,
    words,
)
from fewseconds.report.page import FILE_NAME, environment

if TYPE_CHECKING:
    from fewseconds.record import Evidence, Record
    from fewseconds.scenario import Scenario

__all__ = ["write"]

KEY_FIGURES: Final = (
    ("machine_time", "p50", "the system alone, half of the payments"),
    ("end_to_end", "p50", "with people, half of the payments"),
    ("portal_time", "p50", "by the old portal, half of the payments"),
    ("sms_time", "p95", "Pay pressed to SMS, 95 of 100"),
)


def write(folder: Path, scenario: Scenario, record: Record, evidence: Evidence) -> Path:
    """Write ``report.html`` into ``folder`` (which must exist) and return its path.

    Raises OSError if it cannot be written.
    """
    path = Path(folder) / FILE_NAME
    path.write_text(html(scenario, record, evidence), encoding="utf-8")
    return path


def html(scenario: Scenario, record: Record, evidence: Evidence) -> str:
    """The report as text."""
    page = environment().get_template("report.html")
    return page.render(record=record, scenario=scenario, **view(scenario, record, evidence))


def view(scenario: Scenario, record: Record, evidence: Evidence) -> dict[str, Any]:
    """Everything that the page shows, made ready; the templates only lay it out."""
    rows = objectives.objectives(scenario, record, evidence)
    by_decoder, by_medium = pictures.read_rates(scenario, evidence)
    compared = comparison.rows(scenario, evidence)
    series = load.load(evidence.plan, record.window_us, evidence.measured_journeys)
    opened, closed = (words.plan_moment(scenario.first_day, us) for us in record.window_us)
    return {
        "opened": opened,
        "closed": closed,
        "figures": _figures(record),
        "gates": [row for row in rows if row.gate],
        "claims": [row for row in rows if not row.gate],
        "split": _split(scenario, evidence),
        "qr": _waterfall(scenario, QR, evidence),
        "portal": _waterfall(scenario, PORTAL, evidence),
        "funnel": funnel.funnel(scenario, evidence.measured, evidence.measured_journeys),
        "simulated_funnel": funnel.funnel(
            scenario, evidence.simulated, evidence.simulated_journeys
        ),
        "ends": funnel.ends(evidence.measured_journeys),
        "load": series,
        "late_ms": validity.LATE_MS,
        "load_panels": drawing.load_panels(series) if series else (),
        "compared": compared,
        "scored": [row for row in compared if row.agrees is not None],
        "distribution": _distribution(scenario, evidence),
        "strip": pictures.strip(evidence.strip),
        "by_decoder": by_decoder,
        "by_medium": by_medium,
        "stations": provenance.stations(scenario),
        "general": provenance.general(scenario),
    }


def _figures(record: Record) -> list[tuple[str, str]]:
    """The few numbers that a reader in a hurry takes away, with what they mean."""
    found = []
    for measure, statistic, meaning in KEY_FIGURES:
        same = [
            v
            for v in record.verdicts
            if (v.measure, v.statistic) == (measure, statistic) and v.observed is not None
        ]
        same.sort(key=lambda v: v.engine)  # "measured" comes before "simulated"
        if same:
            where = "" if same[0].engine == "measured" else ", in virtual time"
            found.append((words.seconds(same[0].observed), meaning + where))
    return found


def _split(scenario: Scenario, evidence: Evidence) -> tuple[float, float] | None:
    """What the machine and what people take of a payment near the median, in seconds."""
    split = parts.parts(scenario, "end_to_end", evidence.measured_journeys, evidence.measured)
    medians = parts.near(split, 0.5)
    return (medians[parts.MACHINE], medians[parts.PEOPLE]) if medians else None


def _waterfall(scenario: Scenario, way: str, evidence: Evidence) -> dict[str, Any] | None:
    known = scenario.kinds(way)
    drawn = steps.waterfall(scenario, known, evidence.measured, evidence.measured_journeys)
    if drawn is None:
        return None
    tracks, ticks = drawing.tracks(drawn)
    return {"drawn": drawn, "bars": list(zip(drawn.bars, tracks, strict=True)), "ticks": ticks}


def _distribution(scenario: Scenario, evidence: Evidence) -> drawing.Panel | None:
    limits = {
        f"limit {objective.statistic}": (objective.limit, slo.QUANTILES[objective.statistic])
        for objective in scenario.slo
        if objective.measure == "machine_time" and objective.statistic in slo.QUANTILES
    }
    worlds = {
        "measured": (evidence.measured_journeys, evidence.measured),
        "simulated": (evidence.simulated_journeys, evidence.simulated),
    }
    curves = {
        name: comparison.curve(samples("machine_time", *world)) for name, world in worlds.items()
    }
    return drawing.distribution_panel(curves, limits)
