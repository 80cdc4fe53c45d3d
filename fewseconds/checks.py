"""Exact facts about a run, beside the ledger's audit, and the sentences that sum a run up."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import polars as pl

from fewseconds import measures, slo
from fewseconds.draws import Draws
from fewseconds.plan import plan, traits
from fewseconds.record import Check

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fewseconds.plan import Plan
    from fewseconds.record import Evidence
    from fewseconds.scenario import Scenario

INBOX_CONFIDENCE: Final = 0.999
FIRST: Final = 5


def all_checks(whole: Plan, evidence: Evidence, misreads: int | None) -> list[Check]:
    """Every exact fact that can be told from plan and outcomes."""
    return [
        *_plan_checks(whole),
        _explained("measured", evidence.measured_journeys),
        _explained("simulated", evidence.simulated_journeys),
        *([] if misreads is None else [_read_right(evidence, misreads)]),
        *_inbox(evidence),
    ]


def _plan_checks(whole: Plan) -> Iterator[Check]:
    again = plan(whole.scenario, whole.seed).digest == whole.digest
    yield Check("the plan is the same when it is made again", again, len(whole), int(not again))
    wanted = whole.scenario.plan_hash
    if wanted and whole.seed == whole.scenario.seed:
        wrong = (
            () if wanted == whole.digest else (f"is {whole.digest}, the scenario says {wanted}",)
        )
        yield Check(
            "the plan has the hash that the scenario states", not wrong, 1, len(wrong), wrong
        )


def _explained(engine: str, journeys: pl.DataFrame) -> Check:
    lost = journeys.filter(pl.col("fate") == "unexplained")
    first = tuple(
        f"journey {row['journey_id']} after {row['last_step']!r}"
        for row in lost.head(FIRST).to_dicts()
    )
    name = f"every {engine} journey ends in a named outcome"
    return Check(name, lost.is_empty(), journeys.height, lost.height, first)


def _read_right(evidence: Evidence, misreads: int) -> Check:
    frames = evidence.measured.filter((pl.col("step") == "scan") & (pl.col("observer") == "client"))
    name = "every QR that was read gave the text that was printed"
    return Check(name, misreads == 0, frames.height, misreads)


def _inbox(evidence: Evidence) -> Iterator[Check]:
    """The share of SMS that arrived is what the operators' delivery rates allow.

    Rates differ between operators; a binomial law with their mean is a little wider than the true
    law of the sum (Hoeffding, 1956), so the interval errs on the side of patience.
    """
    sent = evidence.measured_journeys.filter(
        (pl.col("fate") == "confirmed") & pl.col("sms_outcome").is_in(["ok", measures.UNDELIVERED])
    )
    steps = evidence.plan.scenario.steps
    if sent.is_empty() or "sms" not in steps:
        return
    index, leg = len(steps["sms"].legs) - 1, steps["sms"].legs[-1]
    scenario, seed = evidence.plan.scenario, evidence.plan.seed
    draws, wanted = Draws(scenario, seed), set(sent["journey_id"])
    lost = [
        draws.visit("sms", index, leg.station, traits(scenario, seed, row)).failure_share
        for row in evidence.plan.rows()
        if row.journey_id in wanted
    ]
    arrived = sent.filter(pl.col("sms_outcome") == "ok").height
    rate = 1 - sum(lost) / len(lost)
    low, high = slo.binomial_interval(sent.height, rate, INBOX_CONFIDENCE)
    name = (
        f"SMS arrive at the operators' rate: {rate:.1%} of {sent.height} allow {low} to {high}, "
        f"{arrived} came"
    )
    outside = 0 if low <= arrived <= high else 1
    yield Check(name, not outside, sent.height, outside)


def summary(
    word: slo.Word, verdicts: Sequence[slo.Verdict], found: Sequence[Check], valid: slo.Validity
) -> str:
    """One sentence that answers the question."""
    if word == "inconclusive":
        reasons = valid.reasons or tuple(
            v.reason for v in verdicts if v.gate and v.word == "inconclusive"
        )
        reason = reasons[0].splitlines()[0] if reasons else "no gate could be judged"
        # The lines of a log stand with the reasons; one sentence has no room for them.
        return f"Nothing can be said: {reason.removesuffix('; its log ends')}."
    broken = [check.name for check in found if check.gate and not check.passed]
    if broken:
        more = f" (and {len(broken) - 1} more)" if broken[1:] else ""
        return f"No: it does not hold that {broken[0]}{more}."
    failed = [v for v in verdicts if v.gate and v.word == "fail"]
    if failed:
        return f"No: {_said(failed[0])}."
    times = {
        v.statistic: v for v in verdicts if v.measure == "machine_time" and v.engine == "measured"
    }
    half, most = (times[name].observed if name in times else None for name in ("p50", "p95"))
    if half is not None and most is not None and math.isfinite(most):
        return (
            f"Yes: the system's part of a QR payment took {half:.1f} s for half of the payers and "
            f"{most:.1f} s for 95 %, and no rupee was lost."
        )
    return "Yes: every gate holds and no rupee was lost."


def _said(verdict: slo.Verdict) -> str:
    unit = "%" if verdict.statistic == "share" else "s"
    scale = 100.0 if unit == "%" else 1.0
    side = "at least" if verdict.at_least else "at most"
    observed = (verdict.observed or 0.0) * scale
    found = f"{observed:.3g} {unit}" if math.isfinite(observed) else "never"
    limit = f"{side} {verdict.limit * scale:g} {unit}"
    return f"{verdict.name} ({verdict.engine}) is {found}, {limit} is wanted"


def notes(scenario: Scenario, typed: int | None) -> Iterator[str]:
    """What a reader must know about the assumptions of a run."""
    assumed = [
        name for name, station in scenario.stations.items()
        if station.role == "measured" and station.service_time.source.startswith("assumption")
    ]  # fmt: skip
    if assumed:
        yield (
            "In virtual time these stations follow an assumed law, not yet a measured one: "
            f"{', '.join(assumed)}."
        )
    if typed:
        yield f"{typed} consumers typed their number because no frame of their QR was read."
    for fault in scenario.fault:
        only = " It befalls real services only." if fault.on_the_wire else ""
        yield f"Deliberate fault: {fault.phrase}.{only}"
    yield (
        "Mocked parties sleep the simulator's own draws, so only the scan and our own stations "
        "could disagree."
    )
