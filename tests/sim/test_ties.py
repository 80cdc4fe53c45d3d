"""What happens at one instant has one order, whatever order it was written down in.

All times here are multiples of ten milliseconds and flows merge again after failures, so that many
events share an instant. The oracle is a second simulation, made of a list of events and a few
rules; it shares no code with the engine.
"""

from __future__ import annotations

import heapq
import itertools
from collections import Counter, deque
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import simpy

from fewseconds.draws import Draws
from fewseconds.journey import STEP_ROW
from fewseconds.plan import traits
from sim import ready, reference, reference_station

if TYPE_CHECKING:
    from collections.abc import Callable

    from fewseconds.plan import Plan
    from fewseconds.scenario import Scenario

    Tiny = Callable[..., Scenario]
    Starting = Callable[..., Plan]

STARTS_MS = np.sort(np.random.default_rng(7).integers(0, 3000, 400)) * 10.0
ERROR = {"outcome": "error", "code": "XY", "source": "made up"}


def law(value_ms: int) -> dict[str, Any]:
    """A constant time."""
    return {"law": "constant", "value_ms": value_ms, "source": "made up"}


TANDEM: dict[str, Any] = {
    "first": {
        "servers": 2, "service_time": 150, "failures": [ERROR | {"share": 0.2}], "by": ["bank"],
        "variants": {"HDFC": {"service_time": law(160)}, "BOB": {"service_time": law(200)}},
    },
    "second": {"servers": 1, "service_time": 80, "failures": [ERROR | {"share": 0.1}]},
}  # fmt: skip
BUY = {
    "buy": {
        "legs": [{"station": "first"}, {"station": "second"}], "attempts_max": 3,
        "retry_on": ["error"], "backoff_ms": [100, 300],
    }
}  # fmt: skip
Leg = tuple[int, int, str, int, int, int, str, int]


def oracle(plan: Plan) -> list[Leg]:
    """Rows of the tandem, in order of their ends.

    A row: journey, attempt, station, arrival, beginning, end, outcome, how many waited before it.
    Events at one instant: ends of service before beginnings, and each by journey, leg, attempt. A
    server that is released takes the next in line before the one it served moves on.
    """
    draws = Draws(plan.scenario, plan.seed)
    people = {row.journey_id: row for row in plan.rows()}
    free, line = {"first": 2, "second": 1}, {"first": deque[Any](), "second": deque[Any]()}
    names, done = ("first", "second"), []
    events = [(row.intended_start_us, 3, row.journey_id, 0, 0) for row in people.values()]

    def drawn(one: int, leg: int, attempt: int) -> tuple[str, str, int, int, int, Any]:
        return names[leg], "buy", leg, attempt, one, traits(plan.scenario, plan.seed, people[one])

    def serve(now: int, came: int, ahead: int, one: int, leg: int, attempt: int) -> None:
        free[names[leg]] -= 1
        end = now + draws.service_us(*drawn(one, leg, attempt))
        begun[one, leg, attempt] = (came, now, ahead)
        heapq.heappush(events, (end, 0, one, leg, attempt))

    begun: dict[tuple[int, int, int], tuple[int, int, int]] = {}
    while events:
        now, kind, one, leg, attempt = heapq.heappop(events)
        if kind == 0:
            free[names[leg]] += 1
            if line[names[leg]]:
                serve(now, *line[names[leg]].popleft())
            failed = draws.failure(*drawn(one, leg, attempt)) is not None
            came, start, ahead = begun[one, leg, attempt]
            outcome = "error" if failed else "ok"
            done.append((one, attempt, names[leg], came, start, now, outcome, ahead))
            if failed and attempt < 3:
                heapq.heappush(
                    events, (now + (0, 100_000, 300_000)[attempt], 3, one, 0, attempt + 1)
                )
            if failed or leg == 1:
                continue
            leg += 1
        attempt = max(attempt, 1)
        station = names[leg]
        if free[station]:
            serve(now, now, 0, one, leg, attempt)
        else:
            line[station].append((now, len(line[station]), one, leg, attempt))
    return done


def legs(plan: Plan) -> list[Leg]:
    """Rows of the engine, as the oracle writes them."""
    return [
        (
            row["journey_id"], row["attempt"], row["station"], row["start_us"],
            row["service_start_us"], row["end_us"], row["outcome"], row["queue_length"],
        )
        for row in reference.simulate(plan).outcomes.to_pylist()
        if row["leg"] != STEP_ROW
    ]  # fmt: skip


@pytest.fixture
def tandem(tiny: Tiny, starting: Starting) -> Plan:
    """Four hundred journeys through two stations, within thirty seconds."""
    return starting(tiny(BUY, TANDEM), STARTS_MS)


def test_rows_are_those_of_a_second_simulation(tandem: Plan) -> None:
    """Row by row and in the same order, the engine writes what the oracle writes."""
    expected = oracle(tandem)
    assert legs(tandem) == expected
    instants = Counter(end for *_, end, _, _ in expected)
    arrivals = Counter((station, came) for _, _, station, came, *_ in expected)
    # Without ties and merging flows, wrong engines would pass.
    assert sum(count > 1 for count in instants.values()) > 40
    assert sum(count > 1 for count in arrivals.values()) > 40
    assert sum(attempt > 1 for _, attempt, *_ in expected) > 50


def lindley(came: np.ndarray, service: np.ndarray, servers: int) -> np.ndarray:
    """Beginnings of service in a queue with several servers: each takes the server free first."""
    free = [0.0] * servers
    starts = []
    for arrival, length in zip(came, service, strict=True):
        start = max(arrival, heapq.heappop(free))
        heapq.heappush(free, start + length)
        starts.append(start)
    return np.array(starts)


@pytest.mark.parametrize("servers", [1, 2, 5])
def test_a_tandem_follows_the_recursion_of_lindley(
    servers: int, tiny: Tiny, starting: Starting
) -> None:
    """Without failures and ties, starts at both stations are those of the textbook recursion."""
    wide = {"law": "lognormal", "median_ms": 60 * servers, "p95_ms": 200 * servers}
    stations = {name: {"servers": servers, "service_time": wide} for name in ("first", "second")}
    starts_ms = np.sort(np.random.default_rng(servers).uniform(0, 40_000, 400))
    rows = legs(starting(tiny(BUY, stations), starts_ms))
    at = {name: sorted(r for r in rows if r[2] == name) for name in ("first", "second")}
    for name in ("first", "second"):
        table = np.array([[came, start, end] for _, _, _, came, start, end, *_ in at[name]])
        order = np.argsort(table[:, 0], kind="stable")
        came, start, end = table[order].T
        np.testing.assert_array_equal(start, lindley(came, end - start, servers))
    assert [row[3] for row in at["second"]] == [row[5] for row in at["first"]]


RICH: dict[str, Any] = {
    "aim": {
        "legs": [{"station": "lens"}], "attempts_max": 4, "retry_on": ["error"], "cadence_ms": 50,
    },
    "buy": {
        "legs": [
            {"station": "first", "timeout_ms": 400},
            {"station": "second", "timeout_ms": 300, "on_timeout": "deemed", "emits": "credited"},
        ],
        "attempts_max": 3, "backoff_ms": [100],
        "retry_on": ["error", "timed_out", "rejected", "reneged"],
        "on_failure": {"unfinished": "poll"}, "then": "end",
    },
    "poll": {
        "legs": [{"station": "first", "timeout_ms": 200, "asks": "tell.ok"}], "delay_ms": 100,
        "attempts_max": 9, "retry_on": ["unfinished", "timed_out"], "backoff_ms": [100],
        "then": "end",
    },
    "tell": {
        "legs": [{"station": "second", "timeout_ms": 500}], "attempts_max": 5, "backoff_ms": [100],
        "after": {"step": "buy", "event": "credited"}, "then": "end",
    },
    "note": {"legs": [{"station": "lens"}], "after": {"step": "buy", "event": "credited"}},
}  # fmt: skip
WORLD: dict[str, Any] = {
    "lens": {"service_time": 10, "failures": [ERROR | {"share": 0.5}]},
    "first": TANDEM["first"] | {"patience": law(300), "queue_limit": 4},
    "second": TANDEM["second"] | {"patience": law(500), "queue_limit": 8},
}


@pytest.fixture
def rich(tiny: Tiny, starting: Starting) -> Plan:
    """Journeys with every way to wait, fail, give up, try again and branch off."""
    return starting(tiny(RICH, WORLD), STARTS_MS)


def test_the_rich_world_is_rich(rich: Plan) -> None:
    """Every outcome of a visit and of a step occurs in it, many at shared instants."""
    rows = reference.simulate(rich).outcomes.to_pylist()
    found = Counter((row["outcome"], row["leg"] == STEP_ROW) for row in rows)
    for outcome in ("ok", "error", "rejected", "reneged", "timed_out", "unfinished"):
        assert found[outcome, True] > 10, outcome
    assert {row["branch"] for row in rows} == {"main", "tell", "note"}
    assert sum(count > 1 for count in Counter(row["end_us"] for row in rows).values()) > 300


def run_backwards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let SimPy take events of one instant and rank last in, first out."""
    build = reference.City.__init__

    def built(self: reference.City, plan: Plan) -> None:
        build(self, plan)
        self.env._eid = itertools.count(0, -1)

    monkeypatch.setattr(reference.City, "__init__", built)


def rows_of(plan: Plan) -> list[dict[str, Any]]:
    """All rows, in the order in which they were written."""
    return reference.simulate(plan).outcomes.to_pylist()  # type: ignore[no-any-return]


def test_the_order_of_writing_events_down_does_not_matter(
    rich: Plan, tandem: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With SimPy's own tie-break turned round, every row and their order stay the same."""
    forwards = rows_of(rich), rows_of(tandem)
    run_backwards(monkeypatch)
    assert (rows_of(rich), rows_of(tandem)) == forwards


def test_no_two_events_of_an_instant_share_a_rank(
    rich: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Among events of the model, (time, rank) is unique, so nothing is left to chance."""
    seen: Counter[tuple[float, int]] = Counter()
    schedule = simpy.Environment.schedule

    def noted(self: Any, event: Any, priority: Any = 1, delay: Any = 0) -> None:  # noqa: ANN401
        if priority > 1:
            seen[self.now + delay, priority] += 1
        schedule(self, event, priority, delay)

    monkeypatch.setattr(simpy.Environment, "schedule", noted)
    reference.simulate(rich)
    assert len(seen) > 4000
    assert max(seen.values()) == 1


def lifo(self: reference_station.Station, visit: reference_station.Visit) -> None:
    """A station whose queue is a stack."""
    enter(self, visit)
    if visit.waiting:
        self.queues[0].rotate(1)


enter = reference_station.Station.enter
rank = ready.rank
PLANTED: dict[str, tuple[str, Any]] = {
    "ties in SimPy's order": ("rank", lambda *_: 2),
    "ties blind to the journey": ("rank", lambda k, _, b, leg, a: rank(k, 0, b, leg, a)),
    "last come, first served": ("Station.enter", lifo),
    "beginnings before ends": ("rank", lambda kind, *rest: rank(5 - kind, *rest)),
}  # fmt: skip


@pytest.mark.parametrize("planted", PLANTED, ids=PLANTED)
def test_a_planted_mistake_is_caught(
    planted: str, tandem: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each mistake planted in the order of events makes rows differ from the oracle's."""
    name, wrong = PLANTED[planted]
    expected = oracle(tandem)
    for module in (reference, reference_station):
        if hasattr(module, name.partition(".")[0]):
            monkeypatch.setattr(f"{module.__name__}.{name}", wrong)
    if planted == "ties in SimPy's order":
        run_backwards(monkeypatch)
    assert legs(tandem) != expected
