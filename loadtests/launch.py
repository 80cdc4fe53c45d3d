"""Starting and watching the load generator, which is a process of its own.

Locust patches the standard library when it is imported, so nothing here imports it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

import msgspec
import pyarrow.parquet as pq

from fewseconds.errors import HarnessError, UsageError
from fewseconds.resident import children
from loadtests.spec import (
    NOTHING_OUTSIDE,
    SEEN,
    SPEC_VARIABLE,
    LoadSpec,
    LoadSummary,
    Outside,
    Targets,
    Telemetry,
    unplayable,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from fewseconds.plan import Plan

LOCUSTFILE = Path(__file__).with_name("locustfile.py")
NO_TELEMETRY = Telemetry()
POLL_S = 0.2
STOP_S = 5.0
LATE_END_S = 60.0
"""Beyond window and drain, how long the generator may take to start and to write its results."""


def tail(log: Path, lines: int = 12) -> str:
    """The last lines of a log, for a message."""
    text = log.read_text("utf-8", "replace") if log.exists() else ""
    return "\n".join(text.splitlines()[-lines:]) or "(the log is empty)"


class LocustProcess:
    """Stock Locust as a process of its own; use as a context manager, so it never outlives us."""

    def __init__(
        self, folder: Path, locustfile: Path, variable: str, processes: int = 1, *, limit_s: float
    ) -> None:
        """Its orders, log and summary are in ``folder``; ``variable`` tells it of the orders.

        With more than one of ``processes`` Locust is a master with so many workers.
        """
        self.folder = folder.resolve()
        self.log = self.folder / "load.log"
        self.orders = self.folder / "load.spec.json"
        self.summary = self.folder / "load.json"
        self.parent = os.getpid()
        self.limit_s = limit_s
        self._locustfile, self._variable, self._processes = locustfile, variable, processes
        self._process: subprocess.Popen[bytes] | None = None
        self._begun_s = time.monotonic()

    @property
    def age_s(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._begun_s

    @property
    def pids(self) -> dict[str, int]:
        """Process ids: ``load``, and its workers by number if there are any."""
        if self._process is None:
            return {}
        mine = self._process.pid
        # Decoders are children as well, but no generators.
        workers = children(mine)[: self._processes] if self._processes > 1 else []
        return {"load": mine} | {f"load-{index}": pid for index, pid in enumerate(workers)}

    def __enter__(self) -> Self:
        """Start the process."""
        options = "--headless -u 1 -r 1 --loglevel WARNING --only-summary --stop-timeout 1"
        command = [sys.executable, "-m", "locust", "-f", str(self._locustfile), *options.split()]
        if self._processes > 1:
            command += ["--processes", str(self._processes)]
            port = str(free_port())
            command += ["--master-bind-host", "127.0.0.1", "--master-bind-port", port]
            command += ["--master-host", "127.0.0.1", "--master-port", port]
        self._begun_s = time.monotonic()
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=os.environ | {self._variable: str(self.orders)},
                start_new_session=True,
            )
        return self

    def wait_for_summary(self, look: Callable[[], None]) -> bytes:
        """Wait for the end and return the summary; ``look`` is called often and may raise.

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
        if not self.summary.exists():
            code = self._process.returncode
            message = (
                f"load generator: ended with code {code} before it had finished; its log ends\n"
                f"{tail(self.log)}"
            )
            raise HarnessError(message)
        return self.summary.read_bytes()

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


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


class Generator(LocustProcess):
    """The load generator that plays a plan."""

    def __init__(  # noqa: PLR0913 - a load run is named by all of these
        self, folder: Path, window: Plan, window_us: tuple[int, int], targets: Targets, token: str,
        *, processes: int = 1, client: str = "lean", decoding: str = "camera", corpus: str = "",
        telemetry: Telemetry = NO_TELEMETRY, outside: Outside = NOTHING_OUTSIDE,
        abort_after_s: float = 0.0, start_file: str = "",
    ) -> None:  # fmt: skip
        """Write its orders into ``folder``; ``window`` holds the rows to play.

        Raises UsageError if a journey has a step that a phone cannot do.
        """
        unknown = unplayable(window.scenario)
        if unknown:
            raise UsageError("\n".join(f"{window.scenario.name}: {line}" for line in unknown))
        length_s = (window_us[1] - window_us[0]) / 1e6
        limit_s = length_s + window.scenario.load.drain_s + LATE_END_S
        super().__init__(folder, LOCUSTFILE, SPEC_VARIABLE, processes, limit_s=limit_s)
        self.spec = LoadSpec(
            scenario=str(self.folder / "scenario.json"),
            plan=str(self.folder / "plan.parquet"),
            seed=window.seed,
            window_us=window_us,
            targets=targets,
            token=token,
            outcomes=str(self.folder / "outcomes"),
            summary=str(self.summary),
            seen=str(self.folder / SEEN),
            strip=str(self.folder / "strip"),
            client=client,
            decoding=decoding,
            corpus=corpus,
            start_file=start_file,
            acknowledgements=str(self.folder / "acknowledgements"),
            outside=outside,
            abort_after_s=abort_after_s,
            parent=self.parent,
            telemetry=telemetry,
        )
        # It is there also when nobody is ever told anything: a target that is down has been asked.
        Path(self.spec.acknowledgements).mkdir(exist_ok=True)
        Path(self.spec.scenario).write_bytes(msgspec.json.encode(window.scenario))
        pq.write_table(window.table, self.spec.plan)

    def __enter__(self) -> Self:
        """Start the process."""
        # The orders hold credentials and people's numbers, so only their owner may read them.
        self.orders.touch(mode=0o600)
        self.orders.write_bytes(msgspec.json.encode(self.spec))
        return super().__enter__()

    def __exit__(self, *reason: object) -> None:
        """As of every generator; what may be read in its orders afterwards opens nothing."""
        super().__exit__(*reason)
        outside = msgspec.structs.replace(self.spec.outside, headers={})
        told = msgspec.structs.replace(self.spec, token="", outside=outside)
        self.orders.write_bytes(msgspec.json.encode(told))

    def wait(self, look: Callable[[], None]) -> LoadSummary:
        """As :meth:`wait_for_summary`, with the summary read."""
        return msgspec.json.decode(self.wait_for_summary(look), type=LoadSummary)
