"""Shapes of load: arithmetic on the plan's own starts is the oracle."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from fewseconds import scenario_file
from fewseconds.commands.load_run import asked_for
from fewseconds.errors import UsageError
from fewseconds.plan import Plan, plan
from fewseconds.shapes import Shape

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fewseconds.schedule import Stage


@pytest.fixture(scope="module")
def whole() -> Plan:
    """A small month."""
    return plan(scenario_file.load("smoke"), 7)


def ids(rows: Plan) -> list[int]:
    """Who is played, in order."""
    found: list[int] = rows.table["journey_id"].to_pylist()
    return found


def test_the_plain_shape_is_the_window(whole: Plan) -> None:
    """Without wishes the busiest window is played as it is."""
    rows, window_us = Shape().window(whole)
    assert window_us == whole.busiest_window()
    assert rows.digest == whole.window(*window_us).real_time().digest


@pytest.mark.parametrize("scale", [0.5, 2.0, 3.0])
def test_a_scaled_rate_keeps_order_and_proportions(whole: Plan, scale: float) -> None:
    """So many times the stretch is played in the window's time, every gap shrunk alike."""
    rows, (from_us, until_us) = Shape(rate_scale=scale).window(whole)
    stretch_us = round((until_us - from_us) * scale)
    original = whole.window(until_us - stretch_us, until_us).real_time()
    assert ids(rows) == ids(original)
    expected = from_us + (original.starts_us - (until_us - stretch_us)) / scale
    assert np.abs(rows.starts_us - expected).max() <= 1
    assert (rows.starts_us >= from_us).all()
    assert (rows.starts_us < until_us).all()


def test_a_constant_rate_replaces_the_gaps_and_nothing_else(whole: Plan) -> None:
    """The whole plan in its order, one journey every 4 ms."""
    rows, (from_us, until_us) = Shape(constant_rate=250, everything=True).window(whole)
    assert (np.diff(rows.starts_us) == 4000).all()
    assert rows.starts_us[0] == from_us
    assert until_us - from_us == 4000 * len(rows)


def test_a_limit_takes_the_first_journeys(whole: Plan) -> None:
    """Of every shape, only the first so many are played."""
    for shape in (Shape(journeys_max=10), Shape(journeys_max=10, constant_rate=5)):
        rows, _ = shape.window(whole)
        assert len(rows) == 10


@pytest.mark.parametrize(
    "shape",
    [
        Shape(rate_scale=0),
        Shape(constant_rate=-1),
        Shape(rate_scale=2, constant_rate=5),
        Shape(everything=True),
        Shape(rate_scale=1e9),
    ],
)
def test_shapes_that_contradict_themselves_are_refused(whole: Plan, shape: Shape) -> None:
    """The message names the option to correct."""
    with pytest.raises(UsageError, match=r"--(rate-scale|constant-rate|all)"):
        shape.window(whole)


@pytest.mark.parametrize(
    ("shape", "word"),
    [
        (Shape(), "true rate"),
        (Shape(rate_scale=2), "a stress test"),
        (Shape(constant_rate=5), "an endurance run: the window"),
        (Shape(constant_rate=5, everything=True), "an endurance run: the whole plan"),
    ],
)
def test_each_shape_says_what_it_is(shape: Shape, word: str) -> None:
    """A reader is never left to guess whether time was compressed."""
    assert word in shape.says()


@pytest.mark.parametrize("with_portal", [False, True])
def test_the_whole_plan_plays_every_payment(whole: Plan, with_portal: bool) -> None:  # noqa: FBT001
    """At a constant rate, cash and Bharat Connect are paid by QR, and the portal's if not kept."""
    shape = Shape(constant_rate=250, everything=True, with_portal=with_portal)
    rows, _ = shape.window(whole)
    journeys = whole.scenario.journeys
    services_know = whole.table["bill"].to_numpy() < whole.scenario.consumers
    before = [row for row, known in zip(whole.rows(), services_know, strict=True) if known]
    after = list(rows.rows())
    assert len(after) == len(before)
    for old, new in zip(before, after, strict=True):
        assert (new.journey_id, new.consumer, new.app, new.bank) == (
            old.journey_id, old.consumer, old.app, old.bank,
        )  # fmt: skip
        if old.medium or (with_portal and journeys[old.kind].real_time):
            assert (new.kind, new.medium) == (old.kind, old.medium)
        else:
            assert (new.kind, new.medium) == ("qr_counter", "placard")


def stages_of(shape: str) -> tuple[Stage, ...]:
    """Stages as the command line makes them: twenty seconds around six journeys a second."""
    return asked_for(shape, 6.0, "20s")[1]


@pytest.mark.parametrize(
    ("shape", "rate_at"),
    [
        ("ramp=2", lambda second: 2.1 + 0.2 * second),
        ("steps=2,4", lambda second: 2 + (6 - 2) / 3 * (second // 5)),
        ("spike=15", lambda second: 15.0 if 8 <= second < 12 else 6.0),
    ],
)
def test_rates_follow_each_other(whole: Plan, shape: str, rate_at: Callable[[int], float]) -> None:
    """Journeys start where the integral of the rate, worked out second by second, says they do."""
    rows, (from_us, until_us) = Shape(constant_rate=6, stages=stages_of(shape)).window(whole)
    assert until_us - from_us == 20_000_000
    offsets = rows.starts_us - from_us
    for second in range(20):
        # A stage may hold one more or less than its rate, as starts are whole.
        count = int(((offsets >= 0) & (offsets < (second + 1) * 1_000_000)).sum())
        expected = sum(rate_at(one) for one in range(second + 1))
        stages = len(stages_of(shape))
        assert abs(count - expected) <= min(stages, second + 1) + 1
    assert ids(rows) == ids(whole.window(from_us, 10**15).real_time())[: len(rows)]


def test_a_soak_is_a_longer_window_at_its_true_rate(whole: Plan) -> None:
    """Two hours are the plan's own two busiest hours, untouched."""
    rows, (from_us, until_us) = Shape(duration_s=7200).window(whole)
    assert until_us - from_us == 7_200_000_000
    truth = whole.window(from_us, until_us).real_time()
    assert ids(rows) == ids(truth)
    assert (rows.starts_us == truth.starts_us).all()


def test_a_replay_plays_what_was_played(whole: Plan, tmp_path: Path) -> None:
    """The same journeys, ways and times as in the folder of the earlier run."""
    played, _ = Shape(constant_rate=5, journeys_max=40).window(whole)
    pq.write_table(played.table, tmp_path / "plan.parquet")
    again, (from_us, until_us) = Shape(replay=str(tmp_path)).window(whole)
    assert again.digest == played.digest
    assert from_us == played.starts_us[0]
    assert until_us > played.starts_us[-1]


@pytest.mark.parametrize(
    ("shape", "match"),
    [
        ({"replay": "/nowhere"}, "no plan can be read there"),
        ({"replay": "x", "constant_rate": 5.0}, "brings its own times"),
        ({"everything": True, "constant_rate": 5.0, "duration_s": 9.0}, "leave --duration"),
        ({"constant_rate": 10_000.0, "duration_s": 86_400.0}, "journeys follow the window"),
        ({"constant_rate": 1e-9}, "--constant-rate 1e-09: the run would take .* days"),
        ({"constant_rate": 1e308, "duration_s": 9.0}, "--constant-rate 1e.308: must be a number"),
        ({"constant_rate": math.nan, "everything": True}, "--constant-rate nan: must be a number"),
        ({"rate_scale": math.inf}, "--rate-scale inf: must be a number"),
        ({"rate_scale": math.nan}, "--rate-scale nan: must be a number"),
        ({"rate_scale": 1e308}, r"--rate-scale 1e\+308: reaches back before the plan"),
        ({"duration_s": 1e15}, "--duration: the run would take .* days"),
    ],
)
def test_more_shapes_that_make_no_sense(whole: Plan, shape: dict[str, Any], match: str) -> None:
    """Each is refused with what to do."""
    with pytest.raises(UsageError, match=match):
        Shape(**shape).window(whole)


def test_mocked_parties_grow_with_a_plan_that_is_played_faster(whole: Plan) -> None:
    """They are as busy as in the plan's busiest hour; what is measured stays as it is."""
    starts = [row.intended_start_us for row in whole.rows()]
    most = max(Counter(start_us // 3_600_000_000 for start_us in starts).values())
    before, after = (
        world.scenario.stations
        for world in (whole, Shape(constant_rate=250, everything=True).world(whole))
    )
    for name, station in before.items():
        if station.role != "mocked":
            assert after[name] == station
        elif station.servers:
            hourly = 250 * 3600 / after[name].servers
            assert hourly == pytest.approx(most / station.servers, rel=0.01)
    for stays in (
        Shape(constant_rate=250, everything=True, same_stations=True),
        Shape(constant_rate=250),
        Shape(rate_scale=3),
    ):
        assert stays.world(whole) is whole
