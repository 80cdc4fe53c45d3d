"""``fewseconds scan bill`` writes one page and says what its code holds."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import cv2
import pytest
import zxingcpp
from typer.testing import CliRunner

from fewseconds import cli

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(("placard", "symbol_mm"), [([], 27.0), (["--placard"], 90.0)])
def test_the_code_on_the_page_is_the_link_that_is_printed(
    tmp_path: Path, placard: list[str], symbol_mm: float
) -> None:
    """A decoder reads from the picture what the command says stands on it."""
    path = tmp_path / "new" / "bill.png"
    asked = ["scan", "bill", "smoke", "--consumer", "3", "--out", str(path), "--json", *placard]
    result = CliRunner().invoke(cli.app, asked)
    assert result.exit_code == 0
    said = json.loads(result.stdout)
    image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    assert image is not None
    assert [code.text for code in zxingcpp.read_barcodes(image)] == [said["link"]]
    assert said["symbol_mm"] == symbol_mm
    assert f"tr={said['bill']}&" in said["link"]
    assert f"am={said['amount_paise'] // 100}." in said["link"]


def test_a_pdf_is_written(tmp_path: Path) -> None:
    """The other kind of file is a PDF."""
    path = tmp_path / "bill.pdf"
    result = CliRunner().invoke(cli.app, ["scan", "bill", "smoke", "--out", str(path)])
    assert result.exit_code == 0
    assert path.read_bytes().startswith(b"%PDF-")
    assert "upi://pay?" in result.stdout


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (["--out", "bill.jpg"], "✗ --out 'bill.jpg'"),
        (["--consumer", "100000000"], "✗ --consumer 100000000"),
        (["--out", "/dev/null/bill.pdf"], "✗ /dev/null/bill.pdf: cannot be written"),
    ],
)
def test_what_cannot_be_printed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: list[str], said: str
) -> None:
    """An unknown kind of file, an unknown consumer and a bad folder are the user's to correct."""
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(cli.app, ["scan", "bill", "smoke", *wrong])
    assert result.exit_code == 2
    assert said in result.stderr
    assert not list(tmp_path.iterdir())
