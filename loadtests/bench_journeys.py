"""What a journey costs the generator: whole journeys against services that cost next to nothing.

The consumers are those of a scenario, with all their waits; the services are one trivial process,
on the last processor if there is more than one. Nothing is decoded where the generator is timed:
scans are those of a corpus, or the printed text, after frames drawn from the camera's law.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
import polars as pl

from fewseconds import contracts as c
from fewseconds import measures, outcomes, scenario_file, validity
from fewseconds.errors import HarnessError
from fewseconds.plan import plan
from fewseconds.shapes import Shape
from loadtests import corpus
from loadtests.launch import Generator
from loadtests.spec import Targets
from loadtests.target import Target, TargetSpec

if TYPE_CHECKING:
    from collections.abc import Callable

    from fewseconds.scenario import Scenario
    from loadtests.spec import LoadSummary

PERSON_MS: Final = 500
"""What people take for a step when they are quick; their waits cost the generator nothing."""
CONSUMERS_A_JOURNEY: Final = 3
"""So many consumers make a plan with one journey for real services, with room to spare."""
BILL: Final = (
    '{"bill_number":"26110000000017","consumer_number":"2000000001","customer_name":"A**","amount_paise":'
    '100000,"due_on":"2026-11-30","payee_vpa":"best.bills@examplebank","payee_name":"BEST",'
    '"verified":true}'
)
PAYMENT: Final = (
    '{"transaction_id":"BEN00000000000000000000000000000001","status":"SUCCESS","code":"00",'
    '"amount_paise":100000,"bill_number":"26110000000017","rrn":"632700000001"}'
)
MESSAGE: Final = '{"message_id":"m","reference":"r","sender":"BESTMU-S","text":"Paid"}'
ANSWERS: Final = {
    c.RESOLVE: BILL,
    c.PAYMENTS: PAYMENT,
    c.PAY: PAYMENT,
    c.INBOX: f'{{"messages":[{MESSAGE}]}}',
    c.PORTAL_BILL: BILL,
    c.PORTAL_LOG_IN: '{"token":"t"}',
    c.PORTAL_REGISTER: "{}",
}


class JourneyBench(msgspec.Struct, frozen=True, kw_only=True):
    """What the generator took for whole journeys."""

    rate: float
    journeys: int
    cpu_ms_per_journey: float
    journeys_per_core_second: float
    """What one core could play if it did nothing else."""
    finished: int
    """Journeys whose SMS arrived; the rest were refused by laws of people and phones."""
    dropped: int
    lag_ms_p99: float
    """The 99th percentile over journeys of the latest step's lag."""
    in_flight_max: int
    wall_s: float


def bench(
    name: str, rate: float, seconds: float, say: Callable[[str, float], None],
    *, quick: bool = True, stage: str = "playing", scans: str = "",
) -> JourneyBench:  # fmt: skip
    """Play ``rate`` journeys a second of scenario ``name`` for so long, and then to their ends.

    Unless people are ``quick``, they take the scenario's own times, minutes for the longest.
    ``scans`` names a corpus of them. Raises HarnessError if the generator fails, UsageError for an
    unknown scenario or a corpus of something else.
    """
    count = round(rate * seconds)
    overrides: dict[str, Any] = {
        "consumers": max(count * CONSUMERS_A_JOURNEY, 1000),
        "load": {"in_flight_max": max(count, 1)},
    }
    if quick:
        overrides["stations"] = _quick_people(scenario_file.load(name))
    scenario = scenario_file.load(name, overrides)
    say("planning", 0.0)
    whole = plan(scenario, scenario.seed)
    shape = Shape(constant_rate=rate, everything=True, journeys_max=count)
    rows, window_us = shape.window(whole)
    if len(rows) < count:
        message = f"bench journeys: {name!r} has only {len(rows)} of {count} journeys; lower --rate"
        raise HarnessError(message)
    if scans:
        corpus.fitting(Path(scans), rows, whole.digest, ())
    processors = sorted(os.sched_getaffinity(0))
    with (
        tempfile.TemporaryDirectory(prefix="fewseconds-bench-") as folder,
        Target(TargetSpec(answers=ANSWERS)) as target,
    ):
        if len(processors) > 1:
            os.sched_setaffinity(target.pid, processors[-1:])
        url = target.url.rstrip("/")
        targets = Targets(psp=url, sms=url, portal=url)
        with Generator(
            Path(folder), rows, window_us, targets, "t", decoding="printed",
            corpus=scans and str(Path(scans).resolve()),
        ) as load:  # fmt: skip
            summary = load.wait(lambda: say(stage, min(load.age_s / (seconds + 60.0), 0.99)))
        played = measures.frame(outcomes.read(load.folder / "outcomes"))
    return _found(rate, scenario, summary, played)


def _quick_people(scenario: Scenario) -> dict[str, Any]:
    source = "quick people, for a bench of the generator"
    law = {"law": "constant", "value_ms": PERSON_MS, "source": source}
    steps = [step for step in scenario.steps.values() if step.clock == "human"]
    return {leg.station: {"service_time": law} for step in steps for leg in step.legs}


def _found(
    rate: float, scenario: Scenario, summary: LoadSummary, rows: pl.DataFrame
) -> JourneyBench:
    cpu_s = summary.cpu_s / max(summary.started, 1)
    none = rows.clear()
    facts = validity.generator(scenario, rows, none, msgspec.structs.asdict(summary))
    seen = rows.filter((pl.col("step") == "sms") & (pl.col("outcome") == "ok"))
    return JourneyBench(
        rate=rate,
        journeys=summary.started,
        cpu_ms_per_journey=cpu_s * 1e3,
        journeys_per_core_second=1 / max(cpu_s, 1e-9),
        finished=seen.height,
        dropped=summary.dropped,
        lag_ms_p99=facts.lag_ms_p99,
        in_flight_max=summary.in_flight_max,
        wall_s=summary.wall_s,
    )
