"""What a station is like now, in real time: open or shut, how many servers, how fast.

The phases are those that the simulator follows (:mod:`fewseconds.timeline`); here they are read off
the clock of the plan.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fewseconds.timeline import FOR_EVER_US, OPEN, phase_at, phases

if TYPE_CHECKING:
    from fewseconds.scenario import Scenario
    from fewseconds.timeline import Phase

NORMAL: Final = 1000
"""Pace of a station that nothing slows down, in thousandths."""


class Hours:
    """The phases of one station."""

    def __init__(self, scenario: Scenario, station: str) -> None:
        """Work them out."""
        self._phases = phases(scenario, station)
        self._edges = [phase.from_us for phase in self._phases]
        self.constant = len(self._phases) == 1
        first = self._phases[0]
        self.always_open = self.constant and first.door == OPEN and first.pace_milli == NORMAL
        self.slows = any(phase.pace_milli != NORMAL for phase in self._phases)

    def at(self, now_us: int) -> Phase:
        """The phase that holds at a moment."""
        return self._phases[0] if self.constant else phase_at(self._phases, now_us)

    def next_us(self, now_us: int) -> int:
        """When the next phase begins, or never."""
        return next((edge for edge in self._edges if edge > now_us), FOR_EVER_US)
