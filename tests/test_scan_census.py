"""``fewseconds scan census`` as a stranger types it, also when it is cut off or loses a worker."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import psutil
import pyarrow.parquet as pq
import pytest

from fewseconds.commands.census import Wish, scan_census
from fixtures import decoding

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

BLOCKS = 4
CONSUMERS = 4 * 256
MANY = ("smoke", "--consumers", CONSUMERS, "--medium", "same_phone")


def command(*arguments: object) -> list[str]:
    """What is typed."""
    return [sys.executable, "-m", "fewseconds", "scan", "census", *map(str, arguments), "--json"]


def said(*arguments: object) -> subprocess.CompletedProcess[str]:
    """What the command says."""
    return subprocess.run(
        command(*arguments), capture_output=True, text=True, check=False, timeout=280
    )


def test_json_is_one_object_that_adds_up(tmp_path: Path) -> None:
    """Consumers, media and speeds agree with the file; a second run finds all of it counted."""
    done = said("smoke", "--consumers", 30, "--out", tmp_path, "--workers", 1)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["scenario"], result["consumers"], result["misread"]) == ("smoke", 30, 0)
    assert result["scans_per_core_s"] == pytest.approx(30 / result["cpu_s"], rel=0.01)
    assert sum(counts["consumers"] for counts in result["by_medium"].values()) == 30
    table = pq.read_table(tmp_path / "outcomes.parquet")
    assert table.num_rows == 30
    assert table["outcome"].to_pylist().count("ok") == result["decoded"]
    before = (tmp_path / "outcomes.parquet").read_bytes()
    again = json.loads(said("smoke", "--consumers", 30, "--out", tmp_path).stdout)
    assert (again["resumed"], again["decoded"]) == (30, result["decoded"])
    assert again["scans_per_core_s"] == result["scans_per_core_s"]
    assert (tmp_path / "outcomes.parquet").read_bytes() == before
    refused = said("smoke", "--consumers", 31, "--out", tmp_path)
    assert refused.returncode == 2
    assert "consumers 30, not 31" in json.loads(refused.stdout)["error"]


def test_mistakes_of_usage_are_exit_code_2(tmp_path: Path) -> None:
    """An unknown medium or decoder is told in one line and in one JSON object."""
    for wrong in (("--medium", "paper"), ("--decoder", "zbar")):
        done = said("smoke", "--consumers", 3, "--out", tmp_path, *wrong)
        assert done.returncode == 2
        assert "choose one of" in json.loads(done.stdout)["error"]
        assert "Traceback" not in done.stderr


def test_a_misread_is_exit_code_1_and_can_be_repeated(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A decoder that changes a text is named with consumer, frame and the command to repeat it."""
    honest = decoding.decode

    def lying(image: object, decoder: str) -> decoding.Reading:
        reading = honest(image, decoder)  # type: ignore[arg-type]
        text = None if reading.text is None else reading.text + "\n"
        return decoding.Reading(text, decoder, reading.elapsed_us)

    monkeypatch.setattr(decoding, "decode", lying)

    def tried(out: str, only: int | None) -> dict[str, Any]:
        wish = Wish(
            name="smoke", consumers=2, medium="same_phone", decoder="zxing-cpp", workers=1,
            out=tmp_path / out, only=only,
        )  # fmt: skip
        assert scan_census(wish, as_json=True) == 1
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        return result

    result = tried("all", None)
    assert (result["decoded"], result["misread"]) == (2, 2)
    assert "frame 1 on same_phone" in result["misreads"][0]
    repeat = result["misreads"][0].split("`")[1]
    consumer = int(repeat.rsplit(" ", 1)[1])
    assert repeat.startswith("fewseconds scan census smoke --seed ")
    assert "--medium same_phone --decoder zxing-cpp --frames 1 --only " in repeat
    alone = tried("alone", consumer)
    assert alone["consumers"] == 1
    assert alone["misreads"] == result["misreads"][:1]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], bytes]:
    """Answer and rows of a census that nothing befell."""
    place = tmp_path_factory.mktemp("undisturbed")
    done = said(*MANY, "--out", place)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), (place / "outcomes.parquet").read_bytes()


def same(answer: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two answers counted the same."""
    return all(answer[key] == other[key] for key in ("consumers", "decoded", "misread"))


def when_begun(
    place: Path, arguments: tuple[object, ...], deed: Callable[[psutil.Process], None]
) -> subprocess.CompletedProcess[str]:
    """Do a deed to a running census as soon as its first block is counted."""
    with subprocess.Popen(
        command(*arguments, "--out", place),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            until_s = time.monotonic() + 120
            while not any(place.glob("blocks/*.parquet")):
                with contextlib.suppress(subprocess.TimeoutExpired):
                    assert process.wait(0.1) is None, "it ended before its first block"
                assert time.monotonic() < until_s
            deed(psutil.Process(process.pid))
            stdout, _ = process.communicate(timeout=200)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    return subprocess.CompletedProcess((), process.returncode, stdout, "")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_census_killed_in_the_middle_goes_on(
    tmp_path: Path, undisturbed: tuple[dict[str, Any], bytes]
) -> None:
    """After kill -9 the same command ends with the same rows, and repeats no counted block."""
    killed = when_begun(tmp_path, (*MANY, "--workers", 1), psutil.Process.kill)
    assert killed.returncode == -signal.SIGKILL
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.glob("blocks/*.parquet")}
    assert 1 <= len(kept) < BLOCKS
    answer = json.loads(said(*MANY, "--out", tmp_path).stdout)
    assert answer["resumed"] == 256 * len(kept)
    assert same(answer, undisturbed[0])
    assert (tmp_path / "outcomes.parquet").read_bytes() == undisturbed[1]
    assert all(path.stat().st_mtime_ns == moment for path, moment in kept.items())


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_cluster_that_loses_a_worker_counts_everybody_once(
    tmp_path: Path, undisturbed: tuple[dict[str, Any], bytes]
) -> None:
    """Of two Dask workers one is killed in the middle; rows and counts stay the same."""

    def kill_one(census: psutil.Process) -> None:
        workers = [
            child
            for child in census.children()
            if any("spawn_main" in word for word in child.cmdline())
        ]
        assert len(workers) == 2
        workers[0].kill()

    done = when_begun(tmp_path, (*MANY, "--cluster", "local:2"), kill_one)
    assert done.returncode == 0
    assert same(json.loads(done.stdout), undisturbed[0])
    assert (tmp_path / "outcomes.parquet").read_bytes() == undisturbed[1]
