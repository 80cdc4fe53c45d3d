"""Notes of a run under way, for whoever looks on: its metrics endpoint and its *Journeys* tab.

The measures are those of the verdict at the end: what has ended is put through
:mod:`fewseconds.measures` once a second, in a thread, so that no definition exists twice and the
event loop does not wait.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Final

import gevent
import msgspec
import numpy as np
import polars as pl
import pyarrow as pa
from gevent.event import Event

from fewseconds import measures, outcomes, validity
from fewseconds.plan import SCHEMA, Plan
from fewseconds.report.steps import spans
from loadtests.histogram import Histogram
from loadtests.standing import UNSEEN, Standing

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from fewseconds.outcomes import Outcome
    from fewseconds.plan import Row
    from fewseconds.scenario import Scenario

TURN_S: Final = 1.0
Journey = tuple["Row", list["Outcome"]]


class Notes:
    """One worker's; the phones tell it what happens, :meth:`standing` says where that leads."""

    def __init__(self, scenario: Scenario, seed: int) -> None:
        """Know the objectives; nothing has happened yet."""
        self._scenario, self._seed = scenario, seed
        self._on_their_way: dict[int, list[Outcome]] = {}
        self._ended: list[Journey] = []
        wanted = [one for one in scenario.slo if one.measure not in UNSEEN]
        self._quantiles = sorted({o.measure for o in wanted if o.statistic != "share"})
        self._shares = sorted({o.measure for o in wanted if o.statistic == "share"})
        self._lag, self._lags = Histogram(), Histogram()
        self._steps: dict[str, Histogram] = {}
        self._measures = {name: Histogram() for name in self._quantiles}
        self._so_far = Standing(fates={}, failed={}, shares={})
        self.counts: Callable[[], dict[str, int | float]] = dict
        """Asks the dispatcher for its own counts; set once there is one."""
        self.waits: Callable[[], list[tuple[str, str, int]]] = list
        """Asks the dispatcher what journeys under way are waiting for; set once there is one."""
        self.cpu_share: Callable[[], float] = float
        """Asks how busy the generator was at its busiest; set once somebody looks."""
        self._told_by = waited_for(scenario)
        self._waiting: dict[str, Histogram] = {}
        self._over = Event()
        self._keeping: gevent.Greenlet | None = None

    def noted(self, row: Row, outcome: Outcome) -> None:
        """A phone has written a row."""
        self._on_their_way.setdefault(row.journey_id, []).append(outcome)

    def ended(self, row: Row) -> None:
        """A phone has finished its journey, or could not begin it."""
        self._ended.append((row, self._on_their_way.pop(row.journey_id, [])))

    def keep_up(self) -> None:
        """Digest what has ended, once a second, until :meth:`close`."""
        self._keeping = gevent.spawn(self._keep_up)

    def close(self) -> None:
        """Digest the rest."""
        self._over.set()
        if self._keeping is not None:
            self._keeping.get()

    def _keep_up(self) -> None:
        over = False
        while not over:
            over = self._over.wait(TURN_S)
            if self._ended:
                batch, self._ended = self._ended, []
                gevent.get_hub().threadpool.apply(self._digest, (batch,))
            gevent.get_hub().threadpool.apply(self._see_who_waits)

    def standing(self) -> Standing:
        """Everything so far."""
        return msgspec.structs.replace(
            self._so_far,
            **self.counts(),
            cpu_share=self.cpu_share(),
            lag=self._lag.packed(),
            lags=self._lags.packed(),
            steps={name: one.packed() for name, one in self._steps.items()},
            measures={name: one.packed() for name, one in self._measures.items()},
            waiting={name: one.packed() for name, one in self._waiting.items()},
        )

    def _see_who_waits(self) -> None:
        found: dict[str, array[int]] = {}
        for kind, step, waited_us in self.waits():
            for name in self._told_by.get((kind, step), ()):
                if name in self._measures:
                    found.setdefault(name, array("q")).append(max(waited_us, 0))
        waiting = {name: Histogram() for name in found}
        for name, histogram in waiting.items():
            histogram.add(found[name])
        self._waiting = waiting

    def _digest(self, batch: list[Journey]) -> None:
        rows = measures.frame(outcomes.table(one for _, written in batch for one in written))
        fields = [msgspec.structs.asdict(row) for row, _ in batch]
        plan = Plan(self._scenario, self._seed, pa.Table.from_pylist(fields, SCHEMA))
        walked = measures.journeys(rows, plan)
        so_far = self._so_far
        for kind, fate, count in walked.group_by("kind", "fate").len().iter_rows():
            fates = so_far.fates.setdefault(kind, {})
            fates[fate] = fates.get(fate, 0) + count
        lags_ms = validity.journey_lags_ms(self._scenario, rows)
        so_far.late += int((lags_ms > validity.LATE_MS).sum())
        self._lag.add(np.rint(lags_ms * 1e3).astype(np.int64))
        steps_ms = validity.step_lags_ms(self._scenario, rows)
        so_far.begun_late += int((steps_ms > validity.LATE_MS).sum())
        self._lags.add(np.rint(steps_ms * 1e3).astype(np.int64))
        so_far.refused += validity.refusals(walked)
        for (step,), some in spans(rows).group_by("step"):
            _count(self._steps.setdefault(str(step), Histogram()), some["seconds"].to_numpy())
        for step, count in _lost(rows).iter_rows():
            so_far.failed[step] = so_far.failed.get(step, 0) + count
        for name in self._quantiles:
            _count(self._measures[name], measures.samples(name, walked, rows))
        for name in self._shares:
            values = measures.samples(name, walked, rows)
            some_before, of_before = so_far.shares.get(name, (0, 0))
            so_far.shares[name] = some_before + int(values.sum()), of_before + len(values)


def waited_for(scenario: Scenario) -> dict[tuple[str, str], tuple[str, ...]]:
    """Measures that last at least as long as the attempt under way, by kind and step."""
    ways = {
        measures.QR: ("machine_time", "end_to_end"),
        measures.PORTAL: ("portal_time",),
    }
    found: dict[tuple[str, str], tuple[str, ...]] = {}
    for way, names in ways.items():
        for kind in scenario.kinds(way):
            for step in scenario.route(kind).steps:
                if step.clock == "machine":
                    found[kind, step.name] = names
    return found | {(kind, "sms"): ("sms_time",) for kind in scenario.journeys}


def _count(histogram: Histogram, seconds: NDArray[np.float64]) -> None:
    finite = seconds[np.isfinite(seconds)]
    histogram.add(np.rint(finite * 1e6).astype(np.int64))
    histogram.never += len(seconds) - len(finite)


def _lost(rows: pl.DataFrame) -> pl.DataFrame:
    """Journeys by the step of which the last attempt did not succeed."""
    last = rows.sort("end_us", maintain_order=True).group_by("journey_id", "step").last()
    return last.filter(pl.col("outcome") != "ok").group_by("step").len()
