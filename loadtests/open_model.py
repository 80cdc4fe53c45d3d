"""The open model: work starts at its intended times, whatever the system does.

Work runs on greenlets that are used again, at most ``in_flight_max`` at a time. What cannot be
started because all of them are busy is *dropped*, and dropped counts.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

import gevent
from gevent import get_hub, getcurrent, monkey
from gevent.event import Event

from fewseconds.promise import GAUGE_INTERVAL_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_sleep: Final = monkey.get_original("time", "sleep")
T = TypeVar("T")
GRACE_S: Final = 1.0
"""After the cut-off, how long work has to notice it by itself."""
BATCH_MAX: Final = 64
"""When there is always something due, the answers still get their turn after so many starts."""


class OpenModel(Generic[T]):
    """Starts ``work(item)`` for every item at its time."""

    def __init__(
        self,
        now_us: Callable[[], int],
        work: Callable[[T], None],
        drop: Callable[[T], None],
        in_flight_max: int,
    ) -> None:
        """Nothing starts yet; ``drop`` is told of what could not be started."""
        self._now_us, self._work, self._drop = now_us, work, drop
        self._in_flight_max = in_flight_max
        self._runners: list[gevent.Greenlet] = []
        self._idle: list[gevent.Greenlet] = []
        self._empty = Event()
        self._empty.set()
        self._dispatching: Any = None
        self._trouble: BaseException | None = None
        self.intended = self.started = self.dropped = 0
        self.in_flight = self.in_flight_max = 0
        self.in_flight_integral_s = 0.0
        self.in_flight_variance_s2 = 0.0
        """Of the integral, as systematic sampling has it: half the squared successive differences
        (Wolter, Introduction to Variance Estimation, 2nd ed., section 8.2)."""
        self._over = self._stopping = False
        self._cut_off_us = 0

    def stop(self, cut_off_us: int | None = None) -> None:
        """Start nothing any more; what is under way goes on to its end.

        ``cut_off_us`` is when nobody waits for it any longer, if that is before the run's own.
        """
        self._stopping = True
        if cut_off_us is not None:
            self._cut_off_us = min(self._cut_off_us, cut_off_us)

    def start_all(self, items: Iterable[tuple[int, T]], cut_off_us: int) -> None:
        """Start all ``(due_us, item)``, in order, and wait for them, at most until the cut-off.

        Raises what ``work`` raised, as soon as it does: then the harness has failed. At the
        cut-off the work that is still under way gets a GreenletExit.
        """
        self._cut_off_us = cut_off_us
        gauge = get_hub().threadpool.spawn(self._sample)
        self._dispatching = gevent.spawn(self._dispatch, items)
        try:
            self._dispatching.join()
            left_us = self._cut_off_us - self._now_us()
            if self._trouble is None:
                self._empty.wait(max(left_us / 1e6, 0) + GRACE_S)
        finally:
            self._over = True
            gevent.killall([self._dispatching, *self._runners])
            gauge.get()
            self._runners, self._idle = [], []
        trouble = self._trouble or self._dispatching.exception
        if trouble is not None:
            raise trouble

    def _dispatch(self, items: Iterable[tuple[int, T]]) -> None:
        now_us, idle, run_soon = self._now_us, self._idle, get_hub().loop.run_callback
        in_a_row = 0
        for due_us, item in items:
            if self._stopping:
                return
            ahead_us = due_us - now_us()
            if ahead_us > 0:
                gevent.sleep(ahead_us / 1e6)
                in_a_row = 0
            elif in_a_row >= BATCH_MAX:
                gevent.sleep(0)
                in_a_row = 0
            in_a_row += 1
            self.intended += 1
            if self.in_flight >= self._in_flight_max:
                self.dropped += 1
                self._drop(item)
                continue
            self.started += 1
            self.in_flight += 1
            self.in_flight_max = max(self.in_flight_max, self.in_flight)
            self._empty.clear()
            if idle:
                run_soon(idle.pop().switch, item)
            else:
                self._runners.append(gevent.spawn(self._serve, item))

    def _serve(self, item: T) -> None:
        """Do one item's work after the other; in between, wait to be handed the next."""
        me, hub = getcurrent(), get_hub()
        while True:
            try:
                self._work(item)
            except gevent.GreenletExit:
                raise
            except BaseException as trouble:  # noqa: BLE001 - whatever it is, it is the harness's
                self._trouble = self._trouble or trouble
                self._dispatching.kill(block=False)
                self._empty.set()
                return
            finally:
                self.in_flight -= 1
                if not self.in_flight:
                    self._empty.set()
            self._idle.append(me)
            while (item := hub.switch()) is None:
                pass

    def _sample(self) -> None:
        """Read the gauge at irregular moments, in a thread of its own.

        On the event loop it would always look just after the dispatcher has started something.
        """
        luck = random.Random(0)  # noqa: S311 - moments of looking, not secrets
        last_us, last = self._now_us(), 0
        while not self._over:
            _sleep(luck.uniform(0.5, 1.5) * GAUGE_INTERVAL_S)
            now_us, in_flight = self._now_us(), self.in_flight
            passed_s = (now_us - last_us) / 1e6
            self.in_flight_integral_s += in_flight * passed_s
            self.in_flight_variance_s2 += (in_flight - last) ** 2 / 2 * passed_s**2
            last_us, last = now_us, in_flight
