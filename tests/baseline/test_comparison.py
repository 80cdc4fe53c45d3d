"""compare RUN BASE from the command line: words, exit codes, what it refuses and leaves behind."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING, Any

import pytest

from fewseconds import markdown
from fewseconds.baseline import runs
from fewseconds.baseline.comparison import Margins, compare
from fewseconds.commands.compare_runs import RunsWish, are_runs, compare_runs
from fewseconds.errors import EXIT_GATE_FAILED, EXIT_INCONCLUSIVE, EXIT_OK, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from fewseconds.baseline.comparison import Found, Row
    from tests.baseline.conftest import MakeRun


def row(found: Found, kind: str, name: str, statistic: str) -> Row:
    """One row of a comparison."""
    (one,) = [r for r in found.rows if (r.kind, r.name, r.statistic) == (kind, name, statistic)]
    return one


def test_a_slower_run_fails_and_says_by_how_much(made_run: MakeRun) -> None:
    """Pay 40 % slower: its own row and the machine time say so, scan and resolve do not."""
    base, run = runs.read(made_run("base", 1)), runs.read(made_run("run", 2, slower=1.4))
    found = compare(run, base, Margins())
    assert found.word == "fail"
    assert found.sentence.startswith("Worse by more than 10")
    pay = row(found, "step", "pay", "p50")
    assert pay.effect.change == pytest.approx(0.4, abs=0.08)
    assert pay.significant
    assert row(found, "measure", "machine_time", "p95").word == "fail"
    assert not row(found, "step", "scan", "p50").significant
    assert not row(found, "step", "resolve", "p95").significant
    # 1 200 journeys have 12 beyond a p99, and they are worth less than that.
    assert "cannot support a p99" in row(found, "step", "pay", "p99").effect.reason


def test_the_same_system_again_is_not_worse(made_run: MakeRun) -> None:
    """Two runs of one law pass at a margin that they can see, and nothing is significant."""
    base, run = (
        runs.read(made_run(name, seed, journeys=3000)) for name, seed in (("base", 3), ("run", 4))
    )
    found = compare(run, base, Margins(times=0.3, shares=0.02))
    assert found.word == "pass"
    assert not any(one.significant for one in found.rows)


def test_failures_are_counted_apart(made_run: MakeRun) -> None:
    """Three payments more in a hundred fail: the error rate is worse by about three points."""
    base, run = runs.read(made_run("base", 5)), runs.read(made_run("run", 6, failing=0.03))
    found = compare(run, base, Margins())
    errors = row(found, "measure", "error_rate", "share")
    assert errors.effect.change == pytest.approx(0.03, abs=0.015)
    assert errors.word == "fail"
    assert row(found, "step", "pay", "share").significant


def test_a_few_journeys_cannot_tell(made_run: MakeRun) -> None:
    """With 200 journeys a side the answer is open, and says what would have shown."""
    sides = [runs.read(made_run(str(seed), seed, journeys=200)) for seed in (7, 8)]
    found = compare(sides[1], sides[0], Margins(times=0.01))
    assert found.word == "inconclusive"
    told = row(found, "measure", "machine_time", "p50")
    assert told.detectable is not None
    assert told.detectable > 0.02


def test_a_run_that_is_not_valid_proves_nothing(made_run: MakeRun) -> None:
    """However much slower, a run whose generator was late is no evidence."""
    base = runs.read(made_run("base", 1))
    late = runs.read(made_run("run", 2, slower=2.0, reasons=("the generator was late",)))
    found = compare(late, base, Margins())
    assert found.word == "inconclusive"
    assert found.reasons == ("the run is not valid: the generator was late",)


def test_runs_of_different_scenarios_are_refused_unless_told(made_run: MakeRun) -> None:
    """The message names both; with --across they are compared."""
    base, run = (
        runs.read(made_run("base", 1)),
        runs.read(made_run("run", 2, scenario="ordinary_day")),
    )
    with pytest.raises(UsageError, match=r"'ordinary_day'.*'smoke'.*--across"):
        compare(run, base, Margins())
    assert compare(run, base, Margins(), across=True).rows


def test_a_folder_of_runs_is_several_runs(made_run: MakeRun, tmp_path: Path) -> None:
    """Three runs a side are compared by the spread between them."""
    sides = []
    for side, seeds, slower in (("before", (1, 2, 3), 1.0), ("after", (4, 5, 6), 1.5)):
        for seed in seeds:
            made_run(f"{side}/{seed}", seed, slower=slower, journeys=400)
        (tmp_path / side / "latest").symlink_to(str(seeds[0]))
        sides.append(runs.read(tmp_path / side))
    assert [side.runs for side in sides] == [3, 3]
    found = compare(sides[1], sides[0], Margins())
    assert found.word == "fail"
    assert found.runs == (3, 3)
    assert not any(one.effect.paired for one in found.rows)


def test_the_command_leaves_page_json_junit_and_markdown(
    made_run: MakeRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One JSON object on stdout, and files beside each other that say the same word."""
    base, run = made_run("base", 1), made_run("run", 2, slower=1.4)
    wish = RunsWish(results=tmp_path / "results")
    code = compare_runs(str(run), str(base), wish, as_json=True)
    said: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert code == said["exit_code"] == EXIT_GATE_FAILED
    folder = tmp_path / "results" / "latest"
    assert json.loads((folder / "answer.json").read_text())["word"] == said["word"] == "fail"
    suite = ET.parse(folder / "junit.xml").getroot()[0]  # noqa: S314 - our own
    red = [case.get("name") for case in suite if case.find("failure") is not None]
    gates = [one for one in said["rows"] if one["gate"] and one["word"] == "fail"]
    assert len(red) == len(gates) > 0
    assert "✗ fail" in (folder / markdown.FILE_NAME).read_text()
    assert "Worse by more than" in (folder / "report.html").read_text()


@pytest.mark.parametrize(
    ("word", "code"), [("inconclusive", EXIT_INCONCLUSIVE), ("pass", EXIT_OK), ("fail", 1)]
)
def test_what_cannot_be_told_ends_as_asked(
    made_run: MakeRun, tmp_path: Path, word: str, code: int
) -> None:
    """--on-inconclusive decides the exit code of an open comparison, and of nothing else."""
    base, run = made_run("base", 1, journeys=60), made_run("run", 2, journeys=60)
    wish = RunsWish(results=tmp_path / "results", worse_by=0.01, on_inconclusive=word)
    assert compare_runs(str(run), str(base), wish, as_json=False) == code


def test_what_is_no_run_is_refused(tmp_path: Path, made_run: MakeRun) -> None:
    """An empty folder, a scenario beside a run, and a run without an end are named."""
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="holds no run"):
        runs.read(tmp_path / "empty")
    with pytest.raises(UsageError, match="a scenario and"):
        are_runs("smoke", str(tmp_path / "empty"))
    broken = made_run("broken", 1, journeys=20)
    (broken / "load_record.json").unlink()
    with pytest.raises(UsageError, match="did not come to an end"):
        runs.read(broken)
