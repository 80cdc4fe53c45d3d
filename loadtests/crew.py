"""One plan on several workers, over stock Locust's own master and worker protocol.

The master tells every worker its share, waits until all are ready, gives all the same moment to
begin at, has all stop once one of them, or it, has seen enough, and adds up their reports. A worker
that dies is named, one that comes late is refused:
the shares have been given out. With a single process the same job is simply done here.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn, Protocol

import gevent
import msgspec
from gevent.event import AsyncResult
from locust.runners import STATE_MISSING, MasterRunner, WorkerRunner

from fewseconds.errors import EXIT_INCONCLUSIVE, EXIT_USAGE, MalformedError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

log = logging.getLogger(__name__)

LEAD_US: Final = 500_000
"""Between having everything ready and the beginning of the plan."""
CREW_LEAD_US: Final = 1_000_000
LOOK_S: Final = 0.1
PREPARING_SILENCE_S, PLAYING_SILENCE_S = 60.0, 3.0
"""Beyond the 4 s after which Locust itself misses a worker: getting ready is hard work."""
CLOCK_PINGS: Final = 20
ASK_S: Final = 1.0
HELLO, ORDER, READY, PLAY, DONE, FAILED, REFUSED, CLOCK, ABORT, ENOUGH, STOP = (
    f"fewseconds_{word}"
    for word in (
        "hello", "order", "ready", "play", "done", "failed", "refused", "clock", "abort", "enough",
        "stop",
    )
)  # fmt: skip


class CrewFacts(msgspec.Struct, frozen=True):
    """How the crew fared."""

    workers: int
    lost: tuple[str, ...] = ()
    """One sentence a worker that did not report."""
    refused: int = 0
    """Workers that came when the shares had been given out."""
    clock_uncertainty_us: int = 0
    """Of the worst worker on another host; 0 where all share this host's clock."""


class Job(Protocol):
    """What is to be done, on the side of the master and on that of a worker."""

    def begin(self) -> None:
        """Take the orders of a run; raises UsageError or MalformedError if they make no sense."""

    def order(self, index: int, count: int) -> bytes:
        """What worker ``index`` of ``count`` has to know."""

    def prepare(self, order: bytes, index: int, count: int) -> None:
        """Get ready; nothing is sent yet."""

    def announce(self, epoch_us: int) -> None:
        """Tell those who do not play it themselves that it is played from ``epoch_us`` on."""

    def play(self, epoch_us: int) -> bytes:
        """Play the share from ``epoch_us`` of CLOCK_MONOTONIC on; returns the report."""

    def enough(self) -> bool:
        """Whether what is known here is reason for everybody to start nothing more.

        Asked every :data:`ASK_S` while the plan is played, where it is led and where it is played.
        """

    def stop(self) -> None:
        """Start nothing more; what is under way goes to its end."""

    def finish(self, reports: dict[int, bytes], facts: CrewFacts, epoch_us: int) -> None:
        """Add up the reports, by worker."""


def monotonic_us() -> int:
    """CLOCK_MONOTONIC, which all processes of a host share."""
    return time.monotonic_ns() // 1000


@contextlib.contextmanager
def _asking(job: Job, tell: Callable[[], None]) -> Iterator[None]:
    """While a plan is played, ``tell`` once the job has seen enough."""

    def ask() -> None:
        while not job.enough():
            gevent.sleep(ASK_S)
        tell()

    asking = gevent.spawn(ask)
    try:
        yield
    finally:
        asking.kill()


def boot() -> str:
    """What tells this host's clock from another's."""
    return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()


def leave(code: int = EXIT_INCONCLUSIVE) -> NoReturn:
    """End at once, without Locust's farewell, so that the log ends with the cause."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def enlist(environment: Any, job: Job) -> None:  # noqa: ANN401 - Locust's environment is untyped
    """Have this process take its part; to be called from Locust's ``init`` event."""
    runner = environment.runner
    if isinstance(runner, WorkerRunner):
        _Worker(runner, job)
        return
    leader = _Master(runner, job) if isinstance(runner, MasterRunner) else _Alone(job)
    leading: list[gevent.Greenlet] = []

    def start(**_: object) -> None:
        leading[:] = [gevent.spawn(_or_leave, environment, job, leader)]

    def stop() -> None:
        # Not Locust's event: that also comes when workers are so busy getting ready that Locust
        # takes them for lost.
        from flask import request  # noqa: PLC0415 - there is a page

        if request.path.endswith("/stop"):
            leader.abort()
            gevent.killall(leading, block=False)

    environment.events.test_start.add_listener(start)
    if environment.web_ui is not None:
        environment.web_ui.app.before_request(stop)


def _once(environment: Any, job: Job, leader: _Master | _Alone) -> None:  # noqa: ANN401 - as above
    """One run; then Locust ends, or waits on its page for the next."""
    try:
        job.begin()
    except (UsageError, MalformedError) as error:
        log.error("%s", error)  # noqa: TRY400 - the message is for the person at the keyboard
        if environment.web_ui is None:
            leave(EXIT_USAGE)
        environment.runner.stop()
        return
    leader.lead()
    if environment.web_ui is not None:
        environment.runner.stop()
    elif environment.runner is not None:
        environment.runner.quit()


def _or_leave(environment: Any, job: Job, leader: _Master | _Alone) -> None:  # noqa: ANN401
    try:
        _once(environment, job, leader)
    except Exception:
        log.exception("the load generator failed")
        traceback.print_exc()
        if environment.web_ui is None:
            leave()
        environment.runner.stop()


class _Alone:
    """The whole crew is this process."""

    def __init__(self, job: Job) -> None:
        self._job = job

    def abort(self) -> None:
        """Nothing but the greenlet that leads has to be ended."""

    def lead(self) -> None:
        """Do it all here."""
        self._job.prepare(self._job.order(0, 1), 0, 1)
        epoch_us = monotonic_us() + LEAD_US
        self._job.announce(epoch_us)
        with _asking(self._job, self._job.stop):
            report = self._job.play(epoch_us)
        self._job.finish({0: report}, CrewFacts(1), epoch_us)


class _Master:
    """Gives out the shares and collects the reports."""

    def __init__(self, runner: Any, job: Job) -> None:  # noqa: ANN401 - as above
        self._runner, self._job = runner, job
        self._members: dict[str, int] = {}
        self._ready: dict[int, int] = {}
        self._reports: dict[int, bytes] = {}
        self._lost: dict[int, str] = {}
        self._listening: set[str] = set()
        self._refused: set[str] = set()
        for word, heard in (
            (HELLO, self._on_hello),
            (READY, self._on_ready),
            (DONE, self._on_done),
            (FAILED, self._on_failed),
            (CLOCK, self._on_clock),
            (ENOUGH, self._stop_all),
        ):
            runner.register_message(word, heard)

    def abort(self) -> None:
        """Have the workers end what they play."""
        for name in self._members:
            self._runner.send_message(ABORT, {}, name)
        self._members = {}

    def lead(self) -> None:
        """Run the crew once."""
        for left in (self._ready, self._reports, self._lost):
            left.clear()
        # Locust counts a worker as ready a little before its locustfile can hear us.
        names = self._present()
        while not self._listening.issuperset(names):
            gevent.sleep(LOOK_S)
            names = self._present()
        self._members = {name: index for index, name in enumerate(names)}
        count = len(names)
        for name, index in self._members.items():
            order = {"index": index, "count": count, "boot": boot()}
            order["order"] = self._job.order(index, count)
            self._runner.send_message(ORDER, order, name)
        self._wait_for(self._ready, PREPARING_SILENCE_S)
        epoch_us = monotonic_us() + CREW_LEAD_US
        self._job.announce(epoch_us)
        for name, index in self._members.items():
            if index in self._ready:
                self._runner.send_message(PLAY, {"epoch_us": epoch_us}, name)
        with _asking(self._job, self._stop_all):
            self._wait_for(self._reports, PLAYING_SILENCE_S)
        facts = CrewFacts(
            workers=count,
            lost=tuple(self._lost[index] for index in sorted(self._lost)),
            refused=len(self._refused),
            clock_uncertainty_us=max(self._ready.values(), default=0),
        )
        self._job.finish(self._reports, facts, epoch_us)
        # Whoever comes now may take part in the next run.
        self._members = {}

    def _stop_all(self, **_: object) -> None:
        for name in self._members:
            self._runner.send_message(STOP, {}, name)

    def _present(self) -> list[str]:
        """Workers that are there; one that Locust has told to spawn users is no longer *ready*."""
        clients = self._runner.clients.all
        return sorted(one.id for one in clients if one.state != STATE_MISSING)

    def _wait_for(self, answers: dict[int, Any], silence_s: float) -> None:
        silent: Counter[int] = Counter()
        while len(answers.keys() | self._lost.keys()) < len(self._members):
            gevent.sleep(LOOK_S)
            for name, index in self._members.items():
                client = self._runner.clients.get(name)
                gone = client is None or client.state == STATE_MISSING
                silent[index] = silent[index] + 1 if gone else 0
                over = silent[index] * LOOK_S > silence_s
                if over and index not in answers and index not in self._lost:
                    self._lose(index, "has ended or cannot be reached any more")

    def _lose(self, index: int, how: str) -> None:
        sentence = f"worker {index} of {len(self._members)} {how}; its share is missing"
        log.error(sentence)
        self._lost[index] = sentence

    def _on_hello(self, msg: Any, **_: object) -> None:  # noqa: ANN401 - as above
        name = msg.node_id
        self._listening.add(name)
        if self._members and name not in self._members:
            self._refused.add(name)
            reason = f"the shares were given out to {len(self._members)} workers already"
            self._runner.send_message(REFUSED, {"reason": reason}, name)
            log.warning("late worker %s refused: %s", name, reason)

    def _on_ready(self, msg: Any, **_: object) -> None:  # noqa: ANN401 - as above
        self._ready[msg.data["index"]] = msg.data["uncertainty_us"]

    def _on_done(self, msg: Any, **_: object) -> None:  # noqa: ANN401 - as above
        self._reports[msg.data["index"]] = msg.data["report"]

    def _on_failed(self, msg: Any, **_: object) -> None:  # noqa: ANN401 - as above
        self._lose(msg.data["index"], f"failed: {msg.data['what']}")

    def _on_clock(self, msg: Any, **_: object) -> None:  # noqa: ANN401 - as above
        data = {"sent_us": msg.data["sent_us"], "now_us": monotonic_us()}
        self._runner.send_message(CLOCK, data, msg.node_id)


class _Worker:
    """Plays the share it is told."""

    def __init__(self, runner: Any, job: Job) -> None:  # noqa: ANN401 - as above
        self._runner, self._job = runner, job
        self._index = -1
        self._offset_us = 0
        self._pong = AsyncResult()
        for word, heard in ((ORDER, self._on_order), (PLAY, self._on_play)):
            runner.register_message(word, heard, concurrent=True)
        runner.register_message(REFUSED, self._on_refused)
        runner.register_message(CLOCK, self._on_clock)
        self._playing: gevent.Greenlet | None = None
        runner.register_message(ABORT, self._on_abort)
        runner.register_message(STOP, self._on_stop)
        runner.send_message(HELLO, {})

    def _on_order(self, msg: Any, **_: object) -> None:  # noqa: ANN401 - as above
        data = msg.data
        self._index = data["index"]

        def work() -> None:
            self._job.prepare(data["order"], data["index"], data["count"])
            uncertainty_us = 0 if data["boot"] == boot() else self._set_clock()
            ready = {"index": self._index, "uncertainty_us": uncertainty_us}
            self._runner.send_message(READY, ready)

        self._or_tell(work)

    def _on_abort(self, **_: object) -> None:
        if self._playing is not None:
            self._playing.kill(block=False)

    def _on_stop(self, **_: object) -> None:
        self._job.stop()

    def _tell_enough(self) -> None:
        self._runner.send_message(ENOUGH, {})

    def _on_play(self, msg: Any, **_: object) -> None:  # noqa: ANN401 - as above
        self._playing = gevent.getcurrent()

        def work() -> None:
            with _asking(self._job, self._tell_enough):
                report = self._job.play(msg.data["epoch_us"] + self._offset_us)
            self._runner.send_message(DONE, {"index": self._index, "report": report})

        self._or_tell(work)

    def _or_tell(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as trouble:  # noqa: BLE001 - whatever it is, the master must know
            traceback.print_exc()
            what = f"{type(trouble).__name__}: {trouble}"
            self._runner.send_message(FAILED, {"index": self._index, "what": what})

    def _on_refused(self, msg: Any, **_: object) -> None:  # noqa: ANN401 - as above
        log.error("refused by the master: %s; start workers before the test", msg.data["reason"])
        leave(EXIT_USAGE)

    def _set_clock(self) -> int:
        """Measure how far this host's clock is ahead; returns the uncertainty in µs.

        The shortest of some round trips bounds the error by half its length (Cristian, 1989).
        """
        best: tuple[int, int] | None = None
        for _ in range(CLOCK_PINGS):
            self._pong = AsyncResult()
            sent_us = monotonic_us()
            self._runner.send_message(CLOCK, {"sent_us": sent_us})
            master_us, back_us = self._pong.get(timeout=10)
            half_us = int(back_us - sent_us) // 2
            if best is None or half_us < best[0]:
                best = half_us, sent_us + half_us - master_us
        assert best is not None  # noqa: S101 - there are pings
        self._offset_us = best[1]
        return max(best[0], 1)

    def _on_clock(self, msg: Any, **_: object) -> None:  # noqa: ANN401 - as above
        self._pong.set((msg.data["now_us"], monotonic_us()))
