"""``fewseconds bench services`` and ``bench decoding`` as they are typed: fields and exit codes."""

from __future__ import annotations

import json
from contextlib import nullcontext
from typing import Any

import pytest
from typer.testing import CliRunner

from fewseconds.cli import app
from loadtests import bench_decoding
from mock_psp import bench


def typed(*arguments: str) -> tuple[int, dict[str, Any]]:
    """Exit code and the one object on stdout."""
    ended = CliRunner().invoke(app, ["bench", *arguments, "--json"])
    assert ended.stdout.count("\n") == 1, ended.output
    told: dict[str, Any] = json.loads(ended.stdout)
    return ended.exit_code, told


def test_what_services_cost_is_the_median_of_the_repeats(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fields are these; where there is no PostgreSQL, its figure is null."""
    postings, resolves = iter((250.0, 300.0, 260.0)), iter((350.0, 390.0, 340.0))
    monkeypatch.setattr("shutil.which", lambda _: "wrk")
    monkeypatch.setattr(bench, "_server", lambda _: nullcontext(""))
    monkeypatch.setattr(bench, "_posting_us", lambda _: next(postings))
    monkeypatch.setattr(bench, "_journeys_us", lambda: (next(resolves), 150.0, 2400.0))
    monkeypatch.setattr(bench, "_capacity", lambda: (3000.0, 20.0, 5.0))
    code, told = typed("services", "--repeats", "3")
    assert code == 0
    figures = {
        "posting_us": {"sqlite": 260.0, "postgresql": None}, "resolve_us": 350.0,
        "journey_us": 2400.0, "postings_per_s": 3000.0, "p99_half_load_ms": 20.0,
    }  # fmt: skip
    assert figures.items() <= told.items()
    assert told["repeats"]["sqlite"] == [250.0, 300.0, 260.0]


@pytest.mark.parametrize(
    ("beside_ms", "words", "verdict", "code"),
    [
        (105.0, "valid", "pass", 0),
        (120.0, "valid", "fail", 1),
        (105.0, "inconclusive", "inconclusive", 3),
    ],
)
def test_decoding_is_judged_by_the_exit_code(
    monkeypatch: pytest.MonkeyPatch, beside_ms: float, words: str, verdict: str, code: int
) -> None:
    """A tenth more is a failure, and a spoilt generator decides nothing."""
    pair = bench_decoding.Pair(
        p99_ms=(100.0, beside_ms, 100.0), decoding_share=0.7, verdicts=("valid", words, "valid")
    )
    found = bench_decoding.summed_up([pair], 0.7)
    monkeypatch.setattr(bench_decoding, "bench", lambda *_: found)
    assert typed("decoding", "--turns", "1")[0] == code
    assert typed("decoding", "--turns", "1")[1]["verdict"] == verdict
    spoken = CliRunner().invoke(app, ["bench", "decoding", "--turns", "1"])
    assert (spoken.exit_code, spoken.stdout.split()[-1]) == (code, verdict.upper())
