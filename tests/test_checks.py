"""Exact facts about a run and the sentence that sums it up: small runs made by hand."""

from __future__ import annotations

import math
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from scipy import stats

from fewseconds import checks, scenario_file
from fewseconds.journey import STEP_ROW
from fewseconds.plan import SCHEMA, Plan, plan
from fewseconds.record import Check, Evidence
from fewseconds.slo import Validity, Verdict

SEED = 7
DELIVERED = 0.9
SMOKE = scenario_file.load("smoke", {"consumers": 300, "plan_hash": ""})
WALK = {
    "journey_id": pl.Int64, "fate": pl.String, "last_step": pl.String, "sms_outcome": pl.String,
}  # fmt: skip
FRAMES = {"step": pl.String, "observer": pl.String, "leg": pl.Int32}


def walked(count: int, **columns: Any) -> pl.DataFrame:  # noqa: ANN401 - lists or one value for all
    """One row a journey; everybody paid and got an SMS, unless the columns say otherwise."""
    usual: dict[str, Any] = {"fate": "confirmed", "last_step": "pay", "sms_outcome": "ok"}
    filled = {
        name: value if isinstance(value, list) else [value] * count
        for name, value in (usual | columns).items()
    }
    return pl.DataFrame({"journey_id": list(range(count)), **filled}, schema=WALK)


def evidence(of: Plan, real: pl.DataFrame, virtual: pl.DataFrame | None = None) -> Evidence:
    """What a run left, with three frames looked at by clients."""
    rows = [
        {"step": step, "observer": observer, "leg": STEP_ROW}
        for step, observer in (
            ("scan", "client"), ("scan", "client"), ("scan", "client"), ("pay", "client"),
            ("scan", "server"),
        )
    ]  # fmt: skip
    return Evidence(
        plan=of,
        measured=pl.DataFrame(rows, schema=FRAMES),
        measured_journeys=real,
        simulated=pl.DataFrame(schema=FRAMES),
        simulated_journeys=walked(0) if virtual is None else virtual,
        strip=None,
    )


def found(whole: Plan, proof: Evidence, misreads: int | None = 0) -> dict[str, Check]:
    """The checks of a run by the first words of their names."""
    every = checks.all_checks(whole, proof, misreads)
    assert all(check.passed == (check.violations == 0) for check in every)
    return {" ".join(check.name.split()[:4]).rstrip(":"): check for check in every}


def planned(count: int, overrides: dict[str, Any] | None = None) -> Plan:
    """Journeys of different consumers, by QR."""
    rows = [
        {
            "journey_id": number, "consumer": number, "bill": number, "kind": "qr_ebill",
            "app": "bhim", "bank": "SBI", "medium": "laser_print", "intended_start_us": number,
        }
        for number in range(count)
    ]  # fmt: skip
    scenario = scenario_file.load("smoke", overrides or {})
    return Plan(scenario, SEED, pa.Table.from_pylist(rows, SCHEMA))


def test_a_good_run_keeps_every_check() -> None:
    """A plan that repeats itself, journeys with ends, SMS that came: every check holds."""
    whole = plan(SMOKE, SEED)
    good = found(whole, evidence(planned(50), walked(50), walked(80)))
    assert len(good) == 5
    assert all(check.passed and check.gate for check in good.values())
    assert good["the plan is the"].checked == 300
    assert good["every measured journey ends"].checked == 50
    assert good["every simulated journey ends"].checked == 80
    assert good["every QR that was"].checked == 3


def test_a_plan_that_is_not_repeated_is_told() -> None:
    """One consumer moved by one microsecond breaks the check of the plan."""
    whole = plan(SMOKE, SEED)
    rows = whole.table.to_pylist()
    rows[150]["intended_start_us"] += 1
    moved = Plan(SMOKE, SEED, pa.Table.from_pylist(rows, SCHEMA))
    assert not found(moved, evidence(planned(1), walked(1)))["the plan is the"].passed


@pytest.mark.parametrize(("right", "seed", "judged"), [(True, 7, 1), (False, 7, 1), (False, 8, 0)])
def test_a_stated_hash_is_held(right: bool, seed: int, judged: int) -> None:  # noqa: FBT001
    """A stated hash binds its scenario's own seed, and both hashes are told if they differ."""
    stated = plan(SMOKE, 7).digest if right else "0" * 64
    scenario = scenario_file.load("smoke", {"consumers": 300, "plan_hash": stated, "seed": 7})
    whole = plan(scenario, seed)
    every = found(whole, evidence(planned(1), walked(1)))
    named = [check for name, check in every.items() if name.startswith("the plan has")]
    assert len(named) == judged
    for check in named:
        assert check.passed is right
        if not right:
            assert stated in check.first[0]
            assert whole.digest in check.first[0]


def test_a_journey_without_an_end_is_named() -> None:
    """Every unexplained journey is a violation, and the first five are named with their step."""
    fates = ["confirmed"] * 3 + ["unexplained"] * 7
    real = walked(10, fate=fates, last_step=["pay"] * 3 + ["resolve"] * 7)
    check = found(plan(SMOKE, SEED), evidence(planned(10), real))["every measured journey ends"]
    assert (check.checked, check.violations, len(check.first)) == (10, 7, 5)
    assert check.first[0] == "journey 3 after 'resolve'"


@pytest.mark.parametrize("engine", ["measured", "simulated"])
def test_every_named_end_is_an_explanation(engine: str) -> None:
    """Failed, dropped and unfinished journeys are bad news, but explained."""
    fates = ["confirmed", "declined", "left", "dropped", "unfinished", "failed"]
    table = walked(6, fate=fates)
    proof = evidence(planned(6), table, table)
    assert found(plan(SMOKE, SEED), proof)[f"every {engine} journey ends"].passed


def test_a_misread_is_a_violation() -> None:
    """Two wrong texts are two violations; a run that broke off has not counted any."""
    whole, proof = plan(SMOKE, SEED), evidence(planned(1), walked(1))
    check = found(whole, proof, 2)["every QR that was"]
    assert (check.checked, check.violations) == (3, 2)
    assert "every QR that was" not in found(whole, proof, None)


def operators(lost: float) -> dict[str, Any]:
    """All operators lose the same share of messages."""
    failure = {"outcome": "timed_out", "code": "undelivered", "share": lost, "source": "a test"}
    variant = {"failures": [failure]}
    names = ("jio", "airtel", "vi", "bsnl")
    return {"stations": {"operator": {"variants": dict.fromkeys(names, variant)}}}


@pytest.mark.parametrize("edge", ["low", "high"])
@pytest.mark.parametrize("count", [60, 300])
def test_sms_arrive_at_the_operators_rate(edge: str, count: int) -> None:
    """The check holds up to the edge of SciPy's 99.9 % interval, and breaks beyond it."""
    low, high = (int(end) for end in stats.binom.interval(0.999, count, DELIVERED))
    inside, outside = (low, low - 1) if edge == "low" else (high, high + 1)
    of = planned(count, operators(1 - DELIVERED))
    for arrived, holds in ((inside, True), (outside, False)):
        if arrived > count:
            continue
        sms = ["ok"] * arrived + ["timed_out"] * (count - arrived)
        every = found(plan(SMOKE, SEED), evidence(of, walked(count, sms_outcome=sms)))
        check = every["SMS arrive at the"]
        assert check.passed is holds, (arrived, low, high)
        assert check.checked == count
        assert f"{DELIVERED:.1%} of {count} allow {low} to {high}, {arrived} came" in check.name


def test_only_messages_that_were_sent_are_counted() -> None:
    """Who did not pay, and who was cut off, says nothing about the operators."""
    fates = ["confirmed"] * 40 + ["declined"] * 20
    sms = ["ok"] * 30 + ["unfinished"] * 10 + ["timed_out"] * 20
    proof = evidence(planned(60, operators(0.0)), walked(60, fate=fates, sms_outcome=sms))
    check = found(plan(SMOKE, SEED), proof)["SMS arrive at the"]
    assert check.checked == 30
    assert check.passed
    nobody = evidence(planned(5), walked(5, fate="failed"))
    assert "SMS arrive at the" not in found(plan(SMOKE, SEED), nobody)


def verdict(**changes: Any) -> Verdict:  # noqa: ANN401 - any field
    """A gate that was met."""
    usual: dict[str, Any] = {
        "name": "machine time, median", "measure": "machine_time", "statistic": "p50",
        "engine": "measured", "gate": True, "limit": 5.0, "at_least": False, "word": "pass",
        "observed": 3.25, "low": 3.0, "high": 3.5, "count": 100,
    }  # fmt: skip
    return Verdict(**(usual | changes))


VALID = Validity(valid=True)
TAIL = {"name": "machine time, 95th percentile", "statistic": "p95", "limit": 10.0}


def test_a_run_that_passed_says_the_times() -> None:
    """Yes, with median and 95th percentile of what was measured."""
    both = [verdict(), verdict(**TAIL, observed=6.61), verdict(engine="simulated", observed=1.0)]
    assert checks.summary("pass", both, [], VALID) == (
        "Yes: the system's part of a QR payment took 3.2 s for half of the payers and 6.6 s for "
        "95 %, and no rupee was lost."
    )


@pytest.mark.parametrize("observed", [None, math.inf])
def test_a_run_that_passed_on_other_gates_says_no_time_it_does_not_know(
    observed: float | None,
) -> None:
    """A claim that cannot be judged, or that was never met, is not put into the answer."""
    both = [verdict(), verdict(**TAIL, gate=False, observed=observed, word="inconclusive")]
    said = checks.summary("pass", both, [], VALID)
    assert said == "Yes: every gate holds and no rupee was lost."


def test_a_missed_gate_is_the_answer() -> None:
    """No, with the first gate that was missed, what was observed, and what is wanted."""
    every = [
        verdict(gate=False, word="fail", observed=99.0),
        verdict(word="fail", observed=7.129),
        verdict(**TAIL, word="fail", observed=20.0),
    ]
    assert checks.summary("fail", every, [], VALID) == (
        "No: machine time, median (measured) is 7.13 s, at most 5 s is wanted."
    )


def test_shares_are_said_in_percent() -> None:
    """An error rate is said in percent, and a share that should be large as such."""
    rate = verdict(
        name="error rate", statistic="share", limit=0.02, observed=0.125, word="fail",
    )  # fmt: skip
    assert checks.summary("fail", [rate], [], VALID) == (
        "No: error rate (measured) is 12.5 %, at most 2 % is wanted."
    )
    faster = verdict(
        name="faster", statistic="share", limit=0.95, observed=0.5, at_least=True, word="fail"
    )
    assert "at least 95 % is wanted" in checks.summary("fail", [faster], [], VALID)


def test_a_time_that_was_never_reached_is_said_so() -> None:
    """An infinite time is "never", not a number."""
    said = checks.summary("fail", [verdict(word="fail", observed=math.inf)], [], VALID)
    assert said == "No: machine time, median (measured) is never, at most 5 s is wanted."


def test_a_broken_check_comes_before_times() -> None:
    """An invariant that does not hold is the answer, with how many more there are."""
    broken = [
        Check("one and one is two", passed=False, checked=1, violations=1),
        Check("a remark", passed=False, checked=1, violations=1, gate=False),
        Check("water is wet", passed=True, checked=1),
        Check("two and two is four", passed=False, checked=1, violations=1),
    ]
    late = [verdict(word="fail", observed=9.0)]
    assert checks.summary("fail", late, broken, VALID) == (
        "No: it does not hold that one and one is two (and 1 more)."
    )
    assert checks.summary("fail", late, broken[:2], VALID) == (
        "No: it does not hold that one and one is two."
    )


def test_an_inconclusive_run_says_why() -> None:
    """The first reason, of a validity or else of a gate, on one line."""
    spoiled = Validity(valid=False, reasons=("the clock stood still; run it again\nmore", "else"))
    assert checks.summary("inconclusive", [verdict(word="inconclusive")], [], spoiled) == (
        "Nothing can be said: the clock stood still; run it again."
    )
    few = verdict(word="inconclusive", reason="5 values cannot support a p95; run a longer window")
    claim = verdict(word="inconclusive", reason="a claim", gate=False)
    assert checks.summary("inconclusive", [claim, few], [], VALID) == (
        "Nothing can be said: 5 values cannot support a p95; run a longer window."
    )
    assert checks.summary("inconclusive", [], [], VALID) == (
        "Nothing can be said: no gate could be judged."
    )


def test_the_end_of_a_log_is_not_part_of_the_sentence() -> None:
    """A service that died is the answer; the lines of its log stay with the reasons."""
    died = Validity(
        valid=False, reasons=("sms: ended by itself with -9; its log ends\nWARNING x\n",)
    )
    assert checks.summary("inconclusive", [], [], died) == (
        "Nothing can be said: sms: ended by itself with -9."
    )


def test_notes_name_assumptions_faults_and_typing() -> None:
    """A reader learns what is assumed, what was slowed down, and how many typed."""
    fault = {"kind": "slowdown", "station": "biller", "factor": 5}
    scenario = scenario_file.load("smoke", {"fault": [fault]})
    said = list(checks.notes(scenario, 4))
    assumed = [
        name
        for name, station in scenario.stations.items()
        if station.role == "measured" and "assumption" in station.service_time.source
    ]
    assert "biller" in assumed
    assert all(name in said[0] for name in assumed)
    assert said[1] == "4 consumers typed their number because no frame of their QR was read."
    assert said[2] == "Deliberate fault: slowdown of biller by 5."
    assert len(list(checks.notes(SMOKE, 0))) == len(list(checks.notes(SMOKE, None))) == 2
