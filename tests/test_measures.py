"""Measures of journeys, held against plain Python on the same rows."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from fewseconds import measures, outcomes, scenario_file
from fewseconds.journey import STEP_ROW
from fewseconds.outcomes import Outcome
from fewseconds.plan import SCHEMA, Plan, plan
from sim import reference

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import polars as pl

    from fewseconds.scenario import Scenario

QR = ("qr_ebill", "qr_counter")
PORTAL = ("portal", "portal_first")
SMOKE = scenario_file.load("smoke")


def planned(
    kinds: Sequence[str], starts_us: Sequence[int] | None = None, scenario: Scenario = SMOKE
) -> Plan:
    """Journeys of the given kinds, a second apart."""
    rows = [
        {
            "journey_id": number, "consumer": number, "bill": number, "kind": kind,
            "app": "phonepe", "bank": "SBI", "medium": "laser_print",
            "intended_start_us": starts_us[number] if starts_us else number * 1_000_000,
        }
        for number, kind in enumerate(kinds)
    ]  # fmt: skip
    return Plan(scenario, 7, pa.Table.from_pylist(rows, schema=SCHEMA))


Attempt = tuple[str, int, int, int, str]
"""Step, attempt, wait before it and stay (ms), outcome with its code after a colon."""


def rows_of(number: int, attempts: Sequence[Attempt], branch: str = "main") -> list[Outcome]:
    """Step rows of one journey that starts at its number of seconds."""
    rows, now_us = [], number * 1_000_000
    for step, attempt, wait_ms, stay_ms, outcome in attempts:
        start_us = now_us + wait_ms * 1000
        end_us = start_us + stay_ms * 1000
        word, _, code = outcome.partition(":")
        rows.append(
            Outcome(
                "sim", "simpy", number, branch, step, STEP_ROW, attempt, "", now_us, start_us,
                start_us, end_us, word, code,
            )
        )  # fmt: skip
        now_us = end_us
    return rows


def measured(made: Plan, rows: Sequence[Outcome]) -> tuple[pl.DataFrame, dict[int, dict[str, Any]]]:
    """The frame of the rows, and one row a journey by its number."""
    frame = measures.frame(outcomes.table(rows))
    table = measures.journeys(frame, made)
    assert table["journey_id"].to_list() == list(range(len(made)))
    return frame, {row["journey_id"]: row for row in table.to_dicts()}


def sample(measure: str, made: Plan, rows: Sequence[Outcome]) -> list[float]:
    """The samples of a measure, in order."""
    frame = measures.frame(outcomes.table(rows))
    return sorted(measures.samples(measure, measures.journeys(frame, made), frame).tolist())


GOOD: list[Attempt] = [
    ("open_app", 1, 0, 900, "ok"),
    ("scan", 1, 250, 5, "error"),
    ("scan", 2, 245, 7, "ok"),
    ("resolve", 1, 0, 400, "error"),
    ("resolve", 2, 1000, 300, "ok"),
    ("review", 1, 0, 2000, "ok"),
    ("enter_pin", 1, 0, 3000, "ok"),
    ("pay", 1, 0, 2500, "ok"),
]
MACHINE_MS = 250 + 5 + 245 + 7 + 400 + 1000 + 300 + 2500
TYPED: list[Attempt] = [
    ("open_app", 1, 0, 900, "ok"),
    ("scan", 1, 250, 8000, "error"),
    ("type_number", 1, 0, 18_000, "ok"),
    *GOOD[3:],
]


def test_machine_time_is_the_sojourns_of_machine_steps() -> None:
    """Every frame, every attempt and every wait between them counts, and no human second does."""
    rows = [*rows_of(0, GOOD), *rows_of(1, TYPED)]
    made = planned(["qr_ebill", "qr_counter"])
    typed_ms = 8250 + MACHINE_MS - 507
    assert sample("machine_time", made, rows) == sorted([MACHINE_MS / 1e3, typed_ms / 1e3])
    _, table = measured(made, rows)
    assert table[0]["end_to_end_us"] == 1000 * sum(wait + stay for _, _, wait, stay, _ in GOOD[1:])
    assert [row["fate"] for row in table.values()] == ["confirmed", "confirmed"]


def test_a_pending_payment_counts_until_the_screen_says_so() -> None:
    """Status checks are machine time, and are also told apart."""
    rows = rows_of(
        0,
        [*GOOD[:-1], ("pay", 1, 0, 15_000, "unfinished"),
         ("check_status", 1, 20_000, 100, "unfinished"), ("check_status", 2, 3000, 100, "ok")],
    )  # fmt: skip
    _, table = measured(planned(["qr_ebill"]), rows)
    assert table[0]["fate"] == "confirmed"
    assert table[0]["pending_us"] == 23_200_000
    assert table[0]["machine_us"] == 1000 * (MACHINE_MS - 2500 + 15_000 + 23_200)


ENDS: dict[str, tuple[list[Attempt], str, float | None, float]] = {
    # Rows; fate; machine time if the journey has a say in it; what it adds to the error rate.
    "declined": ([*GOOD[:-1], ("pay", 1, 0, 900, "declined")], "declined", None, 0),
    "impatient": ([*GOOD[:3], ("resolve", 1, 0, 900, "reneged")], "left", None, 0),
    "error": ([*GOOD[:-1], ("pay", 2, 4000, 900, "error")], "failed", math.inf, 1),
    "time-out": ([*GOOD[:4], ("resolve", 2, 1000, 10_000, "timed_out")], "failed", math.inf, 1),
    "turned away": ([*GOOD[:3], ("resolve", 2, 1000, 0, "rejected")], "failed", math.inf, 1),
    "cut off": ([*GOOD[:-1], ("pay", 1, 0, 900, "unfinished:cut_off")], "unfinished", math.inf, 1),
    "pending for ever": (
        [*GOOD[:-1], ("pay", 1, 0, 900, "unfinished"), ("check_status", 40, 0, 1, "unfinished")],
        "unfinished",
        math.inf,
        1,
    ),
    "never started": ([("open_app", 1, 0, 0, "dropped")], "dropped", math.inf, 1),
    "no row at all": ([], "unexplained", math.inf, 1),
    "stops in the middle": (GOOD[:5], "unexplained", math.inf, 1),
    "not tried again": ([*GOOD[:-1], ("pay", 1, 0, 900, "error")], "unexplained", math.inf, 1),
    "not asked again": ([*GOOD[:-1], ("pay", 1, 0, 9, "unfinished")], "unexplained", math.inf, 1),
    "no number typed": (
        [GOOD[0], ("scan", 32, 250, 0, "error")],
        "unexplained",
        math.inf,
        1,
    ),
    "unknown word": ([*GOOD[:-1], ("pay", 1, 0, 900, "vanished")], "unexplained", math.inf, 1),
}


@pytest.mark.parametrize("name", ENDS)
def test_every_end_has_a_name_and_its_say(name: str) -> None:
    """The system's failures are infinite and errors; a refusal or a change of mind is not."""
    attempts, fate, seconds, failed = ENDS[name]
    rows = [*rows_of(0, attempts), *rows_of(1, GOOD)]
    made = planned(["qr_ebill", "qr_ebill"])
    _, table = measured(made, rows)
    assert table[0]["fate"] == fate
    expected = [MACHINE_MS / 1e3] + ([] if seconds is None else [seconds])
    assert sample("machine_time", made, rows) == expected
    assert len(sample("end_to_end", made, rows)) == len(expected)
    assert sample("error_rate", made, rows) == sorted([failed, 0])


def test_where_a_journey_may_end_is_a_matter_of_its_kind() -> None:
    """The step that ends one kind of journey leaves another kind unfinished."""
    short = {"source": "assumption", "steps": ["open_app", "review"]}
    scenario = scenario_file.load("smoke", {"journeys": {"short": short}})
    made = planned(["short", "qr_ebill"], scenario=scenario)
    walk = [GOOD[0], GOOD[5]]
    rows = outcomes.table([*rows_of(0, walk), *rows_of(1, walk)])
    table = measures.journeys(measures.frame(rows), made).sort("journey_id")
    assert table["fate"].to_list() == ["confirmed", "unexplained"]


def test_portal_time_runs_from_the_first_page() -> None:
    """The old way is timed from opening the portal, and is no part of the QR's measures."""
    steps = ("open_portal", "fill_log_in", "log_in", "find_bill", "fill_payment", "pay")
    rows = rows_of(0, [(step, 1, 100, 10_000, "ok") for step in steps])
    made = planned(["portal"])
    assert sample("portal_time", made, rows) == [60.6]
    assert sample("machine_time", made, rows) == sample("end_to_end", made, rows) == []


def test_sms_time_runs_from_pay_to_the_handset() -> None:
    """An SMS is timed from Pay; one the operator lost is left out; none at all is infinite."""
    rows = []
    for number in range(5):
        rows += rows_of(number, GOOD)
    pay_us = [row.intended_us for row in rows if row.step == "pay"]

    def heard(number: int, after_ms: int, outcome: str, attempt: int = 1) -> Outcome:
        end_us = pay_us[number] + after_ms * 1000
        return Outcome(
            "client", "load", number, "sms", "sms", STEP_ROW, attempt, "", end_us - 1000,
            end_us - 1000, end_us - 1000, end_us, outcome,
        )  # fmt: skip

    accepted = heard(1, 5000, "ok")._replace(observer="server", leg=1, station="sms_gateway")
    rows += [
        accepted,
        heard(0, 7000, "ok"),
        heard(1, 60_000, "timed_out"),
        heard(2, 5000, "unfinished"),
    ]
    rows += [heard(4, 9000, "ok", 2), heard(4, 4000, "error")]
    assert sample("sms_time", planned(["qr_ebill"] * 5), rows) == [7.0, 9.0, math.inf, math.inf]


def test_an_sms_that_the_gateway_never_took_is_infinite() -> None:
    """Losses on the way to the gateway are not excused as the operator's delivery rate."""
    lost = {"outcome": "timed_out", "code": "gone", "share": 1.0, "source": "made up"}
    calm: dict[str, Any] = {
        name: {"failures": []} for name in ("remitter_bank", "callback_network")
    }
    silent: dict[str, Any] = {"variants": {name: {"failures": [lost]} for name in SMOKE.operators}}
    for broken, expected in (
        ({"sms_gateway": {"failures": [lost]}}, {math.inf}),
        ({"callback_network": {"failures": [lost]}}, {math.inf}),
        ({"operator": silent}, set()),
    ):
        made = plan(scenario_file.load("smoke", {"stations": calm | broken}), 7)
        made = made.window(*made.busiest_window()).share(0, 10)
        frame = measures.frame(reference.simulate(made).outcomes)
        table = measures.journeys(frame, made)
        assert set(measures.samples("sms_time", table, frame).tolist()) == expected


@pytest.fixture(scope="module")
def walked() -> tuple[Plan, pl.DataFrame, list[dict[str, Any]]]:
    """A thousand journeys of all kinds in a bad month, as frame and as plain rows."""
    bad = [
        {"outcome": outcome, "code": "XY", "share": share, "source": "made up"}
        for outcome, share in (("declined", 0.1), ("error", 0.4))
    ]
    lost = [bad[0] | {"outcome": "timed_out", "share": 0.1}]
    scenario = scenario_file.load(
        "mumbai",
        {
            "consumers": 1000,
            "stations": {
                "remitter_bank": {"failures": bad},
                "switch": {"failures": lost},
                "beneficiary_bank": {"failures": lost},
            },
        },
    )
    made = plan(scenario, 7)
    rows = reference.simulate(made).outcomes
    return made, measures.frame(rows), rows.to_pylist()


def in_plain_python(made: Plan, rows: list[dict[str, Any]]) -> dict[str, list[float]]:
    """Every measure, computed from the rows of one journey after another."""
    chains: dict[tuple[int, str], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        if row["leg"] == STEP_ROW:
            chains[row["journey_id"], row["branch"]].append(row)
    found: dict[str, list[float]] = defaultdict(list)
    for one in made.rows():
        main = sorted(chains[one.journey_id, "main"], key=lambda row: row["end_us"])
        last = main[-1]["outcome"]
        failed = last in ("error", "timed_out", "rejected", "unfinished", "dropped")
        found["error_rate"].append(float(failed))
        if last != "ok" and not failed:
            continue
        spans = {
            step: [row["end_us"] - row["intended_us"] for row in main if row["step"] == step]
            for step in ("scan", "resolve", "pay", "check_status")
        }
        begun = {row["step"]: row["intended_us"] for row in reversed(main)}
        ended = main[-1]["end_us"]
        if one.kind in QR:
            machine = sum(map(sum, spans.values())) / 1e6
            found["machine_time"].append(math.inf if failed else machine)
            found["end_to_end"].append(math.inf if failed else (ended - begun["scan"]) / 1e6)
        elif one.kind in PORTAL:
            found["portal_time"].append(
                math.inf if failed else (ended - begun["open_portal"]) / 1e6
            )
        in_app = one.kind == "other_digital"
        sms = chains[one.journey_id, "bill_sms" if in_app else "sms"]
        if last == "ok" and one.kind != "counter_cash" and sms[-1]["outcome"] == "ok":
            found["sms_time"].append(
                (sms[-1]["end_us"] - begun["pay_bill" if in_app else "pay"]) / 1e6
            )
    found["biller_time"] = [
        (row["end_us"] - row["start_us"]) / 1e6 for row in rows if row["station"] == "biller"
    ]
    return found


@pytest.mark.parametrize(
    "measure",
    ["machine_time", "end_to_end", "portal_time", "sms_time", "error_rate", "biller_time"],
)
def test_measures_of_a_walk_are_those_of_plain_python(
    measure: str, walked: tuple[Plan, pl.DataFrame, list[dict[str, Any]]]
) -> None:
    """On a thousand journeys of all kinds and ends, samples equal those counted by hand."""
    made, frame, rows = walked
    samples = measures.samples(measure, measures.journeys(frame, made), frame)
    expected = in_plain_python(made, rows)[measure]
    assert sorted(samples.tolist()) == pytest.approx(sorted(expected))
    assert len(expected) > 100
    if measure not in ("biller_time", "sms_time"):
        assert {math.inf, 1.0} & set(expected)


def test_the_order_of_rows_does_not_matter(
    walked: tuple[Plan, pl.DataFrame, list[dict[str, Any]]],
) -> None:
    """Rows of several processes may come in any order."""
    made, frame, _ = walked
    table = measures.journeys(frame, made)
    assert measures.journeys(frame.sample(fraction=1.0, shuffle=True, seed=7), made).equals(table)


PLANTED: dict[str, Callable[[list[Outcome]], list[Outcome]]] = {
    "back-off left out": lambda rows: [row._replace(intended_us=row.start_us) for row in rows],
    "last attempt only": lambda rows: [
        row for row in rows
        if row.attempt == max(other.attempt for other in rows if other.step == row.step)
    ],
    "human seconds charged": lambda rows: [
        row._replace(step="scan") if row.step == "review" else row for row in rows
    ],
}  # fmt: skip


@pytest.mark.parametrize("planted", PLANTED)
def test_a_planted_mistake_in_the_rows_shows(planted: str) -> None:
    """Rows that hide a wait, an attempt or whose time it was give another machine time."""
    rows = PLANTED[planted](rows_of(0, GOOD))
    assert sample("machine_time", planned(["qr_ebill"]), rows) != [MACHINE_MS / 1e3]
