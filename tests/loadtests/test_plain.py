"""Stock Locust started by a person: which rows a user class stands for, and what is refused."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from argparse import ArgumentParser
from typing import TYPE_CHECKING, Any

import msgspec
import polars as pl
import pyarrow.parquet as pq
import pytest

from fewseconds import measures, outcomes, scenario_file
from fewseconds.errors import EXIT_GATE_FAILED, EXIT_INCONCLUSIVE, EXIT_USAGE, UsageError
from fewseconds.plan import plan
from fewseconds.shapes import Shape
from loadtests.launch import LOCUSTFILE, free_port
from loadtests.plain import GAP_US, Part, add_options, doubled, orders, picked, squeezed, stormy
from loadtests.spec import SPEC_VARIABLE

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable
    from pathlib import Path

    from fewseconds.plan import Plan


@pytest.fixture(scope="module")
def day() -> Plan:
    """A few thousand journeys of all kinds."""
    whole = plan(scenario_file.load("due_date_evening", {"plan_hash": ""}), 3)
    window, _ = Shape(journeys_max=4000).window(whole)
    return window


def options(tmp_path: Path, *words: str) -> Namespace:
    """Locust's options as a person has written them."""
    parser = ArgumentParser()
    add_options(parser)
    return parser.parse_args(["--results", str(tmp_path / "results"), *words])


def test_a_class_stands_for_its_rows(day: Plan) -> None:
    """Rows of one app, of one kind, or of several classes together, in the plan's order."""
    rows = [(row.kind, row.app, row.journey_id) for row in day.rows()]
    for parts in (
        (Part(kinds=("qr_ebill",), app="phonepe"),),
        (Part(kinds=("portal_first",)),),
        (Part(kinds=("qr_ebill",), app="bhim"), Part(kinds=("qr_counter",))),
        (Part(),),
    ):
        wanted = [
            number
            for kind, app, number in rows
            if any(
                (not part.kinds or kind in part.kinds) and (not part.app or app == part.app)
                for part in parts
            )
        ]
        assert wanted
        assert picked(day, parts).table["journey_id"].to_pylist() == wanted


def test_two_phones_scan_every_bill(day: Plan) -> None:
    """Every bill comes twice, the second time a moment later, as a journey of its own."""
    once = picked(day, (Part(kinds=("qr_ebill",)),))
    twice = list(doubled(once).rows())
    assert len({row.journey_id for row in twice}) == len(twice) == 2 * len(once)
    starts: dict[int, list[int]] = {}
    for row in twice:
        starts.setdefault(row.bill, []).append(row.intended_start_us)
    assert {later - first for first, later in starts.values()} == {GAP_US}
    assert [row.intended_start_us for row in twice] == sorted(
        row.intended_start_us for row in twice
    )


def test_both_phones_are_in_the_orders(tmp_path: Path) -> None:
    """A limit on journeys counts households: every bill that is played is played twice."""
    words = ("--psp-url", "http://127.0.0.1:9", "--journeys", "40")
    spec = orders(options(tmp_path, *words), [Part(kinds=("qr_ebill",), doubled=True)])
    bills = spec.load_plan().table["bill"].to_pylist()
    assert len(bills) == 80
    assert {bills.count(one) for one in bills} == {2}


def test_a_storm_comes_at_once_and_asks_every_second(day: Plan) -> None:
    """The same journeys in a fifth of the time, with apps that poll once a second."""
    first = int(day.starts_us[0])
    storm = squeezed(day, first)
    assert storm.starts_us[-1] - first == (day.starts_us[-1] - first) // 5
    assert storm.table["journey_id"] == day.table["journey_id"]
    world = stormy(day.scenario)
    polls = [app.polls for app in world.apps.values()]
    assert {(one.first_ms, one.waits_ms) for one in polls if one} == {(1000, (1000,))}
    assert None not in polls


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ((), "fewseconds serve SCENARIO"),
        (("--services", "nowhere"), "is not a folder that `fewseconds serve` has made"),
        (("--psp-url", "http://192.0.2.1:80"), "is not on this machine"),
        (("--psp-url", "http://127.0.0.1:9", "--scenario", "smok"), "did you mean 'smoke'"),
    ],
)
def test_what_cannot_be_loaded_is_refused(
    tmp_path: Path, words: tuple[str, ...], complaint: str
) -> None:
    """A stranger who starts it without services, or with wrong ones, reads what to do."""
    with pytest.raises(UsageError, match=complaint):
        orders(options(tmp_path, *words), [Part()])


def test_classes_without_rows_are_refused(tmp_path: Path) -> None:
    """The smoke test has no portal."""
    with pytest.raises(UsageError, match="pick others"):
        orders(options(tmp_path, "--psp-url", "http://127.0.0.1:9"), [Part(kinds=("portal",))])


BUSY = """
import sys
from fewseconds import promise
promise.LAG_MS_P99_MAX = promise.LATE_SHARE_MAX = 1e9
promise.CPU_SHARE_MAX = promise.LITTLE_SHARE_MAX = 1e9
from locust.main import main
sys.exit(main())
"""
"""Locust where the machine may be as busy as it likes: tests share it."""
STALLED = """
import sys
import gevent
import locust.main
from gevent import monkey
from loadtests.journeys import Journeys
stop = monkey.get_original("time", "sleep")
def stall():
    while True:
        stop(0.3)
        gevent.sleep(0.05)
play = Journeys.play
def stalled(self, epoch_us):
    gevent.spawn(stall)
    return play(self, epoch_us)
Journeys.play = stalled
sys.exit(locust.main.main())
"""
"""Locust whose event loop stands still for three tenths of a second again and again."""


def locust(folder: Path, *words: str, code: str = "") -> subprocess.CompletedProcess[str]:
    """Run stock Locust to its end, as at a command line, or a program that changes it first."""
    program = ["-c", code] if code else ["-m", "locust"]
    environment = {name: text for name, text in os.environ.items() if name != SPEC_VARIABLE}
    return subprocess.run(
        [sys.executable, *program, "-f", str(LOCUSTFILE), "--headless", "--only-summary",
         "--results", str(folder), *words],
        env=environment, capture_output=True, text=True, check=False, timeout=90,
    )  # fmt: skip


def test_without_services_it_ends_with_a_message(tmp_path: Path) -> None:
    """The exit code is that of wrong usage, and nothing was sent or written."""
    ended = locust(tmp_path / "results")
    assert ended.returncode == EXIT_USAGE
    assert "start them with `fewseconds serve SCENARIO`" in ended.stderr
    assert not (tmp_path / "results").exists()


@pytest.mark.slow
@pytest.mark.timeout(200)
@pytest.mark.alone
def test_two_processes_play_the_plan_without_overlap_or_gap(
    tmp_path: Path, serve: Callable[..., Any], json_reply: Callable[..., bytes]
) -> None:
    """Worker i of two plays rows i, i + 2, … of the classes' plan; the gates say what became."""
    url, port = serve(json_reply(500, {})).url, str(free_port())
    several = ("--processes", "2", "--master-bind-port", port, "--master-port", port)
    folder = tmp_path / "results"
    words = ("--psp-url", url, "--journeys", "40", *several, "PhonePe", "Bhim")
    ended = locust(folder, *words, code=BUSY)
    assert ended.returncode == EXIT_GATE_FAILED, ended.stderr
    assert "gate error rate: fail, 100 %" in ended.stderr
    run = next(one for one in folder.iterdir() if not one.is_symlink())
    rows = measures.frame(outcomes.read(run / "outcomes"))
    first = rows.filter(rows["step"] == "open_app").sort("intended_us", "journey_id")
    wanted = pq.read_table(run / "plan.parquet")
    assert set(wanted["app"].to_pylist()) == {"phonepe", "bhim"}
    assert first["journey_id"].to_list() == wanted["journey_id"].to_pylist()
    assert first["intended_us"].to_list() == wanted["intended_start_us"].to_pylist()
    assert first["process"].to_list() == [f"load-{n % 2}" for n in range(40)]
    # The series of the run are there, as after `fewseconds load run`.
    series = pl.read_parquet(run / "series.parquet")
    steps = series.filter(pl.col("measure") == "step/open_app")
    assert steps["count"].sum() == 40


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_a_generator_that_was_late_concludes_nothing(
    tmp_path: Path, serve: Callable[..., Any], json_reply: Callable[..., bytes]
) -> None:
    """Everything fails behind a stalled generator, yet stock Locust ends with 3 and says why."""
    url, folder = serve(json_reply(500, {})).url, tmp_path / "results"
    ended = locust(folder, "--psp-url", url, "--journeys", "20", code=STALLED)
    assert ended.returncode == EXIT_INCONCLUSIVE, ended.stderr
    assert re.search(r"nothing can be concluded: steps began up to \d{3} ms late", ended.stderr)
    said = msgspec.json.decode((folder / "latest" / "verdict.json").read_bytes())
    assert said["word"] == "inconclusive"
    assert any("lower the rate" in reason for reason in said["validity"]["reasons"])
