"""The objectives as rows of a table, and what would have to change where one is missed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import msgspec

from fewseconds import slo
from fewseconds.measures import QR
from fewseconds.report import words
from fewseconds.report.parts import flip_point, parts
from fewseconds.slo import Verdict, Word

if TYPE_CHECKING:
    from fewseconds.record import Evidence, Record
    from fewseconds.scenario import Scenario

WORST_FIRST: Final[tuple[Word, ...]] = ("fail", "inconclusive", "pass")


class Scale(msgspec.Struct, frozen=True):
    """Positions on the little bar of an objective, in per cent of its width."""

    limit: float
    measured: float | None
    low: float | None
    high: float | None
    simulated: float | None


class Objective(msgspec.Struct, frozen=True):
    """One objective with what each engine saw of it."""

    name: str
    measure: str
    definition: str
    gate: bool
    limit: str
    at_least: bool
    word: Word
    measured: Verdict | None
    simulated: Verdict | None
    scale: Scale
    hint: str
    """What a failed objective rests on; empty if it did not fail."""
    reasons: tuple[str, ...]
    """Why there is no answer, as far as it is not the same for the whole run."""
    source: str


def objectives(scenario: Scenario, record: Record, evidence: Evidence) -> tuple[Objective, ...]:
    """The rows of the SLO tables, in the order in which they were judged."""
    names = list(dict.fromkeys(verdict.name for verdict in record.verdicts))
    found = []
    for name in names:
        pair = {v.engine: v for v in record.verdicts if v.name == name}
        first = next(iter(pair.values()))
        measured, simulated = pair.get("measured"), pair.get("simulated")
        said = {verdict.word for verdict in pair.values()}
        word = next(word for word in WORST_FIRST if word in said)
        failed = next((v for v in pair.values() if v.word == "fail"), None)
        found.append(
            Objective(
                name,
                first.measure,
                words.MEASURES.get(first.measure, ""),
                first.gate,
                words.limit(first),
                first.at_least,
                word,
                measured,
                simulated,
                _scale(measured, simulated, first.limit),
                _hint(scenario, failed, evidence) if failed else "",
                _reasons(pair, record.validity.reasons),
                first.source,
            )
        )
    return tuple(found)


def _reasons(pair: dict[str, Verdict], known: tuple[str, ...]) -> tuple[str, ...]:
    engines: dict[str, list[str]] = {}
    for engine, verdict in pair.items():
        if verdict.reason and verdict.reason not in known:
            engines.setdefault(verdict.reason.rstrip("."), []).append(engine)
    return tuple(
        f"{' and '.join(names).capitalize()}: {reason}." for reason, names in engines.items()
    )


def _scale(measured: Verdict | None, simulated: Verdict | None, limit: float) -> Scale:
    """Zero to a little beyond whatever has to be shown."""
    shown = [limit * 1.25]
    for verdict in (measured, simulated):
        if verdict is not None:
            values = (verdict.observed, verdict.high)
            shown += [1.06 * v for v in values if v is not None and math.isfinite(v)]
    widest = max(shown) or 1.0

    def at(value: float | None) -> float | None:
        return None if value is None else 100 * min(value / widest, 1.0)

    low, high = (measured.low, measured.high) if measured else (None, None)
    observed = measured.observed if measured else None
    other = simulated.observed if simulated else None
    return Scale(100 * limit / widest, at(observed), at(low), at(high), at(other))


# --- what would have to change ---------------------------------------------------------------


def _hint(scenario: Scenario, failed: Verdict, evidence: Evidence) -> str:
    measured = failed.engine == "measured"
    journeys = evidence.measured_journeys if measured else evidence.simulated_journeys
    outcomes = evidence.measured if measured else evidence.simulated
    value = words.quantity(failed.measure, failed.observed)
    beyond = f", {words.margin(failed)} the limit" if failed.margin is not None else ""
    where = "Measured" if measured else "In virtual time"
    told = [f"{where}: {value} against {words.limit(failed)}{beyond}."]
    split = parts(scenario, failed.measure, journeys, outcomes)
    if split and failed.statistic in slo.QUANTILES and not failed.at_least:
        told.append(flip_point(failed, split))
        if failed.measure == "end_to_end" and failed.margin is not None:
            told.append(_people(scenario))
    return " ".join(text for text in told if text)


def _people(scenario: Scenario) -> str:
    """The laws of the people between the scan and the confirmation, in words."""
    found: dict[str, str] = {}
    for kind in scenario.kinds(QR):
        steps = scenario.named_steps(kind)
        marks = [step.marks for step in steps]
        for step in steps[marks.index("aim") + 1 :] if "aim" in marks else ():
            name = step.name
            # Detours (typing, somebody else's bill) are not what a payment usually takes.
            if step.clock == "human" and name not in words.DETOURS:
                station = step.legs[0].station
                law = words.law(scenario.stations[station].service_time, scenario.slowdown(station))
                found[name] = f"“{words.label(name, words.STEPS)}” {law}"
    return f"What people are assumed to take: {'; '.join(found.values())}." if found else ""
