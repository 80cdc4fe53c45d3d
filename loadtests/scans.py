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

from fewseconds.draws import Draws
from fewseconds.errors import HarnessError
from fewseconds.payer_app import in_app, memory
from fewseconds.plan import traits
from fixtures import bills, media, qr
from fixtures.scanning import Scan

if TYPE_CHECKING:
    from pathlib import Path

    from fewseconds.identity import Bill
    from fewseconds.plan import Plan, Row
    from fewseconds.scenario import Scenario

PATIENCE_S: Final = 60.0
WORKERS: Final = 2
SPEED_UNDER_LOAD: Final = 0.3
"""Share of their speed that the processes keep, at worst, once the services have work to do."""
AHEAD_MIN: Final = 20


def frames_max(scenario: Scenario, app: str) -> int:
    """How many frames of a bill ``app`` looks at before its owner gives up."""
    step = scenario.steps.get("scan")
    return in_app(step, scenario.apps[app]).attempts_max if step else 1


class Printed:
    """Scans that no camera makes: the printed text, after frames drawn from the camera's law.

    For more journeys than can be photographed. Nothing is decoded, so nothing can be misread.
    """

    typed = misreads = 0

    def __init__(self, plan: Plan, own: tuple[Bill, ...] = ()) -> None:
        """Draw as the simulator does; ``own`` are bills that are not made from the seed."""
        self._own = own
        self._plan, self._draws = plan, Draws(plan.scenario, plan.seed)
        step = plan.scenario.steps.get("scan")
        self._frames = {app: frames_max(plan.scenario, app) for app in plan.scenario.apps}
        self._camera = [
            (index, leg.station)
            for index, leg in enumerate(step.legs if step else ())
            if plan.scenario.stations[leg.station].role != "human"
        ][:1]

    def wait_until_ahead(self, window_s: float) -> None:
        """There is nothing to wait for."""

    def of(self, row: Row) -> Scan:
        """The scan of one journey."""
        who = traits(self._plan.scenario, self._plan.seed, row)
        times, unread = [], False
        for attempt in range(1, self._frames[row.app] + 1):
            for index, station in self._camera:
                visit = self._draws.visit("scan", index, station, who)
                times.append(visit.service_us(row.journey_id, attempt))
                unread = visit.failure(row.journey_id, attempt) is not None
            if not unread:
                break
        issue = bills.Issue.of(self._plan.scenario, self._plan.seed)
        bill = self._own[row.bill] if self._own else issue.bill(row.bill)
        text = qr.bill_uri(self._plan.seed, bill, counter=row.kind == "qr_counter")
        self.typed += unread
        return Scan(
            journey_id=row.journey_id,
            text=None if unread else text,
            decoder=who.scanner,
            decode_us=tuple(times),
            misread=False,
            frames=len(times),
        )

    def close(self) -> None:
        """Nothing was started."""


class Scans:
    """The scans of a plan, each ready when its consumer needs it."""

    def __init__(
        self, plan: Plan, strip: Path, strip_count: int, own: tuple[Bill, ...] = ()
    ) -> None:
        """Start the processes that make them; ``own`` are bills not made from the seed."""
        step = plan.scenario.steps.get("scan")
        self._begun_s = time.monotonic()
        self._results: dict[int, AsyncResult] = {}
        self.typed = self.misreads = self._done = 0
        rows = []
        for row in plan.rows():
            if row.medium:
                self._results[row.journey_id] = AsyncResult()
                app, counter = plan.scenario.apps[row.app], row.kind == "qr_counter"
                lasting = memory(media.PERSISTENCE, step, app) if step else media.PERSISTENCE
                frames = frames_max(plan.scenario, row.app)
                text = qr.bill_uri(plan.seed, own[row.bill], counter=counter) if own else ""
                place = row.journey_id, row.bill, row.medium
                rows.append([*place, app.scanner, counter, frames, lasting, text])
        self._trouble: HarnessError | None = None
        self._processes: list[subprocess.Popen[bytes]] = []
        self._readers: list[gevent.Greenlet] = []
        for worker in range(WORKERS):
            mine = rows[worker::WORKERS]
            spec = {
                "seed": plan.seed,
                "rows": mine,
                "month": plan.scenario.first_day,
                "season": plan.scenario.season.amounts,
                # One of them keeps pictures for the report; its rows are as good as any.
                "strip": strip_count if worker == 0 else 0,
                "strip_dir": str(strip),
            }
            process = self._start(spec)
            self._processes.append(process)
            self._readers.append(gevent.spawn(self._read, process, [row[0] for row in mine]))

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

    def _read(self, process: subprocess.Popen[bytes], journeys: list[int]) -> None:
        decoder = msgspec.json.Decoder(Scan)
        try:
            for line in process.stdout or ():
                scan = decoder.decode(line)
                self.typed += scan.text is None
                self.misreads += scan.misread
                self._done += 1
                self._results[scan.journey_id].set(scan)
        finally:
            # However it ended (a kill, a SIGTERM that it obeys, half a line): nobody waits in vain.
            missing = [one for one in journeys if not self._results[one].ready()]
            if missing:
                message = (
                    f"scans: a decoding process ended {len(missing)} scans early; see load.log for "
                    "what it said"
                )
                self._trouble = HarnessError(message)
                for journey_id in missing:
                    self._results[journey_id].set_exception(self._trouble)

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
            if self._trouble is not None:
                raise self._trouble
            gevent.sleep(0.05)

    def of(self, row: Row) -> Scan:
        """The scan of one journey; waits for it if the processes are behind.

        Raises HarnessError if the processes have failed or are hopelessly behind.
        """
        try:
            scan: Scan = self._results[row.journey_id].get(timeout=PATIENCE_S)
        except gevent.Timeout:
            message = f"scans: {PATIENCE_S:.0f} s behind; free a processor or lower the rate"
            raise HarnessError(message) from None
        return scan

    def close(self) -> None:
        """End the processes."""
        for process in self._processes:
            if process.poll() is None:
                process.terminate()
            process.wait()
