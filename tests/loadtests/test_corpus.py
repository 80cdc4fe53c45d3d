"""The corpus of scans: it says what a camera says, and is refused where it does not belong."""

from __future__ import annotations

import contextlib
import subprocess
from argparse import ArgumentParser
from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewseconds import scenario_file
from fewseconds.commands.load_run import scans
from fewseconds.errors import HarnessError, MalformedError, UsageError
from fewseconds.plan import Plan, plan
from fewseconds.shapes import Shape
from fixtures import scanning
from loadtests import corpus, decoders
from loadtests.plain import EVERYBODY, add_options, orders

if TYPE_CHECKING:
    from pathlib import Path

COUNT = 12


def silent(_stage: str, _share: float) -> None:
    """Say nothing."""


@pytest.fixture(scope="module")
def whole() -> Plan:
    """A plan."""
    return plan(scenario_file.load("smoke"), 7)


@pytest.fixture(scope="module")
def some(whole: Plan) -> Plan:
    """The first journeys of its window."""
    return Shape(journeys_max=COUNT).window(whole)[0]


@pytest.fixture(scope="module")
def file(whole: Plan, some: Plan, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Their scans."""
    path = tmp_path_factory.mktemp("corpus") / "scans.parquet"
    corpus.make(path, some, whole.digest, (), 2, silent)
    return path


def test_a_corpus_says_what_the_camera_says(whole: Plan, some: Plan, file: Path) -> None:
    """Every worker finds the scans of its rows, as a camera makes them once more."""
    made = corpus.fitting(file, some, whole.digest, ())
    assert (made.seed, made.scans, made.plan_hash) == (7, COUNT, whole.digest)
    _, table = corpus.read(file)
    asked = {row.journey_id: row for row in decoders.work(some)}
    found = []
    for index in range(3):
        share = some.share(index, 3)
        mine = corpus.Corpus(corpus.share(table, share))
        scans = [mine.of(row) for row in share.rows()]
        assert mine.typed == sum(scan.text is None for scan in scans)
        assert mine.misreads == sum(scan.misread for scan in scans) == 0
        found += scans
    assert {scan.journey_id for scan in found} == set(some.table["journey_id"].to_pylist())
    assert len(found) == COUNT
    for scan in found:
        row = asked[scan.journey_id]
        seen = scanning.scan(
            7, row.journey_id, row.bill_index, row.medium, row.decoder, row.frames_max,
            counter=row.counter, persistence=row.persistence,
        )  # fmt: skip
        assert (scan.text, scan.decoder, scan.frames) == (seen.text, seen.decoder, seen.frames)
        assert len(scan.decode_us) == scan.frames
        assert min(scan.decode_us) > 0


def test_a_corpus_of_something_else_is_refused(whole: Plan, some: Plan, file: Path) -> None:
    """Another seed, plan, stretch of the plan, or other apps: each is said, with what to do."""
    other = Plan(whole.scenario, 8, some.table)
    longer, _ = Shape(journeys_max=COUNT + 2).window(whole)
    apps = {
        name: msgspec.structs.replace(
            app, scanner="opencv" if app.scanner != "opencv" else "pyzbar"
        )
        for name, app in whole.scenario.apps.items()
    }
    changed = Plan(msgspec.structs.replace(whole.scenario, apps=apps), 7, some.table)
    for window, plan_hash, word in (
        (other, whole.digest, "was made for seed 7, this run has 8"),
        (some, "0" * 64, "was made for another plan"),
        (longer, whole.digest, f"has no scan of 2 of the {COUNT + 2} journeys"),
        (changed, whole.digest, f"{COUNT} scans are of another bill"),
    ):
        with pytest.raises(UsageError, match=word) as caught:
            corpus.fitting(file, window, plan_hash, ())
        assert str(caught.value).startswith(f"{file}: ")
        assert "fewseconds load corpus" in str(caught.value)


@given(st.data())
def test_a_corpus_that_is_not_whole_is_refused(file: Path, data: st.DataObject) -> None:
    """Cut off anywhere it is an error in words; a wrong bit is one too, or changes nothing."""
    whole, (_, table) = file.read_bytes(), corpus.read(file)
    cut = data.draw(st.integers(0, len(whole) - 1))
    flipped = data.draw(st.integers(0, len(whole) // 2))
    spoilt = file.with_name("spoilt.parquet")
    spoilt.write_bytes(whole[:cut])
    with pytest.raises(MalformedError, match=r"spoilt\.parquet: .*fewseconds load corpus"):
        corpus.read(spoilt)
    spoilt.write_bytes(whole[:flipped] + bytes([whole[flipped] ^ 1]) + whole[flipped + 1 :])
    with contextlib.suppress(MalformedError):
        assert corpus.read(spoilt)[1] == table


def test_stock_locust_takes_a_corpus(file: Path, tmp_path: Path) -> None:
    """Its orders name the corpus that fits what was picked; for one journey more it is refused."""
    parser = ArgumentParser()
    add_options(parser)
    words = ["--psp-url", "http://127.0.0.1:9", "--results", str(tmp_path), "--scans", str(file)]
    spec = orders(parser.parse_args([*words, "--journeys", str(COUNT)]), [EVERYBODY])
    assert (spec.corpus, len(spec.load_plan())) == (str(file), COUNT)
    with pytest.raises(UsageError, match=f"has no scan of 1 of the {COUNT + 1} journeys"):
        orders(parser.parse_args([*words, "--journeys", str(COUNT + 1)]), [EVERYBODY])


def test_decoding_is_a_word_or_a_file(file: Path) -> None:
    """What is neither is refused with the words and the command that makes a file."""
    assert [scans(word) for word in ("auto", "camera", "printed")] == [
        ("auto", ""), ("camera", ""), ("printed", ""),
    ]  # fmt: skip
    assert scans(str(file)) == ("auto", str(file))
    with pytest.raises(UsageError, match="is neither auto, camera nor printed, nor a file"):
        scans("no-such-file")


def test_a_decoder_that_dies_leaves_no_corpus(
    whole: Plan, some: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that ends early is told, and nothing half lies where a corpus is looked for."""

    def dead(*_: object) -> subprocess.Popen[bytes]:
        return subprocess.Popen(["true"], stdout=subprocess.PIPE)

    monkeypatch.setattr(decoders, "started", dead)
    with pytest.raises(HarnessError, match="a decoding process ended before journey"):
        corpus.make(tmp_path / "scans.parquet", some, whole.digest, (), 2, silent)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UsageError, match="cannot be written"):
        corpus.make(tmp_path / "nowhere" / "scans.parquet", some, whole.digest, (), 2, silent)
