"""The commands ``scan survey`` and ``scan law``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from typer.testing import CliRunner

from fewseconds.cli import app
from fixtures import surface

if TYPE_CHECKING:
    from pathlib import Path


def test_a_survey_leaves_artefact_page_and_pictures(tmp_path: Path) -> None:
    """A small survey says what it read and leaves an artefact that can be loaded, and a page."""
    asked = ["scan", "survey", "--media", "same_phone", "--renders", "160", "--workers", "1"]
    result = CliRunner().invoke(app, [*asked, "--out", str(tmp_path), "--json"])
    assert result.exit_code == 0, result.stderr
    told = json.loads(result.stdout)
    assert told["misread"] == 0
    assert {row["decoder"]: row["count"] for row in told["fits"]}["zxing-cpp"] == 166
    made = surface.load(str(tmp_path / "surface.json"))
    made.check()
    assert set(made.stations) == {"camera", "camera_place", "camera_hand"}
    assert "contact-same_phone.png" in (tmp_path / "index.html").read_text("utf-8")
    assert (tmp_path / "contact-same_phone.png").stat().st_size > 10_000


def test_an_unknown_medium_is_refused_before_anything_is_done(tmp_path: Path) -> None:
    """One sentence names the media there are."""
    asked = ["scan", "survey", "--media", "slate", "--out", str(tmp_path / "none")]
    result = CliRunner().invoke(app, asked)
    assert result.exit_code == 2
    assert "'slate' is unknown" in result.stderr
    assert not (tmp_path / "none").exists()


def test_the_law_is_told_three_ways_without_a_camera() -> None:
    """Surface, chain and draws agree on how many are read at once, for every medium and scanner."""
    asked = ["scan", "law", "--rendered", "0", "--people", "400", "--json"]
    result = CliRunner().invoke(app, asked)
    assert result.exit_code == 0, result.stderr
    rows = json.loads(result.stdout)["rows"]
    ways = {way: [row["first_frame"] for row in rows if row["way"] == way]
            for way in ("surface", "law", "walked")}  # fmt: skip
    for told in zip(*ways.values(), strict=True):
        assert max(told) - min(told) < 0.1
