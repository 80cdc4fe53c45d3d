"""load run as a person starts it: what it leaves behind, its traces, its corpus, its baseline."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest

from fewseconds import markdown, measures, outcomes
from fewseconds.acknowledgements import Acknowledgement
from fewseconds.errors import EXIT_GATE_FAILED
from fewseconds.outcomes import SCHEMA
from tests.loadtests.collector import Collector, attributes, collecting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SHORT = """
extends = "smoke"
tripwire = false
plan_hash = ""
[load]
duration_s = 4
drain_s = 15
"""
SLOWER = 3


class Ran(NamedTuple):
    """What the command line has printed and returned."""

    code: int
    said: dict[str, Any]
    words: tuple[str, ...]
    at: Path

    def client(self, *columns: str) -> pl.DataFrame:
        """Rows of the phones."""
        rows = measures.frame(outcomes.read(self.at / self.said["outcomes"]))
        kept = rows.filter(pl.col("observer") == "client").sort("journey_id", "start_us")
        return kept.with_columns(us=pl.col("end_us") - pl.col("start_us")).select(columns)


@pytest.fixture(scope="module")
def fewseconds(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Ran]:
    """The command line, in a folder with a scenario of a hundred payments in four seconds."""
    at = tmp_path_factory.mktemp("load-run")
    (at / "short.toml").write_text(SHORT)

    def run(*words: str) -> Ran:
        ended = subprocess.run(
            [sys.executable, "-m", "fewseconds", *words, "--json"],
            cwd=at, capture_output=True, text=True, check=False, timeout=180,
        )  # fmt: skip
        assert ended.stdout, ended.stderr
        return Ran(ended.returncode, json.loads(ended.stdout), (*words, "--json"), at)

    return run


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    """Where traces go."""
    with collecting() as listening:
        yield listening


@pytest.fixture(scope="module")
def base(fewseconds: Callable[..., Ran], collector: Collector) -> Ran:
    """A run with scans that were decoded before, every journey of it traced."""
    assert fewseconds("load", "corpus", "short.toml", "scans.parquet").code == 0
    traced = ("--otlp", collector.url, "--trace-share", "1.0")
    return fewseconds("load", "run", "short.toml", "--decoding", "scans.parquet", *traced)


def test_what_a_load_run_leaves_says_one_thing(base: Ran) -> None:
    """JSON, JUnit, Markdown and the exit code agree, and the outcomes are there as Parquet."""
    said = base.said
    assert base.code == said["exit_code"]
    suite = ET.parse(base.at / said["junit"]).getroot()[0]  # noqa: S314 - our own
    told = {one.get("name"): one.get("value") for one in suite.iter("property")}
    assert told["verdict"] == said["word"]
    assert told["exit_code"] == str(base.code)
    assert told["command"] == "fewseconds " + " ".join(base.words)
    red = int(suite.get("failures", "0")) + int(suite.get("errors", "0"))
    assert (red > 0) == (base.code != 0)
    summary = (base.at / said["markdown"]).read_text()
    assert Path(said["markdown"]).name == markdown.FILE_NAME
    assert f"## {markdown.SIGNS[said['word']]} {said['word']}" in summary
    assert "simulated" not in summary
    assert "The scans are those of scans.parquet" in summary
    rows = [pq.read_table(file) for file in (base.at / said["outcomes"]).glob("*.parquet")]
    assert all(one.schema.names == SCHEMA.names for one in rows)
    journeys = {one for table in rows for one in table["journey_id"].to_pylist()}
    assert len(journeys) >= said["journeys"] > 0


def test_services_and_phones_tell_the_same_time(base: Ran) -> None:
    """What a service notes of a phone's request lies between its sending and its answer."""
    rows = measures.frame(outcomes.read(base.at / base.said["outcomes"]))
    keys = ["journey_id", "branch", "step", "attempt"]
    asked = rows.filter(
        pl.col("observer").eq("client") & pl.col("step").is_in(["resolve", "pay"])
        & pl.col("outcome").eq("ok")
    ).select(*keys, sent_us="start_us", answered_us="end_us")  # fmt: skip
    visits = rows.filter(pl.col("observer").eq("server")).join(asked, on=keys)
    assert visits["journey_id"].n_unique() > 50
    outside = visits.filter(
        (pl.col("start_us") < pl.col("sent_us")) | (pl.col("end_us") > pl.col("answered_us"))
    )
    assert outside.is_empty()


def test_every_journey_arrives_at_the_collector_as_one_trace(
    base: Ran, collector: Collector
) -> None:
    """A journey's span is the parent of a span for every attempt, with its outcome and length."""
    traces = collector.traces()
    rows = base.client("journey_id", "step", "attempt", "outcome", "start_us", "end_us")
    assert set(traces) == set(rows["journey_id"])
    spans = Counter(
        (
            journey, span.name, attributes(span)["fewseconds.attempt"],
            attributes(span)["fewseconds.outcome"],
            span.end_time_unix_nano - span.start_time_unix_nano,
        )
        for journey, (_, steps) in traces.items()
        for span in steps
    )  # fmt: skip
    attempts = rows.select(
        "journey_id", pl.col("step").cast(pl.String), "attempt",
        pl.col("outcome").cast(pl.String), 1000 * (pl.col("end_us") - pl.col("start_us")),
    )  # fmt: skip
    assert spans == Counter(attempts.rows())
    paid = [steps for root, steps in traces.values() if root.name == "qr_ebill"]
    assert any({"scan", "resolve", "pay", "sms"} <= {one.name for one in steps} for steps in paid)
    for root, steps in traces.values():
        assert root.start_time_unix_nano <= min(one.start_time_unix_nano for one in steps)
        assert root.end_time_unix_nano == max(one.end_time_unix_nano for one in steps)


def test_a_corpus_pays_what_the_camera_pays(base: Ran, fewseconds: Callable[..., Ran]) -> None:
    """The same frames lead to the same bills and amounts; each takes as long as the corpus says."""
    camera = fewseconds("load", "run", "short.toml", "--decoding", "camera")
    frames = ("journey_id", "step", "attempt", "outcome", "code")
    seen, taken = (
        one.client(*frames).filter(pl.col("step") == "scan").rows() for one in (camera, base)
    )
    assert seen == taken
    assert len(taken) > base.said["journeys"]
    paid = [acknowledged(one) for one in (camera, base)]
    assert paid[0] == paid[1]
    assert sum(one[-1] == "SUCCESS" for one in paid[1]) > base.said["journeys"] / 2
    kept = pl.read_parquet(base.at / "scans.parquet")
    charged = base.client("journey_id", "step", "us").filter(pl.col("step") == "scan")
    assert (
        charged.group_by("journey_id", maintain_order=True).agg("us").rows()
        == kept.sort("journey_id").select("journey_id", "decode_us").rows()
    )


def acknowledged(ran: Ran) -> list[tuple[int, str, int, int, str]]:
    """What payers were told at last: journey, bill, amount paid and printed, state."""
    lines = (ran.at / ran.said["folder"] / "acknowledgements").glob("*.jsonl")
    told = [
        msgspec.json.decode(line, type=Acknowledgement)
        for file in lines
        for line in file.read_bytes().splitlines()
    ]
    last = {one.journey_id: one for one in sorted(told, key=lambda one: one.at_us)}
    return [
        (one.journey_id, one.bill_number, one.amount_paise, one.printed_paise, one.status)
        for _, one in sorted(last.items())
    ]


def test_a_slower_bank_is_found_beside_the_baseline(
    base: Ran, fewseconds: Callable[..., Ran]
) -> None:
    """The interval holds what three times the bank's own times come to, and the gate fails."""
    slow = f"remitter_bank={SLOWER}"
    run = fewseconds("load", "run", "short.toml", "--decoding", "scans.parquet", "--slow", slow)
    found = fewseconds("compare", run.said["folder"], base.said["folder"], "--across")
    assert (found.code, found.said["exit_code"]) == (EXIT_GATE_FAILED, EXIT_GATE_FAILED)
    told = {(one["kind"], one["name"], one["statistic"]): one for one in found.said["rows"]}
    pay = told["step", "pay", "p50"]
    before = measures.frame(outcomes.read(base.at / base.said["outcomes"]))
    bank = before.filter((pl.col("station") == "remitter_bank") & (pl.col("attempt") == 1))
    own = bank.select("journey_id", us=pl.col("end_us") - pl.col("service_start_us"))
    paid = base.client("journey_id", "step", "us").filter(pl.col("step") == "pay")
    both = paid.join(own, on="journey_id", how="left", suffix="_bank").fill_null(0)
    after_us = both["us"] + (SLOWER - 1) * both["us_bank"]
    truth = float(np.median(after_us) / np.median(both["us"])) - 1
    assert truth > 0.5
    assert pay["effect"]["low"] < truth < pay["effect"]["high"]
    assert pay["significant"]
    assert told["measure", "machine_time", "p50"]["word"] == "fail"
    assert told["step", "scan", "p50"]["effect"]["change"] == pytest.approx(0, abs=0.001)


HUNG = """
extends = "smoke"
tripwire = false
plan_hash = ""
[load]
duration_s = 600
drain_s = 3
[[slo]]
name = "machine time, median"
measure = "machine_time"
statistic = "p50"
limit = 1.0
gate = true
source = "quick for a test"
"""


def started_with(mark: str) -> list[int]:
    """Processes that run with this word in the environment they were given (see proc(5))."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and mark.encode() in (entry / "environ").read_bytes():
                found.append(int(entry.name))
    return found


@pytest.mark.alone
def test_a_target_that_hangs_ends_the_run_by_itself(tmp_path: Path) -> None:
    """It accepts and never answers: ten minutes of load are given up, failed, and tidied up."""
    (tmp_path / "hung.toml").write_text(HUNG)
    mark = f"fewseconds-test-{secrets.token_hex(8)}"
    words = ["load", "run", "hung.toml", "--decoding", "printed", "--abort-after", "2s", "--json"]
    # Nobody takes the connections, but the system lets them in and keeps what is sent.
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as deaf:
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        ended = subprocess.run(
            [sys.executable, "-m", "fewseconds", *words, "--psp-url", url],
            cwd=tmp_path, capture_output=True, text=True, check=False, timeout=180,
            env=os.environ | {"FEWSECONDS_TEST": mark},
        )  # fmt: skip
    assert started_with(mark) == []
    assert ended.returncode == EXIT_GATE_FAILED, ended.stderr
    said = json.loads(ended.stdout)
    assert (said["word"], said["exit_code"]) == ("fail", EXIT_GATE_FAILED)
    assert said["validity"]["valid"], said["validity"]
    assert said["aborted"]
    (gate,) = said["verdicts"]
    assert (gate["name"], gate["word"]) == ("machine time, median", "fail")
    assert any("'machine time, median' had been broken" in note for note in said["notes"])
    # Nobody was answered, nobody was dropped, and whoever had set out has an end with a name.
    begun = said["generator"]["started"]
    assert set(said["fates"]) <= {"unfinished", "left"}
    assert 0 < begun == said["generator"]["intended"] == sum(said["fates"].values())
    assert said["generator"]["dropped"] == 0
    assert begun < said["journeys"] / 4
    suite = ET.parse(tmp_path / said["junit"]).getroot()[0]  # noqa: S314 - our own
    red = {case.get("name") for case in suite.iter("testcase") if case.find("failure") is not None}
    assert red == {"machine time, median (measured)", "the run went to its end"}
    assert suite.get("errors") == "0"
    told = {one.get("name"): one.get("value") for one in suite.iter("property")}
    assert (told["verdict"], told["exit_code"]) == ("fail", "1")
    assert str(told["summary"]).startswith("No: machine time, median (measured) is never")


def test_a_target_that_is_down_has_failed(fewseconds: Callable[..., Ran]) -> None:
    """Nobody listens at the address of somebody's PSP: a gate is broken, and nothing else is."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        closed = f"http://127.0.0.1:{listening.getsockname()[1]}"
    words = ("load", "run", "short.toml", "--decoding", "printed", "--psp-url", closed)
    ran = fewseconds(*words)
    (errors,) = [one for one in ran.said["verdicts"] if one["measure"] == "error_rate"]
    assert errors["observed"] == 1.0
    assert all(check["passed"] for check in ran.said["checks"])
    # Also on a machine that has no time for the generator.
    assert (ran.code, ran.said["word"]) == (EXIT_GATE_FAILED, "fail")
    assert any("Every connection was refused" in note for note in ran.said["notes"])
