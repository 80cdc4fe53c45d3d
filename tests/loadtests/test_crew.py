"""One plan on several workers of stock Locust: who plays what, who is missed, who comes late."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import msgspec
import polars as pl
import pytest

from fewseconds import contracts as c
from fewseconds import measures, outcomes
from fewseconds.errors import EXIT_USAGE
from loadtests.launch import LOCUSTFILE, free_port
from loadtests.spec import SPEC_VARIABLE

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


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 3])
def test_workers_play_the_plan_without_overlap_or_gap(
    orders: Callable[..., Played], processes: int
) -> None:
    """However many play, every journey is played once, at its time, by the worker it belongs to."""
    played = orders(processes)
    with played.generator as generator:
        summary = generator.wait(lambda: None)
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
def test_workers_share_the_limit_of_journeys_under_way(orders: Callable[..., Played]) -> None:
    """Three journeys may be open in the whole run, and against silence no fourth one begins."""
    played = orders(2, in_flight_max=3, answer=None)
    with played.generator as generator:
        summary = generator.wait(lambda: None)
    assert (summary.workers, summary.in_flight_max) == (2, 3)
    assert (summary.intended, summary.dropped) == (COUNT, COUNT - 3)


@pytest.mark.slow
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
