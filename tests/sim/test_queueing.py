"""Stations against the theory of queues: mean waits, Little's law, and what no queue may do.

Starts are uniform over an hour: a Poisson process, given how many arrive. The tolerance is four
standard errors of the mean over independent seeds.
"""

from __future__ import annotations

import bisect
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest
from scipy import stats

from fewseconds import scenario_file
from fewseconds.measures import frame
from fewseconds.plan import HOUR_US, plan
from sim import engines, reference, reference_station

if TYPE_CHECKING:
    from collections.abc import Callable

    from fewseconds.plan import Plan
    from fewseconds.scenario import Scenario
    from sim.summary import Summary

    Tiny = Callable[..., Scenario]

SEEDS = range(8)
MANY = 200_000
"""Customers of the compiled engine, in the same hour: everything is as much faster."""
CONSUMERS = 2400
RATE = CONSUMERS / 3_600_000
"""Arrivals a millisecond."""
WARM_UP_US = 18 * 3_600_000_000 + 300_000_000
SIGMA = math.log(2) / stats.norm.ppf(0.95)


def erlang_c(servers: int, service_ms: float) -> float:
    """Mean wait in M/M/c, from the probability to wait (Erlang, 1917)."""
    load = RATE * service_ms
    late = load**servers / math.factorial(servers) / (1 - load / servers)
    waits = late / (sum(load**k / math.factorial(k) for k in range(servers)) + late)
    return waits * service_ms / (servers - load)


def pollaczek_khinchine(mean_ms: float, second_moment: float) -> float:
    """Mean wait in M/G/1 (Pollaczek, 1930; Khinchine, 1932)."""
    return RATE * second_moment / (2 * (1 - RATE * mean_ms))


LOGNORMAL = stats.lognorm(SIGMA, scale=750)
QUEUES: dict[str, tuple[int, dict[str, Any] | int, float]] = {
    # Servers; law of service in milliseconds; mean wait of the theory.
    "M/M/1": (1, {"law": "exponential", "mean_ms": 900}, erlang_c(1, 900)),
    "M/M/3": (3, {"law": "exponential", "mean_ms": 3300}, erlang_c(3, 3300)),
    "M/D/1": (1, 1050, pollaczek_khinchine(1050, 1050**2)),
    "M/G/1, uniform": (
        1, {"law": "uniform", "low_ms": 0, "high_ms": 2000},
        pollaczek_khinchine(1000, 2000**2 / 3),
    ),
    "M/G/1, lognormal": (
        1, {"law": "lognormal", "median_ms": 750, "p95_ms": 1500},
        pollaczek_khinchine(LOGNORMAL.mean(), LOGNORMAL.moment(2)),
    ),
}  # fmt: skip


def waits_ms(scenario: Scenario, seed: int) -> np.ndarray:
    """Waits of those who came once the queue had warmed up."""
    rows = reference.simulate(plan(scenario, seed)).outcomes.to_pylist()
    return np.array(
        [
            (row["service_start_us"] - row["start_us"]) / 1000
            for row in rows
            if row["station"] and row["start_us"] > WARM_UP_US
        ]
    )


def off_by(scenario: Scenario, expected_ms: float) -> float:
    """Distance of the simulated mean wait from the expected one, in its standard errors."""
    means = [waits_ms(scenario, seed).mean() for seed in SEEDS]
    error = np.std(means, ddof=1) / math.sqrt(len(means))
    # An error much larger than this would excuse any engine.
    assert error < 0.06 * expected_ms
    return abs(float(np.mean(means)) - expected_ms) / float(error)


def faster(law: dict[str, Any] | int) -> dict[str, Any]:
    """The law of a service that is so much faster as there are more customers."""
    spelled: dict[str, Any] = law if isinstance(law, dict) else {"law": "constant", "value_ms": law}
    return {
        name: value * CONSUMERS / MANY if name.endswith("_ms") else value
        for name, value in spelled.items()
    }


@pytest.mark.parametrize("name", QUEUES)
def test_compiled_mean_waits_are_those_of_the_theory(name: str, tiny: Tiny) -> None:
    """Over 1.6 million customers, within four standard errors of less than a per cent each."""
    servers, law, expected_ms = QUEUES[name]
    stations = {"till": {"servers": servers, "service_time": faster(law)}}
    scenario = tiny({"buy": {"legs": [{"station": "till"}]}}, stations, MANY)
    means = []
    for seed in SEEDS:
        made = plan(scenario, seed)
        till = engines.walk(made, "numba", rows=False).summarised(made).stations["till"]
        assert till.visits == MANY
        means.append(till.waiting_us / till.visits * MANY / CONSUMERS / 1000)
    error = float(np.std(means, ddof=1)) / math.sqrt(len(means))
    assert error < 0.01 * expected_ms
    assert abs(float(np.mean(means)) - expected_ms) < 4 * error


@pytest.mark.parametrize("name", QUEUES)
def test_mean_waits_are_those_of_the_theory(name: str, tiny: Tiny) -> None:
    """The mean wait lies within four standard errors of Erlang's or Pollaczek's formula."""
    servers, law, expected_ms = QUEUES[name]
    stations = {"till": {"servers": servers, "service_time": law}}
    scenario = tiny({"buy": {"legs": [{"station": "till"}]}}, stations, CONSUMERS)
    assert off_by(scenario, expected_ms) < 4


def test_a_planted_server_too_many_is_caught(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """A station that takes in one visit more than it has servers misses Erlang's mean wait."""
    servers, law, expected_ms = QUEUES["M/M/3"]
    stations = {"till": {"servers": servers, "service_time": law}}
    scenario = tiny({"buy": {"legs": [{"station": "till"}]}}, stations, CONSUMERS)
    enter = reference_station.Station.enter

    def generous(self: reference_station.Station, visit: reference_station.Visit) -> None:
        self.busy -= 1
        enter(self, visit)
        self.busy += 1

    monkeypatch.setattr(reference_station.Station, "enter", generous)
    assert off_by(scenario, expected_ms) > 4


def city() -> Plan:
    """The smoke test with so few servers that people wait, reneging where they can."""
    few = {"payer_psp": 2, "switch": 3, "biller": 1, "remitter_bank": 40, "beneficiary_bank": 24}
    scenario = scenario_file.load(
        "smoke", {"stations": {name: {"servers": servers} for name, servers in few.items()}}
    )
    made = plan(scenario, 7)
    return made.window(*made.busiest_window())


@pytest.fixture(scope="module")
def compiled() -> tuple[Plan, Summary, dict[str, dict[str, np.ndarray]]]:
    """An hour of the city by the compiled engine: what it counted, and its rows by station."""
    crowded = city()
    middle = int(crowded.starts_us.mean())
    walk = plan(crowded.scenario, 7).window(middle - HOUR_US // 2, middle + HOUR_US // 2)
    done = engines.walk(walk, "numba")
    rows = frame(done.outcomes).filter(pl.col("station") != "")
    by_station = {
        str(name): {column: table[column].to_numpy() for column in table.columns}
        for (name,), table in rows.partition_by("station", as_dict=True).items()
    }
    return walk, done.summarised(walk), by_station


def test_littles_law_holds_at_every_station_of_the_compiled_engine(
    compiled: tuple[Plan, Summary, dict[str, dict[str, np.ndarray]]],
) -> None:
    """Its integrals over time are what its rows add up to, and what a random gauge reads."""
    made, summary, rows = compiled
    assert len(rows) > 10
    luck = np.random.default_rng(3)
    for name, mine in rows.items():
        use = summary.stations[name]
        came, served, left = mine["start_us"], mine["service_start_us"], mine["end_us"]
        assert use.waiting_us == use.waiting_us_by_hour.sum() == (served - came).sum()
        assert use.busy_us == use.busy_us_by_hour.sum() == (left - served).sum()
        moments = luck.uniform(came.min(), left.max(), 200_000)
        inside = np.searchsorted(np.sort(came), moments) - np.searchsorted(np.sort(left), moments)
        expected = (left - came).sum() / float(left.max() - came.min())
        error = inside.std() / math.sqrt(len(moments))
        assert abs(inside.mean() - expected) <= 5 * error, name
        # Nobody is refused here but where the queue is full.
        assert len(came) == use.visits
    assert sum(summary.fates.values()) == summary.journeys == len(made)


def test_nobody_of_the_compiled_engine_waits_for_an_idle_server(
    compiled: tuple[Plan, Summary, dict[str, dict[str, np.ndarray]]],
) -> None:
    """At each arrival the rows say how many are served and wait; both add up, first come first."""
    made, _, rows = compiled
    waited = 0
    for name, mine in rows.items():
        servers = made.scenario.stations[name].servers
        if servers == 0:
            assert (mine["service_start_us"] == mine["start_us"]).all()
            continue
        came = np.sort(mine["start_us"])
        starts, ends = np.sort(mine["service_start_us"]), np.sort(mine["end_us"])
        now = mine["start_us"]
        served = np.searchsorted(starts, now) - np.searchsorted(ends, now, "right")
        waiting = np.searchsorted(came, now) - np.searchsorted(starts, now)
        # Who came alone, at an instant at which nothing else happened here.
        single = np.searchsorted(came, now, "right") - np.searchsorted(came, now) == 1
        single &= np.searchsorted(ends, now, "right") == np.searchsorted(ends, now)
        assert (mine["queue_length"] == waiting)[single].all(), name
        assert (served <= servers).all()
        waits = mine["service_start_us"] > now
        assert (waits == (served == servers))[single].all(), name
        assert single.mean() > 0.8
        waited += int(waits.sum())
        by_arrival = np.flatnonzero(single)[np.argsort(now[single])]
        assert (np.diff(mine["service_start_us"][by_arrival]) >= 0).all(), name
    assert waited > 300


Gauge = dict[str, list[tuple[int, int, int]]]
GAUGE_US = 4_987
"""No divisor of the camera's 250 ms, or every frame of a person would meet it at the same phase."""


@pytest.fixture(scope="module")
def walked() -> tuple[Plan, list[dict[str, Any]], Gauge]:
    """A walk of the city, with a gauge that reads every station two hundred times a second.

    The gauge is a process of its own: it counts who is there while they are there, and knows
    nothing of rows.
    """
    made, gauge, build = city(), Gauge(), reference.City.__init__

    def built(self: reference.City, plan: Plan) -> None:
        build(self, plan)
        until_us = plan.starts_us[-1] + 240_000_000

        def read() -> Any:  # noqa: ANN401 - a SimPy process
            yield self.env.timeout(int(plan.starts_us[0]))
            while self.env.now < until_us:
                for name, station in self.stations.items():
                    reading = (self.env.now, station.waiting, station.busy)
                    gauge.setdefault(name, []).append(reading)
                yield self.env.timeout(GAUGE_US)

        self.env.process(read())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reference.City, "__init__", built)
        rows = reference.simulate(made).outcomes.to_pylist()
    return made, [row for row in rows if row["station"]], gauge


def test_littles_law_holds_at_every_station(
    walked: tuple[Plan, list[dict[str, Any]], Gauge],
) -> None:
    """What the gauge counts, summed over time, is the sum of the sojourns; the same of waits."""
    made, rows, gauge = walked
    visited = {row["station"] for row in rows}
    assert len(visited) > 10
    for name, station in made.scenario.stations.items():
        mine = [row for row in rows if row["station"] == name]
        waits_us = sum(row["service_start_us"] - row["start_us"] for row in mine)
        sojourns_us = sum(row["end_us"] - row["start_us"] for row in mine)
        counted = np.array(gauge[name])
        # A span measured on a grid of width w has variance w²/6.
        error_us = 4 * GAUGE_US * math.sqrt(len(mine) / 6) + 1
        assert abs(counted[:, 1].sum() * GAUGE_US - waits_us) < error_us, name
        assert abs(counted[:, 1:].sum() * GAUGE_US - sojourns_us) < error_us, name
        if station.servers == 0:
            assert waits_us == 0
            assert all(row["queue_length"] == 0 for row in mine)
        else:
            assert counted[:, 2].max(initial=0) <= station.servers


def test_nobody_waits_for_an_idle_server_and_none_serves_two(
    walked: tuple[Plan, list[dict[str, Any]], Gauge],
) -> None:
    """At each arrival, the rows themselves say who is served and who waits, and both add up."""
    made, rows, _ = walked
    waited = 0
    for name, station in made.scenario.stations.items():
        mine = [row for row in rows if row["station"] == name]
        if station.servers == 0:
            continue
        starts = sorted(row["service_start_us"] for row in mine)
        ends = sorted(row["end_us"] for row in mine)
        arrivals = sorted(row["start_us"] for row in mine)
        assert len(set(arrivals)) == len(arrivals)
        for row in mine:
            now = row["start_us"]
            served = bisect.bisect_left(starts, now) - bisect.bisect_right(ends, now)
            waiting = bisect.bisect_left(arrivals, now) - bisect.bisect_left(starts, now)
            assert row["queue_length"] == waiting
            assert served <= station.servers
            waits = row["service_start_us"] > now
            assert waits == (served == station.servers)
            waited += waits
        order = [row["service_start_us"] for row in sorted(mine, key=lambda row: row["start_us"])]
        assert order == sorted(order)
    assert waited > 300
