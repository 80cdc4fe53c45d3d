"""One plan on several workers of stock Locust: who plays what, who is missed, who comes late."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import msgspec
import polars as pl
import pytest

from fewseconds import contracts as c
from fewseconds import measures, outcomes
from fewseconds.errors import EXIT_INCONCLUSIVE, EXIT_USAGE
from loadtests import verdict
from loadtests.launch import LOCUSTFILE, free_port
from loadtests.spec import SPEC_VARIABLE, notes

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator

    from tests.loadtests.conftest import Played

COUNT = 30
PATIENCE_S = 40.0
ELSEWHERE = """
import sys
from loadtests import crew
crew.boot = lambda: "another host"
from locust.main import main
sys.exit(main())
"""
"""A worker that takes this host for another one: it has another clock and shares no disk."""
IMPATIENT = """
import sys
from loadtests import crew
crew.PREPARING_SILENCE_S = 1.0
from locust.main import main
sys.exit(main())
"""
"""A master that does not wait a minute for a worker that has gone while it got ready."""
UNREADY = """
import os, sys
import locust.main
from loadtests.journeys import Journeys
def prepare(self, order, index, count):
    {end}
Journeys.prepare = prepare
sys.exit(locust.main.main())
"""
"""A worker that does not get ready."""


class Tired:
    """A server that answers one GET a connection, and hangs up on the next before it looks at it.

    It counts how often.
    """

    def __init__(self, json_reply: Callable[..., bytes]) -> None:
        """It has not hung up on anybody."""
        message = {"message_id": "m", "reference": "r", "sender": "BESTMU-S", "text": "Paid"}
        self._in = json_reply(201, {"token": "t"})
        self._inbox = json_reply(200, {"messages": [message]})
        self._kept: set[socket.socket] = set()
        self.hung_up: list[str] = []

    def __call__(self, request: Any, connection: socket.socket) -> bool:  # noqa: ANN401 - conftest's
        """Answer, or hang up."""
        if request.method == "GET" and connection in self._kept:
            self.hung_up.append(request.path)
            return False
        if request.method == "GET":
            self._kept.add(connection)
        connection.sendall(self._in if request.path == c.PORTAL_LOG_IN else self._inbox)
        return True


@pytest.fixture
def tired(json_reply: Callable[..., bytes]) -> Tired:
    """Such a server's answers."""
    return Tired(json_reply)


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 3])
def test_workers_play_the_plan_without_overlap_or_gap(
    orders: Callable[..., Played], tired: Tired, processes: int
) -> None:
    """Every journey is played once, at its time, by its worker; what went out twice is counted."""
    played = orders(processes, answer=tired)
    with played.generator as generator:
        summary = generator.wait(lambda: None)
    assert summary.retried == len(tired.hung_up) > COUNT // 4
    assert any(f"{summary.retried} requests were sent again" in note for note in notes(summary))
    assert (summary.workers, summary.intended, summary.lost) == (processes, COUNT, ())
    rows = played.rows()
    assert rows["journey_id"].to_list() == [100 + number for number in range(COUNT)]
    assert rows["intended_us"].to_list() == played.plan.starts_us.tolist()
    names = [f"load-{n % processes}" if processes > 1 else "load" for n in range(COUNT)]
    assert rows["process"].cast(pl.String).to_list() == names
    walked = measures.journeys(
        measures.frame(outcomes.read(generator.folder / "outcomes")), played.plan
    )
    assert walked["fate"].to_list() == ["confirmed"] * COUNT


@pytest.mark.slow
@pytest.mark.alone
def test_workers_share_the_limit_of_journeys_under_way(orders: Callable[..., Played]) -> None:
    """Three journeys may be open in the whole run, and against silence no fourth one begins."""
    played = orders(2, in_flight_max=3, answer=None)
    with played.generator as generator:
        summary = generator.wait(lambda: None)
    assert (summary.workers, summary.in_flight_max) == (2, 3)
    assert (summary.intended, summary.dropped) == (COUNT, COUNT - 3)


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.parametrize("processes", [1, 2])
def test_all_workers_stop_when_a_gate_of_the_run_is_broken(
    orders: Callable[..., Played], json_reply: Callable[..., bytes], processes: int
) -> None:
    """Only one worker's consumers are refused, yet nobody starts anything more."""

    def moody(request: Any, connection: socket.socket) -> bool:  # noqa: ANN401 - conftest's Request
        trace = c.Trace.read(request.headers.get(c.TRACE_HEADER))
        refused = trace is None or trace.journey_id % 2
        connection.sendall(json_reply(500, {}) if refused else json_reply(201, {"token": "t"}))
        return True

    played = orders(processes, 500_000, abort_after_s=1.0, answer=moody)
    with played.generator as generator:
        summary = generator.wait(lambda: None)
    assert (summary.workers, summary.aborted, summary.lost) == (processes, True, ())
    begun = played.rows().group_by("process").agg(pl.col("journey_id").max())
    assert begun.height == processes
    # Nobody's last journey is the plan's last, and all end within what a message takes.
    assert begun["journey_id"].max() < 100 + COUNT - 4  # type: ignore[operator]
    assert begun["journey_id"].max() - begun["journey_id"].min() <= 3  # type: ignore[operator]
    assert summary.intended == played.rows()["journey_id"].n_unique() < COUNT - 4


@pytest.fixture
def locust() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start stock Locust as one would at the command line; everything is ended at the end."""
    with contextlib.ExitStack() as stack:

        def start(
            played: Played, port: int, *options: str, code: str = ""
        ) -> subprocess.Popen[bytes]:
            orders, environment = played.generator.orders, dict(os.environ)
            orders.write_bytes(msgspec.json.encode(played.generator.spec))
            side = "--master-host", "--master-port"
            if "--master" in options:
                environment[SPEC_VARIABLE] = str(orders)
                side = "--master-bind-host", "--master-bind-port"
            program = ["-c", code] if code else ["-m", "locust"]
            command = [sys.executable, *program, "-f", str(LOCUSTFILE), "--headless", *options]
            command += ["--loglevel", "WARNING", side[0], "127.0.0.1", side[1], str(port)]
            process = subprocess.Popen(
                command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            return process

        yield start


@pytest.mark.slow
def test_workers_on_other_hosts_need_no_files_and_no_common_clock(
    orders: Callable[..., Played], locust: Callable[..., subprocess.Popen[bytes]]
) -> None:
    """Rows go out and outcomes come back in messages, clocks are compared, late comers refused."""
    # One worker is of this host, one believes that it is not, and the third comes late.
    played, port = orders(2, 250_000), free_port()
    master = locust(played, port, "--master", "--expect-workers", "2", "-u", "1", "-r", "1")
    near = locust(played, port, "--worker")
    far = locust(played, port, "--worker", code=ELSEWHERE)
    deadline_s = time.monotonic() + PATIENCE_S
    folder = played.generator.folder / "outcomes"
    while not list(folder.glob("*.part*")) and time.monotonic() < deadline_s:
        time.sleep(0.05)
    late = locust(played, port, "--worker")
    said = [one.communicate(timeout=PATIENCE_S)[1].decode() for one in (late, master, near, far)]
    summary = played.summary()
    assert (summary.workers, summary.intended, summary.lost) == (2, COUNT, ()), said
    assert 0 < summary.clock_uncertainty_us < 1_000_000
    rows = played.rows()
    assert rows["journey_id"].to_list() == [100 + number for number in range(COUNT)]
    # Both clocks are the same here, so the journeys of both workers begin when they should.
    assert (rows["start_us"] - rows["intended_us"]).max() < 1_000_000  # type: ignore[operator]
    assert late.returncode == EXIT_USAGE
    assert "the shares were given out to 2 workers already" in said[0]
    assert summary.refused == 1
    assert any("1 late worker was refused" in sentence for sentence in notes(summary))


@pytest.mark.slow
def test_a_worker_that_is_killed_is_named_and_the_others_go_on(
    orders: Callable[..., Played],
) -> None:
    """Half of the plan is missing, the other half was played whole, and nothing is concluded."""
    played = orders(2, 150_000)
    killed: list[int] = []
    folder = played.generator.folder / "outcomes"

    def kill_one() -> None:
        workers = played.generator.pids
        if not killed and "load-0" in workers and list(folder.glob("*.part*")):
            killed.append(workers["load-0"])
            os.kill(killed[0], signal.SIGKILL)

    with played.generator as generator:
        summary = generator.wait(kill_one)
    assert killed
    assert summary.workers == 2
    assert summary.intended == summary.started == COUNT // 2
    (sentence,) = summary.lost
    assert "of 2 has ended or cannot be reached any more; its share is missing" in sentence
    index = int(sentence.split()[1])
    other = played.rows().filter(pl.col("process").cast(pl.String) == f"load-{1 - index}")
    assert other["journey_id"].to_list() == [
        100 + number for number in range(COUNT) if number % 2 == 1 - index
    ]
    said = verdict.found(generator.spec, played.plan, summary, summary.lost)
    assert (said.exit_code, said.validity.reasons[0]) == (EXIT_INCONCLUSIVE, sentence)


@pytest.mark.slow
def test_workers_that_do_not_get_ready_are_named_and_the_others_play(
    orders: Callable[..., Played], locust: Callable[..., subprocess.Popen[bytes]]
) -> None:
    """One says that it failed, one just goes; the third plays its own share and no other."""
    played, port = orders(3), free_port()
    options = ("--master", "--expect-workers", "3", "-u", "1", "-r", "1")
    master = locust(played, port, *options, code=IMPATIENT)
    good = locust(played, port, "--worker")
    for end in ("raise RuntimeError('no scanner')", "os._exit(9)"):
        locust(played, port, "--worker", code=UNREADY.format(end=end))
    said = [one.communicate(timeout=PATIENCE_S)[1].decode() for one in (master, good)]
    summary = played.summary()
    endings = {int(one.split()[1]): one.split("of 3 ")[1] for one in summary.lost}
    assert sorted(endings.values()) == [
        "failed: RuntimeError: no scanner; its share is missing",
        "has ended or cannot be reached any more; its share is missing",
    ], said
    assert (summary.workers, summary.intended) == (3, COUNT // 3)
    (index,) = {0, 1, 2} - set(endings)
    played_by = {100 + number for number in range(COUNT) if number % 3 == index}
    assert set(played.rows()["journey_id"].to_list()) == played_by
