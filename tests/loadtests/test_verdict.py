"""A run that stock Locust played is judged as ``fewseconds load run`` judges, or not at all."""

from __future__ import annotations

import logging
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from fewseconds import measures, outcomes, scenario_file
from fewseconds.errors import EXIT_INCONCLUSIVE, EXIT_OK
from fewseconds.journey import STEP_ROW
from fewseconds.outcomes import Outcome
from fewseconds.plan import Plan, plan
from loadtests import verdict
from loadtests.launch import Generator
from loadtests.notes import Notes
from loadtests.spec import LoadSummary, Services, Targets, notes
from loadtests.standing import Standing, so_far, together
from sim.reference import simulate

if TYPE_CHECKING:
    from pathlib import Path

    from loadtests.spec import LoadSpec

S = 1_000_000
Window = tuple["Plan", tuple[int, int], pl.DataFrame]


@pytest.fixture(scope="module")
def played() -> Window:
    """A window of the smoke test, its bounds, and rows of clients that were always on time."""
    whole = plan(scenario_file.load("smoke"), 7)
    window_us = whole.busiest_window()
    window = whole.window(*window_us).real_time()
    rows = measures.frame(simulate(window).outcomes)
    seen = (pl.col("leg") == STEP_ROW) & pl.col("branch").is_in(["main", "sms"])
    return window, window_us, rows.filter(seen).with_columns(observer=pl.lit("client"))


def orders(folder: Path, played: Window, late_us: int = 0) -> tuple[LoadSpec, LoadSummary]:
    """A run's folder with its rows, everything begun so late, and what its generator counted."""
    window, window_us, rows = played
    spans = rows.group_by("journey_id").agg(took=pl.col("end_us").max() - pl.col("start_us").min())
    rows = rows.with_columns(pl.col("intended_us") - late_us).select(outcomes.SCHEMA.names)
    targets = Targets("http://127.0.0.1:9", "http://127.0.0.1:9")
    spec = Generator(folder, window, window_us, targets, "").spec
    (folder / "outcomes").mkdir()
    outcomes.write(rows.to_arrow().cast(outcomes.SCHEMA), folder / "outcomes" / "load.parquet")
    summary = LoadSummary(
        epoch_us=-window_us[0], intended=len(window), started=len(window), dropped=0,
        in_flight_integral_s=float(spans["took"].sum()) / S, in_flight_variance_s2=1.0,
        in_flight_max=9, cpu_s=10.0, wall_s=100.0, cpu_share_max=0.2, misreads=0, typed=0,
    )  # fmt: skip
    return spec, summary


def served(folder: Path, scenario: Any, over_us: int) -> Services:  # noqa: ANN401
    """A folder of services whose mocked visits, a second after their clock's 0, took so long."""
    station = next(name for name, one in scenario.stations.items() if one.role == "mocked")
    rows = [
        Outcome(
            "server", "banks", number, "main", "pay", 2, 1, station, S, S, S, 2 * S, "ok",
            overrun_us=over_us,
        )
        for number in range(50)
    ]  # fmt: skip
    folder.mkdir()
    outcomes.write(outcomes.table(rows), folder / "banks.parquet")
    return Services(outcomes=str(folder), ahead_us=0)


def test_a_run_that_kept_its_promise_is_judged(
    tmp_path: Path, played: Window, caplog: pytest.LogCaptureFixture
) -> None:
    """All gates that a generator can see are judged; what it cannot see is named."""
    spec, summary = orders(tmp_path, played)
    said = verdict.found(spec, played[0], summary, ())
    assert said.validity.valid, said.validity.reasons
    assert (said.word, said.exit_code) == ("pass", EXIT_OK)
    assert {one.measure for one in said.verdicts} == {"machine_time", "sms_time", "error_rate"}
    assert any("biller, median" in note for note in said.notes)
    with caplog.at_level(logging.INFO):
        verdict.say(said, tmp_path)
    assert "gate error rate: pass" in caplog.text
    assert msgspec.json.decode((tmp_path / verdict.FILE).read_bytes(), type=verdict.Said) == said


@pytest.mark.parametrize(
    ("spoilt", "reason"),
    [
        ({"late_us": 3 * S}, "steps began up to 3000 ms late"),
        ({"late_us": 11_000}, "steps began over 10 ms late"),
        ({"dropped": 200, "started": 81}, "were dropped"),
        ({"started": 270}, "11 journeys were never started"),
        ({"in_flight_integral_s": 1.0}, "in flight and their sojourns differ by"),
        ({"cpu_share_max": 0.99}, "used 99% of a processor"),
        ({"over_us": 50_000}, "50 of 50 visits of mocked parties took over 20 ms longer"),
        ({"lost": "worker 1 of 2 has ended; its share is missing"}, "its share is missing"),
    ],
)
def test_nothing_is_concluded_where_the_generator_broke_its_promise(
    tmp_path: Path, played: Window, spoilt: dict[str, Any], reason: str,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """Though every gate would be met, the exit code is 3, with the reason and what to do."""
    spoilt = dict(spoilt)
    window, troubles = played[0], ([spoilt.pop("lost")] if "lost" in spoilt else [])
    spec, summary = orders(tmp_path, played, spoilt.pop("late_us", 0))
    over_us = spoilt.pop("over_us", 0)
    services = served(tmp_path / "served", window.scenario, over_us) if over_us else None
    spec = msgspec.structs.replace(spec, services=services)
    summary = msgspec.structs.replace(summary, **spoilt)
    said = verdict.found(spec, window, summary, troubles)
    assert (said.word, said.exit_code) == ("inconclusive", EXIT_INCONCLUSIVE)
    assert any(reason in sentence for sentence in said.validity.reasons)
    verdict.say(said, tmp_path)
    assert f"nothing can be concluded: {said.validity.reasons[0]}" in caplog.text


def turned_away(played: Window, code: str, outcome: str = "error", answered: int = 0) -> Window:
    """The same journeys, but for so many of them at an address where both attempts end like that.

    Those who had given up before they asked are left out.
    """
    window, window_us, rows = played
    asked = rows.filter((pl.col("step") == "resolve") & (pl.col("attempt") == 1))
    ids = asked["journey_id"].sort()
    spared = rows.filter(pl.col("journey_id").is_in(ids.head(answered).implode()))
    failed = asked.filter(~pl.col("journey_id").is_in(ids.head(answered).implode())).with_columns(
        outcome=pl.lit(outcome), code=pl.lit(code), end_us=pl.col("start_us") + 300
    )
    again = failed.with_columns(attempt=pl.lit(2, pl.Int32))
    tried = pl.concat([failed, again, spared], how="vertical_relaxed")
    here = pa.array(np.isin(window.table["journey_id"].to_numpy(), ids.to_numpy()))
    return Plan(window.scenario, window.seed, window.table.filter(here)), window_us, tried


@pytest.mark.parametrize(
    ("how", "word"),
    [
        ({"code": "ConnectionRefusedError"}, "fail"),
        ({"code": "ConnectionRefusedError", "answered": 1}, "inconclusive"),
        ({"code": "no_answer", "outcome": "timed_out"}, "inconclusive"),
        ({"code": "ConnectionRefusedError", "lost": True}, "inconclusive"),
    ],
)
def test_a_system_that_lets_nobody_in_has_failed_whatever_the_generator_did(
    tmp_path: Path, played: Window, how: dict[str, Any], word: str
) -> None:
    """Everything began 3 s late, which spoils a run, but not that nobody was there to be asked."""
    how = dict(how)
    troubles = ["worker 1 of 2 has ended"] if how.pop("lost", False) else []
    down = turned_away(played, **how)
    spec, summary = orders(tmp_path, down, 3 * S)
    said = verdict.found(spec, down[0], summary, troubles)
    assert said.word == word
    assert not said.validity.valid
    assert any("steps began up to 3000 ms late" in reason for reason in said.validity.reasons)
    assert any("Every connection was refused" in note for note in said.notes) == (word == "fail")
    errors = {one.measure: one for one in said.verdicts}["error_rate"]
    assert errors.word == ("fail" if word == "fail" else "inconclusive")
    verdict.say(said, tmp_path)


def looked_on(played: Window, late_us: int, summary: LoadSummary) -> Standing:
    """What somebody sees who looks on until the last of these journeys has ended."""
    window, _, rows = played
    noted = rows.with_columns(pl.col("intended_us") - late_us).select(outcomes.SCHEMA.names)
    by_journey = noted.partition_by("journey_id", as_dict=True)
    seen = Notes(window.scenario, window.seed)
    seen.counts = lambda: {
        name: getattr(summary, name) for name in ("intended", "started", "dropped")
    }
    seen.cpu_share = lambda: summary.cpu_share_max
    for row in window.rows():
        for told in by_journey.get((row.journey_id,), noted.clear()).to_dicts():
            seen.noted(row, Outcome(**told))
        seen.ended(row)
    seen._digest(seen._ended)
    return seen.standing()


@pytest.mark.parametrize(
    ("late_us", "changed"),
    [
        (0, {}),
        (3 * S, {}),
        (11_000, {}),
        (0, {"dropped": 200, "started": 81}),
        (0, {"cpu_share_max": 0.99}),
        (11_000, {"cpu_share_max": 0.99}),
    ],
)
@pytest.mark.parametrize("refused", [False, True])
def test_what_is_said_under_way_is_what_would_be_said_if_this_were_all(
    tmp_path: Path, played: Window, late_us: int, changed: dict[str, Any],
    refused: bool,  # noqa: FBT001
) -> None:  # fmt: skip
    """The word, the reasons and every objective's word of the page are those of the verdict."""
    mine = turned_away(played, "ConnectionRefusedError") if refused else played
    spec, summary = orders(tmp_path, mine, late_us)
    summary = msgspec.structs.replace(summary, **changed)
    standing = looked_on(mine, late_us, summary)
    said = verdict.found(spec, mine[0], summary, ())
    told = so_far(mine[0].scenario, standing)
    assert told.word == said.word
    if refused:
        assert told.word == "fail"
    assert told.reasons == said.validity.reasons
    assert {one.name: one.word for one in told.objectives} == {
        one.name: one.word for one in said.verdicts
    }
    # Of two workers as of one.
    halves = together([standing, Standing()])
    assert so_far(mine[0].scenario, halves) == told


def test_visits_before_the_run_are_not_charged_to_it(tmp_path: Path, played: Window) -> None:
    """Services were slow a second before the run began; the run may be judged all the same."""
    spec, summary = orders(tmp_path, played)
    services = served(tmp_path / "served", played[0].scenario, 50_000)
    spec = msgspec.structs.replace(spec, services=services)
    # The run's first journeys are due at 2 s on CLOCK_MONOTONIC.
    summary = msgspec.structs.replace(summary, epoch_us=2 * S - spec.window_us[0])
    assert verdict.found(spec, played[0], summary, ()).word == "pass"


def test_without_any_worker_there_is_no_verdict(tmp_path: Path, played: Window) -> None:
    """Nobody reported, so nothing was counted and nothing is concluded."""
    spec, _ = orders(tmp_path, played)
    said = verdict.found(spec, played[0], None, ["worker 0 of 1 has ended; its share is missing"])
    assert (said.exit_code, said.generator, said.workers) == (EXIT_INCONCLUSIVE, None, 0)


@pytest.mark.parametrize(
    ("refused", "uncertainty_us", "words"),
    [
        (0, 1000, []),
        (2, 0, ["2 late workers were refused"]),
        (0, 1001, ["known to 1.0 ms only, more than 1 ms"]),
        (1, 12_345, ["1 late worker was refused", "known to 12.3 ms only"]),
    ],
)
def test_what_is_to_be_known_of_workers_is_said(
    played: Window, tmp_path: Path, refused: int, uncertainty_us: int, words: list[str]
) -> None:
    """Refused late comers, and clocks of other hosts that are known too roughly; else nothing."""
    _, summary = orders(tmp_path, played)
    summary = msgspec.structs.replace(summary, refused=refused, clock_uncertainty_us=uncertainty_us)
    told = notes(summary)
    assert len(told) == len(words)
    assert all(word in sentence for word, sentence in zip(words, told, strict=True))


def test_a_generator_at_work_has_no_tables_in_memory() -> None:
    """Whatever judges comes in when the load is over; until then a worker stays small."""
    look = "import loadtests.locustfile, sys; print(*({'polars', 'plotly'} & sys.modules.keys()))"
    found = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert found.stdout.split() == []
