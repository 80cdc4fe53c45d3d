"""Memory of processes over time: does a long run stay flat?"""

from __future__ import annotations

import os
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

LOOK_S: Final = 5.0
POINTS_MAX: Final = 720
"""Beyond it every second look is forgotten and the looks become half as frequent."""
PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


class Look(msgspec.Struct, frozen=True):
    """Resident memory of every process at one moment."""

    second: int
    mb: dict[str, float]


class Growth(msgspec.Struct, frozen=True):
    """Of one process, once it has warmed up."""

    second_quarter_mb: float
    """Median."""
    last_quarter_mb: float
    max_mb: float
    mb_per_hour: float
    """From the middle of the second quarter to that of the last."""


class Resident:
    """Looks at processes now and then; call :meth:`look` as often as you like."""

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        """Nothing is looked at yet."""
        self._clock_s, self._begun_s = clock_s, clock_s()
        self._every_s, self._next_s = LOOK_S, 0.0
        self.looks: list[Look] = []

    def look(self, processes: Mapping[str, int]) -> None:
        """Note the memory of these process ids by name, if it is time to; the dead have none."""
        second = self._clock_s() - self._begun_s
        if second < self._next_s:
            return
        self._next_s = second + self._every_s
        mb = {name: found for name, pid in processes.items() if (found := resident_mb(pid))}
        self.looks.append(Look(round(second), mb))
        if len(self.looks) > POINTS_MAX:
            self.looks, self._every_s = self.looks[::2], self._every_s * 2

    def growth(self) -> dict[str, Growth]:
        """How each process grew; empty if there were too few looks to say."""
        return grown(self.looks)


def grown(looks: list[Look]) -> dict[str, Growth]:
    """Growth between the second and the last quarter of the time; needs eight looks."""
    names = sorted({name for look in looks for name in look.mb})
    found = {}
    for name in names:
        mine = [(look.second, look.mb[name]) for look in looks if name in look.mb]
        quarter = len(mine) // 4
        if quarter < 2:  # noqa: PLR2004 - a median of one is no median
            continue
        early, late = mine[quarter : 2 * quarter], mine[-quarter:]
        first, last = (statistics.median(mb for _, mb in part) for part in (early, late))
        begun_s, ended_s = (statistics.median(at for at, _ in part) for part in (early, late))
        per_hour = (last - first) / max(ended_s - begun_s, 1e-9) * 3600
        found[name] = Growth(first, last, max(mb for _, mb in mine), per_hour)
    return found


def resident_mb(pid: int) -> float:
    """Resident memory of a process in MB; 0 if there is none."""
    try:
        fields = Path(f"/proc/{pid}/statm").read_text("ascii").split()
    except OSError:
        return 0.0
    return int(fields[1]) * PAGE_BYTES / 1e6


def children(pid: int) -> list[int]:
    """The process ids of a process's children."""
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii")
    except OSError:
        return []
    return [int(one) for one in text.split()]
