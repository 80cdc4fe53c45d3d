"""Scans made ahead, in processes of their own: decoding never runs where requests are timed.

The processes photograph and decode each consumer's own bill in the order of the plan and stream
their results through pipes.
"""

from __future__ import annotations

import subprocess
import sys
import time
from typing import TYPE_CHECKING, Final

import gevent
import msgspec
from gevent.event import AsyncResult

from fewseconds.errors import HarnessError
from fewseconds.plan import traits
from fixtures.scanning import Scan

if TYPE_CHECKING:
    from pathlib import Path

    from fewseconds.plan import Plan

PATIENCE_S: Final = 60.0
WORKERS: Final = 2
SPEED_UNDER_LOAD: Final = 0.3
"""Share of their speed that the processes keep, at worst, once the services have work to do."""
AHEAD_MIN: Final = 20


class Scans:
    """The scans of a plan, each ready when its consumer needs it."""

    def __init__(self, plan: Plan, strip: Path, strip_count: int) -> None:
        """Start the processes that make them."""
        step = plan.scenario.steps.get("scan")
        self._begun_s = time.monotonic()
        self._results: dict[int, AsyncResult] = {}
        self.typed = self.misreads = self._done = 0
        rows = []
        for row in plan.rows():
            if row.medium:
                self._results[row.journey_id] = AsyncResult()
                scanner = traits(plan.scenario, plan.seed, row).scanner
                counter = row.kind == "qr_counter"
                rows.append([row.journey_id, row.bill, row.medium, scanner, counter])
        self._processes = []
        for worker in range(WORKERS):
            spec = {
                "seed": plan.seed,
                "frames_max": step.attempts_max if step else 1,
                "rows": rows[worker::WORKERS],
                # One of them keeps pictures for the report; its rows are as good as any.
                "strip": strip_count if worker == 0 else 0,
                "strip_dir": str(strip),
            }
            self._processes.append(self._start(spec))
        self._readers = [gevent.spawn(self._read, process) for process in self._processes]

    @staticmethod
    def _start(spec: dict[str, object]) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-m", "fixtures.scanning"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        if process.stdin is not None:
            process.stdin.write(msgspec.json.encode(spec) + b"\n")
            process.stdin.close()
        return process

    def _read(self, process: subprocess.Popen[bytes]) -> None:
        decoder = msgspec.json.Decoder(Scan)
        for line in process.stdout or ():
            scan = decoder.decode(line)
            self.typed += scan.text is None
            self.misreads += scan.misread
            self._done += 1
            self._results[scan.journey_id].set(scan)
        if process.wait() != 0:
            message = "scans: a decoding process ended early; see load.log for what it said"
            for result in self._results.values():
                if not result.ready():
                    result.set_exception(HarnessError(message))

    def wait_until_ahead(self, window_s: float) -> None:
        """Wait until so many scans are there that the window will not catch up with the rest.

        The scans that are left must take less than the window at the speed seen so far, slowed
        down as it may be while the services work. Raises HarnessError if the processes fail.
        """
        wanted = len(self._results)
        while self._done < wanted:
            speed = self._done / (time.monotonic() - self._begun_s) * SPEED_UNDER_LOAD
            if self._done >= min(AHEAD_MIN, wanted) and wanted - self._done < speed * window_s:
                return
            if all(reader.dead for reader in self._readers):
                break
            gevent.sleep(0.05)
        for result in self._results.values():
            if result.exception is not None:
                raise result.exception

    def of(self, journey_id: int) -> Scan:
        """The scan of one journey; waits for it if the processes are behind."""
        scan: Scan = self._results[journey_id].get(timeout=PATIENCE_S)
        return scan

    def close(self) -> None:
        """End the processes."""
        for process in self._processes:
            if process.poll() is None:
                process.terminate()
            process.wait()
