"""The probe against servers whose answer times are known, whole and in parts."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from fewseconds.schedule import Stage
from loadtests.histogram import Histogram
from loadtests.probe import ProbeResult, ProbeSpec, ProbeSummary, judge, probe
from loadtests.recorder import Limit, Recorder, Report, merged
from loadtests.target import Target, TargetSpec

if TYPE_CHECKING:
    from collections.abc import Callable


def silent(_stage: str, _share: float) -> None:
    """Say nothing."""


def run(url: str, rate: float, duration_s: float, processes: int = 1, **more: Any) -> ProbeResult:  # noqa: ANN401
    """A probe."""
    return probe(ProbeSpec(url=url, stages=[Stage(rate, duration_s)], **more), silent, processes)


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.parametrize("connections", [0, 1])
def test_a_frozen_server_is_felt_by_everybody_it_keeps_waiting(connections: int) -> None:
    """A server that stands still for 1 s in every 5 has p95 0.75 s and p99 0.95 s, analytically."""
    with Target(TargetSpec(freeze_s=1, period_s=5)) as target:
        found = run(target.url, 100, 10, connections_max=connections)
    assert found.verdict == "valid", found.reasons
    assert (found.intended, found.completed, found.dropped) == (1000, 1000, 0)
    assert found.latency_ms.p95 == pytest.approx(750, rel=0.05)
    assert found.latency_ms.p99 == pytest.approx(950, rel=0.05)


@pytest.mark.slow
@pytest.mark.alone
def test_two_workers_send_what_one_would() -> None:
    """Master and two workers send every request of the schedule exactly once."""
    with Target(TargetSpec()) as target:
        found = run(target.url, 150, 2, processes=2)
    assert (found.workers, found.intended, found.completed) == (2, 300, 300)
    assert [one["completed"] for one in found.seconds[:2]] == pytest.approx([150, 150], abs=5)


@pytest.mark.slow
@pytest.mark.alone
def test_all_workers_stop_when_a_limit_is_broken() -> None:
    """No answer within the limit, so both workers give up long before the schedule ends."""
    with Target(TargetSpec(servers=8, service_s=0.02, exponential=False)) as target:
        limit = Limit("p50", 0.5, 10_000)
        found = run(target.url, 20, 30, processes=2, limits=[limit], abort_after_s=1.0)
    assert (found.aborted, found.workers) == (True, 2)
    assert "stopped after limits had been broken for 1 s" in " ".join(found.broken)
    assert 20 <= found.started == found.completed < 300


@pytest.mark.slow
@pytest.mark.alone
def test_a_worker_that_dies_makes_the_probe_inconclusive() -> None:
    """The others go on, the share that is missing is named, and nothing is concluded."""
    killed: list[int] = []

    def kill_one(_stage: str, share: float) -> None:
        if share > 0.5 and not killed:
            mine = children(os.getpid())
            leader = next(pid for pid in mine if "probefile" in command(pid))
            killed.append(children(leader)[0])
            os.kill(killed[0], signal.SIGKILL)

    with Target(TargetSpec()) as target:
        spec = ProbeSpec(url=target.url, stages=[Stage(100, 4)])
        found = probe(spec, kill_one, 2)
    assert killed
    assert found.verdict == "inconclusive"
    assert "of 2 has ended or cannot be reached any more; its share is missing" in found.reasons[0]
    assert found.completed == 200


def children(pid: int) -> list[int]:
    """The processes that a process has started."""
    found = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(one) for path in found for one in path.read_text().split()]


def command(pid: int) -> str:
    """The command line of a process."""
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()


def noted(values: list[tuple[int, int, int, str]]) -> Report:
    """The report of a recorder that has seen ``(due, start, end, outcome)``."""
    recorder = Recorder(0)
    for number, one in enumerate(values):
        recorder.intend(one[0])
        recorder.ended(*one)
        if number % 7 == 0:
            recorder.turn()
    report = recorder.report()
    report.in_flight_integral_s = report.sojourn_s
    return report


GOOD = [(n * 10_000, n * 10_000 + 100, n * 10_000 + 5_000 + n, "ok") for n in range(1000)]


def judged(report: Report, **more: Any) -> ProbeResult:  # noqa: ANN401
    """What the judge says."""
    spec = ProbeSpec(url="http://127.0.0.1/", stages=[], **more)
    summary = ProbeSummary(report=report, workers=1, lost=(), refused=0, aborted=False)
    return judge(spec, summary)


def test_parts_add_up_to_the_whole() -> None:
    """Reports of shares, sent as messages, are the report of everything in every number."""
    whole = noted(GOOD)
    sent = [msgspec.msgpack.encode(noted(GOOD[i::3])) for i in range(3)]
    together = merged([msgspec.msgpack.decode(data, type=Report) for data in sent])
    ours, theirs = judged(whole), judged(together)
    assert msgspec.structs.replace(ours, littles_law_residual=None) == msgspec.structs.replace(
        theirs, littles_law_residual=None
    )
    assert Histogram.unpacked(whole.sent).sum_us == Histogram.unpacked(together.sent).sum_us


LIMIT = Limit("p99", 0.99, 6_000)


@pytest.mark.parametrize(
    ("change", "verdict", "word"),
    [
        (lambda _: None, "pass", ""),
        (lambda r: setattr(r, "cpu_share_max", 0.99), "inconclusive", "of a processor"),
        (lambda r: setattr(r, "late", 200), "inconclusive", "over 10 ms late"),
        (lambda r: setattr(r, "in_flight_integral_s", 1.0), "inconclusive", "differ by"),
        (lambda r: setattr(r, "dropped", 50), "inconclusive", "were dropped"),
        (lambda r: setattr(r, "lag", slow().packed()), "inconclusive", "began up to 30 ms late"),
        (lambda r: r.latency.update(never=30), "fail", ""),
    ],
)
def test_nothing_is_concluded_from_a_generator_that_broke_its_promise(
    change: Callable[[Report], None], verdict: str, word: str
) -> None:
    """Each way to be invalid is said; a limit that is broken by what failed is a failure."""
    report = noted(GOOD)
    change(report)
    found = judged(report, limits=[LIMIT])
    assert found.verdict == verdict
    assert word in " ".join(found.reasons)
    assert bool(found.broken) == (verdict == "fail")


@pytest.mark.parametrize("limits", [[], [LIMIT]])
@pytest.mark.parametrize(
    ("outcomes", "verdict"),
    [
        (("ConnectionRefusedError", "ConnectionRefusedError"), "fail"),
        # One answer, or something that who is late may bring about, and nothing is concluded.
        (("ConnectionRefusedError", "ok"), "inconclusive"),
        (("ConnectionRefusedError", "timed_out"), "inconclusive"),
        (("timed_out", "timed_out"), "inconclusive"),
    ],
)
def test_who_lets_nobody_in_has_failed_also_where_the_generator_was_late(
    outcomes: tuple[str, str], verdict: str, limits: list[Limit]
) -> None:
    """A thousand requests leave 50 ms late, and find nobody: the reasons stay, the verdict is."""
    times = [(due, due + 50_000, due + 50_300) for due, *_ in GOOD]
    found = judged(noted([(*t, outcomes[n % 2]) for n, t in enumerate(times)]), limits=limits)
    assert found.verdict == verdict
    assert any("began up to 50 ms late" in reason for reason in found.reasons)
    told = "Every connection was refused, so it has failed whatever the generator did"
    assert (told in " ".join(found.broken)) == (verdict == "fail")


def slow() -> Histogram:
    """Lags of 30 ms."""
    import numpy as np  # noqa: PLC0415 - only here

    histogram = Histogram()
    histogram.add(np.full(100, 30_000))
    return histogram


def test_what_vanished_without_an_outcome_is_missed() -> None:
    """The schedule says how many were intended; three that were not heard of again spoil it."""
    recorder = Recorder(0)
    for number, one in enumerate(GOOD):
        recorder.intend(one[0])
        if number % 400 != 7:
            recorder.ended(*one)
    report = recorder.report()
    report.in_flight_integral_s = report.sojourn_s
    found = judged(report, limits=[LIMIT])
    assert (found.intended, found.started, found.verdict) == (1000, 997, "inconclusive")
    assert found.reasons == ("3 requests were never started; see load.log",)


CUT_OFF = """
from types import SimpleNamespace
import gevent, msgspec
from fewseconds.schedule import Stage
from loadtests import crew, open_model, probefile
from loadtests.probe import ProbeSpec
from loadtests.recorder import Report
open_model.GRACE_S = 0.1
events = SimpleNamespace(request=SimpleNamespace(fire=lambda **_: None))
probe = probefile.Probe(SimpleNamespace(events=events))
spec = ProbeSpec(url="http://127.0.0.1:9/", stages=[Stage(50, 0.4)], timeout_s=0.1)
probe.prepare(msgspec.json.encode(spec), 0, 1)
probe._line = SimpleNamespace(exchange=lambda *_: gevent.sleep(60))
report, _ = msgspec.msgpack.decode(probe.play(crew.monotonic_us()), type=tuple[Report, bool])
print(report.intended, report.started, report.begun, report.outcomes)
"""


@pytest.mark.slow
def test_requests_under_way_at_the_cut_off_are_unfinished() -> None:
    """Twenty requests that outlive the probe are twenty outcomes, not none."""
    ended = subprocess.run(
        [sys.executable, "-c", CUT_OFF], capture_output=True, text=True, check=True
    )
    assert ended.stdout.strip() == "20 20 20 {'unfinished': 20}"


@pytest.mark.slow
def test_a_server_that_hangs_stops_the_probe_and_every_request_is_told_of() -> None:
    """Nobody is answered: the probe gives up early, fails, and what it had sent is unfinished."""
    with socket.create_server(("127.0.0.1", 0), backlog=512) as deaf:
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}/"
        limit = Limit("p95", 0.95, 200_000)
        found = run(url, 20, 30, limits=[limit], abort_after_s=1.0, timeout_s=2.0)
    assert found.aborted
    assert "stopped after limits had been broken for 1 s" in " ".join(found.broken)
    assert found.completed == 0
    assert 20 <= found.intended == found.started < 300
    assert sum(found.outcomes.values()) == found.started
    assert "never started" not in " ".join(found.reasons)


def test_the_settling_time_does_not_count() -> None:
    """What was intended before the end of settling is sent and forgotten."""
    recorder = Recorder(5_000_000)
    for one in GOOD:
        recorder.intend(one[0])
        recorder.ended(*one)
    report = recorder.report()
    assert (report.begun, report.intended, report.completed) == (1000, 500, 500)
