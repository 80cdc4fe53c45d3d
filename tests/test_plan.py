"""A plan is a pure function of scenario and seed, and its rows follow the scenario's shares."""

from __future__ import annotations

import datetime as dt
import itertools
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from fewseconds import scenario_file
from fewseconds.errors import UsageError
from fewseconds.plan import DAY_US, HOUR_US, SCHEMA, Plan, names, plan, traits

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from fewseconds.scenario import Scenario

CONSUMERS = 200_000
P_MIN = 1e-3

ALWAYS_OPEN: dict[str, Any] = {
    kind: {"weekdays": [], "hours": []} for kind in ("qr_counter", "counter_cash")
}

workers = st.integers(1, 9)


def mumbai(**changes: Any) -> Scenario:  # noqa: ANN401 - any part of a scenario
    """The month of the city with fewer consumers, and counters that never close."""
    return scenario_file.load(
        "mumbai", {"consumers": CONSUMERS, "channels": ALWAYS_OPEN, **changes}
    )


@pytest.fixture(scope="module")
def month() -> Plan:
    """A month of fewer consumers."""
    return plan(mumbai(), 7)


@pytest.fixture(scope="module")
def small() -> Plan:
    """Three hundred journeys."""
    return plan(mumbai(consumers=300), 7)


@pytest.fixture(scope="module")
def whole() -> Plan:
    """Sixty journeys."""
    return plan(mumbai(consumers=60), 7)


def counted(values: Iterable[str]) -> dict[str, int]:
    """How often each value occurs."""
    names, counts = np.unique(np.array(list(values)), return_counts=True)
    return dict(zip(names.tolist(), counts.tolist(), strict=True))


def assert_shares(values: list[str], shares: Mapping[str, float]) -> None:
    """Each value's count lies in SciPy's 99.9 % interval of its binomial law."""
    counts = counted(values)
    assert set(counts) <= set(shares)
    for name, share in shares.items():
        low, high = stats.binom.ppf([0.0005, 0.9995], len(values), share)
        assert low <= counts.get(name, 0) <= high, name


def test_two_processes_make_the_same_plan() -> None:
    """The printed hash of a plan does not depend on the hash seed of the process."""
    command = [sys.executable, "-m", "fewseconds", "plan", "smoke", "--seed", "7", "--json"]
    said = [
        subprocess.run(
            command,
            capture_output=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
        ).stdout
        for hash_seed in ("0", "4242")
    ]
    # How long it took is all that may differ.
    one, other = ({**json.loads(text), "wall_s": 0, "cpu_s": 0} for text in said)
    assert one == other
    assert one["plan_hash"] == plan(scenario_file.load("smoke"), 7).digest


def test_another_seed_makes_another_plan(small: Plan) -> None:
    """Two seeds give two hashes, and no start in common beyond a few."""
    other = plan(small.scenario, 8)
    assert other.digest != small.digest
    assert len(np.intersect1d(other.starts_us, small.starts_us)) < 3


def test_the_hash_is_of_values_not_of_storage(small: Plan) -> None:
    """Chunks and dictionaries do not change the hash; one microsecond or letter does."""
    chunks = pa.concat_tables([small.table.slice(0, 100), small.table.slice(100)])
    assert Plan(small.scenario, 7, chunks).digest == small.digest
    rows = small.table.to_pylist()
    for change in ({"intended_start_us": rows[5]["intended_start_us"] + 1}, {"bank": "sbi"}):
        changed = [*rows[:5], rows[5] | change, *rows[6:]]
        table = pa.Table.from_pylist(changed, schema=SCHEMA)
        assert Plan(small.scenario, 7, table).digest != small.digest
    assert len(small.window(0, 0).digest) == 64


@pytest.mark.parametrize(
    ("consumers", "rate", "payers"), [(1000, 1.0, 1000), (1000, 0.65, 650), (7, 0.5, 4), (1, 1, 1)]
)
@pytest.mark.parametrize("seed", [0, 7, 2**63 - 1])
def test_the_number_of_payers_is_fixed(consumers: int, rate: float, payers: int, seed: int) -> None:
    """Whatever the seed, a scenario has the same number of journeys."""
    scenario = mumbai(consumers=consumers, arrivals={"payments_per_consumer_month": rate})
    assert len(plan(scenario, seed)) == payers


def test_nobody_to_pay_is_a_usage_error() -> None:
    """A rate so low that nobody pays is refused in words."""
    scenario = mumbai(consumers=3, arrivals={"payments_per_consumer_month": 0.1})
    with pytest.raises(UsageError, match="mumbai: nobody of 3 consumers pays"):
        plan(scenario, 7)


def test_a_month_without_a_day_to_pay_on_is_a_usage_error() -> None:
    """Days that all have weight 0 are refused in words, also if only one cycle meets them."""
    arrivals = {"days": 7, "cycles": 7, "days_after_bill": [1], "weekdays": [1] * 6 + [0]}
    with pytest.raises(UsageError, match="arrivals"):
        plan(mumbai(consumers=30, arrivals=arrivals), 7)


def test_every_payer_pays_once_and_in_order(month: Plan) -> None:
    """Each consumer starts at most one journey, and starts ascend, equal ones by consumer."""
    consumers = month.table["consumer"].to_pylist()
    assert len(set(consumers)) == len(consumers)
    assert set(consumers) <= set(range(CONSUMERS))
    keys = list(zip(month.starts_us.tolist(), consumers, strict=True))
    assert keys == sorted(keys)
    assert min(keys)[0] >= 0
    assert max(keys)[0] < month.scenario.arrivals.days * DAY_US
    assert month.table["journey_id"].equals(month.table["consumer"])


def test_equal_starts_are_ordered_by_consumer(monkeypatch: pytest.MonkeyPatch) -> None:
    """In an hour of a thousand microseconds many start together, the smaller number first."""
    monkeypatch.setattr("fewseconds.arrivals.HOUR_US", 1000)
    crowd = plan(mumbai(consumers=20_000), 7)
    starts, consumers = crowd.starts_us, crowd.table["consumer"].to_numpy()
    equal = np.diff(starts) == 0
    assert equal.sum() > 300
    assert (np.diff(consumers)[equal] > 0).all()


@given(st.lists(st.integers(-DAY_US, 31 * DAY_US) | st.integers(0, 59), max_size=6), workers)
def test_windows_and_shares_neither_overlap_nor_leave_a_gap(
    whole: Plan, cuts: list[int], workers: int
) -> None:
    """Windows between any cuts, and the shares of any number of workers, add up to the plan."""
    # Small numbers stand for cuts that fall exactly on a start.
    exact = [int(whole.starts_us[cut]) if 0 <= cut < 60 else cut for cut in cuts]
    edges = [-DAY_US, *sorted(exact), 31 * DAY_US]
    windows = [whole.window(*pair) for pair in itertools.pairwise(edges)]
    assert [row for window in windows for row in window.rows()] == list(whole.rows())
    for window, first, last in zip(windows, edges[:-1], edges[1:], strict=True):
        assert all(first <= start < last for start in window.starts_us)
    shares = [list(whole.share(worker, workers).rows()) for worker in range(workers)]
    dealt: list[Any] = [None] * len(whole)
    for worker, rows in enumerate(shares):
        dealt[worker::workers] = rows
    assert dealt == list(whole.rows())


def test_apps_banks_media_and_operators_have_their_shares(month: Plan) -> None:
    """Counts of every app, bank, medium and operator lie in the 99.9 % interval of its share."""
    scenario = month.scenario
    assert_shares(month.table["app"].to_pylist(), {n: a.share for n, a in scenario.apps.items()})
    assert_shares(month.table["bank"].to_pylist(), scenario.banks)
    pairs = zip(month.table["kind"].to_pylist(), month.table["medium"].to_pylist(), strict=True)
    media: dict[str, list[str]] = {}
    for kind, medium in pairs:
        media.setdefault(kind, []).append(medium)
    for kind, channel in scenario.channels.items():
        assert_shares(media[kind], channel.media or {"": 1.0})
    rows = list(month.window(0, DAY_US).rows())
    carried = [traits(scenario, 7, row) for row in rows]
    assert_shares([one.operator for one in carried], scenario.operators)
    assert all(one.scanner == scenario.apps[one.app].scanner for one in carried)


def test_kinds_have_the_shares_of_their_channels(month: Plan) -> None:
    """Seven in ten pay digitally, and channels divide each side as the scenario says."""
    shares = {"counter_cash": 0.30, "qr_ebill": 0.70 * 0.50, "qr_counter": 0.70 * 0.14,
              "portal": 0.70 * 0.11, "portal_first": 0.70 * 0.05,
              "other_digital": 0.70 * 0.20}  # fmt: skip
    assert_shares(month.table["kind"].to_pylist(), shares)


def test_who_pays_when_how_and_where_are_independent(month: Plan) -> None:
    """Contingency tables of kind, app, bank, medium and hour show no dependence."""
    texts = {name: month.table[name].to_numpy() for name in ("kind", "app", "bank", "medium")}
    columns = {name: np.unique(text, return_inverse=True)[1] for name, text in texts.items()}
    columns["hour"] = month.starts_us % DAY_US // HOUR_US
    for one, other in itertools.combinations(columns, 2):
        if (one, other) != ("kind", "medium"):
            table = np.zeros((columns[one].max() + 1, columns[other].max() + 1), int)
            np.add.at(table, (columns[one], columns[other]), 1)
            assert stats.chi2_contingency(table).pvalue > P_MIN, (one, other)


def test_hours_follow_their_weights(month: Plan) -> None:
    """A chi-square test against the weights of the 24 hours does not reject the starts."""
    counts = np.bincount(month.starts_us % DAY_US // HOUR_US, minlength=24)
    weights = np.array(month.scenario.arrivals.hours)
    assert stats.chisquare(counts, weights / weights.sum() * counts.sum()).pvalue > P_MIN


def test_starts_are_uniform_within_the_hour(month: Plan) -> None:
    """Within an hour the microsecond of the start is uniform to the end."""
    moments = month.starts_us % HOUR_US
    assert stats.kstest(moments / HOUR_US, "uniform").pvalue > P_MIN
    assert moments.max() < HOUR_US
    # Of 200 000 starts, none in the last 100 ms has probability exp(-5.6).
    assert moments.max() > HOUR_US - 100_000


def test_weekdays_follow_their_weights() -> None:
    """If a bill is paid on any day alike, the days differ by the weight of their weekday only."""
    flat = plan(mumbai(arrivals={"days_after_bill": [1] * 30}), 7)
    arrivals = flat.scenario.arrivals
    dates = [arrivals.first_day + dt.timedelta(days=day) for day in range(30)]
    named = dict(
        zip(("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"), arrivals.weekdays, strict=True)
    )
    weights = np.array([named[date.strftime("%a")] for date in dates])
    counts = np.bincount(flat.starts_us // DAY_US, minlength=30)
    assert stats.chisquare(counts, weights / weights.sum() * counts.sum()).pvalue > P_MIN


def test_days_follow_cycle_delay_and_weekday(month: Plan) -> None:
    """A chi-square test against days computed cycle by cycle does not reject the month."""
    arrivals = month.scenario.arrivals
    expected = np.zeros(arrivals.days)
    for cycle in range(arrivals.cycles):
        paid: dict[int, float] = {}
        for delay, weight in enumerate(arrivals.days_after_bill):
            day = (int(cycle * arrivals.days / arrivals.cycles) + delay) % arrivals.days
            weekday = (arrivals.first_day + dt.timedelta(days=day)).weekday()
            paid[day] = paid.get(day, 0.0) + weight * arrivals.weekdays[weekday]
        for day, weight in paid.items():
            expected[day] += weight / sum(paid.values()) / arrivals.cycles
    counts = np.bincount(month.starts_us // DAY_US, minlength=arrivals.days)
    assert stats.chisquare(counts, expected * counts.sum()).pvalue > P_MIN


def test_the_due_date_evening_is_the_peak() -> None:
    """A fifth of the month falls on one day and an eighth of that into one evening hour."""
    made = scenario_file.load("due_date_evening", {"consumers": CONSUMERS, "channels": ALWAYS_OPEN})
    evening = plan(made, 7)
    days = np.bincount(evening.starts_us // DAY_US)
    assert days.argmax() == 18
    assert days.max() / len(evening) == pytest.approx(0.20, abs=0.005)
    peak = evening.starts_us[evening.starts_us // DAY_US == 18]
    hours = np.bincount(peak % DAY_US // HOUR_US)
    assert hours.argmax() == 19
    assert hours.max() / len(peak) == pytest.approx(0.12, abs=0.005)
    from_us, until_us = evening.busiest_window()
    assert 18 * DAY_US + 19 * HOUR_US <= from_us < until_us <= 18 * DAY_US + 20 * HOUR_US


@pytest.mark.parametrize("day", ["busiest", "median"])
def test_the_busiest_window_has_the_most_journeys(day: str) -> None:
    """No stretch on the grid of the chosen day holds more digital journeys than the window."""
    made = plan(mumbai(consumers=20_000, load={"day": day, "duration_s": 600}), 7)
    starts = made.starts_us[[kind != "counter_cash" for kind in made.table["kind"].to_pylist()]]
    counts = np.bincount(starts // DAY_US, minlength=30)
    chosen = counts.max() if day == "busiest" else sorted(counts)[14]
    from_us, until_us = made.busiest_window()
    assert until_us - from_us == 600_000_000
    first = from_us // DAY_US * DAY_US
    assert counts[from_us // DAY_US] == chosen
    assert until_us <= first + DAY_US
    inside = [
        sum(
            start <= moment < start + 600_000_000
            for moment in made.window(first, first + DAY_US).starts_us
        )
        for start in range(first, first + DAY_US - 600_000_000, 60_000_000)
    ]
    assert len(made.window(from_us, until_us)) == max(inside)


def test_journeys_for_real_time_leave_out_those_that_only_virtual_time_can_walk(
    small: Plan,
) -> None:
    """Cash and bills fetched in apps are not played for real, and every other kind is."""
    kept = [row for row in small.rows() if row.kind not in ("counter_cash", "other_digital")]
    assert 0 < len(kept) < len(small)
    assert list(small.real_time().rows()) == kept


def test_real_services_know_one_bill_a_consumer() -> None:
    """Payments of older bills are not played for real."""
    made = plan(mumbai(consumers=300, arrivals={"payments_per_consumer_month": 1.5}), 7)
    assert sum(row.bill >= 300 for row in made.rows()) == 150
    assert all(row.bill == row.consumer < 300 for row in made.real_time().rows())


def test_the_same_consumers_can_take_another_way(small: Plan) -> None:
    """Put on another kind of journey, rows keep everything else."""
    before, after = small.table.to_pylist(), small.as_kind("portal").table.to_pylist()
    assert after == [row | {"kind": "portal"} for row in before]


def test_codes_are_places_of_words(small: Plan) -> None:
    """Columns of whole numbers name the words of the rows, however those are stored."""
    known = names(small.scenario)
    plain = small.table.cast(
        pa.schema([(f.name, f.type if f.type == pa.int64() else pa.string()) for f in SCHEMA])
    )
    for made in (small, Plan(small.scenario, 7, plain), small.window(0, 5 * DAY_US).share(1, 3)):
        view = made.view()
        for place, row in enumerate(made.rows()):
            assert view.journey_id[place] == row.journey_id
            assert view.intended_start_us[place] == row.intended_start_us
            for name in ("kind", "app", "bank", "medium"):
                assert known[name][getattr(view, name)[place]] == getattr(row, name)
            operator = traits(made.scenario, 7, row).operator
            assert known["operator"][view.operator[place]] == operator
