"""The same consumers once by QR and once by the portal: what the way in costs, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from fewseconds import measures
from fewseconds.plan import Plan
from sim import engines

if TYPE_CHECKING:
    from sim.engines import Engine

MEASURE: Final = "faster_than_portal"
PAIRED_MAX: Final = 2_000


class Pairs(msgspec.Struct, frozen=True, eq=False):
    """Seconds to the confirmation of every consumer who was confirmed both times; equal lengths."""

    qr_s: NDArray[np.float64]
    """Camera pointed at the QR → confirmation."""
    portal_s: NDArray[np.float64]
    """Portal opened → confirmation."""

    @property
    def faster(self) -> NDArray[np.float64]:
        """1 where the QR was faster, else 0."""
        return (self.qr_s < self.portal_s).astype(np.float64)


def pairs(around: Plan, engine: Engine = engines.DEFAULT, most: int = PAIRED_MAX) -> Pairs:
    """Walk the first ``most`` journeys of ``around`` that real services could play, twice.

    Both walks share every draw of the parts that they have in common (the banks, the switch), so
    the comparison is between the ways in. Consumers who were not confirmed both times are left out.
    """
    ways = [around.scenario.kinds(way) for way in (measures.QR, measures.PORTAL)]
    if not all(ways):
        return Pairs(np.empty(0), np.empty(0))
    playable = around.real_time()
    sample = Plan(playable.scenario, playable.seed, playable.table.slice(0, most))
    times = []
    for kinds, column in zip(ways, ("end_to_end_us", "portal_us"), strict=True):
        walk = sample.as_kind(kinds[0])
        walked = measures.journeys(measures.frame(engines.walk(walk, engine).outcomes), walk)
        times.append(walked.sort("journey_id")[column])
    both = times[0].is_not_null() & times[1].is_not_null()
    qr_s, portal_s = (column.filter(both).to_numpy() / 1e6 for column in times)
    return Pairs(qr_s, portal_s)
