"""``fewseconds load run``, ``gate`` and ``search`` as they are typed: orders, JSON, exit codes.

What the load itself finds is stubbed here; that has tests, and oracles, of its own.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

import fewseconds.load_run
from fewseconds.commands import search
from loadtests.recorder import Limit, Recorder
from tests.stub_probes import CODES, HEADER, HERE, INSISTED, result, said, told

if TYPE_CHECKING:
    from pathlib import Path

    from loadtests.probe import ProbeSpec


# --- run and gate ------------------------------------------------------------------------------


class Loads:
    """Stands where a scenario's load is put on; each run's machine time is the next of a list."""

    def __init__(self, folder: Path) -> None:
        """Runs of three seconds."""
        self.folder = folder
        self.words: list[str] = []
        self.times_s: list[float] = [3.0]
        self.scenarios: list[Any] = []

    def place(self) -> tuple[str, str]:
        """Where results belong, as an option."""
        return "--results", str(self.folder)

    def __call__(self, scenario: Any, *_: Any) -> Any:  # noqa: ANN401 - as the real one
        """Note who runs, and what came of it."""
        place = len(self.scenarios)
        self.scenarios.append(scenario)
        time_s = self.times_s[place % len(self.times_s)] * scenario.slowdown("biller")
        word = self.words[place] if self.words else "pass" if time_s <= 5 else "fail"
        one = {
            "name": "machine time", "measure": "machine_time", "statistic": "p95",
            "engine": "measured", "gate": True, "limit": 5.0, "at_least": False, "word": word,
            "observed": time_s, "low": None, "high": None, "count": 300,
        }  # fmt: skip
        record = {
            "word": word, "exit_code": CODES[word], "load": "", "decoding": "", "plan_hash": "",
            "aborted": False, "notes": [], "verdicts": [one], "validity": {"valid": True},
            "checks": [], "unchecked": [], "generator": None, "workers": 1, "journeys": 300,
            "rows": 0, "fates": {}, "journeys_per_s": 10.0, "cpu_ms_per_journey": None, "steps": {},
            "growth": {}, "memory": [], "folder": str(self.folder), "retried": 0,
        }  # fmt: skip
        return msgspec.convert(record, fewseconds.load_run.LoadRecord)


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Loads:
    """Nothing is started."""
    stub = Loads(tmp_path)
    monkeypatch.setattr(fewseconds.load_run, "run", stub)
    return stub


@pytest.mark.parametrize(("asked", "words", "tries", "code"), INSISTED)
def test_an_inconclusive_load_run_ends_as_asked(
    loads: Loads, asked: str, words: list[str], tries: int, code: int
) -> None:
    """A run of a scenario insists as a probe does."""
    loads.words = words
    ended = said("run", "smoke", "--on-inconclusive", asked, "--json")
    found = told(ended)
    assert (ended.exit_code, found["tries"], len(loads.scenarios)) == (code, tries, tries)
    assert found["word"] == words[tries - 1]


def test_a_gate_is_calibrated_on_runs_and_checked_on_slowed_ones(loads: Loads) -> None:
    """Six unchanged runs agree; six twice as slow are all above 5 s and what is proposed."""
    loads.times_s = [2.9, 3.0, 3.1, 2.95, 3.05, 3.0]
    ended = said("gate", "smoke", "--runs", 6, "--slow", "biller=2", *loads.place(), "--json")
    assert ended.exit_code == 0
    assert [one.slowdown("biller") for one in loads.scenarios] == [1.0] * 6 + [2.0] * 6
    found = told(ended)
    assert (found["runs"], found["inconclusive"], found["scenario"]) == (6, 0, "smoke")
    (one,) = found["gates"]
    assert one["observed"] == loads.times_s
    assert 3.1 < one["proposed_limit"] < 3.5
    slowed = found["slowed"]
    assert (slowed["slow"], slowed["words"]) == (["biller=2"], ["fail"] * 6)
    (caught,) = slowed["gates"]
    assert caught["observed"] == [2 * time_s for time_s in loads.times_s]
    assert caught["factor"] == pytest.approx(2)
    assert [caught[name]["count"] for name in ("above_own", "above_proposed")] == [6, 6]
    assert said("gate", "smoke", "--runs", 2).exit_code == 2


def test_a_slow_down_below_the_limits_is_not_said_to_be_caught(loads: Loads) -> None:
    """Runs a hundredth slower pass and stay below what is proposed; without --slow none is made."""
    loads.times_s = [2.8, 3.0, 3.2]
    found = told(
        said("gate", "smoke", "--runs", 3, "--slow", "biller=1.01", *loads.place(), "--json")
    )
    assert found["slowed"]["words"] == ["pass"] * 3
    (caught,) = found["slowed"]["gates"]
    assert [caught[name]["count"] for name in ("above_own", "above_proposed")] == [0, 0]
    loads.scenarios.clear()
    assert told(said("gate", "smoke", "--runs", 3, *loads.place(), "--json"))["slowed"] is None
    assert len(loads.scenarios) == 3


# --- search ------------------------------------------------------------------------------------


@pytest.fixture
def knee(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A server that answers within 10 ms up to 100 requests a second, and in 500 ms beyond."""
    known = SimpleNamespace(rate=100.0, verdict="valid", orders=[])

    def sent(order: ProbeSpec, _say: Any, _processes: int) -> Any:  # noqa: ANN401 - a stub
        known.orders.append(order)
        (stage,) = order.stages
        recorder = Recorder(0)
        takes_us = 10_000 if stage.rate_per_s <= known.rate else 500_000
        for due_us in range(0, round(stage.duration_s * 1e6), 20_000):
            recorder.ended(due_us, due_us, due_us + takes_us, "ok")
        return SimpleNamespace(report=recorder.report())

    monkeypatch.setattr(search, "sent", sent)
    monkeypatch.setattr(search, "judge", lambda *_: result(known.verdict))
    return known


def test_a_search_prints_its_bracket_as_one_object(knee: SimpleNamespace) -> None:
    """The known knee lies between lo and hi, which are as close as asked for; exit code 0."""
    ended = said(
        "search", HERE, "--slo", "p95=200ms", "--from", 20, "--to", 400, "--step", "6s",
        "--settle", "1s", "--precision", 0.05, "--seed", 4, "--json",
    )  # fmt: skip
    assert ended.exit_code == 0
    found = told(ended)
    assert set(found) == HEADER | {"verdict", "lo", "hi", "steps", "reason"}
    assert found["verdict"] == "pass"
    assert found["lo"] <= 100 < found["hi"]
    assert found["hi"] - found["lo"] <= 0.05 * (found["hi"] + found["lo"]) / 2
    assert {tuple(sorted(step)) for step in found["steps"]} == {
        ("high", "low", "observed_ms", "outcomes", "rate", "seconds", "too_slow_share", "word")
    }
    assert all(20 <= order.stages[0].rate_per_s <= 400 for order in knee.orders)
    assert {(order.settle_s, order.duration_s) for order in knee.orders} == {(1.0, 7.0)}
    assert all(order.limits == [Limit("p95", 0.95, 200_000)] for order in knee.orders)
    # Every step has luck of its own.
    assert len({order.seed for order in knee.orders}) == len(knee.orders)


def test_a_search_below_which_nothing_is_met_fails(knee: SimpleNamespace) -> None:
    """Even the lowest rate is too slow: exit code 1, and no lower end."""
    knee.rate = 5.0
    ended = said("search", HERE, "--slo", "p95=200ms", "--step", "6s", "--even", "--json")
    found = told(ended)
    assert (ended.exit_code, found["verdict"], found["lo"], found["hi"]) == (1, "fail", None, 10.0)
    assert {order.seed for order in knee.orders} == {None}
    assert "between – and 10.0" in said("search", HERE, "--slo", "p95=200ms").output


def test_a_search_by_a_generator_that_is_spoilt_says_nothing(knee: SimpleNamespace) -> None:
    """Fast answers, but never a promise kept: exit code 3 with the reason."""
    knee.verdict = "inconclusive"
    ended = said("search", HERE, "--slo", "p95=200ms", "--json")
    found = told(ended)
    assert (ended.exit_code, found["verdict"]) == (3, "inconclusive")
    assert "the machine was busy; free it" in found["reason"]


@pytest.mark.parametrize(
    "options", [["--slo", "p95=soon"], ["--slo", "p95=1s", "--from", "9", "--to", "9"]]
)
def test_a_search_that_cannot_be_is_exit_code_2(knee: SimpleNamespace, options: list[str]) -> None:
    """One sentence, and nothing is sent."""
    ended = said("search", HERE, *options, "--json")
    assert ended.exit_code == 2
    assert told(ended)["error"]
    assert knee.orders == []
