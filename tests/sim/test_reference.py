"""The reference engine in worlds small enough to work out by hand."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections import Counter, defaultdict
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from fewseconds import measures, scenario_file
from fewseconds.draws import Draws
from fewseconds.journey import STEP_ROW
from fewseconds.plan import plan
from fixtures.funding import traits
from sim import reference

if TYPE_CHECKING:
    from collections.abc import Callable

    from fewseconds.plan import Plan
    from fewseconds.scenario import Scenario

    Tiny = Callable[..., Scenario]
    Starting = Callable[..., Plan]
    Row = dict[str, Any]


def walked(made: Plan) -> list[Row]:
    """The rows of a walk, times in milliseconds."""
    rows = reference.simulate(made).outcomes.to_pylist()
    names = ("intended", "start", "service_start", "end")
    return [row | {f"{name}_ms": row[f"{name}_us"] / 1000 for name in names} for row in rows]


def visits(rows: list[Row], station: str = "till") -> dict[int, tuple[Any, ...]]:
    """A journey's one visit to a station: arrival, beginning, end (ms), outcome."""
    found = [row for row in rows if row["station"] == station]
    assert len({row["journey_id"] for row in found}) == len(found)
    return {
        row["journey_id"]: (row["start_ms"], row["service_start_ms"], row["end_ms"], row["outcome"])
        for row in found
    }


def ends(rows: list[Row], step: str = "buy") -> dict[int, list[tuple[Any, ...]]]:
    """Every attempt of a step, a journey: intended, start, end (ms), outcome, code."""
    found = defaultdict(list)
    for row in rows:
        if row["step"] == step and row["leg"] == STEP_ROW:
            times = (row["intended_ms"], row["start_ms"], row["end_ms"])
            found[row["journey_id"]].append((*times, row["outcome"], row["code"]))
    return dict(found)


ONE_TILL = {"buy": {"legs": [{"station": "till"}]}}


def test_one_server_serves_in_order_of_arrival(tiny: Tiny, starting: Starting) -> None:
    """Four arrivals at one server of ten seconds begin when the one before has ended."""
    scenario = tiny(ONE_TILL, {"till": {"servers": 1, "service_time": 10_000}})
    rows = walked(starting(scenario, [0, 1000, 2000, 35_000]))
    assert visits(rows) == {
        0: (0, 0, 10_000, "ok"),
        1: (1000, 10_000, 20_000, "ok"),
        2: (2000, 20_000, 30_000, "ok"),
        3: (35_000, 35_000, 45_000, "ok"),
    }
    waiting = {r["journey_id"]: r["queue_length"] for r in rows if r["station"]}
    assert waiting == {0: 0, 1: 0, 2: 1, 3: 0}
    assert ends(rows)[2] == [(2000, 2000, 30_000, "ok", "")]


def test_a_full_queue_turns_visits_away(tiny: Tiny, starting: Starting) -> None:
    """With room for two, the third to wait is rejected on the spot, until one has left."""
    till = {"servers": 1, "queue_limit": 2, "service_time": 10_000}
    rows = walked(starting(tiny(ONE_TILL, {"till": till}), [0, 1, 2, 3, 10_000]))
    assert visits(rows) == {
        0: (0, 0, 10_000, "ok"),
        1: (1, 10_000, 20_000, "ok"),
        2: (2, 20_000, 30_000, "ok"),
        3: (3, 3, 3, "rejected"),
        4: (10_000, 30_000, 40_000, "ok"),
    }
    assert ends(rows)[3] == [(3, 3, 3, "rejected", "queue_full")]


def test_a_queue_limit_of_nought_means_no_queue(tiny: Tiny, starting: Starting) -> None:
    """Without room to wait, a visit is served at once or rejected."""
    till = {"servers": 2, "queue_limit": 0, "service_time": 10}
    rows = walked(starting(tiny(ONE_TILL, {"till": till}), [0, 1, 2, 10]))
    assert [visit[3] for visit in visits(rows).values()] == ["rejected", "ok", "ok", "ok"]
    assert visits(rows)[2] == (2, 2, 2, "rejected")


def test_impatience_leaves_the_queue_and_its_work_undone(tiny: Tiny, starting: Starting) -> None:
    """Who waits longer than patience is gone, and the server turns to the next."""
    patience = {"law": "constant", "value_ms": 3000, "source": "made up"}
    till = {"servers": 1, "patience": patience, "service_time": 10_000}
    rows = walked(starting(tiny(ONE_TILL, {"till": till}), [0, 1000, 7000, 8000, 18_000]))
    assert visits(rows) == {
        0: (0, 0, 10_000, "ok"),
        1: (1000, 4000, 4000, "reneged"),
        # Patience and queue end at the same instant: the server is faster.
        2: (7000, 10_000, 20_000, "ok"),
        3: (8000, 11_000, 11_000, "reneged"),
        4: (18_000, 20_000, 30_000, "ok"),
    }
    assert ends(rows)[1] == [(1000, 1000, 4000, "reneged", "")]


TIMED: dict[str, Any] = {
    "buy": {
        "legs": [
            {"station": "till", "timeout_ms": 4000, "on_timeout": "deemed", "emits": "credited"}
        ],
        "then": "end",
    },
    "tell": {"legs": [{"station": "wire"}], "after": {"step": "buy", "event": "credited"}},
    "ask": {"legs": [{"station": "wire"}], "after": {"step": "buy", "event": "deemed"}},
}  # fmt: skip
SLOW_TILL = {"till": {"servers": 1, "service_time": 10_000}, "wire": {"service_time": 5}}


def test_work_goes_on_when_the_caller_has_given_up(tiny: Tiny, starting: Starting) -> None:
    """Time-outs free the caller, not the server, and the event of the work happens at its end."""
    rows = walked(starting(tiny(TIMED, SLOW_TILL), [0, 1000]))
    assert visits(rows) == {0: (0, 0, 10_000, "ok"), 1: (1000, 10_000, 20_000, "ok")}
    assert ends(rows)[0] == [(0, 0, 4000, "unfinished", "RB")]
    assert ends(rows)[1] == [(1000, 1000, 5000, "unfinished", "RB")]
    assert ends(rows, "ask") == {
        0: [(4000, 4000, 4005, "ok", "")],
        1: [(5000, 5000, 5005, "ok", "")],
    }
    assert ends(rows, "tell") == {
        0: [(10_000, 10_000, 10_005, "ok", "")],
        1: [(20_000, 20_000, 20_005, "ok", "")],
    }


@pytest.mark.parametrize(
    ("on_timeout", "outcome"),
    [
        ("failed", ("timed_out", "")),
        ("reversed", ("timed_out", "U67")),
        ("deemed", ("unfinished", "RB")),
    ],
)
def test_what_a_time_out_means_is_said_by_its_leg(
    on_timeout: str, outcome: tuple[str, str], tiny: Tiny, starting: Starting
) -> None:
    """A caller's time-out is a failure, a reversal or an unknown end, as the leg says."""
    leg = {"station": "till", "timeout_ms": 4000, "on_timeout": on_timeout}
    rows = walked(starting(tiny({"buy": {"legs": [leg]}}, SLOW_TILL), [0]))
    assert ends(rows)[0] == [(0, 0, 4000, *outcome)]


def test_an_answer_at_the_last_instant_is_in_time(tiny: Tiny, starting: Starting) -> None:
    """Work that ends exactly at the time-out is answered, served at once or after a wait."""
    till = {"till": {"servers": 1, "service_time": 4000}, "wire": {"service_time": 5}}
    rows = walked(starting(tiny(TIMED, till), [0]))
    assert ends(rows)[0] == [(0, 0, 4000, "ok", "")]
    half = {"till": {"servers": 1, "service_time": 2000}, "wire": {"service_time": 5}}
    rows = walked(starting(tiny(TIMED, half), [0, 0]))
    assert ends(rows)[1] == [(0, 0, 4000, "ok", "")]
    assert ends(rows, "ask") == {}


def test_a_lost_answer_is_work_done(tiny: Tiny, starting: Starting) -> None:
    """A failure of the kind timed_out does the work and its event, but never answers."""
    lost = {"outcome": "timed_out", "code": "U68", "share": 1.0, "source": "made up"}
    till = {
        "till": {"servers": 1, "service_time": 1000, "failures": [lost]},
        "wire": {"service_time": 5},
    }
    rows = walked(starting(tiny(TIMED, till), [0]))
    assert visits(rows) == {0: (0, 0, 1000, "timed_out")}
    assert ends(rows)[0] == [(0, 0, 4000, "unfinished", "RB")]
    assert ends(rows, "tell") == {0: [(1000, 1000, 1005, "ok", "")]}


def test_a_branch_starts_once_however_often_its_event_happens(
    tiny: Tiny, starting: Starting
) -> None:
    """Three attempts each credit in the end, and one callback starts, at the first of them."""
    buy = TIMED["buy"] | {"attempts_max": 3, "retry_on": ["unfinished"], "backoff_ms": [500]}
    rows = walked(starting(tiny(TIMED | {"buy": buy}, SLOW_TILL), [0]))
    credited = sorted(row["end_ms"] for row in rows if row["station"] == "till")
    assert credited == [10_000, 20_000, 30_000]
    assert ends(rows)[0] == [
        (0, 0, 4000, "unfinished", "RB"),
        (4000, 4500, 8500, "unfinished", "RB"),
        (8500, 9000, 13_000, "unfinished", "RB"),
    ]
    assert ends(rows, "tell") == {0: [(10_000, 10_000, 10_005, "ok", "")]}
    assert ends(rows, "ask") == {0: [(4000, 4000, 4005, "ok", "")]}


def test_a_branch_takes_its_turn_among_all_that_begin(tiny: Tiny, starting: Starting) -> None:
    """At one instant a branch begins in the order of journeys, not as soon as its event happens."""
    steps = {
        "buy": {"legs": [{"station": "till", "emits": "credited"}], "then": "end"},
        "tell": {"legs": [{"station": "till"}], "after": {"step": "buy", "event": "credited"}},
    }
    scenario = tiny(steps, {"till": {"servers": 1, "service_time": 10_000}})
    rows = walked(starting(scenario, [0, 10_000], [5, 2]))
    assert ends(rows) == {5: [(0, 0, 10_000, "ok", "")], 2: [(10_000, 10_000, 20_000, "ok", "")]}
    assert ends(rows, "tell") == {
        5: [(10_000, 10_000, 30_000, "ok", "")],
        2: [(20_000, 20_000, 40_000, "ok", "")],
    }


def failing(outcome: str) -> dict[str, Any]:
    """A station that always fails after a second."""
    failure = {"outcome": outcome, "code": "XY", "share": 1.0, "source": "made up"}
    return {"till": {"service_time": 1000, "failures": [failure]}, "wire": {"service_time": 5}}


def test_retries_wait_their_turn_and_end(tiny: Tiny, starting: Starting) -> None:
    """A failing step is tried as often as allowed, after its delay and its waits, then followed."""
    steps = {
        "buy": {
            "legs": [{"station": "till"}], "delay_ms": 300, "attempts_max": 4,
            "retry_on": ["error"],
            "backoff_ms": [100, 200], "on_failure": {"error": "moan"}, "then": "end",
        },
        "moan": {"legs": [{"station": "wire"}], "delay_ms": 50},
    }  # fmt: skip
    rows = walked(starting(tiny(steps, failing("error")), [1000]))
    assert ends(rows)[0] == [
        (1000, 1300, 2300, "error", "XY"),
        (2300, 2400, 3400, "error", "XY"),
        (3400, 3600, 4600, "error", "XY"),
        (4600, 4800, 5800, "error", "XY"),
    ]
    assert ends(rows, "moan") == {0: [(5800, 5850, 5855, "ok", "")]}
    rows = walked(starting(tiny(steps, failing("declined")), [1000]))
    assert ends(rows)[0] == [(1000, 1300, 2300, "declined", "XY")]
    assert ends(rows, "moan") == {}


def test_frames_come_at_their_cadence_until_given_up(tiny: Tiny, starting: Starting) -> None:
    """Attempts with a cadence begin on its grid, and none after the time to give up."""
    steps = {
        "buy": {
            "legs": [{"station": "till"}], "attempts_max": 99, "retry_on": ["error"],
            "cadence_ms": 800, "give_up_after_ms": 4000,
        }
    }  # fmt: skip
    rows = walked(starting(tiny(steps, failing("error")), [100]))
    assert [start for _, start, *_ in ends(rows)[0]] == [100, 1700, 3300]


def test_a_failed_leg_ends_the_attempt(tiny: Tiny, starting: Starting) -> None:
    """Legs are passed in order, and none after the one that failed."""
    steps = {"buy": {"legs": [{"station": "wire"}, {"station": "till"}, {"station": "wire"}]}}
    rows = walked(starting(tiny(steps, failing("error")), [0]))
    assert [(row["station"], row["leg"], row["end_ms"]) for row in rows] == [
        ("wire", 0, 5), ("till", 1, 1005), ("", STEP_ROW, 1005),
    ]  # fmt: skip


def test_a_deemed_payment_is_found_out_and_confirmed() -> None:
    """When every credit goes unanswered, the switch is asked, the app polls, and all end well."""
    lost = {"outcome": "timed_out", "code": "U68", "share": 1.0, "source": "made up"}
    calm: dict[str, Any] = {
        name: {"failures": []} for name in ("remitter_bank", "callback_network")
    }
    scenario = scenario_file.load(
        "smoke", {"stations": {"beneficiary_bank": {"failures": [lost]}, **calm}}
    )
    made = plan(scenario, 7)
    made = made.window(*made.busiest_window()).share(0, 8)
    rows = walked(made)
    apps = {row.journey_id: row.app for row in made.rows()}
    ids = set(apps)
    paid, asked = ends(rows, "pay"), ends(rows, "ask_switch")
    assert {(len(a), a[0][3], a[0][4]) for a in paid.values()} == {(1, "unfinished", "RB")}
    polled, told = ends(rows, "check_status"), ends(rows, "callback")
    assert set(paid) == set(asked) == set(polled) == set(told) == ids
    for number in ids:
        (deemed,), (known,) = paid[number], asked[number]
        assert known[:2] == (deemed[2], deemed[2] + 45_000)
        assert known[3] == "ok"
        *pending, last = polled[number]
        assert {(row[3], row[4]) for row in pending} <= {("unfinished", "01")}
        assert last[3] == "ok"
        # An app that asks late enough has its answer at once.
        assert all(row[2] < known[2] for row in pending)
        assert known[2] <= last[2]
        polls = scenario.apps[apps[number]].polls
        first_ms = scenario.steps["check_status"].delay_ms if polls is None else polls.first_ms
        assert polled[number][0][1] == deemed[2] + first_ms
        assert len(told[number]) == 1
    table = measures.journeys(measures.frame(reference.simulate(made).outcomes), made)
    assert set(table["fate"]) == {"confirmed"}
    assert table["pending_us"].min() > 45_000_000  # type: ignore[operator]


def smoke(seed: int = 7) -> Plan:
    """The journeys of the smoke test's window."""
    made = plan(scenario_file.load("smoke"), seed)
    return made.window(*made.busiest_window())


def test_stations_hold_exactly_what_is_drawn() -> None:
    """Every served visit lasts the draw of its journey, step, leg and attempt, and fails by it."""
    made = smoke()
    scenario, draws = made.scenario, Draws(made.scenario, made.seed)
    who = {row.journey_id: traits(scenario, made.seed, row) for row in made.rows()}
    checked: Counter[str] = Counter()
    for row in walked(made):
        if row["station"]:
            place = (row["station"], row["step"], row["leg"], row["attempt"], row["journey_id"])
            drawn = (*place, who[row["journey_id"]])
            assert row["end_us"] - row["service_start_us"] == draws.service_us(*drawn)
            failure = draws.failure(*drawn, row["start_us"])
            assert (row["outcome"], row["code"]) == (
                ("ok", "") if failure is None else (failure.outcome, failure.code)
            )
            checked[row["outcome"]] += 1
    assert min(checked["ok"], checked["error"], checked["timed_out"], checked["declined"]) > 0


def test_journeys_are_neither_lost_nor_doubled() -> None:
    """Every planned journey starts once, on time, and each attempt follows the one before it."""
    made = smoke()
    chains = defaultdict(list)
    for row in walked(made):
        if row["leg"] == STEP_ROW:
            chains[row["journey_id"], row["branch"]].append(row)
    starts = {row.journey_id: row.intended_start_us for row in made.rows()}
    assert {number for number, branch in chains if branch == "main"} == set(starts)
    for (number, branch), chain in chains.items():
        if branch == "main":
            assert chain[0]["intended_us"] == starts[number]
            assert (chain[0]["step"], chain[0]["attempt"]) == ("open_app", 1)
        for before, after in pairwise(chain):
            assert after["intended_us"] == before["end_us"]
            same = after["step"] == before["step"]
            assert after["attempt"] == (before["attempt"] + 1 if same else 1)
        assert len({(row["step"], row["attempt"]) for row in chain}) == len(chain)


def test_the_same_plan_gives_the_same_rows_in_any_process() -> None:
    """Rows do not depend on the process, its hash seed, or what was walked before."""
    code = (
        "import hashlib; from fewseconds import scenario_file; from fewseconds.plan import plan;"
        "from sim import reference; p = plan(scenario_file.load('smoke'), 7);"
        "rows = reference.simulate(p.window(*p.busiest_window())).outcomes.to_pylist();"
        "print(hashlib.sha256(repr(rows).encode()).hexdigest())"
    )
    said = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        check=True,
        text=True,
        env={**os.environ, "PYTHONHASHSEED": "4242"},
    ).stdout
    for _ in range(2):
        rows = reference.simulate(smoke()).outcomes.to_pylist()
        assert hashlib.sha256(repr(rows).encode()).hexdigest() == said.strip()


def test_a_plan_of_nobody_gives_no_rows() -> None:
    """An empty plan is walked at once, and has no rows."""
    made = smoke().window(0, 0)
    assert reference.simulate(made).outcomes.num_rows == 0
