"""Whether limits are being broken just now, judged by requests that were due in the same second.

What happened to *end* lately would say nothing of a server that answers nobody. Requests that were
due together are judged together instead: whoever has no answer when the limit has passed has broken
it, whether it ends later, in an error, or hangs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from loadtests.seconds import SECOND_US

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from loadtests.recorder import Limit


class _Cohort(msgspec.Struct):
    """The requests that were due in one second."""

    due: int = 0
    failed: int = 0
    met: list[int] = []
    """Answered within each limit …"""
    missed: list[int] = []
    """… and later."""


class Cohorts:
    """Seconds that are not yet decided for every limit, and how the latest ones were."""

    def __init__(self, limits: Sequence[Limit]) -> None:
        """Without limits nothing is kept."""
        self._limits = limits
        self._open: dict[int, _Cohort] = {}
        self._broken = [False] * len(limits)

    def due(self, due_us: NDArray[np.int64]) -> None:
        """Requests have been due at these moments."""
        none = [0] * len(self._limits)
        for second, which in _by_second(due_us):
            cohort = self._open.setdefault(second, _Cohort(met=none.copy(), missed=none.copy()))
            cohort.due += int(which.sum())

    def answered(self, due_us: NDArray[np.int64], latency_us: NDArray[np.int64]) -> None:
        """Requests that were due then were answered as wanted, so long after."""
        for second, which in _by_second(due_us):
            cohort = self._open.get(second)
            if cohort is not None:
                for place, limit in enumerate(self._limits):
                    met = int((latency_us[which] <= limit.limit_us).sum())
                    cohort.met[place] += met
                    cohort.missed[place] += int(which.sum()) - met

    def failed(self, due_us: NDArray[np.int64]) -> None:
        """Requests that were due then will have no answer."""
        for second, which in _by_second(due_us):
            cohort = self._open.get(second)
            if cohort is not None:
                cohort.failed += int(which.sum())

    def broken(self, now_us: int) -> bool:
        """Whether the latest second about which a limit can be decided breaks it."""
        for second in sorted(self._open):
            passed_us = now_us - (second + 1) * SECOND_US
            if passed_us < 0:
                break
            cohort, decided = self._open[second], 0
            for place, limit in enumerate(self._limits):
                over = passed_us >= limit.limit_us
                bad = cohort.due - cohort.met[place] if over else cohort.failed
                bad += 0 if over else cohort.missed[place]
                too_many = bad > (1 - limit.share) * cohort.due
                if over or too_many:
                    self._broken[place] = too_many
                decided += over
            if decided == len(self._limits):
                del self._open[second]
        return any(self._broken)


def _by_second(due_us: NDArray[np.int64]) -> list[tuple[int, NDArray[np.bool_]]]:
    seconds = due_us // SECOND_US
    return [(int(second), seconds == second) for second in np.unique(seconds)]
