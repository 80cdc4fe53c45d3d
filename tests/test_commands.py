"""What commands do beside their work: refuse, say, try once more, and leave an exit code."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from typer.testing import CliRunner, Result

import fewseconds.run
from fewseconds import scenario_file, slo
from fewseconds.cli import app
from fewseconds.commands import console
from fewseconds.errors import EXIT_INCONCLUSIVE, EXIT_INTERRUPTED, EXIT_USAGE
from fewseconds.record import Check, Generator, Record
from fixtures import decoding
from loadtests.spec import Telemetry
from mock_psp.spec import SERVICES

if TYPE_CHECKING:
    from collections.abc import Callable


def said(*arguments: object) -> Result:
    """What a command leaves behind."""
    result = CliRunner().invoke(app, [str(part) for part in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert "Traceback" not in result.output
    return result


def complaints(result: Result) -> list[str]:
    """The lines that say what is wrong."""
    return [line[2:] for line in result.stderr.splitlines() if line.startswith("✗ ")]


# --- run ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["file/results", "file"])
def test_results_that_cannot_be_written_are_refused(tmp_path: Path, place: str) -> None:
    """A folder that cannot be made is one sentence and exit code 2, before anything starts."""
    (tmp_path / "file").write_text("in the way")
    result = said("run", "smoke", "--results", tmp_path / place)
    assert result.exit_code == EXIT_USAGE
    (line,) = complaints(result)
    assert line.startswith(str(tmp_path))
    assert "cannot be written" in line
    assert line.endswith("choose another folder with --results")
    assert "starting the services" not in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_all_problems_of_a_scenario_are_listed(tmp_path: Path) -> None:
    """Unknown stations, steps and shares that do not sum to 1 come together, with suggestions."""
    mine = tmp_path / "mine.toml"
    mine.write_text(
        'extends = "smoke"\n'
        "[channels]\nqr_ebill.share = 0.9\n"
        '[steps.review]\nlegs = [{ station = "persons_reviews" }]\n'
        '[journeys.portal]\nsteps = ["open_portal", "log_inn"]\n'
    )
    result = said("run", mine, "--results", tmp_path / "results", "--json")
    assert result.exit_code == EXIT_USAGE
    text = "\n".join(complaints(result))
    assert "unknown station 'persons_reviews'; did you mean 'person_reviews'?" in text
    assert "unknown step 'log_inn'; did you mean 'log_in'?" in text
    assert "shares sum to 1.15" in text
    assert json.loads(result.stdout)["exit_code"] == EXIT_USAGE
    assert not (tmp_path / "results").exists()


def test_no_journey_in_the_window_is_refused(tmp_path: Path) -> None:
    """A window without a journey that can be played is a usage error, and leaves no folder."""
    mine = tmp_path / "mine.toml"
    mine.write_text('extends = "smoke"\nadoption.share = 0.0\nplan_hash = ""\n')
    result = said("run", mine, "--results", tmp_path / "results")
    assert result.exit_code == EXIT_USAGE
    assert "no journey falls into the load window" in complaints(result)[0]
    assert not (tmp_path / "results").exists()


RECORD = json.dumps({
    "scenario": "smoke", "scenario_hash": "s", "title": "", "description": "", "seed": 7,
    "plan_hash": "p", "commit": "c", "versions": {}, "command": "fewseconds run smoke",
    "started_at": "2026-11-22T18:00:00Z", "wall_s": 1.0, "window_us": [0, 1], "word": "pass",
    "exit_code": 0, "summary": "Yes.", "verdicts": [], "validity": {"valid": True}, "checks": [],
    "generator": None, "measured_journeys": 1, "simulated_journeys": 1, "simulated_wall_s": 1.0,
})  # fmt: skip


TO_ITS_END = Generator(
    intended=1, started=1, steps=1, late=1, dropped=0, lag_ms_p50=60.0, lag_ms_p99=60.0,
    lag_ms_max=60.0, littles_law_residual=0.0, littles_law_limit=0.02, cpu_share=0.1, overruns=0,
)  # fmt: skip
"""What the generator says of itself when a run went to its end."""


def record(word: slo.Word, **more: Any) -> Record:  # noqa: ANN401 - any field
    """A run that came to this."""
    whole = msgspec.json.decode(RECORD, type=Record)
    changes = {"word": word, "exit_code": slo.exit_code(word), **more}
    return msgspec.structs.replace(whole, **changes)


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[int]]:
    """Let runs end as told, one after the other; gives the list of tries that were made."""

    def ending(*records: Record) -> list[int]:
        tries: list[int] = []

        def run(*arguments: Any) -> tuple[Record, Path]:  # noqa: ANN401 - as the real one
            tries.append(arguments[5])
            return records[len(tries) - 1], Path("somewhere")

        monkeypatch.setattr(fewseconds.run, "run", run)
        return tries

    return ending


@pytest.fixture
def orders(runs: Callable[..., list[int]], monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What a run that passes has been told, once it has been."""
    runs(record("pass"))
    told: list[Any] = []
    known = fewseconds.run.run

    def run(*arguments: Any) -> Any:  # noqa: ANN401 - as the real one
        told.extend(arguments)
        return known(*arguments)

    monkeypatch.setattr(fewseconds.run, "run", run)
    return told


@pytest.mark.parametrize(
    ("name", "words", "tries", "code"),
    [
        ("smoke", ["pass"], 1, 0),
        ("smoke", ["fail"], 1, 1),
        ("smoke", ["inconclusive", "pass"], 2, 0),
        ("smoke", ["inconclusive", "fail"], 2, 1),
        ("smoke", ["inconclusive", "inconclusive", "pass"], 2, 3),
        ("mumbai", ["inconclusive", "pass"], 1, 3),
    ],
)
def test_only_an_inconclusive_smoke_test_is_run_once_more(
    runs: Callable[..., list[int]], name: str, words: list[slo.Word], tries: int, code: int
) -> None:
    """A failure is never tried again, and an inconclusive run once, if its scenario says so."""
    made = runs(*(record(word, generator=TO_ITS_END) for word in words))
    result = said("run", name, "--json")
    assert made == list(range(1, tries + 1))
    assert result.exit_code == code
    assert result.stdout.count("\n") == 1
    content = json.loads(result.stdout)
    assert content["word"] == words[tries - 1]
    assert content["report"] == "somewhere/report.html"
    assert content["engine"] == "locust+simpy"
    assert result.stderr.count("Once more.") == tries - 1


def test_a_run_that_broke_off_is_not_tried_again(runs: Callable[..., list[int]]) -> None:
    """A crash of a service stays visible: only what a busy machine spoiled is repeated."""
    made = runs(record("inconclusive", generator=None), record("pass", generator=TO_ITS_END))
    assert said("run", "smoke").exit_code == 3
    assert made == [1]


def test_the_end_of_a_run_is_told(runs: Callable[..., list[int]]) -> None:
    """Gates apart from claims, times that were never reached, broken checks and all reasons."""
    gate = slo.Verdict(
        "machine time", "machine_time", "p50", "measured", gate=True, limit=5.0, at_least=False,
        word="fail", observed=float("inf"), low=None, high=None, count=114,
    )  # fmt: skip
    replace = msgspec.structs.replace
    claim = replace(
        gate, name="paired [/b] days", measure="faster_than_portal", statistic="share",
        gate=False, at_least=True, limit=0.9, observed=0.934, word="pass",
    )  # fmt: skip
    nothing = replace(gate, name="SMS", observed=None, word="inconclusive", count=0)
    broken = Check("no rupee is lost", passed=False, checked=9, violations=2, first=("a", "b"))
    fine = Check("water is wet", passed=True, checked=1)
    invalid = slo.Validity(valid=False, reasons=("the clock [stood] still; run it again",))
    runs(
        record(
            "fail", verdicts=(gate, claim, nothing), checks=(broken, fine), validity=invalid,
            summary="No: [b]it[/b] does not hold.",
        )
    )  # fmt: skip
    text = said("run", "smoke").stderr
    gates, _, rest = text.partition("Claims")
    assert "machine time" in gates
    assert "never" in gates
    assert "at most 5 s" in gates
    assert "paired [/b] days" in rest
    assert "93.4 %" in rest
    assert "at least 90 %" in rest
    assert "Exact checks: 1 of 2 hold" in text
    assert "✗ no rupee is lost: 2 of 9; a; b" in text
    assert "? the clock [stood] still; run it again" in text
    assert "FAIL  No: [b]it[/b] does not hold." in text
    assert "Report: somewhere/report.html" in text


def test_the_command_that_repeats_a_run_is_complete(orders: list[Any]) -> None:
    """The command carries name, seed and every deliberate fault, quoted for a shell."""
    said("run", "smoke", "--seed", "9", "--slow", "biller=5", "--slow", "switch=1.5")
    scenario, seed, _, command = orders[:4]
    assert command == "fewseconds run smoke --seed 9 --slow biller=5 --slow switch=1.5"
    assert seed == 9
    assert (scenario.slowdown("biller"), scenario.slowdown("switch")) == (5.0, 1.5)


def test_who_looks_on_while_a_run_pays_is_told_to_the_generator(orders: list[Any]) -> None:
    """Run takes the options of load run, refuses them in the same words, and repeats without."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        refused = said("run", "smoke", "--metrics", port)
        assert refused.exit_code == EXIT_USAGE
        assert "choose another port or host" in complaints(refused)[0]
        assert orders == []
    collector = "http://127.0.0.1:4318"
    options = ("--metrics", port, "--otlp", collector, "--trace-share", "0.5")
    assert said("run", "smoke", *options).exit_code == 0
    command, wish = orders[3], orders[6]
    assert wish.telemetry == Telemetry(metrics=f"127.0.0.1:{port}", otlp=collector, trace_share=0.5)
    assert command == "fewseconds run smoke --seed 7"


@pytest.mark.parametrize("as_json", [[], ["--json"]])
def test_a_fault_of_ours_is_exit_code_3_and_a_bug_report(
    monkeypatch: pytest.MonkeyPatch, as_json: list[str]
) -> None:
    """An error that nobody foresaw is never 1, which says that a gate failed, and shows its way."""

    def run(*_: object) -> None:
        raise ZeroDivisionError("division by [red]zero")

    monkeypatch.setattr(fewseconds.run, "run", run)
    result = CliRunner().invoke(app, ["run", "smoke", *as_json])
    assert result.exit_code == EXIT_INCONCLUSIVE
    assert "Traceback (most recent call last)" in result.stderr
    (line,) = complaints(result)
    assert "ZeroDivisionError: division by [red]zero; this is a fault of ours" in line
    if as_json:
        told = json.loads(result.stdout)
        assert (told["exit_code"], told["error"]) == (EXIT_INCONCLUSIVE, line)


def test_a_reader_that_leaves_early_makes_no_noise() -> None:
    """A closed pipe is neither a failed gate nor a traceback."""
    command = [sys.executable, "-m", "fewseconds", "scenarios", "--json"]
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr.count("Traceback")) == (EXIT_INCONCLUSIVE, 0)


def test_an_interruption_is_exit_code_130(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C is said in words and has the exit code that shells give it."""

    def run(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(fewseconds.run, "run", run)
    result = said("run", "smoke")
    assert result.exit_code == EXIT_INTERRUPTED
    assert "interrupted" in result.stderr


def test_missing_decoders_are_told_before_the_start(
    runs: Callable[..., list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run asks for a substitute of every scanner of its apps, and is refused without any."""
    runs(record("pass"))
    asked: list[str] = []
    monkeypatch.setattr(decoding, "substitute", asked.append)
    assert said("run", "smoke").exit_code == 0
    assert sorted(asked) == sorted(
        {app.scanner for app in scenario_file.load("smoke").apps.values()}
    )


# --- serve, audit, scan ------------------------------------------------------------------------


def four_free_ports() -> int:
    """The first of as many ports in a row as there are services, below those of connections."""
    for first in range(20_000, 30_000, 10):
        with ExitStack() as taken, suppress(OSError):
            for port in range(first, first + len(SERVICES)):
                taken.enter_context(socket.create_server(("127.0.0.1", port)))
            return first
    raise LookupError


@pytest.mark.parametrize("place", range(len(SERVICES)))
def test_a_busy_port_is_one_sentence(tmp_path: Path, place: int) -> None:
    """Whichever of the four ports is taken, the sentence names it, and nothing is started."""
    port = four_free_ports() + place
    with socket.create_server(("127.0.0.1", port)):
        result = said("serve", "smoke", "--port", port - place, "--folder", tmp_path / "x")
    assert result.exit_code == EXIT_INCONCLUSIVE
    (line,) = complaints(result)
    assert f"(port {port})" in line
    assert "; stop what uses the port, or choose another" in line
    assert result.stdout == ""
    assert not list(tmp_path.rglob("*.log"))


def test_a_folder_without_a_ledger_cannot_be_audited(tmp_path: Path) -> None:
    """The auditor says so in one sentence, and as one object."""
    result = said("audit", tmp_path, "--json")
    assert result.exit_code == EXIT_INCONCLUSIVE
    (line,) = complaints(result)
    assert line == f"{tmp_path}: holds no ledger; give the folder of a run that had services"
    assert json.loads(result.stdout) == {"error": line, "exit_code": EXIT_INCONCLUSIVE}


def test_brackets_in_names_are_no_markup(tmp_path: Path) -> None:
    """The name of an objective is printed as the scenario has it."""
    mine = tmp_path / "mine.toml"
    objective = (
        '[[slo]]\nname = "time [p50] in [/s]"\nmeasure = "machine_time"\nstatistic = "p50"\n'
        'limit = 5.0\nsource = "a test"\n'
    )
    mine.write_text(f'extends = "smoke"\n{objective}')
    result = said("simulate", mine, "--journeys", 60)
    assert "time [p50] in [/s]" in result.stdout


# --- the terminal ------------------------------------------------------------------------------


def test_progress_without_a_terminal_is_a_line_a_stage(capsys: pytest.CaptureFixture[str]) -> None:
    """Where nobody watches, every stage is said once, not every percent."""
    with console.progress() as say:
        for share in (0.0, 0.5, 1.0):
            say("planning", share)
        say("paying", 0.1)
    assert capsys.readouterr().err.splitlines() == ["· planning", "· paying"]


def test_faults_of_the_command_line_add_to_the_scenarios(tmp_path: Path) -> None:
    """``--slow`` multiplies what the scenario slows down already."""
    mine = tmp_path / "mine.toml"
    mine.write_text(
        'extends = "smoke"\n[[fault]]\nkind = "slowdown"\nstation = "biller"\nfactor = 2.0\n'
    )
    scenario = console.load(str(mine), ["biller=3"])
    assert scenario.slowdown("biller") == 6.0
    assert console.load(str(mine)).slowdown("biller") == 2.0
