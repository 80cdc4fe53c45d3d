"""The walk in (skipped) real time against the simulator, which is the specification."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from fewseconds import plan as p
from fewseconds.draws import Draws
from fewseconds.outcomes import table
from fixtures.funding import traits
from mock_psp.alarms import Alarms
from mock_psp.station import Station
from mock_psp.walk import Journey, Walk
from sim.reference import simulate

if TYPE_CHECKING:
    from collections.abc import Callable

    from fewseconds.outcomes import Outcome
    from fewseconds.scenario import Scenario
    from mock_psp.clock import PlanClock
    from tests.mock_psp.conftest import SkippingLoop

SEED = 11
COLUMNS = ("journey_id", "branch", "step", "leg", "attempt", "station")
TIMES = ("intended_us", "start_us", "service_start_us", "end_us")


class Rows:
    """Keeps outcomes in memory."""

    process = "test"

    def __init__(self) -> None:
        """Empty."""
        self.rows: list[Outcome] = []

    def add(self, row: Outcome) -> None:
        """Keep one."""
        self.rows.append(row)


class Clock:
    """The plan's clock on a loop that begins at ``origin_us``."""

    def __init__(self, loop: SkippingLoop, origin_us: int) -> None:
        """Nothing has happened yet."""
        self._loop, self._origin_us = loop, origin_us

    def now_us(self) -> int:
        """Microseconds since the plan's first midnight."""
        return self._origin_us + self._loop.now_us()


class World:
    """What a walk needs of a service's world, on a clock that is skipped ahead."""

    def __init__(self, scenario: Scenario, clock: PlanClock) -> None:
        """All stations of the scenario are here."""
        self.scenario, self.clock, self.writer = scenario, clock, Rows()
        self.draws, self.alarms = Draws(scenario, SEED), Alarms(clock)
        made: Any = self
        self.stations = {
            name: Station(name, one, self.draws, clock, made.writer, alarms=self.alarms)
            for name, one in scenario.stations.items()
        }


def troubled(quick: Callable[..., Scenario], **overrides: object) -> Scenario:
    """A scenario in which everything that can happen to a payment happens often."""

    def spread(median: float, p95: float) -> dict[str, Any]:
        return {"law": "lognormal", "median_ms": median, "p95_ms": p95, "source": "test"}

    def failing(outcome: str, code: str, share: float) -> dict[str, Any]:
        return {"outcome": outcome, "code": code, "share": share, "source": "test"}

    stations: dict[str, Any] = {
        name: {"role": "mocked", "service_time": spread(40, 400)}
        for name in (
            "biller", "sms_outbox", "camera", "person_opens_app", "person_reviews",
            "person_enters_pin", "person_types_number", "mobile_network", "payer_psp", "switch",
            "payee_psp", "callback_network", "sms_gateway", "camera_place", "camera_hand",
            "person_aims", "person_sees_other_bill",
        )
    }  # fmt: skip
    stations["biller"] |= {"servers": 1, "queue_limit": 1, "service_time": spread(300, 900)}
    stations["switch"] |= {
        "servers": 1, "queue_limit": 50, "patience": spread(1000, 4000),
        "service_time": spread(200, 800),
    }  # fmt: skip
    stations["remitter_bank"] = {
        "service_time": spread(3000, 20_000),
        "servers": 6,
        "failures": [
            failing("declined", "Z9", 0.1), failing("error", "XY", 0.1),
            failing("timed_out", "U67", 0.1),
        ],
    }  # fmt: skip
    stations["beneficiary_bank"] = {
        "service_time": spread(3000, 20_000),
        "failures": [failing("timed_out", "U68", 0.2)],
    }
    stations["callback_network"]["failures"] = [failing("timed_out", "lost", 0.3)]
    undelivered = {"failures": [failing("timed_out", "undelivered", 0.2)]}
    stations["operator"] = {"variants": {"jio": undelivered, "airtel": undelivered}}
    return quick({"stations": stations, "consumers": 1200, **overrides})


@pytest.fixture(scope="module")
def both() -> Callable[..., tuple[pl.DataFrame, pl.DataFrame]]:
    """The rows of the same journeys, walked here and simulated."""

    def run(scenario: Scenario, loop: SkippingLoop) -> tuple[pl.DataFrame, pl.DataFrame]:
        whole = p.plan(scenario, SEED)
        # The loop begins at the first arrival, so that floating-point seconds stay exact enough.
        origin_us = int(whole.starts_us[0])
        clock: Any = Clock(loop, origin_us)
        world: Any = World(scenario, clock)
        walk = Walk(world, world.stations, {}, {})

        async def everybody() -> None:
            for row in whole.rows():
                delay_us = row.intended_start_us - origin_us - loop.now_us()
                await asyncio.sleep(max(delay_us, 0) / 1e6)
                route = scenario.route(row.kind, row.app)
                journey = Journey(route, row.journey_id, traits(scenario, SEED, row))
                walk.start(walk.branch(journey, route.branches[0], None))
            while others := asyncio.all_tasks() - {asyncio.current_task()}:
                await asyncio.wait(others)

        loop.run_until_complete(everybody())
        walked = pl.DataFrame(pl.from_arrow(table(world.writer.rows)))
        simulated = pl.DataFrame(pl.from_arrow(simulate(whole).outcomes))
        return walked, simulated

    return run


def test_walked_and_simulated_journeys_have_the_same_rows(
    quick: Callable[..., Scenario], both: Callable[..., Any], virtual_loop: SkippingLoop
) -> None:
    """Time-outs, reversals, deemed credits, lost callbacks and full queues end as simulated."""
    scenario = troubled(quick)
    walked, simulated = both(scenario, virtual_loop)
    facts = [*COLUMNS, "outcome", "code", "queue_length"]
    walked, simulated = (
        frame.with_columns(pl.col(pl.Categorical).cast(pl.String)).sort(COLUMNS)
        for frame in (walked, simulated)
    )
    seen = set(simulated["outcome"])
    assert seen == {"ok", "declined", "error", "timed_out", "rejected", "reneged", "unfinished"}
    assert walked.select(facts).equals(simulated.select(facts))
    late_us = (walked.select(TIMES) - simulated.select(TIMES)).max_horizontal().abs()
    assert late_us.max() <= 2


def test_a_measured_station_takes_as_long_as_its_work(
    quick: Callable[..., Scenario], virtual_loop: SkippingLoop
) -> None:
    """Those before it last as drawn; it has nothing to do here, and takes no time."""
    scenario, clock = quick(), Clock(virtual_loop, 0)
    told: Any = clock
    world: Any = World(scenario, told)
    walk, route = Walk(world, world.stations, {}, {}), scenario.route("qr_ebill", "phonepe")
    journey = Journey(route, 1, p.Traits("phonepe", "SBI", "placard", "pyzbar", "jio"))
    step = route.index("resolve")
    virtual_loop.run_until_complete(walk.attempt(journey, step, 1, None))
    took_us = {row.station: row.end_us - row.service_start_us for row in world.writer.rows}
    assert took_us.pop("biller") == 0
    legs = [leg.station for leg in route.steps[step].legs]
    assert sorted(took_us) == sorted(set(legs) - {"biller"})
    for number, station in enumerate(legs[:-1]):
        visit = world.draws.visit("resolve", number, station, journey.traits)
        assert took_us[station] == visit.service_us(1, 1)
