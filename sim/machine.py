"""Runs the compiled engine: feeds it the plan, gives it room, and takes away what it has kept."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa

from fewseconds.outcomes import SCHEMA
from fewseconds.plan import DAY_US, HOUR_US
from sim import artefact
from sim import layout as at
from sim.flat import Flat
from sim.ready import CHANGE, rank
from sim.simulated import Simulated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from fewseconds.plan import Plan

SLOTS: Final = 1 << 13
ENDED: Final = 1 << 16
STAYS: Final = 1 << 17
ROWS: Final = 1 << 20
FEED: Final = 1 << 16
"""Journeys that are handed to the engine at a time."""
SLOT_FIELDS: Final = {
    "walks": (at.WALK_NEXT, at.FREE_WALK, at.WALKS_LEFT),
    "walkers": (at.BR_NEXT, at.FREE_BRANCH, at.BRANCHES_LEFT),
    "visits": (at.V_NEXT, at.FREE_VISIT, at.VISITS_LEFT),
}
"""Slots of each kind: the field that links the free ones, the first of them, how many."""


class Machine:
    """A city in flat arrays, and what becomes of what it keeps."""

    def __init__(
        self,
        flat: Flat,
        on_ended: Callable[[NDArray[np.int64]], None],
        on_stays: Callable[[NDArray[np.int64]], None],
        on_rows: Callable[[NDArray[np.int64]], None] | None = None,
    ) -> None:
        """Make room; the functions are given what is kept, chunk by chunk, to copy."""
        self.flat, self._drains = flat, (on_ended, on_stays, on_rows)
        hours = (flat.scenario.arrivals.days + 1) * (DAY_US // HOUR_US)
        stations = len(flat.stations)
        none = np.zeros(0, np.int64)
        self.city = at.City(
            n=np.zeros(at.COUNTERS, np.int64),
            heap=np.zeros((SLOTS * 4, 3), np.int64),
            **flat.tables,
            journeys=none, arrivals_us=none, journey_kinds=none, cohorts=none, rules_from=none,
            keeps=none,
            walks=np.zeros((0, at.WALK_WIDTH), np.int64),
            walkers=np.zeros((0, at.BR_WIDTH), np.int64),
            visits=np.zeros((0, at.V_WIDTH), np.int64),
            rows=np.zeros((ROWS if on_rows else 0, at.ROW_WIDTH), np.int64),
            ended=np.zeros((ENDED, at.ENDED_WIDTH), np.int64),
            stays=np.zeros((STAYS, at.STAY_WIDTH), np.int64),
            hours=np.zeros((stations, hours, at.HOUR_WIDTH), np.int64),
        )  # fmt: skip
        n = self.city.n
        n[[at.FREE_WALK, at.FREE_BRANCH, at.FREE_VISIT]] = at.NONE
        n[at.SEED], n[at.GRID_US] = flat.seed, flat.scenario.simulate.resolution_us
        n[at.ROWS_A_MOVE] = flat.rows_a_move
        n[at.HOUR_UNTIL_US] = HOUR_US
        for name in ("walks", "walkers", "visits"):
            self._grow_slots(name, SLOTS)
        self._set_alarms()
        self.wall_s = 0.0

    def _set_alarms(self) -> None:
        """Put the first change of every station on the list of events."""
        alarms = [
            (self.city.phases[station[at.ST_NEXT_PHASE], at.PHASE_FROM_US],
             rank(CHANGE, number, 0, 0, 0), number)
            for number, station in enumerate(self.city.stations)
            if station[at.ST_NEXT_PHASE] < station[at.ST_PHASES_END]
        ]  # fmt: skip
        # A sorted list is a heap.
        for place, alarm in enumerate(sorted(alarms)):
            self.city.heap[place] = alarm
        self.city.n[at.HEAP_SIZE] = len(alarms)

    def prepare(self) -> float:
        """Compile, or load what was compiled before; how many seconds it took."""
        begun = time.perf_counter()
        artefact.prepare()
        return time.perf_counter() - begun

    def walk(
        self,
        parts: Iterable[Plan],
        keep: Callable[[Plan], NDArray[np.int64]],
        progress: Callable[[int], None] | None = None,
    ) -> None:
        """Walk the parts of a plan, in order, to the end; ``keep`` says whose rows are written."""
        for part in parts:
            view = part.view()
            columns = (
                view.journey_id, view.intended_start_us, view.kind, self.flat.cohorts(view),
                self.flat.rules_from(view), keep(part),
            )  # fmt: skip
            for first in range(0, len(part), FEED):
                if progress is not None:
                    progress(self.begun)
                self._feed([np.array(one[first : first + FEED], np.int64) for one in columns])
                self._run()
        self.city.n[at.PLAN_OVER] = 1
        self._run()
        self._drain()

    @property
    def begun(self) -> int:
        """Journeys that have begun."""
        return int(self.city.n[at.ARRIVALS_BEFORE] + self.city.n[at.NEXT_ARRIVAL])

    @property
    def events(self) -> int:
        """Events that have changed the state."""
        return int(self.city.n[at.EVENTS])

    def _feed(self, columns: list[NDArray[np.int64]]) -> None:
        """Hand over the next piece of the plan."""
        n = self.city.n
        n[at.ARRIVALS_BEFORE] += n[at.ARRIVALS]
        n[at.NEXT_ARRIVAL], n[at.ARRIVALS] = 0, len(columns[0])
        names = ("journeys", "arrivals_us", "journey_kinds", "cohorts", "rules_from", "keeps")
        self.city = self.city._replace(**dict(zip(names, columns, strict=True)))

    def _run(self) -> None:
        """Let the engine run until it wants more of the plan or has come to the end."""
        while True:
            begun = time.perf_counter()
            why = artefact.run(self.city)
            self.wall_s += time.perf_counter() - begun
            if why in (at.OVER, at.WANTS_PLAN):
                return
            wanted = int(self.city.n[at.NEEDED])
            if why == at.WANTS_HOURS:
                hours = np.pad(self.city.hours, ((0, 0), (0, wanted), (0, 0)))
                self.city = self.city._replace(hours=hours)
            else:
                self._drain()
                self._make_room(wanted)

    def _drain(self) -> None:
        """Pass on what has been kept."""
        n = self.city.n
        kept = (self.city.ended, self.city.stays, self.city.rows)
        counters = (at.ENDED_COUNT, at.STAY_COUNT, at.ROW_COUNT)
        for array, counter, drain in zip(kept, counters, self._drains, strict=True):
            if drain is not None and n[counter]:
                drain(array[: n[counter]])
            n[counter] = 0

    def _make_room(self, events: int) -> None:
        """Grow whatever is too small for so many events."""
        n, city = self.city.n, self.city
        wanted = events * at.SLOTS_A_MOVE
        for name, left in (
            ("walks", at.WALKS_LEFT), ("walkers", at.BRANCHES_LEFT), ("visits", at.VISITS_LEFT),
        ):  # fmt: skip
            if n[left] < wanted:
                self._grow_slots(name, max(wanted, len(getattr(city, name))))
        if len(city.heap) - n[at.HEAP_SIZE] < wanted:
            self._grow("heap", max(wanted, len(city.heap)))
        rows = events * int(n[at.ROWS_A_MOVE])
        for name, least in (("ended", events), ("stays", rows), ("rows", rows)):
            length = len(getattr(city, name))
            if 0 < length < least:
                self._grow(name, least)

    def _grow(self, name: str, more: int) -> None:
        array = getattr(self.city, name)
        grown = np.concatenate([array, np.zeros((more, array.shape[1]), np.int64)])
        self.city = self.city._replace(**{name: grown})

    def _grow_slots(self, name: str, more: int) -> None:
        """More slots, all of them free."""
        field, free, left = SLOT_FIELDS[name]
        first = len(getattr(self.city, name))
        self._grow(name, more)
        array, n = getattr(self.city, name), self.city.n
        array[first:, field] = np.arange(first + 1, first + more + 1)
        array[-1, field] = n[free]
        n[free] = first
        n[left] += more
        if name == "visits":
            array[first:, at.V_KEY] = at.NONE


def simulate(
    plan: Plan,
    progress: Callable[[int], None] | None = None,
    *,
    rows: bool = True,
    sink: Callable[[pa.Table], None] | None = None,
) -> Simulated:
    """Walk all journeys of ``plan`` to their ends; see :func:`sim.engines.walk`."""
    flat = Flat(plan.scenario, plan.seed)
    ended: list[NDArray[np.int64]] = []
    stays: list[NDArray[np.int64]] = []
    tables: list[pa.Table] = []
    take = sink or tables.append

    def on_rows(some: NDArray[np.int64]) -> None:
        from sim import native

        take(native.outcomes(some, flat))

    machine = Machine(
        flat,
        lambda some: ended.append(some.copy()),
        lambda some: stays.append(some.copy()),
        on_rows if rows else None,
    )
    compile_s = machine.prepare()
    machine.walk([plan], lambda part: np.full(len(part), int(rows), np.int64), progress)
    from sim import native

    return Simulated(
        pa.concat_tables([SCHEMA.empty_table(), *tables]),
        len(plan),
        machine.events,
        machine.wall_s,
        compile_s,
        native.summary(
            machine, _joined(ended, at.ENDED_WIDTH), _joined(stays, at.STAY_WIDTH), plan
        ),
    )


def _joined(parts: list[NDArray[np.int64]], width: int) -> NDArray[np.int64]:
    return np.concatenate([np.zeros((0, width), np.int64), *parts])
