"""Locust's entry for a probe: one request at the times of a schedule, on one or more workers."""

from __future__ import annotations

import os
import resource
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import gevent
import msgspec
from locust import User, constant, events, task

from fewseconds import garbage
from fewseconds.errors import UsageError
from fewseconds.schedule import portion, starts_us
from loadtests import crew, stock_statistics
from loadtests.busyness import Busyness
from loadtests.client import transport
from loadtests.connection import AnswerTimeoutError
from loadtests.open_model import OpenModel
from loadtests.pool import Pool
from loadtests.probe import PROBE_VARIABLE, ProbeSpec, ProbeSummary
from loadtests.recorder import Recorder, Report, merged
from loadtests.response import WireError

if TYPE_CHECKING:
    from collections.abc import Iterator

TURN_S: Final = 1.0
FIELDS: Final = "accept: */*\r\n"
OK, REDIRECT, CLIENT_ERROR, SERVER_ERROR = 200, 300, 400, 500


class Anchor(User):
    """Stock Locust wants a user; the requests are not Locust users but a schedule."""

    wait_time = constant(3600)

    @task
    def idle(self) -> None:
        """Do nothing."""


class Probe:
    """The job of :mod:`loadtests.crew`."""

    def __init__(self, environment: Any) -> None:  # noqa: ANN401 - Locust's environment is untyped
        """Read the orders where this process gives them; workers are told them."""
        self._environment = environment
        self._fire = environment.events.request.fire
        self._orders = os.environ.get(PROBE_VARIABLE)
        self._recorder = Recorder(0)
        self._grace_s = self._broken_s = 0.0
        self._epoch_us = 0

    def begin(self) -> None:
        """Raises UsageError if nobody has given orders."""
        if not self._orders:
            message = f"{PROBE_VARIABLE}: not set; start probes with `fewseconds load probe`"
            raise UsageError(message)

    def order(self, index: int, count: int) -> bytes:  # noqa: ARG002 - all know the whole schedule
        """Every worker makes the same schedule and takes its share of it."""
        assert self._orders is not None  # noqa: S101 - begun
        return Path(self._orders).read_bytes()

    def prepare(self, order: bytes, index: int, count: int) -> None:
        """Make the client."""
        self.spec = spec = msgspec.json.decode(order, type=ProbeSpec)
        self._share = index, count
        parts = urlsplit(spec.url)
        path = parts.path or "/"
        self._target = f"{path}?{parts.query}" if parts.query else path
        base = f"{parts.scheme}://{parts.netloc}"
        # Together the workers open as many connections as are allowed.
        mine = portion(spec.connections_max, index, count) if spec.connections_max else 0
        self._line = transport(spec.client)(base, mine)
        self._in_flight_max = portion(spec.in_flight_max, index, count)
        watched = spec.limits if spec.abort_after_s else []
        self._recorder = Recorder(round(spec.settle_s * 1e6), watched)
        self._grace_s = spec.abort_after_s
        self._aborted = False

    def announce(self, epoch_us: int) -> None:
        """Nobody else has to know."""

    def play(self, epoch_us: int) -> bytes:
        """Send everything."""
        spec, self._epoch_us = self.spec, epoch_us
        model = OpenModel(self._now_us, self._send, self._recorder.drop, self._in_flight_max)
        busyness = Busyness(spec.duration_s)
        turning = gevent.spawn(self._turn, busyness)
        garbage.settle()
        model.start_all(self._items(), round((spec.duration_s + spec.timeout_s) * 1e6))
        turning.kill()
        busyness.look()
        report = self._recorder.report()
        report.in_flight_integral_s = model.in_flight_integral_s
        report.in_flight_variance_s2 = model.in_flight_variance_s2
        report.in_flight_max = model.in_flight_max
        report.cpu_s, report.cpu_share_max = busyness.cpu_s, busyness.share_max
        report.rss_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        if isinstance(self._line, Pool):
            report.connections, report.retried = self._line.opened, self._line.retried
        return msgspec.msgpack.encode((report, self._aborted))

    def enough(self) -> bool:
        """Whether limits have been broken for too long, by what this process has sent.

        Every worker sends a like part of the same requests, so none needs to hear of the others'.
        """
        stock_statistics.forget(self._environment.stats)
        broken = self._recorder.broken(self._now_us())
        self._broken_s = self._broken_s + crew.ASK_S if broken else 0.0
        return 0 < self._grace_s <= self._broken_s

    def stop(self) -> None:
        """Send nothing more."""
        self._aborted = True

    def finish(self, reports: dict[int, bytes], facts: crew.CrewFacts, epoch_us: int) -> None:  # noqa: ARG002
        """Write the summary for whoever started us."""
        found = [
            msgspec.msgpack.decode(data, type=tuple[Report, bool]) for data in reports.values()
        ]
        spec = msgspec.json.decode(self.order(0, 1), type=ProbeSpec)
        summary = ProbeSummary(
            report=merged([report for report, _ in found]),
            workers=facts.workers,
            lost=facts.lost,
            refused=facts.refused,
            aborted=any(aborted for _, aborted in found),
        )
        half = Path(f"{spec.summary}.half")
        half.write_bytes(msgspec.msgpack.encode(summary))
        half.rename(spec.summary)

    def _items(self) -> Iterator[tuple[int, int]]:
        for chunk in starts_us(self.spec.stages, self.spec.seed, self._share):
            for due_us in chunk.tolist():
                if self._aborted:
                    return
                self._recorder.intend(due_us)
                yield due_us, due_us

    def _now_us(self) -> int:
        return time.monotonic_ns() // 1000 - self._epoch_us

    def _send(self, due_us: int) -> None:
        spec = self.spec
        begun_us = self._now_us()
        size, error = 0, None
        try:
            answer = self._line.exchange(spec.method, self._target, FIELDS, b"", spec.timeout_s)
            size = len(answer.body)
            outcome = "ok" if OK <= answer.status < REDIRECT else f"status_{answer.status}"
        except AnswerTimeoutError:
            outcome = "timed_out"
        except WireError as trouble:
            outcome = trouble.code
        except OSError as trouble:
            outcome = type(trouble).__name__
        except gevent.GreenletExit:
            # The cut-off: nobody waits for the answer any longer, and it counts as none.
            self._recorder.ended(due_us, begun_us, self._now_us(), "unfinished")
            raise
        ended_us = self._now_us()
        if outcome != "ok":
            error = RuntimeError(outcome)
        self._recorder.ended(due_us, begun_us, ended_us, outcome)
        self._fire(
            request_type=spec.method,
            name=self._target,
            response_time=(ended_us - due_us) / 1e3,
            response_length=size,
            exception=error,
            context={},
        )

    def _turn(self, busyness: Busyness) -> None:
        parent = self.spec.parent
        while True:
            gevent.sleep(TURN_S)
            busyness.look()
            self._recorder.turn()
            if parent and not Path(f"/proc/{parent}").exists():
                crew.leave()


@events.init.add_listener
def init(environment: Any, **_: object) -> None:  # noqa: ANN401 - as above
    """Take part."""
    crew.enlist(environment, Probe(environment))
