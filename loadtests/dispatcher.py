"""The open model of journeys: the rows of a plan, played at their intended starts.

Consumers are greenlets only while they are on their way, and their phones are used again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import gevent

from fewseconds.errors import HarnessError
from fewseconds.outcomes import TURN_S
from loadtests.open_model import OpenModel
from loadtests.phone import Phone

if TYPE_CHECKING:
    from fewseconds.plan import Row
    from loadtests.world import World


class Dispatcher(OpenModel["Row"]):
    """Plays the rows of a plan."""

    def __init__(self, world: World, window_us: tuple[int, int]) -> None:
        """Nothing starts before :meth:`run`."""
        load = world.scenario.load
        super().__init__(world.clock.now_us, self._play, self._leave_out, load.in_flight_max)
        self.world, self.window_us = world, window_us
        self.cut_off_us = window_us[1] + load.drain_s * 1_000_000
        self.idle: list[Phone] = []
        self._under_way: set[Phone] = set()

    def run(self) -> None:
        """Start every journey at its time and wait for all of them, at most until the cut-off.

        Raises HarnessError as soon as a journey fails for a reason that is ours, not the system's.
        """
        flush = gevent.spawn(self._flush)
        rows = ((row.intended_start_us, row) for row in self.world.plan.rows())
        try:
            self.start_all(rows, self.cut_off_us)
        except Exception as trouble:
            message = f"load generator: a journey broke off: {trouble}; see load.log"
            raise HarnessError(message) from trouble
        finally:
            flush.kill()

    def abort(self) -> None:
        """Start nothing more, and wait for those under way as long as after a window.

        A system that answers nobody would otherwise be waited for until the end of a soak.
        """
        self.stop(self.world.clock.now_us() + self.cut_off_us - self.window_us[1])

    def _play(self, row: Row) -> None:
        phone = self.idle.pop() if self.idle else Phone(self.world)
        phone.take(row)
        self._under_way.add(phone)
        try:
            phone.journey(self.cut_off_us)
        except gevent.GreenletExit:
            phone.stop("unfinished", "cut_off")
            raise
        except Exception:
            phone.stop("unfinished", "harness")
            raise
        finally:
            self._under_way.discard(phone)
            self.idle.append(phone)
            self._say_ended(row)

    def waits(self) -> list[tuple[str, str, int]]:
        """Journeys under way: kind, step, and µs since it was due; from any thread."""
        now_us = self.world.clock.now_us()
        return [
            (phone.row.kind, phone.at.step, now_us - phone.at.due_us)
            for phone in tuple(self._under_way)
        ]

    def _leave_out(self, row: Row) -> None:
        phone = Phone(self.world)
        phone.take(row)
        phone.stop("dropped", "in_flight_max")
        self._say_ended(row)

    def counts(self) -> dict[str, int | float]:
        """How many so far, for whoever looks on; named as in ``standing.Standing``."""
        return {
            "intended": self.intended,
            "started": self.started,
            "dropped": self.dropped,
            "in_flight": self.in_flight,
            "in_flight_max": self.in_flight_max,
            "elapsed_s": max((self.world.clock.now_us() - self.window_us[0]) / 1e6, 0.0),
        }

    def _say_ended(self, row: Row) -> None:
        for onlooker in self.world.onlookers:
            onlooker.ended(row)

    def _flush(self) -> None:
        # What was written survives a crash of this process.
        while True:
            gevent.sleep(TURN_S)
            gevent.get_hub().threadpool.apply(self.world.writer.turn)
