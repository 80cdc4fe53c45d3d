"""Baselines of other tools: files in their own form, with requests whose times are known."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

from fewseconds.baseline import foreign, runs
from fewseconds.baseline.comparison import Margins, compare
from fewseconds.baseline.foreign import _rounding_ms
from fewseconds.baseline.side import SENT, Of
from fewseconds.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from tests.baseline.conftest import MakeRun

KNOWN = [Of(SENT, name) for name in ("pay", "resolve", "check_status")]
JTL_HEAD = (
    "timeStamp,elapsed,label,responseCode,responseMessage,threadName,dataType,success,"
    "failureMessage,bytes,sentBytes,grpThreads,allThreads,URL,Latency,IdleTime,Connect"
)
"""JMeter 5's default columns (jmeter.properties, jmeter.save.saveservice.*)."""


def payments_ms(seed: int, count: int, slower: float = 1.0) -> NDArray[np.float64]:
    """Milliseconds of payments as conftest's runs have them."""
    rng = np.random.default_rng(seed)
    spread: NDArray[np.float64] = np.exp(rng.normal(0, np.sqrt(0.2**2 + 0.3**2), count))
    return np.round(slower * 1200 * spread)


def jtl_csv(path: Path, took_ms: NDArray[np.float64], label: str = "Pay", failing: int = 0) -> Path:
    """A .jtl as CSV; every ``failing``-th request fails, with a message over two lines."""
    lines = [JTL_HEAD]
    for number, took in enumerate(took_ms):
        lost = failing and number % failing == 0
        told = '500,"Gateway\nfailed"' if lost else "200,OK"
        lines.append(
            f"{1_700_000_000_000 + 40 * number},{took:.0f},{label},{told},Users 1-1,text,"
            f"{'false' if lost else 'true'},,512,128,1,1,http://psp/pay,{took:.0f},0,3"
        )
    path.write_text("\n".join(lines) + "\n")
    return path


def jtl_xml(path: Path, took_ms: NDArray[np.float64], *, ended: bool = True) -> Path:
    """A .jtl as XML: transactions, each around the request it is about."""
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', '<testResults version="1.2">']
    for number, took in enumerate(took_ms):
        marks = f'ts="{1_700_000_000_000 + 40 * number}" s="true" rc="200" tn="Users 1-1"'
        lines.append(
            f'<sample t="{took:.0f}" lt="0" {marks} lb="Whole payment">'
            f'<httpSample t="{took:.0f}" it="0" lt="3" ct="1" {marks} lb="pay" dt="text" by="9"/>'
            "</sample>"
        )
    path.write_text("\n".join([*lines, "</testResults>" if ended else ""]))
    return path


@pytest.mark.parametrize("form", ["csv", "xml"])
def test_a_jtl_is_compared_with_what_was_sent(made_run: MakeRun, tmp_path: Path, form: str) -> None:
    """A run that is 40 % slower than the file says so, and one as fast is not called slower."""
    took = payments_ms(1, 3000)
    path = tmp_path / "base.jtl"
    _ = jtl_csv(path, took) if form == "csv" else jtl_xml(path, took)
    words = []
    for name, slower in (("same", 1.0), ("slow", 1.4)):
        run = runs.read(made_run(name, 2, slower=slower, journeys=3000))
        base = foreign.read(path, {}, run.series)
        found = compare(run, base, Margins(times=0.2, shares=0.02))
        assert {row.name for row in found.rows} == {"pay"}
        (p50,) = [row for row in found.rows if row.statistic == "p50"]
        assert p50.effect.base == pytest.approx(np.median(took) / 1e3, abs=0.001)
        assert p50.effect.change == pytest.approx(slower - 1, abs=0.08)
        words.append(found.word)
    assert words == ["pass", "fail"]


def test_failures_and_labels_of_a_jtl_are_read(tmp_path: Path) -> None:
    """One in ten fails; a label is matched as written in words, or as --label says."""
    path = jtl_csv(tmp_path / "base.jtl", payments_ms(1, 500), "Check status", failing=10)
    side = foreign.read(path, {}, KNOWN)
    assert side.series[Of(SENT, "check_status", share=True)][0].values.mean() == 0.1
    named = jtl_csv(tmp_path / "named.jtl", payments_ms(1, 500), "POST /v2/x=1")
    assert Of(SENT, "pay") in foreign.read(named, {"POST /v2/x=1": "pay"}, KNOWN).series
    with pytest.raises(UsageError, match=r"no label is a step.*'POST /v2/x=1'.*--label"):
        foreign.read(named, {}, KNOWN)
    with pytest.raises(UsageError, match="has no such step"):
        foreign.read(named, {"POST /v2/x=1": "pey"}, KNOWN)


def test_files_that_are_something_else_are_refused(tmp_path: Path) -> None:
    """No header, broken XML, another CSV and no file at all are each said in words."""
    texts = {
        "table.csv": ("a,b\n1,2\n", "is neither a .jtl"),
        "cut.xml": ("<testResults><httpSample t='1' lb='pay'>", "cannot be read as JMeter's XML"),
        "bare.jtl": ("1700000000000,12,pay,200,OK\n", "is neither a .jtl"),
        "bad.jtl": (f"{JTL_HEAD}\n1700000000000,soon,pay,200\n", "cannot be read as a .jtl"),
    }
    for name, (text, complaint) in texts.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(UsageError, match=re.escape(complaint)):
            foreign.read(tmp_path / name, {}, KNOWN)
    with pytest.raises(UsageError, match="cannot be read"):
        foreign.read(tmp_path / "nowhere.jtl", {}, KNOWN)


LOCUST = """
import csv, json, sys
from locust.env import Environment
from locust.stats import PERCENTILES_TO_REPORT, StatsCSVFileWriter

took_ms, failing, base = json.load(sys.stdin)
environment = Environment()
writer = StatsCSVFileWriter(environment, PERCENTILES_TO_REPORT, base, True)
writer.stats_history_csv_writer.writerow(writer.stats_history_csv_columns)
for number, took in enumerate(took_ms):
    environment.stats.log_request("POST", "pay", took, 10)
    if failing and number % failing == 0:
        environment.stats.log_error("POST", "pay", "broken")
    if number % 25 == 24:
        writer._stats_history_data_rows(writer.stats_history_csv_writer, 1.7e9 + number // 25)
writer.requests_csv(writer.requests_csv_writer)
writer.close_files()
"""
"""Locust's own writer of these files, fed with known requests, 25 of them a second. It runs in a
process of its own because Locust patches the one it is imported in."""


@pytest.fixture(scope="module")
def locust_files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, NDArray[np.float64]]:
    """Where Locust has written its files, and the milliseconds that went into them."""
    took = payments_ms(3, 3000)
    base = tmp_path_factory.mktemp("locust") / "base"
    told = json.dumps([took.tolist(), 20, str(base)])
    subprocess.run([sys.executable, "-c", LOCUST], input=told.encode(), check=True)
    return base, took


def test_percentiles_that_locust_printed_are_bounds(
    made_run: MakeRun, locust_files: tuple[Path, NDArray[np.float64]]
) -> None:
    """Rounded percentiles hold the exact ones within their bounds, and a shift is still found."""
    base, took = locust_files
    run = runs.read(made_run("slow", 2, slower=1.6, journeys=3000))
    side = foreign.read(base.with_name("base_stats.csv"), {}, run.series)
    told = side.told[Of(SENT, "pay")]
    assert told.count == 3000
    for name, (figure, low, high) in told.quantiles.items():
        exact = np.quantile(took, float(name[1:]) / 100) / 1e3
        assert low < exact < high
        assert figure == pytest.approx(exact, rel=0.06)
    found = compare(run, side, Margins(times=0.1))
    assert found.word == "fail"
    (p50,) = [row for row in found.rows if row.statistic == "p50"]
    assert p50.effect.p_value is None
    assert p50.effect.low is not None
    assert p50.effect.high is not None
    assert p50.effect.low < 0.6 < p50.effect.high
    # Wider than with the single values: what is lost is not made up for.
    assert p50.effect.high - p50.effect.low > 0.1


def test_a_history_of_locusts_gives_means_and_failures(
    made_run: MakeRun, locust_files: tuple[Path, NDArray[np.float64]]
) -> None:
    """Means of stretches add up to that of all requests; percentiles of ten seconds do not."""
    base, took = locust_files
    run = runs.read(made_run("same", 4, journeys=3000))
    side = foreign.read(base.with_name("base_stats_history.csv"), {}, run.series)
    assert side.series[Of(SENT, "pay")][0].values.mean() == pytest.approx(took.mean() / 1e3)
    assert side.series[Of(SENT, "pay", share=True)][0].values.mean() == pytest.approx(0.05)
    found = compare(run, side, Margins(times=0.15, shares=0.1))
    assert {row.statistic for row in found.rows} == {"mean", "share"}
    assert found.word == "pass"
    assert "cannot be added up" in " ".join(found.notes)


@pytest.mark.parametrize("took_ms", [7, 99, 147, 3432, 9949, 58_760])
def test_what_locust_rounded_lies_in_the_bounds(took_ms: int) -> None:
    """Locust's documentation: 147 becomes 150, 3432 becomes 3400 and 58760 becomes 59000."""
    digits = 0 if took_ms < 100 else 1 - int(np.log10(took_ms))
    rounded = round(took_ms, digits)
    assert abs(rounded - took_ms) <= _rounding_ms(rounded)
