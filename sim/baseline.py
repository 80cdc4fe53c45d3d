"""What others would write: an M/M/c queue in idiomatic SimPy, to compare our engines with."""

from __future__ import annotations

import random
from typing import Any

import simpy

SERVERS = 8
UTILISATION = 0.8
EVENTS_A_CUSTOMER = 3
"""An arrival, the grant of a server, the end of service."""


def mmc(customers: int, seed: int) -> float:
    """Walk ``customers`` through one station; returns their mean wait in service times."""
    luck, waits = random.Random(seed), []  # noqa: S311 - a simulation, no secrets
    env = simpy.Environment()
    clerks = simpy.Resource(env, SERVERS)

    def customer() -> Any:  # noqa: ANN401 - a generator of SimPy events
        came = env.now
        with clerks.request() as request:
            yield request
            waits.append(env.now - came)
            yield env.timeout(luck.expovariate(1.0))

    def arrivals() -> Any:  # noqa: ANN401
        for _ in range(customers):
            yield env.timeout(luck.expovariate(SERVERS * UTILISATION))
            env.process(customer())

    env.process(arrivals())
    env.run()
    return sum(waits) / len(waits)
