"""Starting and watching the load generator, which is a process of its own.

Locust patches the standard library when it is imported, so nothing here imports it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

import msgspec
import pyarrow.parquet as pq

from fewseconds.errors import HarnessError, UsageError
from loadtests.spec import SPEC_VARIABLE, LoadSpec, LoadSummary, Targets, unplayable

if TYPE_CHECKING:
    from collections.abc import Callable

    from fewseconds.plan import Plan

LOCUSTFILE = Path(__file__).with_name("locustfile.py")
POLL_S = 0.2
STOP_S = 5.0
LATE_END_S = 60.0
"""Beyond window and drain, how long the generator may take to start and to write its results."""


def tail(log: Path, lines: int = 12) -> str:
    """The last lines of a log, for a message."""
    text = log.read_text("utf-8", "replace") if log.exists() else ""
    return "\n".join(text.splitlines()[-lines:]) or "(the log is empty)"


class Generator:
    """The load generator's process; use as a context manager, so that it never outlives us."""

    def __init__(
        self, folder: Path, window: Plan, window_us: tuple[int, int], targets: Targets, token: str
    ) -> None:
        """Write its orders into ``folder``; ``window`` holds the rows to play.

        Raises UsageError if a journey has a step that a phone cannot do.
        """
        unknown = unplayable(window.scenario)
        if unknown:
            raise UsageError("\n".join(f"{window.scenario.name}: {line}" for line in unknown))
        self.folder = folder.resolve()
        self.log = self.folder / "load.log"
        self.spec = LoadSpec(
            scenario=str(self.folder / "scenario.json"),
            plan=str(self.folder / "plan.parquet"),
            seed=window.seed,
            window_us=window_us,
            targets=targets,
            token=token,
            outcomes=str(self.folder / "outcomes"),
            summary=str(self.folder / "load.json"),
            strip=str(self.folder / "strip"),
            parent=os.getpid(),
        )
        self.limit_s = (
            (window_us[1] - window_us[0]) / 1e6 + window.scenario.load.drain_s + LATE_END_S
        )
        Path(self.spec.scenario).write_bytes(msgspec.json.encode(window.scenario))
        pq.write_table(window.table, self.spec.plan)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Start the process."""
        # The orders hold the token of the inboxes, so only their owner may read them.
        orders = self.folder / "load.spec.json"
        orders.touch(mode=0o600)
        orders.write_bytes(msgspec.json.encode(self.spec))
        options = "--headless -u 1 -r 1 --loglevel WARNING --only-summary --stop-timeout 1"
        command = [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), *options.split()]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=os.environ | {SPEC_VARIABLE: str(orders)},
                start_new_session=True,
            )
        return self

    def wait(self, look: Callable[[], None]) -> LoadSummary:
        """Wait for the end; ``look`` is called a few times a second and may raise.

        Raises HarnessError if the generator fails or does not end.
        """
        assert self._process is not None  # noqa: S101 - entered
        limit = time.monotonic() + self.limit_s
        while self._process.poll() is None:
            look()
            if time.monotonic() > limit:
                message = (
                    f"load generator: still running after {self.limit_s:.0f} s; see {self.log}\n"
                    f"{tail(self.log)}"
                )
                raise HarnessError(message)
            time.sleep(POLL_S)
        summary = Path(self.spec.summary)
        if not summary.exists():
            code = self._process.returncode
            message = (
                f"load generator: ended with code {code} before it had finished; its log ends\n"
                f"{tail(self.log)}"
            )
            raise HarnessError(message)
        return msgspec.json.decode(summary.read_bytes(), type=LoadSummary)

    def __exit__(self, *_: object) -> None:
        """End the process and whatever it started."""
        process = self._process
        if process is None:
            return
        if process.poll() is None:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=STOP_S)
        # It leads a group of its own, and what it started is in it, also when it has gone itself.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
