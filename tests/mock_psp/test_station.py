"""Stations in real time, on a clock that is skipped ahead."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import TYPE_CHECKING, Any

import pytest

from fewseconds import journey as j
from fewseconds import scenario_file
from fewseconds.draws import Draws
from fewseconds.identity import IST
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

    def make(
        name: str,
        slowdown: float = 1.0,
        faults: list[dict[str, object]] | None = None,
        **table: object,
    ) -> tuple[Station, Rows]:
        law = {"law": "constant", "value_ms": 100, "source": "test"}
        fault = faults or [{"kind": "slowdown", "station": name, "factor": slowdown}]
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


def test_a_visit_of_nothing_but_time_is_cut_off_or_late_like_any_other(
    station: Callable[..., Any], virtual_loop: SkippingLoop
) -> None:
    """A cancelled one is unfinished and frees its server; what comes too late is an overrun."""
    switch, rows = station("switch", servers=1)

    async def scene() -> int:
        cut = asyncio.ensure_future(switch.spend(call(1).at, 100 * MS, 0))
        await asyncio.sleep(0.03)
        cut.cancel()
        await asyncio.wait([cut])
        assert (switch.busy, switch.room) == (0, 1)
        late: int = await switch.spend(call(2).at, 10 * MS, 5 * MS)
        return late

    assert virtual_loop.run_until_complete(scene()) == 30 * MS
    assert [(row.outcome, row.start_us, row.end_us, row.overrun_us) for row in rows] == [
        ("unfinished", 0, 30 * MS, 0), ("ok", 5 * MS, 30 * MS, 15 * MS),
    ]  # fmt: skip
    assert switch.ended[j.OK] == switch.ended[j.UNFINISHED] == 1


def test_what_a_service_writes_down_between_two_visits_is_nobodys_time(
    station: Callable[..., Any], virtual_loop: SkippingLoop
) -> None:
    """A visit begins when the one before it has ended, however long that one's row takes."""
    switch, rows = station("switch")

    async def scene() -> None:
        ended_us = await switch.spend(call(1).at, 100 * MS, 0)
        virtual_loop.skipping.skipped_s += 0.05
        await switch.spend(call(2).at, 100 * MS, ended_us)

    virtual_loop.run_until_complete(scene())
    assert [(row.start_us, row.end_us, row.overrun_us) for row in rows] == [
        (0, 100 * MS, 0), (100 * MS, 200 * MS, 0),
    ]  # fmt: skip


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


def times(loop: SkippingLoop, station: Station, *starts_ms: int) -> list[Answer]:
    """Visits that come at these moments; their answers."""

    async def later(number: int, start_ms: int) -> Answer:
        await asyncio.sleep(start_ms / 1000)
        return await station.visit(call(number))

    async def all_of_them() -> list[Answer]:
        return await asyncio.gather(*(later(n, start) for n, start in enumerate(starts_ms)))

    return loop.run_until_complete(all_of_them())


def moment(seconds: float) -> str:
    """A moment after the midnight at which the plan's clock begins, as a scenario has it."""
    first = scenario_file.load("smoke").arrivals.first_day
    return (dt.datetime.combine(first, dt.time(), IST) + dt.timedelta(seconds=seconds)).isoformat()


def test_a_rate_limit_turns_away_what_is_too_much(
    station: Callable[..., Any], virtual_loop: SkippingLoop
) -> None:
    """Ten a second with a burst of two: two at once, then one each tenth of a second."""
    limit = {"per_s": 10, "burst": 2, "code": "429", "source": "test"}
    gateway, _ = station("switch", rate_limit=limit)
    answers = times(virtual_loop, gateway, 0, 0, 0, 50, 100, 150, 200)
    assert [answer.outcome == j.OK for answer in answers] == [
        True, True, False, False, True, False, True,
    ]  # fmt: skip
    assert {answer.code for answer in answers if answer.outcome == j.REJECTED} == {"429"}


def test_a_rate_limit_may_make_visits_wait(
    station: Callable[..., Any], virtual_loop: SkippingLoop
) -> None:
    """Services begin a fifth of a second apart, in the order in which visits came."""
    limit = {"per_s": 5, "excess": "wait", "source": "test"}
    switch, rows = station("switch", rate_limit=limit)
    times(virtual_loop, switch, 0, 0, 0)
    begun = sorted((row.service_start_us, row.journey_id) for row in rows)
    assert [journey for _, journey in begun] == [0, 1, 2]
    for number, (start_us, _) in enumerate(begun):
        assert start_us == pytest.approx(number * 200 * MS, abs=2 * MS)


@pytest.mark.parametrize("visits", ["reject", "hold"])
def test_an_outage_refuses_or_holds_who_comes(
    station: Callable[..., Any], virtual_loop: SkippingLoop, visits: str
) -> None:
    """What was begun is finished; who comes meanwhile is turned away, or served when it is over."""
    outage = {
        "kind": "outage", "station": "switch", "from": moment(1), "until": moment(2),
        "visits": visits, "code": "down",
    }  # fmt: skip
    switch, rows = station("switch", faults=[outage])
    answers = times(virtual_loop, switch, 950, 1500, 2500)
    ends = {row.journey_id: row.end_us for row in rows}
    assert ends[0] == pytest.approx(1050 * MS, abs=2 * MS)
    if visits == "reject":
        assert (answers[1].outcome, answers[1].code) == (j.REJECTED, "down")
    else:
        assert ends[1] == pytest.approx(2100 * MS, abs=2 * MS)
    assert ends[2] == pytest.approx(2600 * MS, abs=2 * MS)


def test_a_slowdown_holds_for_its_time(
    station: Callable[..., Any], virtual_loop: SkippingLoop
) -> None:
    """Services that begin in it take three times as long, others do not."""
    slow = {
        "kind": "slowdown", "station": "switch", "factor": 3.0, "from": moment(1),
        "until": moment(2),
    }  # fmt: skip
    switch, rows = station("switch", faults=[slow])
    times(virtual_loop, switch, 500, 1900, 2100)
    lasted = {row.journey_id: row.end_us - row.start_us for row in rows}
    for journey, expected_ms in enumerate((100, 300, 100)):
        assert lasted[journey] == pytest.approx(expected_ms * MS, abs=2 * MS)


def test_servers_that_come_later_take_who_waits(
    station: Callable[..., Any], virtual_loop: SkippingLoop
) -> None:
    """One server at first, three from 150 ms on: the third and fourth visit begin then."""
    more = [{"from": moment(0.15), "servers": 3, "source": "test"}]
    switch, rows = station("switch", servers=1, servers_later=more)
    times(virtual_loop, switch, 0, 0, 0, 0)
    begun = sorted(row.service_start_us for row in rows)
    for start_us, expected_ms in zip(begun, (0, 100, 150, 150), strict=True):
        assert start_us == pytest.approx(expected_ms * MS, abs=2 * MS)


def test_a_change_at_the_very_beginning_counts(
    station: Callable[..., Any], virtual_loop: SkippingLoop
) -> None:
    """Three servers by the table, one from the first midnight on: visits come one by one."""
    fewer = [{"from": moment(0), "servers": 1, "source": "test"}]
    switch, rows = station("switch", servers=3, servers_later=fewer)
    times(virtual_loop, switch, 0, 0, 0)
    begun = sorted(row.service_start_us for row in rows)
    for start_us, expected_ms in zip(begun, (0, 100, 200), strict=True):
        assert start_us == pytest.approx(expected_ms * MS, abs=2 * MS)


def test_who_still_waits_when_it_closes_is_turned_away(
    station: Callable[..., Any], virtual_loop: SkippingLoop
) -> None:
    """The queue of a closing station is emptied with its code."""
    outage = {
        "kind": "outage", "station": "switch", "from": moment(0.15), "until": moment(9),
        "code": "closed",
    }  # fmt: skip
    switch, _ = station("switch", servers=1, faults=[outage])
    answers = times(virtual_loop, switch, 0, 0, 0)
    assert [answer.outcome for answer in answers] == [j.OK, j.OK, j.REJECTED]
    assert answers[2].code == "closed"


def test_a_higher_priority_is_served_first(
    station: Callable[..., Any], virtual_loop: SkippingLoop
) -> None:
    """Among those who wait, the one of the highest priority is next."""
    switch, rows = station("switch", servers=1)
    visits = [switch.visit(call(0)), switch.visit(call(1)), switch.visit(call(2), priority=2)]
    together(virtual_loop, *visits)
    assert [row.journey_id for row in sorted(rows, key=lambda row: row.end_us)] == [0, 2, 1]
