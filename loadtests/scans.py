"""Scans made ahead, in processes of their own: decoding never runs where requests are timed.

The processes photograph and decode each consumer's own bill in the order of the plan and stream
their results through pipes.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import gevent
import msgspec
from gevent.event import AsyncResult

from fewseconds.draws import Draws
from fewseconds.errors import HarnessError
from fewseconds.plan import traits
from fixtures.scanning import Scan
from loadtests import codes, decoders

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

    from fewseconds.identity import Bill
    from fewseconds.plan import Plan, Row

PATIENCE_S: Final = 60.0
WORKERS: Final = 2
SPEED_UNDER_LOAD: Final = 0.3
"""Share of their speed that the processes keep, at worst, once the services have work to do."""
AHEAD_MIN: Final = 20


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
        self._frames = {app: decoders.frames_max(plan.scenario, app) for app in plan.scenario.apps}
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
        text, _ = codes.code(self._plan, row, self._own)
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
        self._begun_s = time.monotonic()
        rows = decoders.work(plan, own)
        self._results = {row.journey_id: AsyncResult() for row in rows}
        self.typed = self.misreads = self._done = 0
        self._trouble: HarnessError | None = None
        self._processes: list[subprocess.Popen[bytes]] = []
        self._readers: list[gevent.Greenlet] = []
        for worker in range(WORKERS):
            mine = rows[worker::WORKERS]
            # One of them keeps pictures for the report; its rows are as good as any.
            process = decoders.started(plan, mine, strip, strip_count if worker == 0 else 0)
            self._processes.append(process)
            self._readers.append(
                gevent.spawn(self._read, process, [row.journey_id for row in mine])
            )

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
