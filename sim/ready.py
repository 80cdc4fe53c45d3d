"""What both engines in virtual time need before anything moves: legs with their draws, ranks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from fewseconds import journey as j
from fixtures.funding import traits

if TYPE_CHECKING:
    from fewseconds.draws import Draws
    from fewseconds.plan import Row, Traits
    from fewseconds.scenario import Scenario

CHANGE, SERVICE_END, TIME_OUT, PATIENCE_END, BEGIN = range(5)
"""Classes of events: their order when they happen at the same instant. A change of a station comes
first: it holds for everything else that happens at its instant."""
PROCESS: Final = "virtual"
"""The ``process`` of every row, whichever engine wrote it."""


def rank(kind: int, journey_id: int, branch: int, leg: int, attempt: int) -> int:
    """Place at one instant: class, journey (38 bits), branch (4), leg (8) and attempt (8).

    The scenario's checks keep every part within its bits.
    """
    return 2 + ((((kind << 38 | journey_id) << 4 | branch) << 8 | leg) << 8 | attempt)


class Leg(msgspec.Struct, frozen=True):
    """A leg made ready: its place in the journey, its station and its draws."""

    step: str
    index: int
    """Position in its step."""
    number: int
    """Position in its journey."""
    leg: j.Leg
    draws: Any
    """A :class:`fewseconds.draws.Visit`."""
    timeout_us: int | None


class Legs:
    """The legs of every kind of journey; journeys with equal traits share theirs."""

    def __init__(self, routes: dict[tuple[str, str], j.Route], draws: Draws) -> None:
        """Make them ready when they are first asked for."""
        self._routes, self._draws = routes, draws
        self._ready: dict[tuple[str, Traits], list[list[Leg]]] = {}

    def of(self, scenario: Scenario, row: Row) -> list[list[Leg]]:
        """The legs of every step of a journey."""
        kind, mine = row.kind, traits(scenario, self._draws.seed, row)
        found = self._ready.get((kind, mine))
        if found is None:
            found, number = [], 0
            for step in self._routes[kind, row.app].steps:
                found.append([])
                for index, leg in enumerate(step.legs):
                    draws = self._draws.visit(step.name, index, leg.station, mine)
                    limit_us = None if leg.timeout_ms is None else leg.timeout_ms * 1000
                    found[-1].append(Leg(step.name, index, number, leg, draws, limit_us))
                    number += 1
            self._ready[kind, mine] = found
        return found
