"""load run as a person starts it: what it leaves behind, and what a collector hears of it."""

from __future__ import annotations

import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fewseconds import markdown, measures
from fewseconds.outcomes import SCHEMA
from tests.loadtests.collector import Collector, attributes, collecting

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.slow, pytest.mark.timeout(200)]

SHORT = """
extends = "smoke"
tripwire = false
plan_hash = ""
[load]
duration_s = 3
drain_s = 15
"""


class Left(NamedTuple):
    """What a run has left behind."""

    code: int
    arguments: list[str]
    said: dict[str, Any]
    folder: Path
    collector: Collector

    def rows(self) -> pl.DataFrame:
        """The clients' rows."""
        files = sorted((self.folder / self.said["outcomes"]).glob("*.parquet"))
        assert all(pq.read_schema(file).names == SCHEMA.names for file in files)
        everything = measures.frame(pa.concat_tables(pq.read_table(file) for file in files))
        return everything.filter(pl.col("observer") == "client")


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Left]:
    """A short run to its end, every journey of it traced."""
    folder = tmp_path_factory.mktemp("load-run")
    (folder / "short.toml").write_text(SHORT)
    with collecting() as collector:
        arguments = [
            "load", "run", "short.toml", "--decoding", "printed", "--otlp", collector.url,
            "--trace-share", "1.0", "--json",
        ]  # fmt: skip
        ended = subprocess.run(
            [sys.executable, "-m", "fewseconds", *arguments],
            cwd=folder, capture_output=True, text=True, check=False, timeout=180,
        )  # fmt: skip
        said = json.loads(ended.stdout)
        assert ended.returncode == said["exit_code"], ended.stderr
        yield Left(ended.returncode, arguments, said, folder, collector)


def test_what_a_load_run_leaves_says_one_thing(left: Left) -> None:
    """JSON, JUnit, Markdown and the exit code agree, and the outcomes are there as Parquet."""
    said, folder = left.said, left.folder
    suite = ET.parse(folder / said["junit"]).getroot()[0]  # noqa: S314 - our own
    told = {one.get("name"): one.get("value") for one in suite.iter("property")}
    assert told["verdict"] == said["word"]
    assert told["exit_code"] == str(left.code)
    assert told["command"] == "fewseconds " + " ".join(left.arguments)
    red = int(suite.get("failures", "0")) + int(suite.get("errors", "0"))
    assert (red > 0) == (left.code != 0)
    summary = (folder / said["markdown"]).read_text()
    assert Path(said["markdown"]).name == markdown.FILE_NAME
    assert f"## {markdown.SIGNS[said['word']]} {said['word']}" in summary
    assert "simulated" not in summary
    assert left.rows()["journey_id"].n_unique() == said["journeys"] > 0


def test_every_journey_arrives_at_the_collector_as_one_trace(left: Left) -> None:
    """A journey's span is the parent of a span for every attempt, with its outcome and length."""
    traces, rows = left.collector.traces(), left.rows()
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
