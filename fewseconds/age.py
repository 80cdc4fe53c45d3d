"""How long this process has been alive, the interpreter's own start included."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

STARTED_FIELD = 22
"""Of ``/proc/self/stat``, in ticks since the machine booted: see proc(5)."""


def process_s() -> float:
    """Seconds since the kernel made this process, to a hundredth."""
    stat = Path("/proc/self/stat")
    if not stat.exists():  # Only Linux has it.
        import psutil  # noqa: PLC0415 - Linux does without it

        return time.time() - float(psutil.Process().create_time())
    # The name, in brackets, may hold blanks; what follows it begins with field 3.
    fields = stat.read_text().rpartition(")")[2].split()
    started_s = int(fields[STARTED_FIELD - 3]) / os.sysconf("SC_CLK_TCK")
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started_s


class Startup:
    """Notes how old the process is when something begins to make progress."""

    def __init__(self) -> None:
        """Nothing has begun."""
        self.seconds: float | None = None
        self.cpu_s: float | None = None

    def noting(self, progress: Callable[[int], None]) -> Callable[[int], None]:
        """The same ``progress``; its first call is the beginning."""

        def heard(count: int) -> None:
            if self.seconds is None:
                self.seconds, self.cpu_s = process_s(), time.process_time()
            progress(count)

        return heard

    def fields(self) -> dict[str, float | None]:
        """What was noted, and the age of the process now, for JSON."""
        return {
            "startup_s": self.seconds,
            "startup_cpu_s": self.cpu_s,
            "total_s": process_s(),
        }
