"""How good a gate is: synthetic runs whose truth is known, and SciPy."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
import scipy.stats
from typer.testing import CliRunner

from fewseconds import gate, slo
from fewseconds.cli import app
from fewseconds.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

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


def test_recorded_runs_are_enough(tmp_path: Path) -> None:
    """The command reads the records of runs, and prints one object with the limit to choose."""
    folders = []
    for number, (one,) in enumerate(drawn(np.random.default_rng(3), 6)):
        folder = tmp_path / str(number)
        folder.mkdir()
        record = {"verdicts": [one], "word": one.word, "fates": {"confirmed": 300}}
        (folder / "load_record.json").write_bytes(msgspec.json.encode(record))
        folders += ["--from", str(folder)]
    result = CliRunner().invoke(app, ["load", "gate", "smoke", *folders, "--json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["runs"] == 6
    (one,) = found["gates"]
    assert 3.0 < one["proposed_limit"] < 4.0
    missing = CliRunner().invoke(app, ["load", "gate", "smoke", "--from", str(tmp_path)])
    assert missing.exit_code == 2
