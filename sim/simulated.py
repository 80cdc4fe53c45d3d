"""What a walk in virtual time gives, whichever engine walked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pyarrow as pa

from sim.summary import Summary

if TYPE_CHECKING:
    from fewseconds.plan import Plan


class Simulated(msgspec.Struct, frozen=True):
    """What a run in virtual time gave."""

    outcomes: pa.Table
    """In the order in which things ended; empty if no rows were asked for, or all were passed
    on."""
    journeys: int
    events: int
    """Events that changed the state; alarms that found nothing to do are not counted."""
    wall_s: float
    """Walking alone, without compilation and without the tables made before and after."""
    compile_s: float = 0.0
    """Compiling, or loading what was compiled before."""
    summary: Summary | None = None
    """What the compiled engine counted by itself; SimPy leaves that to :meth:`summarised`."""

    def summarised(self, plan: Plan) -> Summary:
        """The summary: the engine's own, or else made from the rows."""
        if self.summary is not None:
            return self.summary
        from sim.summary_of_rows import summary_of_rows

        return summary_of_rows(self.outcomes, plan, events=self.events, wall_s=self.wall_s)
