"""Locust's entry: an idle user keeps Locust content while our dispatcher plays the plan."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

import gevent
import msgspec
from locust import User, constant, events, task

from fewseconds.errors import EXIT_INCONCLUSIVE
from fewseconds.outcomes import Writer
from loadtests.client import Client
from loadtests.dispatcher import GAUGE_INTERVAL_S, Dispatcher
from loadtests.phone import PROCESS, World
from loadtests.scans import Scans
from loadtests.spec import SPEC_VARIABLE, Clock, LoadSummary, read_spec

LEAD_US = 300_000
"""Between having everything ready and the beginning of the window."""
PARENT_LOOK_S = 1.0


class Anchor(User):
    """Stock Locust wants a user; the consumers are not Locust users but rows of the plan."""

    wait_time = constant(3600)

    @task
    def idle(self) -> None:
        """Do nothing."""


def play(environment: Any) -> None:  # noqa: ANN401 - Locust's environment is untyped
    """Play the plan once, write what happened, and let Locust end."""
    spec = read_spec(os.environ.get(SPEC_VARIABLE))
    plan = spec.load_plan()
    heard = environment.events.request.fire
    connections = plan.scenario.load.in_flight_max
    clients = {
        name: Client(getattr(spec.targets, name), connections, heard)
        for name in ("psp", "sms", "portal")
    }
    writer = Writer(Path(spec.outcomes), PROCESS)
    gevent.spawn(end_with, spec.parent, writer)
    scans = Scans(plan, Path(spec.strip), spec.strip_count)
    clock = Clock(0)
    world = World(plan, clock, clients, scans, writer, spec.token)
    scans.wait_until_ahead((spec.window_us[1] - spec.window_us[0]) / 1e6)
    clock.epoch_us = time.monotonic_ns() // 1000 + LEAD_US - spec.window_us[0]
    dispatcher = Dispatcher(world, spec.window_us)
    try:
        cpu_s, wall_s = time.process_time(), time.monotonic()
        dispatcher.run()
        cpu_s, wall_s = time.process_time() - cpu_s, time.monotonic() - wall_s
    finally:
        scans.close()
        writer.close()
    summary = LoadSummary(
        epoch_us=clock.epoch_us,
        intended=dispatcher.intended,
        started=dispatcher.started,
        dropped=dispatcher.dropped,
        in_flight_integral_s=dispatcher.in_flight_integral_s,
        gauge_interval_s=GAUGE_INTERVAL_S,
        in_flight_max=dispatcher.in_flight_max,
        cpu_s=cpu_s,
        wall_s=wall_s,
        misreads=scans.misreads,
        typed=scans.typed,
    )
    Path(spec.summary).write_bytes(msgspec.json.encode(summary))
    environment.runner.quit()


def end_with(parent: int, writer: Writer) -> None:
    """End when whoever started us has been killed: nobody wants our load any more."""
    while parent in (0, os.getppid()):
        gevent.sleep(PARENT_LOOK_S)
    writer.flush()
    leave()


def leave() -> NoReturn:
    """End at once, without Locust's farewell; the decoding processes notice that nobody reads."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(EXIT_INCONCLUSIVE)


@events.test_start.add_listener
def start(environment: Any, **_: Any) -> None:  # noqa: ANN401 - as above
    """Begin beside Locust's own users."""

    def failed(_: gevent.Greenlet) -> None:
        # The log ends with the cause, not with Locust's tables, because its end is what is shown.
        leave()

    gevent.spawn(play, environment).link_exception(failed)
