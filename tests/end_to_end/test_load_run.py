"""load run as a person starts it: what it leaves behind for a CI job to show and to count."""

from __future__ import annotations

import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from fewseconds import markdown
from fewseconds.outcomes import SCHEMA

pytestmark = [pytest.mark.slow, pytest.mark.timeout(200)]

SHORT = """
extends = "smoke"
tripwire = false
plan_hash = ""
[load]
duration_s = 3
drain_s = 15
"""


def test_what_a_load_run_leaves_says_one_thing(tmp_path: Path) -> None:
    """JSON, JUnit, Markdown and the exit code agree, and the outcomes are there as Parquet."""
    (tmp_path / "short.toml").write_text(SHORT)
    command = ["load", "run", "short.toml", "--decoding", "printed", "--json"]
    ended = subprocess.run(
        [sys.executable, "-m", "fewseconds", *command],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=180,
    )  # fmt: skip
    said = json.loads(ended.stdout)
    assert ended.returncode == said["exit_code"], ended.stderr
    suite = ET.parse(tmp_path / said["junit"]).getroot()[0]  # noqa: S314 - our own
    told = {one.get("name"): one.get("value") for one in suite.iter("property")}
    assert told["verdict"] == said["word"]
    assert told["exit_code"] == str(ended.returncode)
    assert told["command"] == "fewseconds " + " ".join(command)
    red = int(suite.get("failures", "0")) + int(suite.get("errors", "0"))
    assert (red > 0) == (ended.returncode != 0)
    summary = (tmp_path / said["markdown"]).read_text()
    assert Path(said["markdown"]).name == markdown.FILE_NAME
    assert f"## {markdown.SIGNS[said['word']]} {said['word']}" in summary
    assert "simulated" not in summary
    rows = [pq.read_table(file) for file in (tmp_path / said["outcomes"]).glob("*.parquet")]
    assert all(one.schema.names == SCHEMA.names for one in rows)
    journeys = {one for table in rows for one in table["journey_id"].to_pylist()}
    assert len(journeys) >= said["journeys"] > 0
