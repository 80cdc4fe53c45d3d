"""``fewseconds scan evaluate`` as a stranger types it, and on real photographs where there are."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import cv2
import pytest

from fixtures import rendering

if TYPE_CHECKING:
    from pathlib import Path


def said(*arguments: object) -> subprocess.CompletedProcess[str]:
    """What the command says."""
    command = [sys.executable, "-m", "fewseconds", "scan", "evaluate", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=280)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pictures of codes, one of them with a wrong text, and one in a folder without codes."""
    place = tmp_path_factory.mktemp("photographs")
    (place / "streets").mkdir()
    for name in ("1", "2", "streets/3"):
        image = rendering.picture(rendering.matrix(f"text {name}"), 4)
        assert cv2.imwrite(str(place / f"{name}.png"), image)
    (place / "1.txt").write_text("text 1")
    (place / "2.txt").write_text("text [bold]")
    return place


def test_json_is_one_object_with_the_cascade_at_its_head(folder: Path) -> None:
    """The totals are those of the cascade, and every decoder has its line."""
    done = said(folder, "--negatives", folder / "streets", "--json")
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    totals = {key: result[key] for key in ("images", "decoded", "misread", "false_positives")}
    assert totals == {"images": 2, "decoded": 2, "misread": 1, "false_positives": 1}
    assert {"zxing-cpp", "opencv", "cascade"} <= set(result["by_decoder"])
    for score in result["by_decoder"].values():
        assert {"decoded", "misread", "ms_median", "ms_p95"} <= set(score)
        assert score["decoded"] == 2
    assert done.stderr.startswith(f"folder={folder} engine=decoders commit=")


def test_the_table_names_every_reading_that_should_not_be(folder: Path) -> None:
    """A misread picture is shown with what it says and what was read, brackets and all."""
    done = said(folder, "--decoder", "zxing-cpp")
    assert done.returncode == 0, done.stderr
    assert "3 of 3" in done.stdout
    assert "pyzbar" not in done.stdout
    assert "2.png: says 'text [bold]', cascade read 'text 2'" in done.stdout


def test_mistakes_of_usage_are_exit_code_2(folder: Path) -> None:
    """A folder or a decoder that does not exist is told in one line and in one JSON object."""
    for arguments in ((folder / "missing",), (folder, "--decoder", "zbar")):
        done = said(*arguments, "--json")
        assert done.returncode == 2
        assert json.loads(done.stdout)["exit_code"] == 2
        assert "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_real_photographs_are_read_as_their_texts_say(repository: Path) -> None:
    """Of ZXing's 180 test pictures 173 or more are read, none wrongly, and none without a code."""
    photos = repository.parent / "shared" / "photos" / "zxing"
    if not photos.is_dir():
        pytest.skip("the photographs are not on this machine")
    done = said(photos, "--decoder", "zxing-cpp", "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["images"] == 180
    assert result["decoded"] >= 173
    assert result["misread"] == result["false_positives"] == 0
    assert result["broken"] == []
    assert result["by_decoder"]["zxing-cpp"]["decoded"] < result["decoded"]
