"""Adoption, season and month: who pays digitally, how often, and which days a month has."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
from scipy import stats

from fewseconds import scenario_file
from fewseconds.errors import UsageError
from fewseconds.plan import DAY_US, HOUR_US, SCHEMA, plan

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fewseconds.scenario import Scenario

CONSUMERS = 200_000


def mumbai(**changes: Any) -> Scenario:  # noqa: ANN401 - any part of a scenario
    """The month of the city with fewer consumers."""
    return scenario_file.load("mumbai", {"consumers": CONSUMERS, **changes})


def test_more_adoption_moves_only_those_who_turn_digital() -> None:
    """From 70 to 80 % digital nothing changes but the kind of those who leave the counter."""
    plans = [
        plan(scenario_file.load(name, {"consumers": CONSUMERS}), 7).table.sort_by("journey_id")
        for name in ("adoption_70", "adoption_80")
    ]
    kinds = [made["kind"].to_numpy() for made in plans]
    changed = kinds[0] != kinds[1]
    for column in set(SCHEMA.names) - {"kind", "medium"}:
        values = [made[column].to_numpy() for made in plans]
        # Who pays by phone does not have to come within the counter's hours.
        same = ~changed if column == "intended_start_us" else slice(None)
        assert (values[0][same] == values[1][same]).all(), column
    assert set(kinds[0][changed]) == {"counter_cash"}
    assert "counter_cash" not in kinds[1][changed]
    low, high = stats.binom.ppf([0.0005, 0.9995], CONSUMERS, 0.1)
    assert low <= changed.sum() <= high
    media = [made["medium"].to_numpy() for made in plans]
    assert (media[0] == media[1])[~changed].all()


TWO_COUNTERS = {
    "channels": {
        "qr_counter": {"weekdays": [], "hours": []},
        "counter_cash": {"share": 0.4, "weekdays": [], "hours": []},
        "cheque": {"source": "assumption", "digital": False, "share": 0.6},
    },
    "journeys": {"cheque": {"source": "assumption", "steps": ["stand_in_line", "cash_posting"]}},
}


@pytest.mark.parametrize("month", [1, 2, 3, 9])
def test_only_the_channel_named_loses_what_digital_ways_gain(month: int) -> None:
    """On a path from 0.7 by 0.75 to 0.64, cash alone gives and gets; nobody else changes."""
    adoption = {"share": 0.7, "path": [0.7, 0.75, 0.64], "loses": "counter_cash"}
    flat = {"arrivals": {"weekdays": [1] * 7}, "season": {"counts": [1] * 12}}
    scenario = mumbai(**TWO_COUNTERS, **flat, adoption=adoption)
    before = plan(scenario, 7)
    after = plan(msgspec.structs.replace(scenario, month=month), 7)
    digital = {1: 0.7, 2: 0.75, 3: 0.64, 9: 0.64}[month]
    shares = {"cheque": 0.3 * 0.6, "counter_cash": 1 - digital - 0.3 * 0.6}
    shares |= {k: c.share * digital for k, c in scenario.channels.items() if c.digital}
    assert after.scenario.channel_shares() == pytest.approx(shares)
    counts = [(after.table["kind"].to_numpy() == kind).sum() for kind in shares]
    assert sum(counts) == len(after)
    assert stats.chisquare(counts, np.array(list(shares.values())) * len(after)).pvalue > 1e-3
    assert before.table["consumer"].equals(after.table["consumer"])
    changed = before.codes("kind") != after.codes("kind")
    moved = set(
        zip(
            before.table["kind"].to_numpy()[changed],
            after.table["kind"].to_numpy()[changed],
            strict=True,
        )
    )
    for one, other in moved:
        assert (one if month == 2 else other) == "counter_cash"
    assert bool(moved) == (month > 1)


def test_a_month_has_its_own_weekdays_and_season() -> None:
    """The eighth month from November is June: its Mondays, and its factor on the payments."""
    counts = [1.0] * 12
    counts[5] = 1.3
    changes = {"season": {"counts": counts}, "arrivals": {"days_after_bill": [1] * 30}}
    june = plan(mumbai(month=8, **changes), 7)
    assert june.scenario.first_day == dt.date(2027, 6, 1)
    assert len(june) == round(1.3 * CONSUMERS)
    days = np.bincount(june.starts_us // DAY_US, minlength=30)
    sundays = [day - 1 for day in (6, 13, 20, 27)]
    assert sorted(np.argsort(days)[:4].tolist()) == sundays
    assert len(plan(mumbai(**changes), 7)) == CONSUMERS


@pytest.mark.parametrize(
    ("first", "month", "day"),
    [
        ("2026-01-31", 2, "2026-02-28"),
        ("2026-11-01", 3, "2027-01-01"),
        ("2027-01-31", 14, "2028-02-29"),
        ("2026-12-15", 1, "2026-12-15"),
    ],
)
def test_months_are_those_of_the_calendar(first: str, month: int, day: str) -> None:
    """Months are counted from the first one, and a day that a month lacks is its last."""
    arrivals = {"first_day": dt.date.fromisoformat(first)}
    assert mumbai(arrivals=arrivals, month=month).first_day == dt.date.fromisoformat(day)


def test_who_comes_to_a_counter_comes_when_it_is_open() -> None:
    """Cash has weekdays and hours of its own by its weights; all others keep those of everybody."""
    weekdays, hours = [1, 2, 3, 0, 1, 1, 0], [0] * 9 + [5, 9, 4] + [0] * 12
    own = {"counter_cash": {"weekdays": weekdays, "hours": hours}, "qr_counter": {"hours": []}}
    flat = {"arrivals": {"days": 28, "cycles": 1, "days_after_bill": [1] * 28}}
    made = plan(mumbai(channels=own, **flat), 7)
    cash = made.table["kind"].to_numpy() == "counter_cash"
    day, hour = made.starts_us // DAY_US, made.starts_us // HOUR_US % 24
    first = made.scenario.first_day.weekday()
    for chosen, by_day, by_hour in (
        (cash, weekdays, hours),
        (made.table["kind"].to_numpy() == "qr_ebill", *made_for_all(made.scenario)),
    ):
        for found, weights in (
            (np.bincount((day[chosen] + first) % 7, minlength=7), by_day),
            (np.bincount(hour[chosen], minlength=24), by_hour),
        ):
            expected = np.array(weights) / sum(weights) * chosen.sum()
            assert (found[expected == 0] == 0).all()
            open_ = expected > 0
            assert stats.chisquare(found[open_], expected[open_]).pvalue > 1e-3


def made_for_all(scenario: Scenario) -> tuple[Sequence[float], Sequence[float]]:
    """Weekdays and hours of who has none of their own."""
    return scenario.arrivals.weekdays, scenario.arrivals.hours


def test_a_way_that_is_closed_when_its_bills_are_paid_is_refused() -> None:
    """A month of one Sunday leaves nobody a day to come to a counter that is closed on Sundays."""
    one_day = {"days": 1, "cycles": 1, "days_after_bill": [1]}
    with pytest.raises(UsageError, match=r"channels.qr_counter: bills of day 0 .* weight 0 only"):
        plan(mumbai(arrivals=one_day), 7)
