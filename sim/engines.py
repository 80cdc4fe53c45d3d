"""The engines of virtual time behind one function: the same plan gives the same outcomes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow as pa

    from fewseconds.plan import Plan
    from sim.simulated import Simulated

Engine = Literal["simpy", "numba"]
DEFAULT: Final[Engine] = "numba"


def walk(
    plan: Plan,
    engine: Engine = DEFAULT,
    progress: Callable[[int], None] | None = None,
    *,
    rows: bool = True,
    sink: Callable[[pa.Table], None] | None = None,
) -> Simulated:
    """Walk all journeys of ``plan`` to their ends; ``progress`` hears how many have started.

    Without ``rows`` the compiled engine keeps its summary only; SimPy always writes rows. With a
    ``sink`` rows are passed on, a million at a time, instead of being kept.
    """
    if engine == "numba":
        from sim import machine

        return machine.simulate(plan, progress, rows=rows, sink=sink)
    from sim import reference

    return reference.simulate(plan, progress, sink)
