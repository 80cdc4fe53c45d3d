"""Stations in real time, on a clock that is skipped ahead."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from fewseconds import journey as j
from fewseconds.draws import Draws
from fewseconds.plan import Traits
from mock_psp.station import Answer, Call, Duty, Station

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from fewseconds.outcomes import Outcome
    from fewseconds.scenario import Scenario
    from tests.mock_psp.conftest import SkippingLoop

TRAITS = Traits("phonepe", "SBI", "placard", "pyzbar", "jio")
MS = 1000


class Rows(list["Outcome"]):
    """Keeps outcomes in memory."""

    process = "test"

    def add(self, row: Outcome) -> None:
        """Keep one."""
        self.append(row)


def call(journey_id: int) -> Call:
    """A visit of a journey to the one leg of a step."""
    return Call("qr_ebill", journey_id, "main", "pay", 2, 1, TRAITS)


@pytest.fixture
def station(
    quick: Callable[..., Scenario], virtual_loop: SkippingLoop
) -> Callable[..., tuple[Station, Rows]]:
    """The maker of one station that takes exactly 100 ms, with the rows that it writes."""

    def make(name: str, slowdown: float = 1.0, **table: object) -> tuple[Station, Rows]:
        law = {"law": "constant", "value_ms": 100, "source": "test"}
        fault = [{"kind": "slowdown", "station": name, "factor": slowdown}]
        scenario = quick({"stations": {name: {"service_time": law, **table}}, "fault": fault})
        rows, clock = Rows(), virtual_loop
        keeper: Any = rows
        told: Any = clock
        draws = Draws(scenario, 1)
        return Station(name, scenario.stations[name], draws, told, keeper), rows

    return make


def together(loop: SkippingLoop, *visits: Awaitable[Answer]) -> list[Answer]:
    """Begin visits at one moment, in order."""

    async def all_of_them() -> list[Answer]:
        return await asyncio.gather(*visits)

    return loop.run_until_complete(all_of_them())


def work(milliseconds: int) -> Duty:
    """Real work of that length."""
    return Duty(do=lambda: asyncio.sleep(milliseconds / 1000))


def test_a_mocked_party_lasts_as_drawn_its_real_work_included(
    station: Callable[..., Any], virtual_loop: SkippingLoop
) -> None:
    """Work shorter than the draw changes nothing; longer work is recorded as an overrun."""
    switch, rows = station("switch")
    together(virtual_loop, switch.visit(call(1), work(30)), switch.visit(call(2), work(130)))
    assert [row.end_us - row.start_us for row in rows] == [100 * MS, 130 * MS]
    assert [row.overrun_us for row in rows] == [0, 30 * MS]


def test_a_measured_part_takes_as_long_as_its_work(
    station: Callable[..., Any], virtual_loop: SkippingLoop
) -> None:
    """Nothing is slept, and nobody queues for the servers that the simulator assumes."""
    biller, rows = station("biller", servers=1)
    together(virtual_loop, *(biller.visit(call(n), work(30)) for n in range(3)))
    assert [row.end_us - row.start_us for row in rows] == [30 * MS] * 3
    assert [row.service_start_us for row in rows] == [0] * 3


def test_a_slowed_measured_part_queues_as_it_would_in_the_simulator(
    station: Callable[..., Any], virtual_loop: SkippingLoop
) -> None:
    """Five times the draw from the grant of one of the scenario's servers, work included."""
    biller, rows = station("biller", slowdown=5.0, servers=2)
    together(virtual_loop, *(biller.visit(call(n), work(30)) for n in range(3)))
    assert sorted(row.end_us for row in rows) == [500 * MS, 500 * MS, 1000 * MS]
    assert sorted(row.service_start_us for row in rows) == [0, 0, 500 * MS]


def test_a_full_measured_part_rejects(
    station: Callable[..., Any], virtual_loop: SkippingLoop
) -> None:
    """No more visits are taken than the scenario's servers and queue hold together."""
    biller, _ = station("biller", servers=1, queue_limit=2)
    answers = together(virtual_loop, *(biller.visit(call(n), work(30)) for n in range(5)))
    assert [answer.outcome for answer in answers] == [j.OK] * 3 + [j.REJECTED] * 2


def test_a_queue_is_first_come_first_served(
    station: Callable[..., Any], virtual_loop: SkippingLoop
) -> None:
    """One server takes visits in the order in which they came, and turns the last one away."""
    switch, rows = station("switch", servers=1, queue_limit=2)
    answers = together(virtual_loop, *(switch.visit(call(n)) for n in range(4)))
    assert [answer.outcome for answer in answers] == [j.OK] * 3 + [j.REJECTED]
    served = sorted((row.end_us, row.journey_id) for row in rows)
    assert served == [(0, 3), (100 * MS, 0), (200 * MS, 1), (300 * MS, 2)]
    assert sorted((row.journey_id, row.queue_length) for row in rows) == [
        (0, 0), (1, 0), (2, 1), (3, 2),
    ]  # fmt: skip


def test_a_cancelled_visit_gives_its_place_back(
    station: Callable[..., Any], virtual_loop: SkippingLoop
) -> None:
    """Who is cancelled in the queue or at the server is unfinished, and the next one is served."""
    switch, rows = station("switch", servers=1)

    async def scene() -> Answer:
        served, waiting = (asyncio.ensure_future(switch.visit(call(n))) for n in (1, 2))
        last = asyncio.ensure_future(switch.visit(call(3)))
        await asyncio.sleep(0.01)
        waiting.cancel()
        served.cancel()
        found: Answer = await last
        return found

    answer: Answer = virtual_loop.run_until_complete(scene())
    assert answer.outcome == j.OK
    assert {row.journey_id: row.outcome for row in rows} == {
        1: "unfinished", 2: "unfinished", 3: "ok",
    }  # fmt: skip
    assert max(row.end_us for row in rows) == 110 * MS


def test_work_that_breaks_is_an_error(
    station: Callable[..., Any], virtual_loop: SkippingLoop
) -> None:
    """An exception passes through, leaves a row, and frees the server."""
    switch, rows = station("switch", servers=1)

    def broken() -> Answer:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        together(virtual_loop, switch.visit(call(1), Duty(do=broken)))
    together(virtual_loop, switch.visit(call(2)))
    assert [row.outcome for row in rows] == ["error", "ok"]


def test_work_that_says_no_is_not_finished(
    station: Callable[..., Any], virtual_loop: SkippingLoop
) -> None:
    """A refusal by the real work is answered at the end of the service, without its effect."""
    switch, rows = station("switch")
    happened: list[str] = []
    duty = Duty(do=lambda: Answer(j.DECLINED, "U16"), done=lambda: happened.append("effect"))
    (answer,) = together(virtual_loop, switch.visit(call(1), duty))
    assert (answer.outcome, answer.code, happened) == (j.DECLINED, "U16", [])
    assert [(row.outcome, row.end_us) for row in rows] == [("declined", 100 * MS)]
