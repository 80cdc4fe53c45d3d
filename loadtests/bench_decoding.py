"""Does decoding beside it move what a probe measures of a server that has not changed?

In turns, a probe asks a station of exponential servers with nothing beside it, with bills being
photographed and decoded beside it at a stated share of a processor, and with nothing once more. The
station draws the same service times every time, so the first and the third differ by noise alone.
"""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, Self

import msgspec

from fewseconds.errors import HarnessError
from fewseconds.schedule import Stage
from fixtures.scanning import Row, Spec
from loadtests.probe import ProbeSpec, probe
from loadtests.target import Target, TargetSpec

if TYPE_CHECKING:
    from collections.abc import Callable

RATE_PER_S: Final = 120.0
STATION: Final = TargetSpec(servers=4, service_s=0.02)
SLICE_S: Final = 0.1
BILLS: Final = 20_000
"""More than can be decoded in minutes."""
TICK_S: Final = 1 / os.sysconf("SC_CLK_TCK")
RATIO_MAX: Final = 1.1
"""Decoding has to move the 99th percentile by less than a tenth."""
REACHED_MIN: Final = 0.9
"""Of the share that was wanted: who decoded less has not shown that so much does no harm."""


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """One turn: without, with, without."""

    p99_ms: tuple[float, float, float]
    decoding_share: float
    """Processor time that decoding really took, over wall time."""
    verdicts: tuple[str, str, str]


class DecodingBench(msgspec.Struct, frozen=True, kw_only=True):
    """How far decoding moves the 99th percentile."""

    verdict: Literal["pass", "fail", "inconclusive"]
    """Inconclusive if most turns were, or the noise hides a tenth, or too little was decoded."""
    ratio: float | None
    """Median over the turns that count: with decoding, over the mean of the two without."""
    noise: float | None
    """Median over the turns that count of how far the two without differ, as a share."""
    decoding_share: float
    wanted_share: float
    counted: int
    """Turns whose three probes were all valid; no other one counts."""
    pairs: list[Pair]


class Decoders:
    """The process that makes scans for load runs, kept at a share of a processor by pauses."""

    def __init__(self, share: float) -> None:
        """Nothing runs before the context is entered."""
        self._share, self._over = share, threading.Event()
        self.used_s = self.wall_s = 0.0
        self.ended = False
        """Whether it ran out of bills, or failed, before it was ended."""

    def __enter__(self) -> Self:
        """Begin to decode."""
        rows = [
            Row(
                journey_id=number, bill_index=number, medium="laser_print", decoder="zxing-cpp",
                frames_max=4,
            )
            for number in range(BILLS)
        ]  # fmt: skip
        order = Spec(seed=7, rows=rows)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "fixtures.scanning"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdin is not None  # noqa: S101 - a pipe
        self._process.stdin.write(msgspec.json.encode(order) + b"\n")
        self._process.stdin.close()
        # It has to load its decoders first.
        assert self._process.stdout is not None  # noqa: S101 - as above
        self._process.stdout.readline()
        self._begun_s, self._before_s = time.monotonic(), cpu_s(self._process.pid)
        self._reader = threading.Thread(target=self._process.stdout.read, daemon=True)
        self._reader.start()
        self._keeper = threading.Thread(target=self._keep, daemon=True)
        self._keeper.start()
        return self

    def _keep(self) -> None:
        """Let it run while it has used less than its share."""
        pid, running = self._process.pid, True
        while not self._over.wait(SLICE_S / 10):
            allowed = self._share * (time.monotonic() - self._begun_s) + SLICE_S / 2
            if (cpu_s(pid) - self._before_s <= allowed) != running:
                running = not running
                os.kill(pid, signal.SIGCONT if running else signal.SIGSTOP)

    def __exit__(self, *_: object) -> None:
        """End it."""
        self._over.set()
        self._keeper.join()
        self.ended = self._process.poll() is not None
        self.used_s = cpu_s(self._process.pid) - self._before_s
        self.wall_s = time.monotonic() - self._begun_s
        self._process.kill()
        self._process.wait()
        self._reader.join()
        if self._process.stdout is not None:
            self._process.stdout.close()


def cpu_s(pid: int) -> float:
    """Processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * TICK_S


def bench(
    turns: int, seconds: float, share: float, say: Callable[[str, float], None]
) -> DecodingBench:
    """Measure so many turns; raises HarnessError if the generator fails."""
    pairs = []
    for turn in range(turns):
        say("measuring", turn / turns)
        before = _p99(seconds)
        with Decoders(share) as decoders:
            beside = _p99(seconds)
        if decoders.ended:
            raise HarnessError(
                "bench decoding: the decoders ended by themselves; see what they said"
            )
        after = _p99(seconds)
        pairs.append(
            Pair(
                p99_ms=(before[0], beside[0], after[0]),
                decoding_share=decoders.used_s / decoders.wall_s,
                verdicts=(before[1], beside[1], after[1]),
            )
        )
    return summed_up(pairs, share)


def summed_up(pairs: list[Pair], share: float) -> DecodingBench:
    """Medians over the turns whose generator kept its promise, and what they come to."""
    counted = [pair for pair in pairs if set(pair.verdicts) == {"valid"}]
    times = [pair.p99_ms for pair in counted]
    ratios = [2 * with_ / (first + second) for first, with_, second in times]
    noises = [abs(first - second) * 2 / (first + second) for first, _, second in times]
    decoded = statistics.median(pair.decoding_share for pair in counted or pairs)
    ratio, noise = (statistics.median(found) if found else None for found in (ratios, noises))
    verdict: Literal["pass", "fail", "inconclusive"] = "inconclusive"
    enough = 2 * len(counted) > len(pairs) and decoded >= REACHED_MIN * share
    if enough and ratio is not None and noise is not None and noise < RATIO_MAX - 1:
        verdict = "pass" if ratio < RATIO_MAX else "fail"
    return DecodingBench(
        verdict=verdict, ratio=ratio, noise=noise, decoding_share=decoded, wanted_share=share,
        counted=len(counted), pairs=pairs,
    )  # fmt: skip


def _p99(seconds: float) -> tuple[float, str]:
    with Target(STATION) as target:
        spec = ProbeSpec(url=target.url, stages=[Stage(RATE_PER_S, seconds)], seed=5)
        found = probe(spec, lambda *_: None)
    return found.latency_ms.p99 or float("inf"), found.verdict
