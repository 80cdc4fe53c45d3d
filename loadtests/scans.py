"""Scans made ahead, in a process of their own: decoding never runs where requests are timed.

The process photographs and decodes each consumer's own bill in the order of the plan and streams
its results through a pipe; the pipe's size bounds how far ahead it gets.
"""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import gevent
import msgspec
from gevent.event import AsyncResult

from fewseconds.errors import HarnessError
from fewseconds.plan import traits
from fixtures.scanning import Scan

if TYPE_CHECKING:
    from pathlib import Path

    from fewseconds.plan import Plan

PATIENCE_S = 60.0


class Scans:
    """The scans of a plan, each ready when its consumer needs it."""

    def __init__(self, plan: Plan, strip: Path, strip_count: int) -> None:
        """Start the process that makes them."""
        scan = plan.scenario.steps.get("scan")
        rows = [row for row in plan.rows() if row.medium]
        self._results: dict[int, AsyncResult] = {row.journey_id: AsyncResult() for row in rows}
        self.typed = self.misreads = 0
        spec = {
            "seed": plan.seed,
            "frames_max": scan.attempts_max if scan else 1,
            "rows": [
                [
                    row.journey_id,
                    row.bill,
                    row.medium,
                    traits(plan.scenario, plan.seed, row).scanner,
                    row.kind == "qr_counter",
                ]
                for row in rows
            ],
            "strip": strip_count,
            "strip_dir": str(strip),
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "fixtures.scanning"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdin is not None  # noqa: S101 - PIPE was asked for
        self._process.stdin.write(msgspec.json.encode(spec) + b"\n")
        self._process.stdin.close()
        self._reader = gevent.spawn(self._read)

    def _read(self) -> None:
        assert self._process.stdout is not None  # noqa: S101 - PIPE was asked for
        decoder = msgspec.json.Decoder(Scan)
        for line in self._process.stdout:
            scan = decoder.decode(line)
            self.typed += scan.text is None
            self.misreads += scan.misread
            self._results[scan.journey_id].set(scan)
        error = HarnessError("scans: the decoding process ended early; see its messages in the log")
        for result in self._results.values():
            if not result.ready():
                result.set_exception(error)

    def wait_for_first(self, count: int) -> None:
        """Wait until the first ``count`` scans are there: a window must not begin behind."""
        for journey_id in list(self._results)[:count]:
            self._results[journey_id].get(timeout=PATIENCE_S)

    def of(self, journey_id: int) -> Scan:
        """The scan of one journey; waits for it if the process is behind."""
        scan = self._results[journey_id].get(timeout=PATIENCE_S)
        assert isinstance(scan, Scan)  # noqa: S101 - set by _read
        return scan

    def close(self) -> None:
        """End the process."""
        if self._process.poll() is None:
            self._process.terminate()
        self._process.wait()
