"""Every user class of the locustfile, played by stock Locust against one small world."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
import polars as pl
import pyarrow.parquet as pq
import pytest

from fewseconds import measures, outcomes, scenario_file
from fewseconds.acknowledgements import Acknowledgement
from fewseconds.plan import Plan
from loadtests.launch import LOCUSTFILE
from loadtests.spec import SPEC_VARIABLE, LoadSummary
from mock_psp import auditor, serve

if TYPE_CHECKING:
    from pathlib import Path

    from fewseconds.scenario import Scenario
    from mock_psp.auditor import Audit

pytestmark = [pytest.mark.slow, pytest.mark.timeout(200)]

SOURCE: Final = "quick for a test"
APPS: Final = {
    "PhonePe": "phonepe", "GooglePay": "google_pay", "Paytm": "paytm", "AmazonPay": "amazon_pay",
    "Bhim": "bhim",
}  # fmt: skip
KINDS: Final = {
    "Counter": "qr_counter", "PortalFirstTime": "portal_first", "PortalReturning": "portal",
}  # fmt: skip
RUNS: Final = {
    tuple(APPS): 30, tuple(KINDS): 16, ("TwoPhonesOneBill",): 8, ("PollStorm",): 30,
    ("MixedDay",): 20,
}  # fmt: skip
"""Classes that are picked together, and how many journeys they play."""
POLL_US: Final = 1_000_000


def small_world() -> Scenario:
    """All ways to pay at a few a second, quick people, and credits of which many are deemed."""
    smoke = scenario_file.load("smoke")
    people = [step for step in smoke.steps.values() if step.clock == "human"]
    quick = {"law": "constant", "value_ms": 60, "source": SOURCE}
    lost = [{"outcome": "timed_out", "code": "U68", "share": 0.2, "source": SOURCE}]
    stations: dict[str, Any] = {
        leg.station: {"service_time": quick} for step in people for leg in step.legs
    }
    stations["beneficiary_bank"] = {"failures": lost, "service_time": quick | {"value_ms": 300}}
    stations["callback_network"] = {"failures": []}
    legs = msgspec.to_builtins(smoke.steps["pay"].legs)
    kept = [{name: value for name, value in leg.items() if value not in (None, "")} for leg in legs]
    deemed = [
        leg | ({"timeout_ms": 1500} if leg["station"] == "beneficiary_bank" else {}) for leg in kept
    ]
    polls = {"first_ms": 2000, "waits_ms": [2000], "asks_max": 20, "source": SOURCE}
    shares = dict.fromkeys(smoke.apps, 0.02) | dict.fromkeys(APPS.values(), 0.18)
    shares["phonepe"] += 1 - sum(shares.values())
    channels = {"qr_ebill": 0.5, "qr_counter": 0.2, "portal": 0.2, "portal_first": 0.1}
    return scenario_file.load("smoke", {
        "plan_hash": "",
        "stations": stations,
        "steps": {"pay": {"legs": deemed}, "ask_switch": {"delay_ms": 2500}},
        "apps": {name: {"share": share, "polls": polls} for name, share in shares.items()},
        "channels": {name: {"share": share} for name, share in channels.items()},
        "load": {"duration_s": 4, "drain_s": 25},
    })  # fmt: skip


class Run(NamedTuple):
    """What one stock Locust has left."""

    said: str
    summary: LoadSummary
    plan: Plan
    rows: pl.DataFrame
    told: list[Acknowledgement]


def started(services: Path, results: Path, *words: str) -> subprocess.Popen[str]:
    """Stock Locust as at a command line."""
    environment = {name: text for name, text in os.environ.items() if name != SPEC_VARIABLE}
    return subprocess.Popen(
        [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--headless", "--only-summary",
         "--services", str(services), "--results", str(results), *words],
        env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def ended(locust: subprocess.Popen[str], results: Path, scenario: Scenario) -> Run:
    """Wait for it, and read what it wrote."""
    said = locust.communicate(timeout=120)[1]
    folder = next((one for one in results.glob("*") if not one.is_symlink()), None)
    assert folder is not None, said
    assert (folder / "load.json").exists(), said
    lines = (folder / "acknowledgements").glob("*.jsonl")
    return Run(
        said,
        msgspec.json.decode((folder / "load.json").read_bytes(), type=LoadSummary),
        Plan(scenario, scenario.seed, pq.read_table(folder / "plan.parquet")),
        measures.frame(outcomes.read(folder / "outcomes")),
        [
            msgspec.json.decode(line, type=Acknowledgement)
            for file in lines
            for line in file.read_bytes().splitlines()
        ],
    )


class Played(NamedTuple):
    """All of them, by the first of their classes, and the audit of the services."""

    runs: dict[str, Run]
    audit: Audit
    ledger: Path


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Played:
    """One world for all: its services outlive every Locust, and several load it at once."""
    scenario, at = small_world(), tmp_path_factory.mktemp("classes")
    services = at / "services"
    services.mkdir()
    with serve.start(scenario, scenario.seed, services):
        begun = {
            names: started(services, at / names[0], "--journeys", str(count), *names)
            for names, count in RUNS.items()
        }
        runs = {names[0]: ended(one, at / names[0], scenario) for names, one in begun.items()}
    return Played(runs, auditor.audit(services), services / "ledger.sqlite3")


@pytest.mark.parametrize("names", RUNS)
def test_every_journey_of_a_class_comes_to_an_end(played: Played, names: tuple[str, ...]) -> None:
    """Nothing is dropped, breaks off or is left open, and every class that was picked took part."""
    run, count = played.runs[names[0]], RUNS[names]
    assert "Traceback" not in run.said
    assert "Error" not in run.said
    rows = count * 2 if "TwoPhonesOneBill" in names else count
    assert len(run.plan) == rows
    summary = run.summary
    assert (summary.intended, summary.started, summary.dropped) == (rows, rows, 0)
    fates = measures.journeys(run.rows, run.plan)["fate"].to_list()
    assert len(fates) == rows
    assert not {"unfinished", "dropped"} & set(fates)
    assert "confirmed" in fates
    kinds, apps = (set(run.plan.table[name].to_pylist()) for name in ("kind", "app"))
    if names[0] in APPS:
        assert (kinds, apps) == ({"qr_ebill"}, set(APPS.values()))
    if names[0] in KINDS:
        assert kinds == set(KINDS.values())
    if names[0] == "MixedDay":
        assert kinds == {"qr_ebill", *KINDS.values()}


def test_no_run_is_answered_from_another_ones_payments(played: Played) -> None:
    """Runs that pay the same bills for the same consumers share not one transaction."""
    transactions = [{one.transaction_id for one in run.told} for run in played.runs.values()]
    assert all(transactions)
    assert len(set().union(*transactions)) == sum(map(len, transactions))


def test_a_bill_is_paid_once_whoever_paid_it(played: Played) -> None:
    """The ledger has one credit for every bill that any phone was told is paid."""
    # Two phones of a household pay the same one on purpose, and so do runs of the same plan.
    bills = played.runs["TwoPhonesOneBill"].plan.table["bill"].to_pylist()
    assert {bills.count(one) for one in bills} == {2}
    told = [one for run in played.runs.values() for one in run.told if one.status == "SUCCESS"]
    with sqlite3.connect(f"file:{played.ledger}?mode=ro", uri=True) as ledger:
        status = dict(ledger.execute("SELECT transaction_id, status FROM payments"))
        credited = dict(
            ledger.execute(
                "SELECT bill_number, count(*) FROM payments WHERE status = 'CREDITED' GROUP BY 1"
            )
        )
    ledger.close()
    given_back = {"REFUND_DUE", "REFUNDED"}
    assert {status[one.transaction_id] for one in told} <= {"CREDITED", *given_back}
    assert given_back & set(status.values())
    assert {one.bill_number for one in told} <= set(credited)
    assert set(credited.values()) == {1}


def test_a_storm_asks_every_second(played: Played) -> None:
    """Apps whose payment is pending ask a second after the last answer, again and again."""
    asked = played.runs["PollStorm"].rows.filter(pl.col("step") == "check_status")
    waits = asked.sort("journey_id", "start_us").select(
        "attempt", us=(pl.col("start_us") - pl.col("end_us").shift(1)).over("journey_id")
    )
    again = waits.filter(pl.col("attempt") > 1)["us"].to_list()
    assert again
    assert all(POLL_US <= one < POLL_US * 1.5 for one in again)


def test_the_ledger_is_right_after_all_of_them(played: Played) -> None:
    """Every rule of the audit holds, and each was judged."""
    assert [(one.name, one.first) for one in played.audit.checks if not one.passed] == []
    assert played.audit.unchecked == ()
