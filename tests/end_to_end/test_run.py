"""The main job as a person runs it: in a process of its own, to its end or to its interruption.

What a run left behind is counted here with plain SQL and JSON, not with the auditor.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sqlite3
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import polars as pl
import pytest
from scipy import stats

from fewseconds import markdown, scenario_file
from fewseconds.plan import plan
from tests.loadtests.collector import Collector, collecting

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.slow, pytest.mark.alone, pytest.mark.timeout(300)]

PATIENCE_S = 240.0
SHORT = """
extends = "smoke"
tripwire = false
plan_hash = ""
[load]
duration_s = 3
drain_s = 15
[simulate]
journeys_max = 100
"""
"""A quarter of the smoke test, and no second try."""


class Ended(NamedTuple):
    """What a run left behind."""

    code: int
    out: str
    err: str
    results: Path

    @property
    def content(self) -> dict[str, Any]:
        """The one JSON object on stdout."""
        assert self.out.count("\n") == 1
        found: dict[str, Any] = json.loads(self.out)
        return found

    @property
    def folder(self) -> Path:
        """The folder of the run, or of its second try."""
        return (self.results / "latest").resolve()


class Run:
    """A run on its way, with everything that it has started."""

    def __init__(
        self, results: Path, *arguments: object, env: dict[str, str] | None = None
    ) -> None:
        """Start it."""
        self.results = results
        command = [sys.executable, "-m", "fewseconds", *map(str, arguments)]
        self.process = subprocess.Popen(
            [*command, "--results", str(results), "--json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | (env or {}),
        )

    def end(self) -> Ended:
        """Wait for its end."""
        out, err = self.process.communicate(timeout=PATIENCE_S)
        assert "Traceback" not in err
        return Ended(self.process.returncode, out, err, self.results)

    def started(self) -> dict[int, list[str]]:
        """Command lines of the living processes that work for this run, by their ids.

        Each has the run's folder in its command line or, the decoders, in its environment.
        """
        mark = str(self.results)
        return {
            pid: words
            for pid, words, environment in processes()
            if pid != self.process.pid and any(mark in one for one in (*words, *environment))
        }

    def await_first_outcomes(self) -> None:
        """Wait until journeys have been played and their first rows are on disk."""
        deadline_s = time.monotonic() + PATIENCE_S
        while not list(self.results.glob("*/outcomes/load.part*.parquet")):
            assert self.process.poll() is None
            assert time.monotonic() < deadline_s
            select.select([], [], [], 0.1)


def processes() -> Iterator[tuple[int, list[str], list[str]]]:
    """Id, command line and environment of everything that runs (proc(5)); zombies have none."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
                environment = (entry / "environ").read_bytes().decode(errors="replace").split("\0")
            except OSError:
                continue
            yield int(entry.name), words, environment


def await_end(pids: list[int]) -> None:
    """Wait until processes have ended: a signal is sent at once and obeyed a little later."""
    for pid in pids:
        try:
            handle = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            assert select.select([handle], [], [], PATIENCE_S)[0], pid
        finally:
            os.close(handle)


def short(folder: Path) -> Path:
    """The file of the short scenario."""
    path = folder / "short.toml"
    path.write_text(SHORT)
    return path


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Ended:
    """The smoke test, run to its end."""
    return Run(tmp_path_factory.mktemp("smoke") / "results", "run", "smoke").end()


def test_the_smoke_test_passes_and_leaves_its_files(smoke: Ended) -> None:
    """Exit code 0, one object on stdout, a header on stderr, and the four files of a report."""
    assert smoke.code == 0, smoke.err
    content = smoke.content
    assert (content["word"], content["exit_code"]) == ("pass", 0)
    header = smoke.err.splitlines()[0]
    digest = scenario_file.load("smoke").digest
    assert header.startswith(f"seed=7 scenario=smoke#{digest[:12]} engine=locust+simpy commit=")
    latest = smoke.results / "latest"
    assert latest.is_symlink()
    assert smoke.folder == Path(content["folder"]).resolve()
    assert smoke.folder.parent == smoke.results.resolve()
    assert all((latest / name).stat().st_size for name in ("report.html", markdown.FILE_NAME))
    series = pl.read_parquet(latest / "series.parquet").filter(measure="journey/qr_ebill")
    assert series["count"].sum() > 0
    assert json.loads((latest / "record.json").read_text())["plan_hash"] == content["plan_hash"]
    cases = list(ET.parse(latest / "junit.xml").iter("testcase"))  # noqa: S314 - our own file
    assert len(cases) >= len(content["verdicts"])
    assert not [case for case in cases if case.find("failure") is not None]


def test_every_journey_of_the_window_has_one_end(smoke: Ended) -> None:
    """Each planned journey has one last attempt on its main branch, with a named outcome."""
    whole = plan(scenario_file.load("smoke"), 7)
    planned = whole.window(*whole.busiest_window()).table["journey_id"].to_pylist()
    rows = pl.read_parquet(smoke.folder / "outcomes" / "load.parquet").filter(
        (pl.col("leg") == -1) & (pl.col("branch").cast(pl.String) == "main")
    )
    ends: dict[int, tuple[str, str]] = {}
    for row in rows.sort("end_us", "intended_us").to_dicts():
        ends[row["journey_id"]] = (row["step"], row["outcome"])
    assert sorted(ends) == sorted(planned)
    last_steps = {("pay", "ok"), ("check_status", "ok")}
    assert all(end in last_steps or end[1] != "ok" for end in ends.values())
    assert Counter(ends.values())["pay", "ok"] > 0.8 * len(ends)
    attempts = rows.select("journey_id", "step", "attempt").rows()
    assert len(attempts) == len(set(attempts))


def test_every_posted_payment_has_one_sms(smoke: Ended) -> None:
    """The gateway accepted exactly one message for each posted payment, and no other."""
    with sqlite3.connect(f"file:{smoke.folder / 'ledger.sqlite3'}?mode=ro", uri=True) as ledger:
        posted = ledger.execute(
            "SELECT transaction_id, bill_number, amount_paise FROM payments"
            " WHERE status IN ('CREDITED', 'REFUND_DUE')"
        ).fetchall()
        lines = ledger.execute("SELECT transaction_id, amount_paise FROM lines").fetchall()
        receipts = ledger.execute("SELECT transaction_id FROM receipts").fetchall()
    ledger.close()
    accepted = Counter(entry["reference"] for entry in log(smoke) if entry["entry"] == "accepted")
    payments = {transaction for transaction, _, _ in posted}
    assert len(payments) == len(posted) > 100
    assert accepted == Counter(payments)
    assert Counter(bill for _, bill, _ in posted).most_common(1)[0][1] == 1
    assert Counter(transaction for (transaction,) in receipts) == Counter(payments)
    balance: Counter[str] = Counter()
    for transaction, amount_paise in lines:
        balance[transaction] += amount_paise
    assert set(balance) == payments
    assert set(balance.values()) == {0}


def log(ended: Ended) -> list[dict[str, Any]]:
    """What the SMS gateway wrote down."""
    lines = (ended.folder / "messages.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_sms_arrive_at_the_stated_rate(smoke: Ended) -> None:
    """Delivered messages lie in SciPy's 99.9 % interval for the shares of the operators."""
    scenario = scenario_file.load("smoke")
    variants = scenario.stations["operator"].variants
    rate = sum(
        share * (1 - sum(failure.share for failure in variants[name].failures or ()))
        for name, share in scenario.operators.items()
    )
    accepted = sum(entry["entry"] == "accepted" for entry in log(smoke))
    delivered = sum(entry["entry"] == "delivered" for entry in log(smoke))
    low, high = stats.binom.interval(0.999, accepted, rate)
    assert low <= delivered <= high
    rows = pl.read_parquet(smoke.folder / "outcomes" / "load.parquet")
    heard = rows.filter(pl.col("step").cast(pl.String) == "sms")["outcome"].cast(pl.String)
    assert abs((heard == "ok").sum() - delivered) <= accepted - delivered


def test_a_run_is_told_without_secrets(smoke: Ended) -> None:
    """The token of the inboxes is in no file that others may read."""
    token = json.loads((smoke.folder / "secrets.json").read_text())["token"]
    readable = [
        path for path in smoke.folder.rglob("*")
        if path.is_file() and path.stat().st_mode & 0o077 and token.encode() in path.read_bytes()
    ]  # fmt: skip
    assert readable == []
    assert token not in smoke.out + smoke.err


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    """Where the hampered run sends its traces."""
    with collecting() as found:
        yield found


@pytest.fixture(scope="module")
def hampered(tmp_path_factory: pytest.TempPathFactory, collector: Collector) -> Ended:
    """A short run with a slow biller, on a machine whose pyzbar cannot load its library."""
    folder = tmp_path_factory.mktemp("hampered")
    broken = folder / "modules" / "pyzbar"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("")
    (broken / "pyzbar.py").write_text("raise ImportError('Unable to find zbar shared library')\n")
    env = {"PYTHONPATH": str(broken.parent)}
    return Run(
        folder / "results", "run", short(folder), "--slow", "biller=5",
        "--otlp", collector.url, "--trace-share", "0.5", env=env,
    ).end()  # fmt: skip


def test_a_biller_five_times_as_slow_fails(hampered: Ended) -> None:
    """A deliberate slowdown of the system under test is exit code 1, and the answer says what."""
    assert hampered.code == 1, hampered.err
    content = hampered.content
    assert content["word"] == "fail"
    assert "biller, median" in content["summary"]
    failed = {v["name"] for v in content["verdicts"] if v["gate"] and v["word"] == "fail"}
    assert "biller, median" in failed
    cases = ET.parse(hampered.folder / "junit.xml").iter("testcase")  # noqa: S314 - our own file
    assert any(case.find("failure") is not None for case in cases)


def test_a_run_without_zbar_says_so_and_goes_on(hampered: Ended) -> None:
    """When pyzbar cannot load its library, one sentence says what to do; others read instead."""
    said = [line for line in hampered.err.splitlines() if "ZBar library" in line]
    assert len(said) == 1
    assert "apt-get install libzbar0" in said[0]
    rows = pl.read_parquet(hampered.folder / "outcomes" / "load.parquet").filter(
        (pl.col("step").cast(pl.String) == "scan") & (pl.col("outcome").cast(pl.String) == "ok")
    )
    decoders = set(rows["code"].cast(pl.String))
    assert decoders
    assert "pyzbar" not in decoders


def test_a_part_of_the_journeys_is_traced(hampered: Ended, collector: Collector) -> None:
    """About the share that was asked for arrives at the collector, each journey whole."""
    rows = pl.read_parquet(hampered.folder / "outcomes" / "load.parquet")
    attempts = dict(rows.group_by("journey_id").len().iter_rows())
    traces = collector.traces()
    assert {n: len(steps) for n, (_, steps) in traces.items()} == {n: attempts[n] for n in traces}
    low, high = stats.binom.interval(0.999, len(attempts), 0.5)
    assert low <= len(traces) <= high < len(attempts)


def test_an_interrupted_run_leaves_nothing_running(tmp_path: Path) -> None:
    """Ctrl-C in the middle is exit code 130, and all that was started has ended."""
    run = Run(tmp_path / "results", "run", short(tmp_path))
    run.await_first_outcomes()
    started = run.started()
    assert len(started) >= 5
    run.process.send_signal(signal.SIGINT)
    ended = run.end()
    assert ended.code == 130
    assert "interrupted" in ended.err
    await_end(list(started))
    assert run.started() == {}


def test_a_run_that_is_killed_takes_everything_with_it(tmp_path: Path) -> None:
    """When nothing can be cleaned up any more, services and generator end by themselves."""
    run = Run(tmp_path / "results", "run", short(tmp_path))
    run.await_first_outcomes()
    started = run.started()
    assert len(started) >= 5
    run.process.kill()
    run.process.communicate()
    await_end(list(started))
    assert run.started() == {}


def test_a_service_that_crashes_makes_the_run_inconclusive(tmp_path: Path) -> None:
    """Exit code 3 with the name of the service; what was written is kept and reported."""
    run = Run(tmp_path / "results", "run", short(tmp_path))
    run.await_first_outcomes()
    (pid,) = (
        pid for pid, words in run.started().items()
        if "--service" in words and words[words.index("--service") + 1] == "biller"
    )  # fmt: skip
    os.kill(pid, signal.SIGKILL)
    ended = run.end()
    assert ended.code == 3, ended.err
    content = ended.content
    assert content["word"] == "inconclusive"
    assert content["summary"].startswith("Nothing can be said: biller: ended by itself")
    assert any(reason.startswith("biller: ") for reason in content["validity"]["reasons"])
    rows = pl.concat(
        pl.read_parquet(path).select("journey_id", pl.col("step").cast(pl.String))
        for path in (ended.folder / "outcomes").glob("load*.parquet")
    )
    assert rows.height > 0
    assert (ended.folder / "report.html").stat().st_size > 0
    assert ET.parse(ended.folder / "junit.xml").getroot().tag in ("testsuites", "testsuite")  # noqa: S314
    assert run.started() == {}
