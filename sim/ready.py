"""What both engines in virtual time need before anything moves: legs with their draws, ranks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from fewseconds import journey as j

if TYPE_CHECKING:
    from fewseconds.draws import Draws
    from fewseconds.plan import Traits

SERVICE_END, TIME_OUT, PATIENCE_END, BEGIN = range(4)
"""Classes of events: their order when they happen at the same instant."""


def rank(kind: int, journey_id: int, branch: int, leg: int, attempt: int) -> int:
    """Place at one instant: class, journey (38 bits), branch (4), leg (8) and attempt (8)."""
    return 2 + (((((kind << 38 | journey_id) << 4 | branch) << 8 | leg) << 8) | min(attempt, 255))


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

    def __init__(self, routes: dict[str, j.Route], draws: Draws) -> None:
        """Make them ready when they are first asked for."""
        self._routes, self._draws = routes, draws
        self._ready: dict[tuple[str, Traits], list[list[Leg]]] = {}

    def of(self, kind: str, traits: Traits) -> list[list[Leg]]:
        """The legs of every step of a kind of journey, for journeys with these traits."""
        found = self._ready.get((kind, traits))
        if found is None:
            found, number = [], 0
            for step in self._routes[kind].steps:
                found.append([])
                for index, leg in enumerate(step.legs):
                    draws = self._draws.visit(step.name, index, leg.station, traits)
                    limit_us = None if leg.timeout_ms is None else leg.timeout_ms * 1000
                    found[-1].append(Leg(step.name, index, number, leg, draws, limit_us))
                    number += 1
            self._ready[kind, traits] = found
        return found
