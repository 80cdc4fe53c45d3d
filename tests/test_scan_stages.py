"""``fewseconds scan stages`` as a stranger types it: counts that add up, times, JSON."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from fixtures import decoding, fallbacks, rendering, stage_table, wide_scene

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def said(*arguments: object) -> subprocess.CompletedProcess[str]:
    """What the command says."""
    command = [sys.executable, "-m", "fewseconds", "scan", "stages", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=280)


def test_json_counts_agree_with_zxing_itself() -> None:
    """What is read as it is, is what zxing-cpp alone reads of the same pictures."""
    count, megapixels = 17, 0.3
    done = said("--pictures", count, "--megapixels", megapixels, "--without-codes", 2, "--json")
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    made = [wide_scene.scene(1, number, megapixels) for number in range(count)]
    read = [decoding.decode(one.image, "zxing-cpp").text is not None for one in made]
    assert result["pictures"] == count
    assert result["read_as_they_are"] == sum(read)
    assert result["misread"] == result["false_positives"] == 0
    assert result["without_code"] == 2
    assert sum(row["new"] for row in result["stages"]) == result["read_by_stages"]
    for row in result["stages"]:
        assert row["new"] <= row["alone"] <= count - sum(read)
    assert sum(one["pictures"] for one in result["categories"]) == count


def test_a_folder_is_read_with_the_texts_beside_its_pictures(tmp_path: Path) -> None:
    """A specked picture is read by the median, and a wrong label is a wrong text."""
    sharp = rendering.picture(rendering.matrix("specked"), 4)
    draw = np.random.default_rng(5)
    for level in (0, 255):
        sharp[draw.random(sharp.shape) < 0.1] = level
    assert cv2.imwrite(str(tmp_path / "1.png"), sharp)
    (tmp_path / "1.txt").write_text("specked")
    done = said(tmp_path)
    assert done.returncode == 0, done.stderr
    assert "0 read by zxing-cpp as they are, 1 more by the stages; 0 wrong texts" in done.stdout
    (tmp_path / "1.txt").write_text("spotless")
    assert json.loads(said(tmp_path, "--json").stdout)["misread"] > 0


def test_a_text_where_no_code_is_counts_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A planted stage that sees what is not there is found out, as wrong and as false."""
    planted = fallbacks.Stage("planted", "zxing-cpp", lambda _gray: "seen in the clouds")
    monkeypatch.setattr(fallbacks, "STAGES", (planted,))
    blank = np.add.outer(np.arange(64, dtype=np.uint8), np.arange(64, dtype=np.uint8))
    samples = [
        stage_table.Sample("sky", blank, {"a code"}.__contains__, shows_code=shown)
        for shown in (True, False, False)
    ]
    table = stage_table.stage_table(samples)
    assert (table.misread, table.false_positives, table.without_code) == (1, 2, 2)
    assert table.read_by_stages == 1


def test_wide_pictures_are_enlarged_as_square_ones_of_as_many_pixels_are() -> None:
    """Doubling reads tiny modules in a picture of 1500 x 800, and tries none much larger."""
    tiny = cv2.resize(
        rendering.picture(rendering.matrix("far away and out of focus"), 6),
        None,
        fx=0.25,
        fy=0.25,
        interpolation=cv2.INTER_AREA,
    )
    wide = np.full((800, 1500), 255, np.uint8)
    wide[300 : 300 + len(tiny), 700 : 700 + len(tiny)] = tiny
    double = next(stage for stage in fallbacks.STAGES if stage.name == "double")
    assert fallbacks.attempt(double, wide) == "far away and out of focus"
    assert fallbacks.attempt(double, np.pad(wide, 400, constant_values=255)) is None
