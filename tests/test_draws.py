"""Draws of a scenario: named by what they are for, and distributed as the scenario says."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
from scipy import stats

from fewseconds import scenario_file
from fewseconds.draws import Draws, Visit
from fewseconds.plan import Traits

if TYPE_CHECKING:
    from fewseconds.scenario import Scenario

COUNT = 20_000
SPAN_US = 900_000_000
"""A span of time in which a bank has a burst of errors, or has none."""
P_MIN = 1e-3
ANYBODY = Traits("other", "SBI", "laser_print", "zxing-cpp", "jio")
PHONEPE = Traits("phonepe", "SBI", "laser_print", "zxing-cpp", "jio")


def city(**stations: Any) -> Scenario:  # noqa: ANN401 - any part of a scenario
    """The month of the city with other stations."""
    return scenario_file.load("mumbai", {"stations": stations})


MUMBAI = city()


def visit(
    station: str,
    step: str = "pay",
    leg: int = 0,
    traits: Traits = ANYBODY,
    world: Scenario = MUMBAI,
) -> Visit:
    """The draws of one leg."""
    return Draws(world, 7).visit(step, leg, station, traits)


def served(one: Visit, attempt: int = 1) -> list[int]:
    """Service times of many journeys."""
    return [one.service_us(journey, attempt) for journey in range(COUNT)]


def lognormal_us(median_ms: float, p95_ms: float) -> Any:  # noqa: ANN401 - SciPy has no type for it
    """SciPy's lognormal law with this median and 95th percentile, in microseconds."""
    sigma = math.log(p95_ms / median_ms) / stats.norm.ppf(0.95)
    return stats.lognorm(sigma, scale=1000 * median_ms)


def test_service_times_follow_the_law_of_their_station() -> None:
    """A Kolmogorov-Smirnov test against SciPy's law does not reject the drawn times."""
    drawn = served(visit("remitter_bank"))
    assert stats.kstest(drawn, lognormal_us(1200, 3000).cdf).pvalue > P_MIN


def test_traits_choose_the_law_and_the_failures_of_a_variant() -> None:
    """A phone's operator decides over its times and losses, an unlisted one over none."""
    for operator, median_ms, p95_ms, lost in (
        ("jio", 3160, 5000, 0.015),
        ("bsnl", 15_490, 30_000, 0.075),
        ("nobody", 4000, 10_000, 0.027),
    ):  # fmt: skip
        traits = Traits("phonepe", "SBI", "laser_print", "zxing-cpp", operator)
        one = visit("operator", "sms", 2, traits)
        assert stats.kstest(served(one), lognormal_us(median_ms, p95_ms).cdf).pvalue > P_MIN
        losses = sum(one.failure(journey, 1) is not None for journey in range(COUNT))
        low, high = stats.binom.ppf([0.0005, 0.9995], COUNT, lost)
        assert low <= losses <= high
        assert one.failure_share == lost
    assert ANYBODY.key(("medium", "scanner")) == "laser_print/zxing-cpp"
    assert ANYBODY.key(()) == ""


def test_each_way_to_fail_has_its_share() -> None:
    """Counts of every response code lie in the 99.9 % interval of its share, whatever the span."""
    bank = visit("remitter_bank")
    found = [bank.failure(journey, 1, journey * SPAN_US) for journey in range(COUNT)]
    codes = ["" if failure is None else failure.code for failure in found]
    for code, share in {"Z9": 0.039, "ZM": 0.02, "Z8": 0.0067, "U16": 0.004, "XY": 0.0048}.items():
        low, high = stats.binom.ppf([0.0005, 0.9995], COUNT, share)
        assert low <= codes.count(code) <= high
    assert {f.outcome for f in found if f is not None} == {"declined", "error"}


@pytest.mark.parametrize("persistence", [0.0, 0.5, 0.8, 1.0])
def test_persistent_luck_is_a_chain(persistence: float) -> None:
    """After a failure the next attempt fails with probability persistence + the rest's share."""
    failures = [{"outcome": "error", "code": "no", "share": 0.3, "source": "made up"}]
    hazy = {"persistence": persistence, "failures": failures, "variants": {}}
    lens = visit("biller", "scan", 0, ANYBODY, city(biller=hazy))
    failed = np.array(
        [
            [lens.failure(journey, attempt) is not None for attempt in (1, 2, 3)]
            for journey in range(COUNT)
        ]
    )
    for before, after in itertools.pairwise(failed.T):
        again, often = int((before & after).sum()), int(before.sum())
        low, high = stats.binom.ppf([0.0005, 0.9995], often, persistence + (1 - persistence) * 0.3)
        assert low <= again <= high
    # Every attempt by itself fails at the share of the station.
    low, high = stats.binom.ppf([0.0005, 0.9995], COUNT, 0.3)
    assert all(low <= column.sum() <= high for column in failed.T)


def test_draws_for_different_things_are_independent() -> None:
    """Journey, step, leg, station, attempt and kind of draw each name a draw of their own."""
    patience = {"law": "exponential", "mean_ms": 100, "source": "made up"}
    laws = {"law": "exponential", "mean_ms": 1, "source": "made up"}
    many = {"service_time": laws, "patience": patience}
    world = city(biller=many, switch=many)
    columns = {
        "pay": served(visit("biller", "pay", world=world)),
        "resolve": served(visit("biller", "resolve", world=world)),
        "leg": served(visit("biller", "pay", 1, world=world)),
        "station": served(visit("switch", "pay", world=world)),
        "attempt": served(visit("biller", "pay", world=world), attempt=2),
    }
    one = visit("biller", world=world)
    columns["patience"] = [one.patience_us(journey, 1) or 0 for journey in range(COUNT)]
    columns["next journey"] = [*columns["pay"][1:], 0]
    for (name, column), (other, another) in itertools.combinations(columns.items(), 2):
        correlation = stats.spearmanr(column, another).statistic
        assert abs(correlation) < 4 / math.sqrt(COUNT), (name, other)
    bank = visit("remitter_bank")
    times = np.array(served(bank))
    bad = np.array([bank.failure(journey, 1) is not None for journey in range(COUNT)])
    assert stats.ks_2samp(times[bad], times[~bad]).pvalue > P_MIN


def test_two_scenarios_share_the_draws_they_have_in_common() -> None:
    """Other stations, shares and servers leave a draw as it is; a slowdown multiplies it."""
    plain = Draws(scenario_file.load("mumbai"), 7)
    fault = {"kind": "slowdown", "station": "biller", "factor": 5}
    slow = Draws(
        scenario_file.load(
            "mumbai", {"fault": [fault], "adoption": {"share": 0.9}, "consumers": 9}
        ),
        7,
    )
    other = Draws(scenario_file.load("mumbai"), 8)
    for station, factor in (("biller", 5), ("switch", 1)):
        at = (station, "pay", 3, 1)
        times = [plain.service_us(*at, journey, ANYBODY) for journey in range(100)]
        stretched = [slow.service_us(*at, journey, ANYBODY) for journey in range(100)]
        assert stretched == [factor * time for time in times]
        assert times != [other.service_us(*at, journey, ANYBODY) for journey in range(100)]


def test_two_slowdowns_of_a_station_multiply() -> None:
    """Faults of one station work together, and those of another do not touch it."""
    faults = [
        {"kind": "slowdown", "station": name, "factor": factor}
        for name, factor in (("biller", 2), ("biller", 1.5), ("switch", 7))
    ]
    slow = Draws(scenario_file.load("mumbai", {"fault": faults}), 7)
    plain = Draws(scenario_file.load("mumbai"), 7)
    for journey in range(100):
        at = ("biller", "pay", 3, 1, journey, ANYBODY)
        assert abs(slow.service_us(*at) - 3 * plain.service_us(*at)) <= 1


def test_a_leg_draws_as_the_scenario_says_that_is_followed_now() -> None:
    """Whoever has a leg asks it again, and hears of the fault that has begun, or is over."""
    slow = scenario_file.load(
        "mumbai", {"fault": [{"kind": "slowdown", "station": "switch", "factor": 3.0}]}
    )
    for station, step, number in (("switch", "pay", 2), ("remitter_bank", "pay", 4)):
        draws = Draws(MUMBAI, 7)
        leg = draws.leg(step, number, station)
        factor = 3 if station == "switch" else 1
        plain = leg.of(ANYBODY).service_us(5, 1)
        draws.follow(slow)
        assert abs(leg.of(ANYBODY).service_us(5, 1) - factor * plain) <= 1
        assert leg.of(ANYBODY) is draws.visit(step, number, station, ANYBODY)
        draws.follow(MUMBAI)
        assert leg.of(ANYBODY).service_us(5, 1) == plain


def test_without_a_law_of_patience_nobody_leaves() -> None:
    """A station without patience gives none to any visit."""
    assert {visit("switch").patience_us(journey, 1) for journey in range(100)} == {None}


@pytest.mark.parametrize(("cadence_ms", "persistence"), [(125, 0.8**0.5), (500, 0.8**2)])
def test_a_quicker_camera_remembers_more_from_frame_to_frame(
    cadence_ms: int, persistence: float
) -> None:
    """Frames at half the distance are as alike as the square root says, at twice as the square."""
    failures = [{"outcome": "error", "code": "no", "share": 0.3, "source": "made up"}]
    hazy = {"persistence": 0.8, "failures": failures, "variants": {}}
    world = scenario_file.load(
        "mumbai", {"stations": {"biller": hazy}, "apps": {"phonepe": {"cadence_ms": cadence_ms}}}
    )
    lens = Draws(world, 7).visit("scan", 0, "biller", PHONEPE)
    pairs = [
        [lens.failure(journey, attempt) is not None for attempt in (1, 2)]
        for journey in range(COUNT)
    ]
    often, again = sum(first for first, _ in pairs), sum(first and then for first, then in pairs)
    low, high = stats.binom.ppf([0.0005, 0.9995], often, persistence + (1 - persistence) * 0.3)
    assert low <= again <= high


NPCI = {"SBI": (5.92, 0.42), "BOI": (6.72, 4.32), "FINO": (12.42, 1.42), "HDFC": (4.63, 0.01)}
"""Business and technical declines in percent, NPCI's table of August 2025."""


def at_bank(name: str, world: Scenario = MUMBAI) -> Visit:
    """The debits of one bank's customers."""
    traits = msgspec.structs.replace(ANYBODY, account=name)
    return visit("remitter_bank", traits=traits, world=world)


@pytest.mark.parametrize("name", NPCI)
def test_every_bank_declines_as_often_as_npci_counted(name: str) -> None:
    """Declines for the payer's reasons and for the bank's lie in the intervals of the table."""
    bank = at_bank(name)
    found: Counter[str] = Counter(
        failure.outcome
        for journey in range(COUNT)
        if (failure := bank.failure(journey, 1, journey * SPAN_US))
    )
    for outcome, percent in zip(("declined", "error"), NPCI[name], strict=True):
        low, high = stats.binom.ppf([0.0005, 0.9995], COUNT, percent / 100)
        assert low <= found[outcome] <= high


def test_technical_declines_come_in_bursts_of_each_bank() -> None:
    """All errors fall into a tenth of the spans, the same for every step and not for every bank."""
    spans = range(4000)
    in_burst = {}
    for name in ("BOI", "CENTRAL"):
        pay, back = at_bank(name), visit(
            "remitter_bank", "reversal", traits=msgspec.structs.replace(ANYBODY, account=name)
        )  # fmt: skip

        def erring(one: Visit, span: int) -> int:
            moments = (span * SPAN_US + offset for offset in range(0, SPAN_US, SPAN_US // 40))
            found = [one.failure(span * 40 + n, 1, now) for n, now in enumerate(moments)]
            return sum(failure is not None and failure.outcome == "error" for failure in found)

        counts = [erring(pay, span) for span in spans]
        in_burst[name] = {span for span, count in zip(spans, counts, strict=True) if count}
        low, high = stats.binom.ppf([0.0005, 0.9995], len(spans), 0.1)
        assert len(in_burst[name]) <= high
        if name == "BOI":  # 43 of 100 debits fail in a burst, so 40 of them cannot miss it.
            assert low <= len(in_burst[name])
            assert {span for span in spans if erring(back, span)} == in_burst[name]
    # Two banks share no more bursts than chance lets them.
    both = len(in_burst["BOI"] & in_burst["CENTRAL"])
    assert both <= stats.binom.ppf(0.9995, len(spans), 0.01)


def test_an_outage_of_one_bank_is_nobody_elses() -> None:
    """Within the span every debit of its customers fails with the code; all others go on."""
    outage = {
        "kind": "outage", "station": "remitter_bank", "bank": "SBI", "code": "U28",
        "from": "2026-11-02T10:00:00+05:30", "until": "2026-11-02T11:00:00+05:30",
        "source": "made up",
    }  # fmt: skip
    world = scenario_file.load("mumbai", {"fault": [outage]})
    from_us, until_us = 34 * 3_600_000_000, 35 * 3_600_000_000
    moments = (from_us - 1, from_us, until_us - 1, until_us)
    said = {
        name: [at_bank(name, world).failure(5, 1, now) for now in moments]
        for name in ("SBI", "HDFC", "wallet")
    }
    before = [at_bank("SBI").failure(5, 1, now) for now in moments]
    assert [failure and failure.code for failure in said["SBI"][1:3]] == ["U28", "U28"]
    assert (said["SBI"][0], said["SBI"][3]) == (before[0], before[3])
    for name in ("HDFC", "wallet"):
        assert all(failure is None or failure.code != "U28" for failure in said[name])


def test_wallets_need_no_bank_and_no_pin() -> None:
    """A payment out of a wallet asks for no PIN and follows the wallet's own law."""
    wallet = msgspec.structs.replace(ANYBODY, account="wallet")
    assert set(served(visit("person_enters_pin", "enter_pin", traits=wallet))) == {0}
    assert stats.kstest(served(at_bank("wallet")), lognormal_us(150, 500).cdf).pvalue > P_MIN


def test_dear_bills_are_declined_out_of_the_gallery_unless_the_payee_is_verified() -> None:
    """Only the leg where the app's limits apply declines, and only for an unverified payee."""
    capped = msgspec.structs.replace(ANYBODY, gallery="capped")
    unverified = scenario_file.load("mumbai", {"payee": {"verified": False}})
    at_psp = visit("payer_psp", "pay", 1, capped, unverified).failure(5, 1)
    assert at_psp is not None
    assert (at_psp.outcome, at_psp.code) == ("declined", "U02")
    assert visit("payer_psp", "pay", 1, ANYBODY, unverified).failure(5, 1) is None
    assert visit("payer_psp", "resolve", 1, capped, unverified).failure(5, 1) is None
    assert visit("payer_psp", "pay", 1, capped).failure(5, 1) is None
