"""How much of a processor a generator used when it was busiest.

An average over a run would hide it: twelve seconds without breath vanish in forty of waiting for
the last answers.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING

from fewseconds.promise import BUSIEST_S

if TYPE_CHECKING:
    from collections.abc import Callable


class Busyness:
    """Of this process, from now on; :meth:`look` about once a second, and at the end."""

    def __init__(
        self,
        starting_s: float,
        wall_s: Callable[[], float] = time.monotonic,
        cpu_s: Callable[[], float] = time.process_time,
    ) -> None:
        """Work is started for ``starting_s``, within which the busiest time must fit."""
        self._clocks = wall_s, cpu_s
        self._window_s = min(starting_s, BUSIEST_S)
        self._looks: deque[tuple[float, float]] = deque()
        self._worst: float | None = None
        self._begin = wall_s(), cpu_s()
        self._looks.append(self._begin)

    def look(self) -> None:
        """Read both clocks."""
        wall, cpu = self._clocks
        now_s, used_s = wall(), cpu()
        self._looks.append((now_s, used_s))
        while len(self._looks) > 1 and now_s - self._looks[1][0] >= self._window_s:
            self._looks.popleft()
        begun_s, before_s = self._looks[0]
        if 0 < now_s - begun_s >= self._window_s:
            self._worst = max(self._worst or 0.0, (used_s - before_s) / (now_s - begun_s))

    @property
    def wall_s(self) -> float:
        """Time between the first look and the last."""
        return self._looks[-1][0] - self._begin[0]

    @property
    def cpu_s(self) -> float:
        """Processor time between the first look and the last."""
        return self._looks[-1][1] - self._begin[1]

    @property
    def share_so_far(self) -> float:
        """As :attr:`share_max`, and 0 before the first stretch is over: beginnings are busy."""
        return self._worst or 0.0

    @property
    def share_max(self) -> float:
        """Processor time over wall time, of the busiest ``BUSIEST_S``, or of all that there was."""
        if self._worst is None:
            return self.cpu_s / max(self.wall_s, 1e-9)
        return self._worst
