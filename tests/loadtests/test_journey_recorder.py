"""What a generator keeps of its journeys: the same that its outcome rows say, in counts."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
import pytest

from fewseconds.journey import STEP_ROW
from fewseconds.outcomes import Outcome
from fewseconds.plan import Row
from loadtests.histogram import Histogram
from loadtests.journey_recorder import JourneyRecorder, JourneyReport, together

S = 1_000_000
SHARES = (0.5, 0.9, 0.95, 0.99, 0.999)


def walked(journey_id: int, luck: np.random.Generator) -> tuple[Row, list[Outcome]]:
    """A journey of three steps, of which each begins a little late."""
    row = Row(journey_id, journey_id, journey_id, "qr_ebill", "bhim", "SBI", "placard", 0)
    due_us, rows = int(luck.integers(0, 60 * S)), []
    for step in ("open_app", "resolve", "pay"):
        start_us = due_us + int(luck.exponential(4_000))
        end_us = start_us + int(luck.exponential(800_000))
        outcome = "timed_out" if luck.random() < 0.02 else "ok"
        rows.append(
            Outcome(
                "client", "load", journey_id, "main", step, STEP_ROW, 1, "", due_us, start_us,
                start_us, end_us, outcome,
            )
        )  # fmt: skip
        if outcome != "ok":
            break
        due_us = end_us
    return row, rows


def nearest_rank(values: list[float], share: float) -> float:
    """The quantile by its definition, on sorted values."""
    return sorted(values)[max(math.ceil(share * len(values)), 1) - 1]


@pytest.fixture(scope="module")
def journeys() -> list[tuple[Row, list[Outcome]]]:
    """A few thousand journeys within a minute."""
    luck = np.random.default_rng(3)
    return [walked(number, luck) for number in range(3000)]


def report(journeys: list[tuple[Row, list[Outcome]]], workers: int) -> JourneyReport:
    """What so many workers see of these journeys, sent and added up."""
    recorders = [JourneyRecorder(0, frozenset({"resolve"})) for _ in range(workers)]
    for place, (row, rows) in enumerate(journeys):
        one = recorders[place % workers]
        for outcome in rows:
            one.noted(row, outcome)
        one.ended(row)
        if place % 500 == 0:
            one.turn()
    sent = [msgspec.msgpack.encode(one.report()) for one in recorders]
    return together([msgspec.msgpack.decode(data, type=JourneyReport) for data in sent])


def _lags(rows: list[Outcome]) -> list[float]:
    """Of steps that do not wait by the scenario's own rule."""
    return [row.start_us - row.intended_us for row in rows if row.step != "resolve"]


@pytest.mark.parametrize("workers", [1, 3])
def test_quantiles_are_those_of_the_rows(journeys: Any, workers: int) -> None:  # noqa: ANN401
    """Every quantile of every measure is the rows' own to one part in 1 024, also if shared out."""
    found = report(journeys, workers)
    rows = [row for _, rows in journeys for row in rows]
    truth: dict[str, list[float]] = {"lag": _lags(rows)}
    for row in rows:
        ok = row.outcome == "ok"
        truth.setdefault(f"step/{row.step}", []).append(
            row.end_us - row.intended_us if ok else math.inf
        )
        truth.setdefault(f"sent/{row.step}", []).append(
            row.end_us - row.start_us if ok else math.inf
        )
    truth["journey/qr_ebill"] = [
        rows[-1].end_us - rows[0].intended_us if rows[-1].outcome == "ok" else math.inf
        for _, rows in journeys
    ]
    assert set(found.kept) == set(truth)
    for name, values in truth.items():
        histogram = Histogram.unpacked(found.kept[name].histogram)
        assert histogram.total == len(values)
        for share in SHARES:
            assert histogram.quantile_us(share) == pytest.approx(
                nearest_rank(values, share), rel=1 / 1024, abs=1
            )


def test_what_was_dropped_has_no_lag() -> None:
    """The lag is that of what began; what was dropped never answered."""
    recorder = JourneyRecorder()
    for number in range(300):
        began = number % 3 == 0
        row = Row(number, number, number, "qr_ebill", "bhim", "SBI", "placard", number * S)
        due_us, late_us = number * S, 500_000 if began else 0
        recorder.noted(
            row,
            Outcome(
                "client", "load", number, "main", "open_app", STEP_ROW, 1, "", due_us,
                due_us + late_us, due_us + late_us, due_us + late_us, "ok" if began else "dropped",
            ),
        )  # fmt: skip
        recorder.ended(row)
    kept = recorder.report().kept
    lag = Histogram.unpacked(kept["lag"].histogram)
    assert lag.total == 100
    assert lag.quantile_us(0.01) == pytest.approx(500_000, rel=1 / 1024)
    assert Histogram.unpacked(kept["step/open_app"].histogram).never == 200


def test_seconds_hold_what_ended_in_them(journeys: Any) -> None:  # noqa: ANN401
    """Second by second, as many journeys end as their rows say; together it is all of them."""
    found = report(journeys, 2).kept["journey/qr_ebill"].seconds
    ends = np.bincount([rows[-1].end_us // S for _, rows in journeys])
    assert {one.second: one.total for one in found} == {
        second: int(count) for second, count in enumerate(ends) if count
    }
