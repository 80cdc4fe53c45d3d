"""How good a gate is: synthetic runs whose truth is known, and SciPy."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
import scipy.stats
from rich.console import Console
from typer.testing import CliRunner

import fewseconds.load_run
from fewseconds import gate, markdown, slo
from fewseconds.cli import app
from fewseconds.commands import console
from fewseconds.commands.gate_page import tables
from fewseconds.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from fewseconds.scenario import Scenario

SPREAD = 0.04
"""Of the logarithm of a quantile from run to run."""


def verdict(observed: float, limit: float = 5.0, **more: Any) -> slo.Verdict:  # noqa: ANN401
    """A gate's verdict on one run."""
    fields: dict[str, Any] = {
        "name": "machine time", "measure": "machine_time", "statistic": "p95",
        "engine": "measured", "gate": True, "limit": limit, "at_least": False,
        "word": "pass" if observed <= limit else "fail", "observed": observed, "low": None,
        "high": None, "count": 300, "reason": "", "source": "",
    }  # fmt: skip
    return msgspec.convert(fields | more, slo.Verdict)


def drawn(luck: np.random.Generator, runs: int, middle: float = 3.0) -> list[list[slo.Verdict]]:
    """Runs of an unchanged system."""
    return [[verdict(middle * math.exp(luck.normal(0, SPREAD)))] for _ in range(runs)]


def test_the_proposed_limit_keeps_what_it_promises() -> None:
    """Of many gates from ten runs each, the next run is above the limit in one of twenty cases."""
    luck, alarms, tries = np.random.default_rng(11), 0, 800
    for _ in range(tries):
        (one,) = gate.calibrated(drawn(luck, 10), 0.05, 0.8).gates
        alarms += 3.0 * math.exp(luck.normal(0, SPREAD)) > one.proposed_limit
    low, high = scipy.stats.binom(tries, 0.05).interval(0.999)
    assert low <= alarms <= high


def test_the_detectable_slowdown_is_detected_as_often_as_promised() -> None:
    """A run slower by the factor that a gate says it catches in 80 % is caught in 80 %."""
    luck, caught, tries = np.random.default_rng(12), 0, 800
    for _ in range(tries):
        (one,) = gate.calibrated(drawn(luck, 10), 0.05, 0.8).gates
        assert one.detectable is not None
        slowed = 3.0 * one.detectable * math.exp(luck.normal(0, SPREAD))
        caught += slowed > one.proposed_limit
    low, high = scipy.stats.binom(tries, 0.8).interval(0.999)
    assert low - 5 <= caught <= high + 5


def test_false_alarms_have_the_exact_interval() -> None:
    """Two of twenty runs above the limit are a rate between 1.2 % and 31.7 % (Clopper, Pearson)."""
    runs = [[verdict(4.0)]] * 18 + [[verdict(5.1)]] * 2
    found = gate.calibrated(runs, 0.01, 0.8)
    low, high = scipy.stats.beta.ppf(0.025, 2, 19), scipy.stats.beta.ppf(0.975, 3, 18)
    for rate in (found.overall, found.gates[0].false_alarms):
        assert (rate.count, rate.of) == (2, 20)
        assert (rate.low, rate.high) == pytest.approx((low, high))


def test_power_grows_with_the_slowdown_and_with_the_limit_falls() -> None:
    """The bigger the factor, the more is caught; a limit far above catches less."""
    (one,) = gate.calibrated(drawn(np.random.default_rng(1), 8), 0.01, 0.9).gates
    own = [step.at_own_limit for step in one.power]
    proposed = [step.at_proposed_limit for step in one.power]
    assert own == sorted(own)
    assert proposed == sorted(proposed)
    assert one.proposed_limit < one.limit
    assert all(near >= far for near, far in zip(proposed, own, strict=True))
    assert one.detectable is not None
    assert one.detectable_at_own_limit is not None
    # From 3 s to 5 s is a factor of 5/3, give or take the spread.
    assert one.detectable < 1.3 < 5 / 3 < one.detectable_at_own_limit < 2


def test_a_share_is_judged_by_the_binomial_law() -> None:
    """With 3 of 3 000 journeys failed, the limit leaves one run in a hundred above it at most."""
    shares = [0.0, 0.0, 1 / 300, 0.0, 2 / 300, 0.0, 0.0, 0.0, 0.0, 0.0]
    runs = [[verdict(share, 0.02, statistic="share")] for share in shares]
    (one,) = gate.calibrated(runs, 0.01, 0.8).gates
    highest = scipy.stats.beta.ppf(0.975, 4, 2997)
    allowed = round(one.proposed_limit * 300)
    assert scipy.stats.binom.sf(allowed, 300, highest) <= 0.01
    assert scipy.stats.binom.sf(allowed - 1, 300, highest) > 0.01
    assert one.detectable is not None
    assert scipy.stats.binom.sf(allowed, 300, highest * one.detectable) == pytest.approx(
        0.8, abs=0.01
    )


def test_runs_that_say_nothing_are_left_out() -> None:
    """Inconclusive runs are counted and not used, and too few are refused."""
    runs = [*drawn(np.random.default_rng(2), 4), [verdict(9.0, word="inconclusive")]]
    found = gate.calibrated(runs, 0.01, 0.8)
    assert (found.runs, found.inconclusive) == (4, 1)
    with pytest.raises(UsageError, match="2 of 3 runs are conclusive"):
        gate.calibrated([*runs[:2], runs[-1]], 0.01, 0.8)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("observed", [None, math.inf])
def test_a_quantile_that_was_never_reached_is_refused_in_words(observed: float | None) -> None:
    """One run whose p95 is never would make every figure none, so the run is to be left out."""
    runs = drawn(np.random.default_rng(4), 5)
    never = [msgspec.structs.replace(verdict(9.0), observed=observed)]
    with pytest.raises(UsageError, match=r"'machine time': in 1 of 6 runs .* for a p95, .* --from"):
        gate.calibrated([*runs, never], 0.01, 0.8)
    assert gate.calibrated(runs, 0.01, 0.8).runs == 5


@pytest.mark.filterwarnings("error")
def test_slowed_runs_whose_quantile_was_never_reached_are_caught() -> None:
    """A station that is slowed for ever is above every limit, and the table says never."""
    runs = drawn(np.random.default_rng(4), 5)
    found = gate.calibrated(runs, 0.01, 0.8)
    planted = gate.slowed(runs, [[verdict(math.inf)]] * 2, ["biller=9"], found)
    (one,) = planted.gates
    assert (one.above_proposed.count, one.above_own.count, one.expected) == (2, 2, 1.0)
    _, table = tables(found, planted)
    cells = [cell.text for cell in table.cells[0]]
    assert cells[1:3] == ["never ends", "never"]


def test_recorded_runs_are_enough(tmp_path: Path) -> None:
    """The command reads the records of runs, and prints one object with the limit to choose."""
    folders = []
    for number, (one,) in enumerate(drawn(np.random.default_rng(3), 6)):
        folder = tmp_path / str(number)
        folder.mkdir()
        record = {"verdicts": [one], "word": one.word, "fates": {"confirmed": 300}}
        (folder / "load_record.json").write_bytes(msgspec.json.encode(record))
        folders += ["--from", str(folder)]
    results = ["--results", str(tmp_path / "results")]
    result = CliRunner().invoke(app, ["load", "gate", "smoke", *folders, *results, "--json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert (found["runs"], found["slowed"]) == (6, None)
    (one,) = found["gates"]
    assert 3.0 < one["proposed_limit"] < 4.0
    missing = CliRunner().invoke(app, ["load", "gate", "smoke", "--from", str(tmp_path)])
    assert missing.exit_code == 2


class World:
    """A city that answers at once: its biller takes as long as the scenario's faults make it."""

    def __init__(self, silent: int = -1) -> None:
        """The run of this number says nothing."""
        self.luck, self.silent = np.random.default_rng(5), silent
        self.played: list[tuple[float, str]] = []
        """By how much the biller was slowed down, and the command of each run."""
        self.times: dict[float, list[float]] = {}
        """The medians of conclusive runs, by the factor of the biller."""

    def run(self, scenario: Scenario, *arguments: Any) -> SimpleNamespace:  # noqa: ANN401
        """A run of its own luck, as :func:`fewseconds.load_run.run` is one."""
        factor, number = scenario.slowdown("biller"), len(self.played)
        self.played.append((factor, arguments[-1]))
        median = 0.2 * factor * math.exp(self.luck.normal(0, SPREAD))
        said = {"word": "inconclusive"} if number == self.silent else {}
        if not said:
            self.times.setdefault(factor, []).append(median)
        gates = (
            verdict(median, 0.25, name="biller | median", measure="biller_time", **said),
            verdict(0.01, 0.02, name="error rate", measure="error_rate", statistic="share"),
        )
        return SimpleNamespace(word=gates[0].word, folder=str(number), verdicts=gates)


@pytest.fixture
def worlds(monkeypatch: pytest.MonkeyPatch) -> Callable[..., World]:
    """Make a world in which runs take no time."""

    def made(silent: int = -1) -> World:
        world = World(silent)
        monkeypatch.setattr(fewseconds.load_run, "run", world.run)
        return world

    return made


def test_a_planted_slowdown_is_set_beside_what_was_promised(
    worlds: Callable[..., World], tmp_path: Path
) -> None:
    """With --slow it is counted how many runs are caught, beside SciPy's t law of what was due."""
    world = worlds(silent=9)
    options = ["--runs", "6", "--slow", "biller=1.08", "--results", str(tmp_path), "--alpha", "0.1"]
    result = CliRunner().invoke(app, ["load", "gate", "smoke", *options, "--json"])
    assert result.exit_code == 0, result.output
    assert [factor for factor, _ in world.played] == [1.0] * 6 + [1.08] * 6
    assert [command for _, command in world.played] == (
        ["fewseconds load run smoke"] * 6 + ["fewseconds load run smoke --slow biller=1.08"] * 6
    )
    found = json.loads(result.stdout)
    limit = found["gates"][0]["proposed_limit"]
    assert (found["runs"], found["slowed"]["slow"]) == (6, ["biller=1.08"])
    assert found["slowed"]["words"].count("inconclusive") == 1
    assert len(found["slowed"]["words"]) == 6
    one, share = found["slowed"]["gates"]
    before, after = world.times[1.0], world.times[1.08]
    assert one["observed"] == pytest.approx(after)
    assert one["factor"] == pytest.approx(scipy.stats.gmean(after) / scipy.stats.gmean(before))
    logs = np.log(before)
    spread = logs.std(ddof=1) * math.sqrt(1 + 1 / 6)
    away = (math.log(limit) - logs.mean() - math.log(one["factor"])) / spread
    assert one["expected"] == pytest.approx(scipy.stats.t.sf(away, 5))
    above = sum(time > limit for time in after)
    assert 0 < above < 5
    assert one["above_proposed"] == {
        "count": above, "of": 5,
        "low": pytest.approx(scipy.stats.beta.ppf(0.025, above, 6 - above)),
        "high": pytest.approx(scipy.stats.beta.ppf(0.975, above + 1, 5 - above)),
    }  # fmt: skip
    assert one["above_own"]["count"] == sum(time > 0.25 for time in after)
    assert (share["above_proposed"]["count"], share["above_own"]["count"]) == (0, 0)


def test_a_calibration_leaves_a_page_and_a_summary_for_ci(
    worlds: Callable[..., World], tmp_path: Path
) -> None:
    """Page and Markdown hold every gate, its proposed limit and what a slowdown set off."""
    worlds()
    options = ["--runs", "5", "--slow", "biller=3", "--results", str(tmp_path)]
    result = CliRunner().invoke(app, ["load", "gate", "smoke", *options, "--json"])
    found = json.loads(result.stdout)
    folder = tmp_path / "latest"
    assert folder.resolve() == Path(found["folder"]).resolve()
    assert Path(found["markdown"]).name == markdown.FILE_NAME
    summary = Path(found["markdown"]).read_text(encoding="utf-8")
    proposed = f"{found['gates'][0]['proposed_limit'] * 1000:.4g} ms"
    table = [line for line in summary.splitlines() if line.startswith("| biller \\| median |")]
    assert len(table) == 2
    assert f"| {proposed} |" in table[0]
    assert "| 5 of 5 (47.8 % to 100 %) | 100 % | 5 of 5" in table[1]
    assert "With biller=3: fail, fail, fail, fail, fail" in summary
    assert "Of 5 runs of the unchanged system, 0 would have failed" in summary
    page = Path(found["report"]).read_text(encoding="utf-8")
    assert all(text in page for text in ("biller | median", "error rate", "biller=3"))
    assert msgspec.json.decode((folder / "answer.json").read_bytes())["runs"] == 5


def test_a_calibration_is_told_at_the_keyboard(
    worlds: Callable[..., World], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without --json the same tables and the sentence stand on stdout."""
    worlds()
    options = ["--runs", "4", "--slow", "biller=2", "--results", str(tmp_path)]
    monkeypatch.setattr(console, "out", Console(highlight=False, width=200))
    result = CliRunner().invoke(app, ["load", "gate", "smoke", *options])
    assert result.exit_code == 0, result.output
    assert "With biller=2: fail, fail, fail, fail" in result.stdout
    assert "Of 4 runs of the unchanged system, 0 would have failed" in result.stdout
    assert result.stdout.count("biller | median") == 2
