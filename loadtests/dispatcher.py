"""The open model: journeys start at their intended times, whatever the system does.

Consumers are greenlets only while they are on their way, and their phones are used again. What
the generator could not start because too many were in flight is *dropped*, and dropped counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import gevent
from gevent.event import Event
from gevent.pool import Pool

from fewseconds.errors import HarnessError
from loadtests.phone import Phone

if TYPE_CHECKING:
    from fewseconds.plan import Row
    from loadtests.phone import World

GAUGE_INTERVAL_S: Final = 0.1
FLUSH_INTERVAL_S: Final = 2.0
GRACE_S: Final = 1.0
"""After the cut-off, how long journeys have to notice it by themselves."""


class Dispatcher:
    """Plays the rows of a plan."""

    def __init__(self, world: World, window_us: tuple[int, int]) -> None:
        """Nothing starts before :meth:`run`."""
        load = world.scenario.load
        self.world = world
        self.cut_off_us = window_us[1] + load.drain_s * 1_000_000
        self.pool = Pool(load.in_flight_max)
        self.idle: list[Phone] = []
        self.intended = self.started = self.dropped = 0
        self.in_flight = self.in_flight_max = 0
        self.in_flight_integral_s = 0.0
        self._broken = Event()
        self._trouble: Exception | None = None

    def run(self) -> None:
        """Start every journey at its time and wait for all of them, at most until the cut-off.

        Raises HarnessError as soon as a journey fails for a reason that is ours, not the system's.
        """
        gauge = gevent.spawn(self._sample)
        flush = gevent.spawn(self._flush)
        for row in self.world.plan.rows():
            ahead_us = row.intended_start_us - self.world.clock.now_us()
            if self._broken.wait(timeout=max(ahead_us, 0) / 1e6):
                break
            self.intended += 1
            if self.pool.free_count() > 0:
                self.started += 1
                self.pool.spawn(self._play, row)
            else:
                self._drop(row)
        left_us = self.cut_off_us - self.world.clock.now_us()
        finish = gevent.spawn(self.pool.join, timeout=max(left_us / 1e6, 0) + GRACE_S)
        gevent.wait([finish, self._broken], count=1)
        self.pool.kill()
        gevent.killall([gauge, flush, finish])
        if self._trouble is not None:
            message = f"load generator: a journey broke off: {self._trouble}; see load.log"
            raise HarnessError(message) from self._trouble

    def _play(self, row: Row) -> None:
        phone = self.idle.pop() if self.idle else Phone(self.world)
        self.in_flight += 1
        self.in_flight_max = max(self.in_flight_max, self.in_flight)
        try:
            phone.journey(row, self.cut_off_us)
        except gevent.GreenletExit:
            phone.stop("unfinished", "cut_off")
        except Exception as error:  # noqa: BLE001 - whatever it is, it is not the system's doing
            phone.stop("unfinished", "harness")
            self._trouble = self._trouble or error
            self._broken.set()
        finally:
            self.in_flight -= 1
            self.idle.append(phone)

    def _drop(self, row: Row) -> None:
        self.dropped += 1
        phone = Phone(self.world)
        phone.take(row)
        phone.stop("dropped", "in_flight_max")

    def _sample(self) -> None:
        last_us = self.world.clock.now_us()
        while True:
            gevent.sleep(GAUGE_INTERVAL_S)
            now_us = self.world.clock.now_us()
            self.in_flight_integral_s += self.in_flight * (now_us - last_us) / 1e6
            last_us = now_us

    def _flush(self) -> None:
        # What was written survives a crash of this process.
        while True:
            gevent.sleep(FLUSH_INTERVAL_S)
            gevent.get_hub().threadpool.apply(self.world.writer.flush)
