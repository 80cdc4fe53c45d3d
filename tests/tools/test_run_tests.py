"""The two turns of ``make test`` and ``make slow``, on a small folder of tests."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

SETTINGS = """
[tool.pytest.ini_options]
addopts = ["-p xdist", "-p no:cacheprovider", "-m not slow"]
markers = ["slow: takes long", "alone: beside no other"]
"""
TESTS = """
import os, pathlib, pytest
def note(name):
    worker = "shared" if "PYTEST_XDIST_WORKER" in os.environ else "alone"
    with pathlib.Path("notes").open("a") as notes:
        notes.write(f"{name} {worker}\\n")
def test_one(): note("one"); assert "one" not in os.environ["FAIL"]
@pytest.mark.alone
def test_two(): note("two"); assert "two" not in os.environ["FAIL"]
@pytest.mark.slow
def test_three(): note("three")
"""


def run(folder: Path, repository: Path, kind: str, fail: str = "") -> tuple[int, dict[str, str]]:
    """Exit code, and in which worker each test was."""
    (folder / "pyproject.toml").write_text(SETTINGS)
    (folder / "test_small.py").write_text(TESTS)
    settings = {name: value for name, value in os.environ.items() if "PYTEST" not in name}
    # Others' plugins take seconds to import.
    settings["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    done = subprocess.run(
        [sys.executable, repository / "tools" / "run_tests.py", kind],
        cwd=folder, env=settings | {"FAIL": fail}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    notes = (folder / "notes").read_text().split()
    assert len(set(notes[::2])) == len(notes[::2]), "a test ran twice"
    return done.returncode, dict(zip(notes[::2], notes[1::2], strict=True))


@pytest.mark.parametrize(("fail", "code"), [("", 0), ("one", 1), ("two", 1)])
def test_each_test_has_its_turn(tmp_path: Path, repository: Path, fail: str, code: int) -> None:
    """What may share is in a worker, the other is not, and a failure in either turn is one."""
    assert run(tmp_path, repository, "test", fail) == (code, {"one": "shared", "two": "alone"})


def test_a_turn_without_tests_is_no_failure(tmp_path: Path, repository: Path) -> None:
    """Of the slow ones none needs to be alone."""
    assert run(tmp_path, repository, "slow") == (0, {"three": "shared"})
