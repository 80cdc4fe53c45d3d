"""``fewseconds scan validate`` as a stranger types it."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from fewseconds.cli import app
from fixtures import severity

if TYPE_CHECKING:
    from pathlib import Path


def said(*arguments: object) -> subprocess.CompletedProcess[str]:
    """What the command says."""
    command = [sys.executable, "-m", "fewseconds", "scan", "validate", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=580)


def test_a_folder_that_cannot_be_used_is_exit_code_2(tmp_path: Path) -> None:
    """Missing, empty, and without codes to split: one sentence and one JSON object each."""
    for place in (tmp_path / "missing", tmp_path):
        done = said(place, "--json")
        assert done.returncode == 2
        assert "photograph" in json.loads(done.stdout)["error"]
        assert "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_real_photographs_are_compared(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Six categories of ZXing's pictures are judged, and the better decoder is better in both."""
    photos = repository.parent / "shared" / "photos" / "zxing"
    if not photos.is_dir():
        pytest.skip("the photographs are not on this machine")
    # Simulating takes most of the time, and a quarter of the frames tells these decoders apart.
    monkeypatch.setattr(severity, "FRAMES", 10)
    done = CliRunner().invoke(app, ["scan", "validate", str(photos), "--json"])
    assert done.exit_code == 0, done.stderr
    result = json.loads(done.stdout)
    assert len(result["categories"]) == 6
    for order in (result["real_order"], result["simulated_order"]):
        assert order.index("cascade") < order.index("opencv")
        assert order.index("zxing-cpp") < order.index("opencv")
    assert result["gap_pp_mean"] < 25
    assert result["verdict"]
