"""All tests of a kind, in two turns: those that may share the processors, then those that may not.

``python tools/run_tests.py test`` or ``slow``, as the Makefile calls them; any options are pytest's
and hold for both turns. A file's tests stay in one process, so that what they stand on is made
once. The second turn is run whatever the first one finds. Plain ``pytest`` knows nothing of this.
"""

from __future__ import annotations

import os
import subprocess
import sys

KINDS = {"test": "not slow", "slow": "slow"}
PROCESSES_MAX = 8
"""Each has services and a database server of its own."""
NOTHING_CHOSEN = 5
"""How pytest ends when no test is of the kind, which is no failure."""


def main(kind: str, options: list[str]) -> int:
    """Run both turns; returns the first exit code that is not 0."""
    processes = min(len(os.sched_getaffinity(0)), PROCESSES_MAX)
    together = ["-n", str(processes), "--dist", "loadfile", "-m", f"{kind} and not alone"]
    codes = []
    for choice in (together, ["-m", f"{kind} and alone"]):
        command = [sys.executable, "-m", "pytest", *choice, *options]
        codes.append(subprocess.run(command, check=False).returncode)
    return next((code for code in codes if code not in {0, NOTHING_CHOSEN}), 0)


if __name__ == "__main__":
    sys.exit(main(KINDS[sys.argv[1]], sys.argv[2:]))
