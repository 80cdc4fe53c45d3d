"""sweep, capacity and compare from the command line: what they refuse, print and leave behind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from fewseconds.cli import app
from fewseconds.errors import EXIT_USAGE

SMALL = ("--engine", "simpy", "--processes", "1", "--replications", "3")


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A city of some hundred payments in one hour."""
    path = tmp_path / "small.toml"
    path.write_text('extends = "smoke"\nconsumers = 120\nplan_hash = ""\n')
    return path


def said(*arguments: object) -> Result:
    """What a command leaves behind."""
    result = CliRunner().invoke(app, [str(part) for part in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("sweep", "smoke", "--vary", "stations.biler.servers=1..2"), "did you mean 'biller'?"),
        (("sweep", "smoke", "--vary", "adoption.share=0.5,3"), "3.0 is not between 0 and 1"),
        (("sweep", "smoke", "--vary", "adoption.share=0..1", "--sobol", "5"), "write 4"),
        (("sweep", "smoke", "--vary", "seed=1,2", "--vary", "seed=3"), "a key is given twice"),
        (("compare", "smoke", "smok"), "did you mean 'smoke'?"),
        (("compare", "smoke", "."), "a run and its baseline"),
        (("capacity", "smoke", "--outage", "biler=3"), "did you mean 'biller'?"),
        (("capacity", "smoke", "--outage", "biller=x"), "write a station and minutes"),
        (("capacity", "smoke", "--prices", "nowhere.toml"), "cannot be read"),
        (("capacity", "smoke", "--engine", "nunba"), "did you mean 'numba'?"),
        (("compare", "smoke", "smoke", "--replications-max", "4"), "raise it"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_walked(
    arguments: tuple[str, ...], complaint: str, tmp_path: Path
) -> None:
    """A mistake in a key, a value or an option is exit code 2 and a sentence with a way out."""
    result = said(*arguments, "--results", tmp_path / "results", "--json")
    assert result.exit_code == EXIT_USAGE
    assert complaint in json.loads(result.stdout)["error"]
    assert "replicating" not in result.stderr
    assert not (tmp_path / "results").exists()


def test_a_sweep_answers_in_json_and_on_a_page(small: Path, tmp_path: Path) -> None:
    """Two variants are judged on three walks each, and the page is headed by the same sentence."""
    result = said(
        "sweep", small, "--vary", "stations.biller.servers=2,4", *SMALL,
        "--replications-max", "3", "--results", tmp_path / "results", "--json",
    )  # fmt: skip
    answer = json.loads(result.stdout)
    assert [point["values"] for point in answer["points"]] == [
        {"stations.biller.servers": 2}, {"stations.biller.servers": 4}
    ]  # fmt: skip
    assert answer["runs"] == 6
    assert answer["engine"] == "simpy"
    page = Path(answer["report"]).read_text()
    assert answer["sentence"].split(";")[0] in page
    assert json.loads((Path(answer["folder"]) / "answer.json").read_text())["runs"] == 6


CITY = """
extends = "smoke"
title = "Two desks"
consumers = 400
plan_hash = ""
channels = { qr_ebill = { share = 1.0 }, qr_counter = { share = 0.0 } }
journeys.qr_ebill = { source = "made up", steps = ["serve"] }
[steps.serve]
source = "made up"
legs = [{ station = "desk" }, { station = "till" }]
[stations.desk]
role = "mocked"
servers = 6
source = "assumption: made up"
service_time = { law = "constant", value_ms = 30_000, source = "assumption: made up" }
[stations.till]
role = "mocked"
servers = 2
source = "assumption: made up"
service_time = { law = "constant", value_ms = 10_000, source = "assumption: made up" }
[[slo]]
name = "nearly all"
measure = "machine_time"
statistic = "p95"
limit = 150.0
gate = true
source = "made up"
"""
PRICES = """
[[item]]
item = "A desk"
station = "desk"
unit_price_rupees = 10
lead_time_days = 3
source = "made up"
"""


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_capacity_search_answers_what_was_worked_out_by_hand(tmp_path: Path) -> None:
    """400 an hour offer 3.33 erlangs to desks and 1.11 to tills: four and two keep up."""
    (tmp_path / "city.toml").write_text(CITY)
    (tmp_path / "prices.toml").write_text(PRICES)
    result = said(
        "capacity", tmp_path / "city.toml", "--prices", tmp_path / "prices.toml", *SMALL,
        "--engine", "numba", "--no-flips", "--outage", "till=5",
        "--results", tmp_path / "results", "--json",
    )  # fmt: skip
    answer = json.loads(result.stdout)
    needs = {need["station"]: need for need in answer["capacity"]["needs"]}
    assert {name: need["alone_min"] for name, need in needs.items()} == {"desk": 4, "till": 2}
    assert needs["desk"]["utilisation"] == pytest.approx(400 / 3600 * 30 / 6, rel=0.05)
    assert (answer["capacity"]["bottleneck"], answer["capacity"]["next"]) == ("desk", "till")
    knee = answer["capacity"]["knee"]
    assert 1 < knee["low"] < knee["high"]
    assert knee["low"] <= 6 / (400 / 3600 * 30) * 1.1
    words = [probe["word"] for probe in knee["probes"]]
    assert words == sorted(words, key=["pass", "inconclusive", "fail"].index)
    assert answer["purchases"]["sentence"].startswith("Buy nothing: the nearest limit is desk")
    assert [line["station"] for line in answer["purchases"]["lines"]] == ["desk", "till"]
    (drain,) = answer["drains"]
    assert drain["backlog"]["observed"] == pytest.approx(400 / 3600 * 300, rel=0.3)
    page = Path(answer["report"]).read_text()
    assert answer["sentence"].split(";")[0] in page
    assert result.exit_code == 0


def test_a_scenario_does_not_differ_from_itself(small: Path, tmp_path: Path) -> None:
    """Compared with itself every difference is nothing, because all luck is shared."""
    result = said(
        "compare", small, small, *SMALL, "--replications-max", "3",
        "--results", tmp_path / "results", "--json",
    )  # fmt: skip
    answer = json.loads(result.stdout)
    assert {d["difference"]["observed"] for d in answer["stations"]} == {0.0}
    assert "no measure changes beyond its interval" in answer["sentence"]
    (faster,) = (row for row in answer["measures"] if row["of"] == "faster_than_portal")
    assert faster["first"]["observed"] == faster["second"]["observed"] > 0.9
    assert faster["difference"]["observed"] == 0
    assert Path(answer["report"]).exists()
