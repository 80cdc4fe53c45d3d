"""What a request costs the client that sends it: ours, Locust's, the library under it, and wrk.

All drive the same trivial server over so many kept connections, one after the other, in turn and
several times; a Python client is a process of its own (:mod:`loadtests.bench_client`).
"""

from __future__ import annotations

import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
from typing import TYPE_CHECKING, Final

import msgspec

from fewseconds.errors import HarnessError
from loadtests.target import Target, TargetSpec

if TYPE_CHECKING:
    from collections.abc import Callable

CLIENTS: Final = ("lean", "fasthttp", "geventhttpclient")
CONNECTIONS: Final = 32
WRK_REQUESTS: Final = re.compile(r"(\d+) requests in")
NO_WRK: Final = "wrk is not installed; `apt-get install wrk` brings it"


class ClientBench(msgspec.Struct, frozen=True):
    """Processor time of a client, in microseconds a request."""

    cpu_us_per_request: float | None
    """Median of the repeats; None if the client is not there."""
    repeats: list[float]
    note: str = ""


def bench(requests: int, repeats: int, say: Callable[[str, float], None]) -> dict[str, ClientBench]:
    """Measure all clients against one server; the server has the last processor for itself.

    Raises HarnessError if a client fails.
    """
    found: dict[str, list[float]] = {name: [] for name in (*CLIENTS, "wrk")}
    processors = sorted(os.sched_getaffinity(0))
    with Target(TargetSpec()) as target:
        if len(processors) > 1:
            os.sched_setaffinity(target.pid, processors[-1:])
        for turn in range(repeats):
            for place, name in enumerate(found):
                say("measuring", (turn + place / len(found)) / repeats)
                cost = _wrk(target.url) if name == "wrk" else _python(name, target.url, requests)
                if cost is not None:
                    found[name].append(cost)
    return {
        name: ClientBench(
            statistics.median(costs) if costs else None, costs, "" if costs else NO_WRK
        )
        for name, costs in found.items()
    }


def _python(name: str, url: str, requests: int) -> float:
    command = [sys.executable, "-m", "loadtests.bench_client", name, url]
    command += [str(CONNECTIONS), str(requests)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, preexec_fn=_leave_the_last_processor
    )
    if done.returncode:
        message = f"bench client {name!r}: ended with {done.returncode}:\n{done.stderr[-800:]}"
        raise HarnessError(message)
    return float(done.stdout)


def _wrk(url: str) -> float | None:
    if shutil.which("wrk") is None:
        return None
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        ["wrk", "-t1", f"-c{CONNECTIONS}", "-d2s", url],
        capture_output=True, text=True, check=False, preexec_fn=_leave_the_last_processor,
    )  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    counted = WRK_REQUESTS.search(done.stdout)
    if counted is None:
        message = f"bench client 'wrk': not understood:\n{done.stdout[-400:]}{done.stderr[-400:]}"
        raise HarnessError(message)
    spent_s = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return spent_s * 1e6 / int(counted[1])


def _leave_the_last_processor() -> None:
    processors = sorted(os.sched_getaffinity(0))
    if len(processors) > 1:
        os.sched_setaffinity(0, processors[:-1])
