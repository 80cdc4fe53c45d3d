"""The command line: one JSON object, a header, exit codes, and bad input in words."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from fewseconds import scenario_file
from fewseconds.cli import app
from fewseconds.commands import load
from fewseconds.plan import plan
from loadtests.probe import Latency, ProbeResult


def said(*arguments: str) -> Result:
    """What a command leaves behind."""
    result = CliRunner().invoke(app, list(arguments))
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert "Traceback" not in result.output
    return result


def only_object(result: Result) -> dict[str, Any]:
    """The one JSON object on stdout."""
    assert result.stdout.count("\n") == 1
    content = json.loads(result.stdout)
    assert isinstance(content, dict)
    return content


def test_a_plan_is_told_as_one_object() -> None:
    """With --json, stdout is one object with the header's fields and the hash of the plan."""
    result = said("plan", "smoke", "--seed", "11", "--json")
    content, scenario = only_object(result), scenario_file.load("smoke")
    made = plan(scenario, 11)
    assert result.exit_code == 0
    assert content["plan_hash"] == made.digest
    assert content["journeys"] == len(made) == sum(content["kinds"].values())
    assert tuple(content["window_us"]) == made.busiest_window()
    assert content["window_journeys"] == len(made.window(*made.busiest_window()))
    header = {"seed": 11, "scenario": "smoke", "scenario_hash": scenario.digest, "engine": "plan"}
    assert header.items() <= content.items()
    assert result.stderr.startswith(f"seed=11 scenario=smoke#{scenario.digest[:12]} engine=plan")
    assert content["commit"] in result.stderr.splitlines()[0]


def test_without_a_seed_the_scenarios_own_is_taken() -> None:
    """The seed of a scenario is the default, and is said in the header."""
    result = said("plan", "smoke")
    scenario = scenario_file.load("smoke")
    assert result.exit_code == 0
    assert result.stderr.startswith(f"seed={scenario.seed} ")
    assert plan(scenario).digest in result.stdout


def test_a_plan_can_be_kept(tmp_path: Path) -> None:
    """With --out the rows of the plan are written, and read back as they were."""
    path = tmp_path / "plan.parquet"
    assert said("plan", "smoke", "--out", str(path)).exit_code == 0
    assert pq.read_table(path).equals(plan(scenario_file.load("smoke")).table)


def test_a_month_is_picked_by_its_number() -> None:
    """The eighth month of the road to 80 % is June: more payments, more of them digital."""
    contents = [
        only_object(said("plan", "road_to_80", "--month", str(k), "--json")) for k in (1, 8)
    ]
    june = scenario_file.load("road_to_80", {"month": 8})
    assert contents[1]["plan_hash"] == plan(june).digest != contents[0]["plan_hash"]
    assert contents[1]["journeys"] == 1_102_500
    shares = [c["kinds"]["counter_cash"] / c["journeys"] for c in contents]
    assert shares == pytest.approx([0.30, 0.236], abs=0.002)


def test_scenarios_are_listed_with_their_hashes() -> None:
    """Every shipped scenario is listed, for people with its title, for programs with its hash."""
    listed = only_object(said("scenarios", "--json"))["scenarios"]
    assert [one["name"] for one in listed] == scenario_file.shipped()
    for one in listed:
        assert one["scenario_hash"] == scenario_file.load(one["name"]).digest
    lines = said("scenarios").stdout
    assert all(name in lines for name in scenario_file.shipped())


def test_a_simulation_is_judged(tmp_path: Path) -> None:
    """Every simulated journey has a named end, the gates pass, and the same command repeats it."""
    command = ("simulate", "smoke", "--journeys", "300", "--out", str(tmp_path), "--json")
    results = [said(*command) for _ in range(2)]
    contents = [only_object(result) for result in results]
    for content in contents:
        assert content.pop("wall_s") > 0
        assert content.pop("compile_s") > 0
        assert content.pop("total_s") > content.pop("startup_s") > 0
        assert content.pop("startup_cpu_s") > 0
        assert content.pop("rss_mb") > 0
        assert Path(content.pop("report")).read_text().startswith("<!DOCTYPE html>")
    assert contents[0] == contents[1]
    content = contents[0]
    assert (results[0].exit_code, content["word"], content["engine"]) == (0, "pass", "numba")
    assert sum(content["fates"].values()) == content["journeys"] == 300
    assert "unexplained" not in content["fates"]
    assert {verdict["engine"] for verdict in content["slo"]} == {"simulated"}


def test_a_stream_leaves_a_page_and_the_rows_of_a_sample(tmp_path: Path) -> None:
    """Its verdicts are those of the walk in one piece, and its sample is rows of journeys."""
    command = ("simulate", "smoke", "--consumers", "3000", "--out", str(tmp_path), "--json")
    whole, streamed = (json.loads(said(*command, *option).stdout) for option in ((), ("--stream",)))
    assert streamed["fates"] == whole["fates"]
    assert streamed["paise"] == whole["paise"]
    words = [[(one["name"], one["word"]) for one in found["slo"]] for found in (whole, streamed)]
    assert words[0] == words[1]
    assert 0 < streamed["startup_s"] <= streamed["total_s"]
    report = Path(streamed["report"])
    assert "<html" in report.read_text()
    rows = pq.read_table(report.with_name("sample.parquet"))
    assert rows.num_rows == streamed["sampled_rows"] > 3000


def test_the_engines_are_compared() -> None:
    """Both engines walk the same journeys; no row of theirs differs, which is exit code 0."""
    result = said("simulate", "smoke", "--journeys", "300", "--check-engines", "--json")
    content = only_object(result)
    assert (result.exit_code, content["different"], content["first"]) == (0, 0, None)
    assert content["compared"] > 300
    assert content["events"][0] == content["events"][1] > 300


def test_a_slow_bank_fails_the_gate(tmp_path: Path) -> None:
    """Banks twenty times as slow miss the limits, which is exit code 1 and is said on stdout."""
    slow = ["simulate", "smoke", "--journeys", "300", "--slow", "remitter_bank=20"]
    slow += ["--out", str(tmp_path)]
    result = said(*slow, "--json")
    assert result.exit_code == 1
    assert only_object(result)["word"] == "fail"
    assert "fail" in said(*slow).stdout


MINE = """
extends = "smoke"
consumrs = 5
[stations.biller]
servers = -1
"""
BAD: list[tuple[list[str], list[str]]] = [
    # A command; what its error has to say, a line each.
    (["plan", "smok"], ["scenario 'smok': not found; did you mean 'smoke'?"]),
    (["plan", "{folder}/none.toml"], ["{folder}/none.toml: no such scenario file; "]),
    (["plan", "{folder}/broken.toml"], ["broken.toml: not valid TOML: "]),
    (["plan", "{folder}/circle.toml"], ["circle.toml: extends itself (circle → circle)"]),
    (
        ["plan", "{folder}/mine.toml"],
        [
            "mine.toml: consumrs: unknown key; did you mean 'consumers'?",
            "mine.toml: stations.biller.servers: -1 is negative",
        ],
    ),
    (["plan", "{folder}/nobody.toml"], ["nobody: nobody of 50 consumers pays"]),
    (["plan", "smoke", "--out", "{folder}/mine.toml/p"], ["{folder}/mine.toml/p: cannot"]),
    (["simulate", "smoke", "--stream", "--rows", "x"], ["--rows: a stream keeps no whole plan"]),
    (["simulate", "smoke", "--slow", "biller"], ["--slow 'biller': not understood"]),
    (["simulate", "smoke", "--slow", "biller=fast"], ["--slow 'biller=fast': not understood"]),
    (["simulate", "smoke", "--slow", "bilier=5"], ["smoke.toml: fault[0]: unknown station"]),
    (["simulate", "smoke", "--slow", "biller=0"], ["smoke.toml: fault[0].factor: 0.0 is not"]),
    (["simulate", "smoke", "--slow", "biller=nan"], ["smoke.toml: fault[0].factor: nan"]),
    (["simulate", "smoke", "--slow", "biller=inf"], ["smoke.toml: fault[0].factor: inf"]),
    *(
        (["load", command, url, "--slo", "p95=1s", *wrong], [line])
        for command in ("probe", "search")
        for url, wrong, line in (
            ("http://127.0.0.1:99999/", [], "'http://127.0.0.1:99999/': its port is no number"),
            ("127.0.0.1:8000", [], "'127.0.0.1:8000': does not begin with http://"),
            ("ftp://127.0.0.1/", [], "'ftp://127.0.0.1/': begins with neither http://"),
            ("http://192.0.2.1/", [], "'http://192.0.2.1/': is not on this machine"),
            ("http://127.0.0.1:1/", ["--slo", "p42=1s"], "--slo 'p42=1s': unknown quantile"),
            ("http://127.0.0.1:1/", ["--slo", "p95="], "--slo p95 '': is no time"),
        )
    ),
    *(
        (["load", "probe", "http://127.0.0.1:1/", *wrong], [line])
        for wrong, line in (
            (["--rate", "inf"], "--rate inf: must be a number above 0"),
            (["--duration", "0s"], "--duration '0s': is no time at all"),
            (["--duration", "9000000h"], "--duration '9000000h': is more than a year"),
            (["--duration", "2s", "--settle", "2s"], "--settle '2s': is all of --duration '2s'"),
            (["--timeout", "0ms"], "--timeout '0ms': is no time at all"),
            (["--shape", "ramp=inf"], "--shape 'ramp=inf': not understood"),
            (["--shape", "ramp=nan"], "--shape 'ramp=nan': not understood"),
            (["--shape", "steps=1,1e9"], "--shape 'steps=1,1e9': not understood"),
        )
    ),
    *(
        (["load", "search", "http://127.0.0.1:1/", "--slo", "p95=1s", *wrong], [line])
        for wrong, line in (
            (["--from", "nan"], "--from nan: must be a number above 0"),
            (["--to", "inf"], "--to inf: must be a number above 0"),
            (["--from", "9", "--to", "5"], "search: from 9 to 5 requests/s is no range"),
            (["--step", "0s"], "--step '0s': is no time at all"),
        )
    ),
    *(
        (["load", "run", "smoke", "--dry-run", *wrong], [f"{' '.join(wrong)}: must be a number"])
        for wrong in (
            ["--rate-scale", "nan"], ["--rate-scale", "inf"], ["--rate-scale", "0"],
            ["--constant-rate", "nan"], ["--constant-rate", "inf"], ["--constant-rate", "-1"],
        )
    ),
    (
        ["load", "run", "smoke", "--dry-run", "--rate-scale", "1e-9"],
        ["smoke: no journey falls into the load window"],
    ),
    (
        ["load", "run", "smoke", "--dry-run", "--constant-rate", "1e-9", "--journeys", "2"],
        ["--constant-rate 1e-09: the run would take 2.315e+04 days"],
    ),
    (
        ["serve", "smoke", "--folder", "{folder}/mine.toml"],
        ["{folder}/mine.toml: cannot be written"],
    ),
    (
        ["run", "{folder}/mine.toml", "--results", "{folder}/results"],
        ["mine.toml: consumrs", "mine.toml: stations"],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "lines"), BAD)
def test_bad_input_is_refused_in_words(
    arguments: list[str], lines: list[str], tmp_path: Path
) -> None:
    """Exit code 2, one line for each problem on stderr, one object with --json, nothing started."""
    for name, text in {
        "mine": MINE,
        "broken": "title = [",
        "circle": 'extends = "circle"',
        "nobody": 'extends = "smoke"\nconsumers = 50\narrivals.payments_per_consumer_month = 1e-9',
    }.items():
        (tmp_path / f"{name}.toml").write_text(text)
    before = sorted(tmp_path.iterdir())
    filled = [part.format(folder=tmp_path) for part in arguments]
    for as_json in ([], ["--json"]):
        result = said(*filled, *as_json)
        assert result.exit_code == 2
        told = [line for line in result.stderr.splitlines() if line.startswith("✗ ")]
        assert len(told) == len(lines)
        for line, expected in zip(told, lines, strict=True):
            assert line.startswith(f"✗ {expected.format(folder=tmp_path)}")
        if as_json:
            content = only_object(result)
            assert content["exit_code"] == 2
            assert content["error"].splitlines() == [line.removeprefix("✗ ") for line in told]
        else:
            assert result.stdout == ""
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    "arguments",
    [
        ["pln"], ["plan"], ["plan", "smoke", "--seed", "-1"], ["plan", "smoke", "--seed", "x"],
        ["simulate", "smoke", "--journeys", "0"], ["scenarios", "smoke"],
        ["serve", "smoke", "--smpp", "99999"], ["load", "selfcheck", "--rate", "inf"],
        ["load", "selfcheck", "--rate", "nan"], ["bench", "journeys", "--rate", "inf"],
        ["bench", "journeys", "--seconds", "inf"], ["bench", "decoding", "--turns", "0"],
        ["bench", "decoding", "--seconds", "inf"],
    ],
)  # fmt: skip
def test_wrong_usage_is_exit_code_2(arguments: list[str]) -> None:
    """Unknown commands, missing names and values out of range are refused before anything runs."""
    result = said(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")


SECRET = "s3cret"  # noqa: S105 - which is what must not be shown


@pytest.mark.parametrize(
    "arguments",
    [
        ["load", "probe", "{url}"], ["load", "search", "{url}", "--slo", "p95=1s"],
        ["conform", "{url}", "--secret-file", "x"], ["serve", "smoke", "--biller-url", "{url}"],
        *(
            [*command, "smoke", "--dry-run", option, "{url}"]
            for command in (["run"], ["load", "run"])
            for option in ("--psp-url", "--biller-url", "--bbps-url", "--reset", "--otlp")
            if command != ["run"] or option != "--otlp"
        ),
        ["load", "run", "smoke", "--psp-url", "http://127.0.0.1:9", "--sms-url", "{url}"],
    ],
)  # fmt: skip
@pytest.mark.parametrize("url", [f"http://user:{SECRET}@127.0.0.1:9/", f"user:{SECRET}@h:80"])
def test_a_password_in_an_address_is_refused_and_never_repeated(
    arguments: list[str], url: str
) -> None:
    """Exit code 2 for every option that takes an address, on both streams without the password."""
    # As a reset hook, what does not begin with http:// is a command.
    url = url if "--reset" not in arguments else f"http://{url.removeprefix('http://')}"
    result = said(*(part.format(url=url) for part in arguments), "--json")
    assert result.exit_code == 2
    assert SECRET not in result.output


def test_help_names_every_command() -> None:
    """The help lists what can be asked for."""
    result = said("--help")
    assert result.exit_code == 0
    for command in ("run", "plan", "simulate", "serve", "audit", "scenarios", "scan"):
        assert command in result.stdout


@pytest.mark.parametrize("command", [("load", "run"), ("run",)])
def test_a_dry_run_prints_one_object_and_sends_nothing(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    """Both commands take the options of other parties, and their plan's hash knows the bills."""
    whole = plan(scenario_file.load("smoke"), 7)
    due = (dt.datetime.now(dt.UTC) + dt.timedelta(days=10)).date()
    lines = [f"INV-{n},A-{n},{n + 1}.00,{due}" for n in range(1000)]
    head = "bill_number,consumer_number,amount_rupees,due_on"
    (tmp_path / "bills.csv").write_text("\n".join([head, *lines]), "utf-8")
    (tmp_path / "told.toml").write_text('[psp]\nx-key = "nobody may see this"\n', "utf-8")
    # Nobody listens there: whatever was sent would be refused.
    result = said(
        *command, "smoke", "--psp-url", "http://127.0.0.1:9", "--dry-run", "--json",
        "--bills", str(tmp_path / "bills.csv"), "--credentials", str(tmp_path / "told.toml"),
    )  # fmt: skip
    assert result.exit_code == 0
    told = only_object(result)
    assert told["sent"] == 0
    assert {one["url"].split("/upi")[0] for one in told["requests"]} == {"http://127.0.0.1:9"}
    assert {one["headers"]["x-key"] for one in told["requests"]} == {"(not shown)"}
    assert "nobody may see this" not in result.output
    assert told["plan_hash"] != whole.digest
    assert told["journeys"] == len(whole.window(*whole.busiest_window()))
    refused = said(*command, "smoke", "--psp-url", "http://pay.example", "--dry-run")
    assert refused.exit_code == 2
    assert "--allow-host pay.example" in refused.output


def test_a_probe_names_what_came_instead_of_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without --json as well, the person reads that the port was closed, not only "never"."""
    never = Latency(None, None, None, None, None, None)
    found = ProbeResult(
        verdict="fail", reasons=(), broken=("p95: never answered, allowed are 1000 ms",),
        intended=9, started=9, completed=1, dropped=0, late=0, lag_ms_p99=0.1,
        outcomes={"ConnectionRefusedError": 5, "ok": 1, "status_404": 3}, latency_ms=never,
        sent_ms=never, cpu_us_per_request=80.0, cpu_share_max=0.01, littles_law_residual=None,
        littles_law_limit=None, in_flight_max=1, connections=9, retried=2, workers=1, refused=0,
        rss_mb=50.0, aborted=False, seconds=[],
    )  # fmt: skip
    monkeypatch.setattr(load, "probe", lambda *_: found)
    result = said("load", "probe", "http://127.0.0.1:1/", "--slo", "p95=1s")
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert "outcomes: 5 ConnectionRefusedError, 3 status_404, 1 ok" in lines
    assert any(line.startswith("2 sent again") for line in lines)


REFUSED = [
    (["--json"], "--json"),
    (["capacty", "smoke", "--json"], "'capacty'"),
    (["plan", "smoke", "--sed", "11", "--json"], "--sed"),
    (["simulate", "smoke", "--consumers", "none", "--json"], "--consumers"),
    (["simulate", "smoke", "--consumers", "0", "--json"], "--consumers"),
    (["sweep", "smoke", "--json"], "--vary"),
    (["scan", "bill", "smoke", "--dpi", "fine", "--json"], "--dpi"),
    (["load", "probe", "--json"], "'url'"),
    (["load", "probe", "http://127.0.0.1:9/", "--client", "curl", "--json"], "'curl'"),
    (["load", "run", "smoke", "--rate-scale", "fast", "--json"], "--rate-scale"),
    (["bench", "client", "--json", "twice"], "twice"),
]


@pytest.mark.parametrize(("arguments", "what"), REFUSED)
def test_what_no_command_understands_is_one_object_too(arguments: list[str], what: str) -> None:
    """Words that are refused before a command begins: exit code 2, words, and with --json JSON."""
    result = said(*arguments)
    content = only_object(result)
    assert (result.exit_code, content["exit_code"]) == (2, 2)
    command = " ".join(part for part in arguments[:2] if part in ("scan", "bill", "load", "run"))
    assert command in content["error"]
    assert what in content["error"]
    assert "--help`" in content["error"]
    assert "Error" in result.stderr
    people = said(*(part for part in arguments if part != "--json"))
    if arguments != ["--json"]:
        assert (people.exit_code, people.stdout) == (2, "")
        assert people.stderr == result.stderr
