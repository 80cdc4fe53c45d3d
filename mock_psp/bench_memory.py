"""What the services hold in memory while very many journeys pass: it must not grow with them."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

import msgspec
import psutil

from mock_psp import bench_load
from mock_psp.bench import WARM_UP, running
from mock_psp.spec import read_secrets

if TYPE_CHECKING:
    from collections.abc import Callable

PERCENT: Final = (10, 25, 50, 75, 100)
CHOSEN: Final = ("psp", "biller", "sms")
AT_A_TIME: Final = 1000


class MemoryUse(msgspec.Struct, frozen=True):
    """What each service held."""

    journeys: int
    journeys_per_s: float
    rss_mib: dict[str, dict[str, float]]
    """By service, then by how many percent of the journeys had passed."""
    growth: dict[str, float]
    """By service: what it held at the end, over what it held when half had passed."""


def bench_memory(journeys: int, say: Callable[[str, float], None]) -> MemoryUse:
    """Pass so many whole journeys and look at the services from time to time.

    Raises HarnessError if they do not start, RuntimeError if a journey goes wrong.
    """
    rss_mib: dict[str, dict[str, float]] = {name: {} for name in CHOSEN}
    with running(*CHOSEN, consumers=journeys + WARM_UP) as services:
        processes = {name: psutil.Process(services.pid(name)) for name in CHOSEN}
        token = read_secrets(services.spec).token
        asyncio.run(bench_load.journeys(services.urls, token, 0, WARM_UP))
        began_s, passed = time.monotonic(), 0
        for percent in PERCENT:
            upto = journeys * percent // 100
            while passed < upto:
                say(f"{passed} of {journeys} journeys", passed / journeys)
                count = min(AT_A_TIME, upto - passed)
                asyncio.run(bench_load.journeys(services.urls, token, WARM_UP + passed, count))
                passed += count
            for name, process in processes.items():
                rss_mib[name][str(percent)] = round(process.memory_info().rss / 2**20, 1)
        rate = journeys / (time.monotonic() - began_s)
    growth = {name: round(held["100"] / held["50"], 3) for name, held in rss_mib.items()}
    return MemoryUse(journeys, round(rate, 1), rss_mib, growth)
