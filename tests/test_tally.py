"""What the rows of a run say is the same however few of them are in memory at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest

from fewseconds import measures, outcomes, scenario_file, tally, validity
from fewseconds.outcomes import Outcome
from fewseconds.plan import plan
from sim.reference import simulate

if TYPE_CHECKING:
    from pathlib import Path

MEASURES = ("end_to_end", "error_rate", "machine_time", "portal_time", "sms_time")


@pytest.mark.parametrize("rows_max", [10**9, 700])
def test_groups_add_up_to_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows_max: int
) -> None:
    """Fates, samples and what is seen of the generator are those of all rows read at once."""
    scenario = scenario_file.load("smoke")
    whole = plan(scenario, 7)
    window = whole.window(*whole.busiest_window()).real_time()
    rows = simulate(window).outcomes
    # As a generator and services would write them: two files of two observers.
    frame = measures.frame(rows)
    for name in ("client", "server"):
        mine = frame.with_columns(observer=pl.lit(name)).select(outcomes.SCHEMA.names)
        outcomes.write(mine.to_arrow().cast(outcomes.SCHEMA), tmp_path / f"{name}.parquet")
    monkeypatch.setattr(tally, "ROWS_MAX", rows_max)
    found = tally.tallied(tmp_path, window, MEASURES)

    everything = measures.frame(outcomes.read(tmp_path))
    client = everything.filter(pl.col("observer") == "client")
    server = everything.filter(pl.col("observer") == "server")
    walked = measures.journeys(client, window)
    assert dict(found.fates) == dict(walked["fate"].value_counts().iter_rows())
    assert found.rows == everything.height
    for name in MEASURES:
        truth = np.sort(measures.samples(name, walked, everything))
        assert np.array_equal(np.sort(found.samples[name]), truth)
    once = validity.seen(scenario, client, server)
    assert sum(part.journeys for part in found.seen) == once.journeys
    assert sum(part.sojourn_s for part in found.seen) == pytest.approx(once.sojourn_s)
    lags = np.concatenate([part.lags_ms for part in found.seen])
    assert np.array_equal(np.sort(lags), np.sort(once.lags_ms))
    assert (len(found.seen) > 1) == (rows_max < everything.height)


def test_visits_of_services_that_go_on_are_counted_from_a_moment_on(tmp_path: Path) -> None:
    """Mocked visits since the moment count, of all parts; earlier ones and measured ones do not."""
    scenario = scenario_file.load("smoke")
    role = {name: station.role for name, station in scenario.stations.items()}
    mocked = next(name for name, one in role.items() if one == "mocked")
    measured = next(name for name, one in role.items() if one == "measured")
    luck, rows = np.random.default_rng(5), []
    for number in range(400):
        start_us, over_us = (int(one) for one in luck.integers(0, 40_000, 2))
        station = mocked if number % 3 else measured
        rows.append(
            Outcome(
                "server", "banks", number, "main", "pay", 2, 1, station, start_us, start_us,
                start_us, start_us + 900, "ok", overrun_us=over_us,
            )
        )  # fmt: skip
    writer = outcomes.Writer(tmp_path, "banks")
    for place, row in enumerate(rows):
        writer.add(row)
        if place % 90 == 0:
            writer.flush()
    writer.flush()
    mine = [row for row in rows if row.station == mocked and row.start_us >= 15_000]
    assert tally.visits_since(tmp_path, scenario, 15_000) == tally.Visits(
        len(mine), sum(row.overrun_us > 20_000 for row in mine)
    )
    assert tally.visits_since(tmp_path / "nowhere", scenario, 0) == tally.NO_VISITS
