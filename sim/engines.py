"""The engines of virtual time behind one function: the same plan gives the same outcomes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Callable

    from fewseconds.plan import Plan
    from sim.simulated import Simulated

Engine = Literal["simpy", "numba"]
DEFAULT: Final[Engine] = "simpy"


def walk(
    plan: Plan,
    engine: Engine = DEFAULT,
    progress: Callable[[int], None] | None = None,
    *,
    rows: bool = True,
) -> Simulated:
    """Walk all journeys of ``plan`` to their ends; ``progress`` hears how many have started.

    Without ``rows`` the compiled engine keeps its summary only; SimPy always writes rows.
    """
    del engine, rows  # One engine so far, and it writes rows.
    from sim import reference

    return reference.simulate(plan, progress)
