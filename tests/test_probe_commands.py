"""``fewseconds load probe`` and ``selfcheck`` as they are typed: orders, JSON, exit codes."""

from __future__ import annotations

import pytest

from fewseconds.commands import load
from fewseconds.schedule import Stage
from loadtests.probe import ProbeResult, ProbeSpec
from loadtests.recorder import Limit
from loadtests.target import Target, TargetSpec
from tests.stub_probes import (
    CODES,
    HEADER,
    HERE,
    INSISTED,
    PROBE_FIELDS,
    QUANTILES,
    Probes,
    result,
    said,
    told,
)  # fmt: skip


@pytest.fixture
def probes(monkeypatch: pytest.MonkeyPatch) -> Probes:
    """Nothing is sent."""
    stub = Probes()
    monkeypatch.setattr(load, "probe", stub)
    return stub


# --- probe -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("word", "code"), CODES.items())
def test_a_probe_is_one_object_and_an_exit_code(probes: Probes, word: str, code: int) -> None:
    """The fields of the JSON are these, whatever is found, and the exit code says the verdict."""
    probes.results = [result(word)]
    ended = said("probe", HERE, "--json")
    assert ended.exit_code == code
    found = told(ended)
    assert set(found) == PROBE_FIELDS
    assert set(found["latency_ms"]) == set(found["sent_ms"]) == QUANTILES
    assert (found["verdict"], found["url"], found["engine"]) == (word, HERE, "locust")
    counts = ("intended", "started", "completed", "dropped", "late")
    assert [found[name] for name in counts] == [400, 399, 398, 1, 2]
    assert (found["lag_ms_p99"], found["cpu_us_per_request"]) == (0.3, 70.0)
    assert (found["latency_ms"]["p95"], found["latency_ms"]["p999"]) == (250.0, None)


def test_a_probe_sends_what_the_command_line_says(probes: Probes) -> None:
    """Every option arrives, times in seconds; without --poisson there is no seed."""
    said("probe", HERE)
    assert probes.orders == [(ProbeSpec(url=HERE, stages=[Stage(100, 40)]), 1)]
    said(
        "probe", HERE, "--rate", 50, "--duration", "1.5m", "--poisson", "--seed", 9, "--settle",
        "2s", "--slo", "p99=250ms", "--slo", "p50=900us", "--abort-after", "10s", "--connections",
        3, "--in-flight-max", 77, "--timeout", "500ms", "--client", "fasthttp", "--processes", 2,
    )  # fmt: skip
    spec = ProbeSpec(
        url=HERE, stages=[Stage(50, 90)], seed=9, settle_s=2, abort_after_s=10, timeout_s=0.5,
        limits=[Limit("p99", 0.99, 250_000), Limit("p50", 0.5, 900)], connections_max=3,
        in_flight_max=77, client="fasthttp",
    )  # fmt: skip
    assert probes.orders[1:] == [(spec, 2)]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--duration", "soon"], "--duration 'soon': is no time"),
        (["--slo", "p42=1s"], "unknown quantile 'p42'"),
        (["--slo", "p99=fast"], "--slo p99 'fast': is no time"),
        (["--shape", "zigzag"], "--shape 'zigzag': not understood"),
    ],
)
def test_a_probe_that_cannot_be_is_exit_code_2(
    probes: Probes, options: list[str], sentence: str
) -> None:
    """One sentence, in the JSON as well, and nothing is sent."""
    ended = said("probe", HERE, *options, "--json")
    assert ended.exit_code == 2
    assert sentence in told(ended)["error"]
    assert probes.orders == []


def test_a_person_is_told_quantiles_counts_and_reasons(probes: Probes) -> None:
    """What was never answered is called so, and the last line is the verdict."""
    probes.results = [result("inconclusive")]
    ended = said("probe", HERE)
    assert ended.exit_code == 3
    assert "never" in ended.output
    assert "400 intended, 399 started, 398 completed, 1 dropped, 2 late" in ended.output
    assert "the machine was busy; free it" in ended.output
    assert ended.output.split()[-1] == "INCONCLUSIVE"


@pytest.mark.parametrize(("asked", "words", "tries", "code"), INSISTED)
def test_an_inconclusive_probe_ends_as_asked(
    probes: Probes, asked: str, words: list[str], tries: int, code: int
) -> None:
    """Only the exit code gives way, never the verdict; and only the inconclusive is tried again."""
    probes.results = [result(word) for word in words]
    ended = said("probe", HERE, "--on-inconclusive", asked, "--json")
    found = told(ended)
    assert (ended.exit_code, found["tries"], len(probes.orders)) == (code, tries, tries)
    assert found["verdict"] == words[tries - 1]


# --- selfcheck ---------------------------------------------------------------------------------


@pytest.fixture
def short_freezes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a second in every five: p95 is 250 ms and p99 450 ms."""
    monkeypatch.setattr(load, "FREEZE_S", 0.5)
    monkeypatch.setattr(load, "PERIOD_S", 5.0)


@pytest.mark.usefixtures("short_freezes")
@pytest.mark.parametrize(
    ("found", "word"),
    [
        (result("valid"), "pass"),
        (result("valid", p95=262.0), "pass"),
        (result("valid", p95=263.0), "fail"),
        (result("valid", p99=427.0), "fail"),
        # What a closed model reports of a server that stands still.
        (result("valid", p95=1.0, p99=1.5), "fail"),
        (result("inconclusive"), "inconclusive"),
    ],
)
def test_a_selfcheck_holds_the_generator_to_five_percent(
    probes: Probes, found: ProbeResult, word: str
) -> None:
    """The truth follows from the freezes, and a generator that is off by more fails."""
    probes.results = [found]
    ended = said("selfcheck", "--duration", "10s", "--json")
    content = told(ended)
    assert (ended.exit_code, content["verdict"]) == (CODES[word], word)
    assert content["truth_ms"] == pytest.approx({"p95": 250, "p99": 450})
    assert probes.orders[0][0].stages == [Stage(200, 10)]


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.usefixtures("short_freezes")
def test_the_generator_passes_its_own_check() -> None:
    """Ten seconds against a server that really stands still, and every field is as it must be."""
    ended = said("selfcheck", "--duration", "10s", "--json")
    found = told(ended)
    assert (ended.exit_code, found["verdict"]) == (0, "pass"), found
    assert (found["intended"], found["completed"], found["dropped"]) == (2000, 2000, 0)
    assert found["reported_ms"] == pytest.approx({"p95": 250, "p99": 450}, rel=0.05)
    assert set(found) == HEADER | {
        "verdict", "reasons", "truth_ms", "reported_ms", "relative_error", "tolerance",
        "from_sending_ms", "intended", "completed", "dropped", "late", "lag_ms_p99",
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.alone
def test_a_real_probe_of_a_healthy_server_is_valid() -> None:
    """A hundred requests at 50/s: all are there, none is late, exit code 0."""
    with Target(TargetSpec()) as target:
        ended = said("probe", target.url, "--rate", 50, "--duration", "2s", "--json")
    found = told(ended)
    assert (ended.exit_code, found["verdict"]) == (0, "valid"), found["reasons"]
    assert (found["intended"], found["completed"], found["dropped"]) == (100, 100, 0)
    assert set(found) == PROBE_FIELDS
