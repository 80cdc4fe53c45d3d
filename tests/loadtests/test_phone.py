"""The phone walks a journey as the simulator does: same steps, same attempts, same ends.

The oracle is the reference engine on the same plan. The services are real processes, and so is the
generator; faults are frequent, so that every rule of a journey is met on the way.
"""

from __future__ import annotations

import time
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, NamedTuple

import polars as pl
import pyarrow as pa
import pytest

from fewseconds import measures, outcomes, scenario_file
from fewseconds.journey import STEP_ROW
from fewseconds.plan import HOUR_US, SCHEMA, Plan
from loadtests.launch import Generator
from loadtests.spec import LoadSummary, Targets
from mock_psp import serve
from sim.reference import simulate

if TYPE_CHECKING:
    from pathlib import Path

    from fewseconds.scenario import Scenario

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

SEED = 11
COUNT = 60
GAP_US = 100_000
BEGIN_US = 18 * HOUR_US
KINDS = ("portal", "qr_ebill", "portal", "qr_counter", "portal_first", "qr_ebill")
APPS = ("phonepe", "google_pay", "paytm", "bhim", "amazon_pay")
BANKS = ("SBI", "HDFC", "INDUSIND")
MEDIA = {"qr_ebill": ("laser_print", "laptop_screen", "same_phone"), "qr_counter": ("placard",)}
PEOPLE = (
    "person_opens_app", "person_types_number", "person_reviews", "person_enters_pin",
    "person_opens_portal", "person_registers", "person_logs_in", "person_fills_payment",
)  # fmt: skip
PENDING = {("check_status", "RB"): "01"}
"""A payment under way is shown with the code that made it so; the simulator has no such screen."""
REAL_SCAN = ("scan", "type_number")
"""Steps that depend on what a decoder makes of a picture, which no law says exactly."""
SOURCE = "quick for a test"


def constant(milliseconds: float) -> dict[str, Any]:
    """A time that is always the same."""
    return {"law": "constant", "value_ms": milliseconds, "source": SOURCE}


def spread(median_ms: float) -> dict[str, Any]:
    """A time that differs between journeys, but never reaches a limit."""
    return {
        "law": "lognormal", "median_ms": median_ms, "p95_ms": 2 * median_ms, "max_ms": 700,
        "source": SOURCE,
    }  # fmt: skip


def fails(**shares: float) -> list[dict[str, Any]]:
    """Failures by outcome."""
    codes = {"declined": "Z9", "error": "XY", "timed_out": "lost"}
    return [
        {"outcome": outcome, "code": codes[outcome], "share": share, "source": SOURCE}
        for outcome, share in shares.items()
    ]


def troubled() -> Scenario:
    """The smoke scenario with quick people, short limits and all kinds of trouble."""
    lost_sms = {"service_time": constant(200), "failures": fails(timed_out=0.2)}
    stations: dict[str, Any] = {
        **{name: {"service_time": constant(120)} for name in PEOPLE},
        "mobile_network": {"service_time": constant(50)},
        "payer_psp": {"service_time": constant(20), "failures": fails(error=0.12)},
        "switch": {"service_time": constant(30)},
        "payee_psp": {"service_time": constant(20)},
        "remitter_bank": {
            "service_time": spread(150),
            "failures": fails(declined=0.1, error=0.15, timed_out=0.1),
        },
        "beneficiary_bank": {"service_time": spread(100), "failures": fails(timed_out=0.15)},
        "callback_network": {"service_time": constant(40), "failures": fails(timed_out=0.1)},
        "sms_gateway": {"service_time": constant(40)},
        "operator": {"variants": dict.fromkeys(("jio", "airtel", "vi", "bsnl"), lost_sms)},
    }
    pay = [
        {"station": "mobile_network"},
        {"station": "payer_psp"},
        {"station": "switch", "timeout_ms": 15_000},
        {"station": "biller", "timeout_ms": 10_000},
        {"station": "remitter_bank", "timeout_ms": 1500, "on_timeout": "reversed"},
        {
            "station": "beneficiary_bank", "timeout_ms": 1500, "on_timeout": "deemed",
            "emits": "credited",
        },
    ]  # fmt: skip
    # Status checks and the switch's own are a second apart, so that no delay changes their order.
    steps: dict[str, Any] = {
        "resolve": {"backoff_ms": [200]},
        "pay": {"legs": pay, "backoff_ms": [400]},
        "check_status": {"delay_ms": 1000, "backoff_ms": [2000]},
        "ask_switch": {"delay_ms": 2000},
        "reversal": {"backoff_ms": [500]},
        "callback": {
            "legs": [
                {"station": "callback_network", "timeout_ms": 500},
                {"station": "biller", "timeout_ms": 5000, "emits": "posted"},
            ],
            "backoff_ms": [200],
        },
        "sms": {
            "legs": [
                {"station": "sms_outbox"},
                {"station": "sms_gateway", "timeout_ms": 2000},
                {"station": "operator", "timeout_ms": 3000},
            ]
        },
    }
    quick = {"first_ms": 1000, "waits_ms": [2000], "asks_max": 40, "source": SOURCE}
    apps = {app: {"polls": quick} for app in APPS}
    changed = {"stations": stations, "steps": steps, "apps": apps, "load": {"drain_s": 25}}
    return scenario_file.load("smoke", changed)


def rows() -> list[dict[str, Any]]:
    """Journeys of all kinds, a little apart."""
    made = []
    for number in range(COUNT):
        kind = KINDS[number % len(KINDS)]
        media = MEDIA.get(kind, ("",))
        made.append({
            "journey_id": number, "consumer": 5 * number, "bill": 5 * number, "kind": kind,
            "app": APPS[number % len(APPS)], "bank": BANKS[number % len(BANKS)],
            "medium": media[number % len(media)],
            "intended_start_us": BEGIN_US + number * GAP_US,
        })  # fmt: skip
    return made


class Both(NamedTuple):
    """One plan, played and simulated."""

    plan: Plan
    real: pl.DataFrame
    virtual: pl.DataFrame
    summary: LoadSummary


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Both:
    """Play the plan against real services, and simulate it."""
    folder: Path = tmp_path_factory.mktemp("walk")
    plan = Plan(troubled(), SEED, pa.Table.from_pylist(rows(), SCHEMA))
    window_us = (BEGIN_US, BEGIN_US + COUNT * GAP_US)
    services = serve.start(
        plan.scenario,
        SEED,
        folder,
        epoch_monotonic_us=time.monotonic_ns() // 1000,
        plan_origin_us=BEGIN_US,
    )
    with services:
        targets = Targets(*(services.urls[name] for name in ("psp", "sms", "portal")))
        with Generator(folder, plan, window_us, targets, services.token) as load:
            summary = load.wait(lambda: None)
    real = measures.frame(outcomes.read(folder / "outcomes"))
    return Both(plan, real, measures.frame(simulate(plan).outcomes), summary)


def walk(table: pl.DataFrame, observer: str, kind: str) -> dict[int, list[tuple[Any, ...]]]:
    """Step, attempt, outcome and code of every journey's main branch, in order."""
    main = table.filter(
        (pl.col("observer") == observer)
        & (pl.col("leg") == STEP_ROW)
        & (pl.col("branch") == "main")
        & (pl.col("journey_id") % len(KINDS)).is_in(
            [place for place, name in enumerate(KINDS) if name == kind]
        )
        & ~pl.col("step").is_in(REAL_SCAN)
    ).sort("journey_id", "end_us", "intended_us")
    found: dict[int, list[tuple[Any, ...]]] = {}
    for row in main.to_dicts():
        code = PENDING.get((row["step"], row["code"]), row["code"])
        name = (row["step"], row["attempt"], row["outcome"], code)
        found.setdefault(row["journey_id"], []).append(name)
    return found


@pytest.mark.parametrize("kind", sorted(set(KINDS)))
def test_every_journey_takes_the_simulators_steps(both: Both, kind: str) -> None:
    """Steps, attempts, outcomes and codes are the simulator's, but for the scan itself."""
    real, virtual = walk(both.real, "client", kind), walk(both.virtual, "sim", kind)
    assert len(virtual) == COUNT * KINDS.count(kind) // len(KINDS)
    assert real.keys() == virtual.keys()
    other = [
        (journey_id, place, steps)
        for journey_id in virtual
        for place, steps in enumerate(zip_longest(real[journey_id], virtual[journey_id]))
        if steps[0] != steps[1]
    ]
    assert other == []


def test_every_rule_is_met_on_the_way(both: Both) -> None:
    """The plan meets retries, declines, reversed debits, deemed payments and lost messages."""
    virtual = both.virtual.filter(pl.col("leg") == STEP_ROW)
    met = set(virtual.select("step", "attempt", "outcome").rows())
    assert {
        ("resolve", 2, "ok"),
        ("pay", 1, "declined"),
        ("pay", 1, "error"),
        ("pay", 2, "ok"),
        ("pay", 1, "timed_out"),
        ("pay", 1, "unfinished"),
        ("check_status", 2, "ok"),
        ("reversal", 1, "ok"),
        ("callback", 2, "ok"),
        ("sms", 1, "ok"),
        ("sms", 1, "timed_out"),
    } <= met


def test_every_journey_has_the_simulators_fate(both: Both) -> None:
    """The fates, and what became of the SMS, are those of the simulator, journey for journey."""
    client = both.real.filter(pl.col("observer") == "client")
    columns = ["journey_id", "fate", "last_step", "last_code", "sms_outcome"]
    real = measures.journeys(client, both.plan).select(columns).rows()
    virtual = measures.journeys(both.virtual, both.plan).select(columns).rows()
    assert real == virtual
    assert both.summary.dropped == both.summary.misreads == 0


def test_people_take_exactly_their_time(both: Both) -> None:
    """A human step of a load test lasts as long as the same one in virtual time, to the µs."""
    human = [name for name, step in both.plan.scenario.steps.items() if step.clock == "human"]
    keys = ["journey_id", "step", "attempt"]
    spans = [
        table.filter(
            pl.col("step").is_in(human)
            & (pl.col("leg") == STEP_ROW)
            & (pl.col("observer") == observer)
            & (pl.col("step") != "type_number")
        ).select(*keys, span_us=pl.col("end_us") - pl.col("start_us"))
        for table, observer in ((both.real, "client"), (both.virtual, "sim"))
    ]
    joined = spans[0].join(spans[1], keys, "full")
    assert joined.height >= COUNT
    assert joined["span_us"].to_list() == joined["span_us_right"].to_list()


def test_mocked_parties_take_the_simulators_time(both: Both) -> None:
    """No mocked visit is shorter than its draw, and the middle one is hardly longer."""
    mocked = [name for name, s in both.plan.scenario.stations.items() if s.role == "mocked"]
    keys = ["journey_id", "branch", "step", "leg", "attempt"]
    visits = [
        table.filter(
            pl.col("station").is_in(mocked)
            & (pl.col("observer") == observer)
            & (pl.col("outcome") != "unfinished")
        ).select(*keys, service_us=pl.col("end_us") - pl.col("service_start_us"))
        for table, observer in ((both.real, "server"), (both.virtual, "sim"))
    ]
    joined = visits[0].join(visits[1], keys)
    assert joined.height > 0.99 * visits[1].height
    longer_us = joined["service_us"] - joined["service_us_right"]
    assert min(longer_us) >= -2000
    assert sorted(longer_us)[joined.height // 2] < 100_000
