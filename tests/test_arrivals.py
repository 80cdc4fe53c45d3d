"""Arrivals in pieces and several to a consumer: the same payments, however they are made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats

from fewseconds import scenario_file
from fewseconds.plan import HOUR_US, Plan, chunks, plan

if TYPE_CHECKING:
    from fewseconds.scenario import Scenario

CONSUMERS = 200_000


def mumbai(**changes: Any) -> Scenario:  # noqa: ANN401 - any part of a scenario
    """The month of the city with fewer consumers."""
    return scenario_file.load("mumbai", {"consumers": CONSUMERS, **changes})


@pytest.mark.parametrize("rate", [0.65, 1.0, 2.3])
@pytest.mark.parametrize(("rows_max", "stretch_rows"), [(97, 100_000), (1000, 150), (64, 11)])
def test_chunks_are_the_plan(rate: float, rows_max: int, stretch_rows: int) -> None:
    """Chunks of any size, sorted in memory or in a file, laid end to end are the whole plan."""
    scenario = mumbai(consumers=3000, arrivals={"payments_per_consumer_month": rate})
    pieces = list(chunks(scenario, 7, rows_max, stretch_rows))
    assert all(0 < len(piece) <= rows_max for piece in pieces)
    whole = Plan(scenario, 7, pa.concat_tables([piece.table for piece in pieces]))
    assert whole.table.to_pylist() == plan(scenario, 7).table.to_pylist()


def test_stretches_hold_about_as_many_as_wished(monkeypatch: pytest.MonkeyPatch) -> None:
    """However uneven the month is, no stretch holds much more than its share of it."""
    monkeypatch.setattr("fewseconds.arrivals.BLOCK", 999)
    scenario = mumbai(consumers=20_000)
    sizes = [len(piece) for piece in chunks(scenario, 7, 10**6, 500)]
    assert sum(sizes) == 20_000
    assert len(sizes) == 40
    assert max(sizes) < stats.binom.ppf(1 - 1e-6, 20_000, 1 / 40)


def test_several_payments_a_month_are_different_bills() -> None:
    """At 2.3 payments a month everybody pays two bills and three in ten a third one."""
    consumers = 10_000
    made = plan(mumbai(consumers=consumers, arrivals={"payments_per_consumer_month": 2.3}), 7)
    rows = list(made.rows())
    assert len(rows) == 23_000
    assert len({row.bill for row in rows}) == len({row.journey_id for row in rows}) == 23_000
    assert all(row.bill % consumers == row.consumer for row in rows)
    rounds = [row.bill // consumers for row in rows]
    assert np.bincount(rounds).tolist() == [consumers, consumers, 3000]
    # Two bills of one consumer share its app but not its moment.
    apps: dict[int, set[str]] = {}
    for row in rows:
        apps.setdefault(row.consumer, set()).add(row.app)
    assert {len(found) for found in apps.values()} == {1}
    days: dict[int, list[int]] = {}
    for row in rows:
        days.setdefault(row.consumer, []).append(row.intended_start_us // HOUR_US)
    same = np.mean([found[0] == found[1] for found in days.values()])
    assert same < 0.02
