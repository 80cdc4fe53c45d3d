"""Least servers, bottleneck, knee, drain and flips of a city that can be worked out by hand.

A thousand journeys in one hour pass two stations of constant service: 30 s at the first, 10 s at
the second. Offered are ``1000 / 3600 * 30 = 8.33`` and ``2.78`` erlangs, so nine and three servers
keep up and eight and two do not: with eight, one visit in 25 is left over, and in the last third
of the hour everybody waits longer than the 100 s that the gate allows. With nine or three, 93 %
busy, the mean wait is 18 s by the formula for M/D/c, and one in twenty waits thrice as long.
"""

from __future__ import annotations

import datetime as dt
import math
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest

from fewseconds import scenario_file
from fewseconds.errors import UsageError
from sim import answer as answers
from sim import capacity, drain, experiments, flips, intervals, purchases, search, window
from sim.trial import Trial, with_servers
from sim.workers import Workers

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from fewseconds.scenario import Scenario

    Tiny = Callable[..., Scenario]

ARRIVALS = 1000
FIRST_S, SECOND_S = 30, 10
LOAD = {"clerk": ARRIVALS / 3600 * FIRST_S, "till": ARRIVALS / 3600 * SECOND_S}
SERVERS = {"clerk": 12, "till": 3}


def silent(_: str, __: float) -> None:
    """Nobody listens."""


@pytest.fixture(scope="module")
def city(tiny: Tiny) -> Callable[..., Scenario]:
    """The two stations, with servers as given."""

    def make(servers: dict[str, int] | None = None, limit: float = 140.0) -> Scenario:
        servers = SERVERS if servers is None else servers
        law: dict[str, Any] = {"law": "constant", "source": "assumption: made up"}
        return tiny(
            {"serve": {"legs": [{"station": "clerk"}, {"station": "till"}]}},
            {
                "clerk": {
                    "servers": servers["clerk"],
                    "service_time": law | {"value_ms": FIRST_S * 1000},
                },
                "till": {
                    "servers": servers["till"],
                    "service_time": law | {"value_ms": SECOND_S * 1000},
                },
            },
            consumers=ARRIVALS,
            slo=[
                {
                    "name": "nearly all", "measure": "machine_time", "statistic": "p95",
                    "limit": limit, "gate": True, "source": "made up",
                }
            ],
        )  # fmt: skip

    return make


def trial(scenario: Scenario, replications: int = 5) -> Trial:
    """A bench in this process."""
    seeds = experiments.seeds(3, 0, replications)
    return Trial(scenario, window.busiest(scenario), "simpy", seeds, Workers(1))


@pytest.fixture(scope="module")
def found(city: Callable[..., Scenario]) -> capacity.Capacity:
    """The whole search."""
    return capacity.capacity(trial(city()), silent)


def test_least_servers_are_those_worked_out_by_hand(found: capacity.Capacity) -> None:
    """Nine clerks and three tills keep up; the offered loads are rate times service."""
    needs = {need.station: need for need in found.needs}
    assert {name: need.alone_min for name, need in needs.items()} == {"clerk": 9, "till": 3}
    for name, need in needs.items():
        assert need.offered.observed == pytest.approx(LOAD[name], rel=0.02)
        assert need.servers_min >= need.alone_min
        assert need.gated


def test_the_bottleneck_is_the_busiest_and_the_next_one_follows(found: capacity.Capacity) -> None:
    """Three tills are 93 % busy and twelve clerks 69 %, so tills are scarce first."""
    assert (found.bottleneck, found.next) == ("till", "clerk")
    assert [need.utilisation for need in found.needs] == pytest.approx(
        [LOAD["till"] / 3, LOAD["clerk"] / 12], rel=0.02
    )


def test_the_knee_is_where_the_bottleneck_is_full(found: capacity.Capacity) -> None:
    """Tills are full at 1.08 times the arrivals; an hour hides a few per cent more."""
    knee = found.knee
    assert knee is not None
    assert knee.high is not None
    full = SERVERS["till"] / LOAD["till"]
    assert 0.9 * full <= knee.low < knee.high <= 1.2 * full
    assert knee.limiting == "till"
    assert knee.failing == ("nearly all",)
    assert knee.rate_per_s == pytest.approx(ARRIVALS / 3600)


def test_a_city_that_cannot_break_anything_ends_the_search_in_words(
    city: Callable[..., Scenario],
) -> None:
    """Where nothing fails up to the last rate that is looked at, the answer says why it is last."""
    ample = with_servers(city(), {"clerk": 500, "till": 500})
    found = capacity.capacity(trial(ample, replications=3), silent)
    knee = found.knee
    assert knee is not None
    assert (knee.low, knee.high, knee.most) == (16.0, None, 16.0)
    assert f"16 times the arrivals are sustained, where {knee.most_because}" in answers.sentence(
        found
    )


def test_a_gate_that_servers_cannot_help_is_said(city: Callable[..., Scenario]) -> None:
    """Forty seconds of work never fit into thirty, however many there are to do it."""
    found = capacity.capacity(trial(city(limit=30.0)), silent)
    assert "nearly all is 40 with nobody waiting anywhere" in found.hopeless
    assert found.knee is None
    assert answers.sentence(found).startswith("No number of servers meets the gates")


@pytest.mark.parametrize("true", [1, 2, 3, 7, 8, 40, 1000])
@pytest.mark.parametrize("begin", [1, 5, 60])
def test_the_search_finds_the_least_number_from_anywhere(true: int, begin: int) -> None:
    """Galloping up or down and halving end at the first number that meets, in a few looks."""
    looks: list[int] = []

    def meet(asked: Sequence[int]) -> list[bool]:
        looks.extend(asked)
        return [servers >= true for servers in asked]

    assert search.in_step([search.least(begin)], meet) == [true]
    assert len(looks) == len(set(looks))
    assert len(looks) <= 2 * math.log2(max(true, begin) + 1) + 3


@pytest.mark.parametrize("true", [0.2, 0.9, 1.5, 7.0])
@pytest.mark.parametrize("begin", [0.1, 1.0, 15.0])
def test_the_edge_of_the_rate_is_found_to_a_tenth(true: float, begin: float) -> None:
    """Striding out and halving close in on the rate at which it stops to hold, from anywhere."""

    def edge(holds: Callable[[float], bool]) -> tuple[float, float | None]:
        asking = [search.edge(begin, 1 / 16, 16.0, 1.1)]
        return search.in_step(asking, lambda rates: [holds(rate) for rate in rates])[0]

    low, high = edge(lambda rate: rate <= true)
    assert high is not None
    assert low <= true < high <= 1.1 * low
    assert edge(lambda _: True) == (16.0, None)
    assert edge(lambda _: False) == (0.0, 1 / 16)


def test_searches_in_step_find_what_each_finds_alone() -> None:
    """Searches of different lengths walk side by side, and the last one alone to its end."""
    wanted = {"a": 3, "b": 40, "c": 1}
    rounds: list[int] = []

    def meet(asked: Sequence[tuple[str, int]]) -> list[bool]:
        rounds.append(len(asked))
        return [servers >= wanted[name] for name, servers in asked]

    asking = [search.about(name, search.least(5)) for name in wanted]
    assert search.in_step(asking, meet) == [3, 40, 1]
    assert rounds[0] == 3
    assert rounds[-1] == 1


def flips_of(scenario: Scenario) -> list[flips.Flip]:
    """The flips of a scenario whose gates hold, without a search for servers or arrivals."""
    held = capacity.Capacity("pass", (), (), "", "", None, "")
    return flips.flips(trial(scenario, replications=3), held, silent)


def test_a_flip_point_is_the_one_worked_out_by_hand(city: Callable[..., Scenario]) -> None:
    """With ample servers the gate of 75 s breaks when 30 s become 65, and 10 s become 45."""
    ample = with_servers(city(limit=75.0), {"clerk": 500, "till": 500})
    found = {flip.station: flip for flip in flips_of(ample)}
    assert found["clerk"].before == "pass"
    assert found["clerk"].factor == pytest.approx(65 / 30, rel=0.05)
    assert found["till"].factor == pytest.approx(4.5, rel=0.05)
    assert "FAIL if till: median time exceeds 4" in found["till"].sentence
    assert "nearly all" in found["till"].sentence


def test_an_assumption_that_cannot_matter_is_said_not_to(city: Callable[..., Scenario]) -> None:
    """A limit of an hour is not broken by ten times the work at stations that never queue."""
    ample = with_servers(city(limit=3600.0), {"clerk": 500, "till": 500})
    found = flips_of(ample)
    assert {flip.station for flip in found} >= {"clerk", "till"}
    for flip in found:
        assert flip.factor is None
        assert "does not matter from" in flip.sentence


def test_an_outage_drains_as_fast_as_the_theory_says(city: Callable[..., Scenario]) -> None:
    """Ten minutes without clerks at 69 % leave 167 in line, worked off at 0.122 a second."""
    found = drain.drain(trial(city()), "clerk", 600.0, LOAD["clerk"] / SERVERS["clerk"])
    assert found.backlog.observed == pytest.approx(ARRIVALS / 3600 * 600, rel=0.15)
    assert found.fluid_s == pytest.approx(600 * LOAD["clerk"] / (12 - LOAD["clerk"]))
    assert found.drain_s.observed == pytest.approx(found.fluid_s, rel=0.2)
    assert found.lost.observed == 0


def test_a_queue_is_followed_moment_by_moment() -> None:
    """Three who wait make a queue of two, empty again after the last has been taken."""
    came, served = (np.array(x, np.int64) * 1_000_000 for x in ([1, 2, 3, 9], [4, 5, 6, 9]))
    lengths, moments = drain.queue(came, served)
    assert lengths.tolist() == [1, 2, 3, 2, 1, 0]
    assert drain.first_empty_s(lengths, moments, 2_500_000) == 3.5
    assert drain.first_empty_s(lengths, moments, 7_000_000) == 0
    assert drain.first_empty_s(lengths[:4], moments[:4], 2_500_000) == math.inf


# --- what to buy -------------------------------------------------------------------------------

FILE = """
[[item]]
item = "A pair of clerks"
station = "clerk"
servers = 2
unit_price_rupees = 100.5
lead_time_days = 10
source = "made up"
"""


def need(station: str, servers: int, least: int, utilisation: float) -> capacity.Need:
    """A need as the search states it."""
    offered = intervals.Estimate(servers * utilisation, None, None, 1, 3)
    return capacity.Need(station, servers, offered, utilisation, True, least, least, "the gates")  # noqa: FBT003


def listed(scenario: Scenario, path: Path, *needs: capacity.Need) -> purchases.Purchases:
    """The list for these needs."""
    path.write_text(FILE)
    state = capacity.Capacity("pass", (), needs, needs[0].station, "", None, "")
    known = purchases.prices(path, scenario)
    return purchases.purchases(scenario, state, [], known, dt.date(2026, 11, 19))


def test_what_is_short_is_bought_in_whole_units_in_time(
    city: Callable[..., Scenario], tmp_path: Path
) -> None:
    """Three clerks too few are two pairs for 201 rupees, ordered ten days before the peak."""
    bought = listed(
        city(), tmp_path / "prices.toml", need("clerk", 12, 15, 1.2), need("till", 3, 3, 0.5)
    )
    (line,) = bought.lines
    assert (line.now, line.needed, line.buy) == (12, 15, 2)
    assert line.price_paise == 20_100
    assert line.order_by == dt.date(2026, 11, 9)
    assert bought.sentence == "Buy 2 × A pair of clerks for ₹201; order by 09 November 2026."


@pytest.mark.parametrize(
    ("offered", "used", "now", "needed", "buy"),
    [(2.0, 2 / 3, 30, 20, 0), (4.5, 1.5, 30, 45, 2), (None, 0, 30, 0, 0)],
)
def test_an_account_is_short_of_its_rate_not_of_servers(
    offered: float | None, used: float, now: float, needed: float, buy: int,
    city: Callable[..., Scenario], tmp_path: Path,
) -> None:  # fmt: skip
    """At a tenth of a second a message, 4.5 erlangs are 45 a second, where thirty are taken."""
    law = {"law": "constant", "value_ms": 100, "source": "made up"}
    limit = {"per_s": 30, "burst": 30, "source": "made up"}
    gateway = scenario_file.load(
        "smoke", {"stations": {"sms_gateway": {"service_time": law, "rate_limit": limit}}}
    ).stations["sms_gateway"]
    made = city()
    scenario = msgspec.structs.replace(made, stations={**made.stations, "sms_gateway": gateway})
    assert capacity.utilisation(gateway, offered or 0.0) == pytest.approx(used)
    mine = msgspec.structs.replace(
        need("sms_gateway", 50, 5, used), offered=intervals.Estimate(offered, None, None, 1, 3)
    )
    (_, line) = listed(scenario, tmp_path / "prices.toml", need("clerk", 12, 9, 0.2), mine).lines
    assert (line.now, line.needed, line.buy) == (now, needed, buy)
    unlimited = msgspec.structs.replace(gateway, rate_limit=None)
    assert capacity.utilisation(unlimited, 4.5) == 4.5 / 50


def test_if_nothing_is_short_the_nearest_limit_is_named(
    city: Callable[..., Scenario], tmp_path: Path
) -> None:
    """A till that is half busy is the nearest limit at twice the peak; clerks are listed anyway."""
    bought = listed(
        city(), tmp_path / "prices.toml", need("till", 4, 3, 0.5), need("clerk", 12, 9, 0.25)
    )
    assert bought.sentence == "Buy nothing: the nearest limit is till at 2 times the peak."
    assert [(line.station, line.buy) for line in bought.lines] == [("clerk", 0)]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("item = 3", "write [[item]] tables"),
        (FILE.replace('"clerk"', '"clark"'), "unknown station 'clark'; did you mean 'clerk'?"),
        (FILE.replace("100.5", "-1"), "cannot be negative"),
        (FILE.replace("made up", " "), "source is empty"),
        (FILE + "colour = 1", "colour"),
        ("[[item", "not valid TOML"),
    ],
)  # fmt: skip
def test_a_price_file_that_cannot_be_is_refused(
    city: Callable[..., Scenario], tmp_path: Path, text: str, complaint: str
) -> None:
    """Every mistake in a price file is named with its place before anything is walked."""
    path = tmp_path / "prices.toml"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        purchases.prices(path, city())
    assert complaint in str(caught.value)
    assert str(path) in str(caught.value)
