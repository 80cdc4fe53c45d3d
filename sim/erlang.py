"""What the theory of queues says without walking: Erlang's formula and what is built on it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from fewseconds.law import Law

STEPS: Final = 20_000
"""A law's moments are taken at so many equal steps of probability."""


def erlang_c(servers: int, offered: float) -> float:
    """Probability to wait in M/M/c with ``offered`` erlangs (Erlang, 1917); 1 if it overflows.

    By way of Erlang B, whose recursion stays exact for thousands of servers.
    """
    if offered >= servers:
        return 1.0
    blocked = 1.0
    for count in range(1, servers + 1):
        blocked = offered * blocked / (count + offered * blocked)
    return blocked / (1 - offered / servers * (1 - blocked))


def mean_wait(servers: int, offered: float, service: float, variation: float = 1.0) -> float:
    """Mean wait in M/G/c, in the unit of ``service``; infinite if the queue cannot keep up.

    Exact for exponential service and for one server; else the approximation of Allen and Cunneen
    (Allen, Probability, Statistics and Queueing Theory, 2nd ed., 5.3.5), which scales Erlang's wait
    by ``(1 + variation) / 2`` with the squared coefficient of variation.
    """
    if offered >= servers:
        return math.inf
    return erlang_c(servers, offered) * service / (servers - offered) * (1 + variation) / 2


def least_servers(
    offered: float, service: float, variation: float, wait_max: float = math.inf
) -> int:
    """The fewest servers that keep up, and keep the mean wait within ``wait_max``."""
    servers = math.floor(offered) + 1
    while mean_wait(servers, offered, service, variation) > wait_max:
        servers += 1
    return servers


def moments(law: Law) -> tuple[float, float]:
    """Mean of a law in seconds, and its squared coefficient of variation."""
    values = law.quantiles_us((np.arange(STEPS) + 0.5) / STEPS) / 1e6
    mean = float(values.mean())
    return mean, float(values.var()) / mean**2 if mean else 0.0


def drain_s(outage_s: float, utilisation: float) -> float:
    """Time to work off what an outage has left behind, if nobody gives up: the fluid limit.

    ``rate * outage`` visits wait when it ends, and the station takes ``capacity - rate`` more a
    second than come.
    """
    return math.inf if utilisation >= 1 else outage_s * utilisation / (1 - utilisation)
