"""After an outage: how much waits, and how long until nobody waits any more."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from fewseconds.outcomes import STEP_ROW
from fewseconds.report.words import plan_moment
from fewseconds.station import Fault
from sim import engines, erlang, intervals, replication
from sim.intervals import Estimate
from sim.replication import Case

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sim.trial import Trial


class Drain(msgspec.Struct, frozen=True):
    """One outage, walked."""

    station: str
    outage_s: float
    backlog: Estimate
    """The longest queue."""
    drain_s: Estimate
    """From the end of the outage until nobody waits."""
    lost: Estimate
    """Visits turned away because the queue was full."""
    fluid_s: float
    """What the fluid limit says (``erlang.drain_s``), without retries and full queues."""


def drain(trial: Trial, station: str, outage_s: float, utilisation: float) -> Drain:
    """Close ``station`` as the judged hours begin, hold its visits, and watch what follows."""
    first_day = trial.scenario.arrivals.first_day
    from_us = trial.window.from_us
    until_us = from_us + round(outage_s * 1e6)
    fault = Fault(
        kind="outage",
        station=station,
        start=plan_moment(first_day, from_us),
        until=plan_moment(first_day, until_us),
        visits="hold",
    )
    scenario = msgspec.structs.replace(trial.scenario, fault=(*trial.scenario.fault, fault))
    case = Case(scenario, trial.window, engine=trial.engine)
    seen = trial.workers.map(watch, [(case, seed, station, until_us) for seed in trial.seeds])
    backlog, drained, lost = zip(*seen, strict=True)
    return Drain(
        station=station,
        outage_s=outage_s,
        backlog=intervals.mean(backlog),
        drain_s=intervals.mean(drained),
        lost=intervals.mean(lost),
        fluid_s=erlang.drain_s(outage_s, utilisation),
    )


def watch(case: Case, seed: int, station: str, until_us: int) -> tuple[float, float, float]:
    """Longest queue, seconds until nobody waits, and visits turned away, of one walk."""
    done = engines.walk(replication.rows(case, seed), case.engine)  # type: ignore[arg-type]
    table = done.outcomes
    mine = (table["station"].cast("string").to_numpy(zero_copy_only=False) == station) & (
        table["leg"].to_numpy() != STEP_ROW
    )
    came, served = (table[name].to_numpy()[mine] for name in ("start_us", "service_start_us"))
    rejected = table["outcome"].cast("string").to_numpy(zero_copy_only=False)[mine] == "rejected"
    lengths, moments = queue(came[~rejected], served[~rejected])
    longest = float(lengths.max(initial=0))
    return longest, first_empty_s(lengths, moments, until_us), float(rejected.sum())


def queue(
    came: NDArray[np.int64], served: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Length of the queue as a step function: ``(lengths, moments)``, each from its moment on."""
    waited = served > came
    moments = np.concatenate([came[waited], served[waited]])
    steps = np.repeat(np.array([1, -1], np.int64), int(waited.sum()))
    moments, place = np.unique(moments, return_inverse=True)
    lengths = np.cumsum(np.bincount(place, steps, len(moments)).astype(np.int64))
    return lengths, moments


def first_empty_s(lengths: NDArray[np.int64], moments: NDArray[np.int64], until_us: int) -> float:
    """Seconds from ``until_us`` until the queue is empty for the first time; infinite if never."""
    at = int(np.searchsorted(moments, until_us, side="right")) - 1
    if at < 0 or lengths[at] == 0:
        return 0.0
    empty = np.flatnonzero(lengths[at:] == 0)
    if len(empty) == 0:
        return float("inf")
    return float(moments[at + empty[0]] - until_us) / 1e6
