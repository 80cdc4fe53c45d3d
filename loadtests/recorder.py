"""What a probe saw, second by second, in counts that several workers can add up."""

from __future__ import annotations

from array import array
from collections import Counter
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np

from loadtests.cohorts import Cohorts
from loadtests.histogram import Histogram
from loadtests.seconds import SECOND_US, Second, Series, joined

if TYPE_CHECKING:
    from collections.abc import Sequence

LATE_US: Final = 10_000
"""A request that leaves this much later than intended is late."""


class Limit(msgspec.Struct, frozen=True):
    """An objective: at most ``1 - share`` of the requests may take longer than ``limit_us``."""

    name: str
    share: float
    limit_us: int


class Report(msgspec.Struct, kw_only=True):
    """What one worker did and saw; :func:`merged` adds several up. Times in µs unless said."""

    intended: int = 0
    """Of the schedule; whatever was neither started nor dropped got lost."""
    started: int = 0
    completed: int = 0
    """Answered as wanted."""
    dropped: int = 0
    late: int = 0
    outcomes: dict[str, int] = {}
    latency: dict[str, object] = {}
    """Packed histogram of the time from the intended start; whatever failed never ended."""
    lag: dict[str, object] = {}
    sent: dict[str, object] = {}
    """As ``latency`` but from the actual start: what a closed model would report."""
    seconds: list[Second] = []
    in_flight_integral_s: float = 0.0
    in_flight_variance_s2: float = 0.0
    sojourn_s: float = 0.0
    """Sum of the times between actual start and end, of all that was started."""
    begun: int = 0
    """Requests started at all, also while settling."""
    in_flight_max: int = 0
    cpu_s: float = 0.0
    cpu_share_max: float = 0.0
    """Of the busiest worker, see :class:`loadtests.busyness.Busyness`."""
    connections: int = 0
    retried: int = 0
    rss_bytes: int = 0


class Recorder:
    """Takes notes of every request; call :meth:`turn` about once a second."""

    def __init__(self, settle_us: int, limits: Sequence[Limit] = ()) -> None:
        """What was intended before ``settle_us`` is only counted as begun.

        ``limits`` are those that :meth:`broken` looks at.
        """
        self._settle_us, self._limits = settle_us, limits
        self._cohorts = Cohorts(limits)
        self._latency, self._lag, self._sent = Histogram(), Histogram(), Histogram()
        self._buffers = [array("q") for _ in range(4)]
        self._due, self._failed = array("q"), array("q")
        self.outcomes: Counter[str] = Counter()
        self._seconds = Series()
        self.intended = self.dropped = self.late = self.begun = 0
        self.sojourn_us = 0

    def intend(self, due_us: int) -> None:
        """The schedule has come to a request."""
        if due_us >= self._settle_us:
            self.intended += 1
            if self._limits:
                self._due.append(due_us)

    def ended(self, due_us: int, start_us: int, end_us: int, outcome: str) -> None:
        """A request has ended; ``ok`` is as wanted, anything else never brought an answer."""
        self.begun += 1
        self.sojourn_us += end_us - start_us
        if due_us < self._settle_us:
            return
        latency, lag, sent, when = self._buffers
        lag.append(start_us - due_us)
        self.outcomes[outcome] += 1
        if outcome == "ok":
            latency.append(end_us - due_us)
            sent.append(end_us - start_us)
            when.append(end_us)
        else:
            self._never(due_us, end_us)

    def drop(self, due_us: int) -> None:
        """A request could not be started."""
        if due_us >= self._settle_us:
            self.dropped += 1
            self._never(due_us, due_us)

    def _never(self, due_us: int, when_us: int) -> None:
        if self._limits:
            self._failed.append(due_us)
        self._latency.never += 1
        self._sent.never += 1
        self._seconds.at(when_us // SECOND_US).never += 1

    def turn(self) -> None:
        """Put on the grid what has been noted since the last time."""
        latency, lag, sent, when = (np.array(buffer, np.int64) for buffer in self._buffers)
        self._buffers = [array("q") for _ in range(4)]
        self._latency.add(latency)
        self._sent.add(sent)
        self._lag.add(lag)
        self.late += int((lag > LATE_US).sum())
        self._seconds.add(when, latency)
        self._seconds.put_aside()
        if self._limits:
            due, failed = np.array(self._due, np.int64), np.array(self._failed, np.int64)
            self._due, self._failed = array("q"), array("q")
            self._cohorts.due(due)
            self._cohorts.answered(when - latency, latency)
            self._cohorts.failed(failed)

    def broken(self, now_us: int) -> bool:
        """Whether a limit is being broken just now, also by what is not answered at all."""
        self.turn()
        return self._cohorts.broken(now_us)

    def report(self) -> Report:
        """Everything so far."""
        self.turn()
        return Report(
            intended=self.intended,
            started=self.outcomes.total(),
            completed=self.outcomes["ok"],
            dropped=self.dropped,
            late=self.late,
            outcomes=dict(self.outcomes),
            latency=self._latency.packed(),
            lag=self._lag.packed(),
            sent=self._sent.packed(),
            seconds=self._seconds.all(),
            sojourn_s=self.sojourn_us / 1e6,
            begun=self.begun,
        )


def merged(reports: list[Report]) -> Report:
    """What several workers did and saw together; nothing is averaged and nothing rounded."""
    total = Report(outcomes={}, seconds=[])
    histograms = {name: Histogram() for name in ("latency", "lag", "sent")}
    for report in reports:
        for name in ADDED:
            setattr(total, name, getattr(total, name) + getattr(report, name))
        for name in HIGHEST:
            setattr(total, name, max(getattr(total, name), getattr(report, name)))
        for outcome, count in report.outcomes.items():
            total.outcomes[outcome] = total.outcomes.get(outcome, 0) + count
        for name, histogram in histograms.items():
            histogram.merge(Histogram.unpacked(getattr(report, name)))
    for name, histogram in histograms.items():
        setattr(total, name, histogram.packed())
    total.seconds = joined([report.seconds for report in reports])
    return total


ADDED: Final = (
    "intended", "started", "completed", "dropped", "late", "in_flight_integral_s",
    "in_flight_variance_s2", "sojourn_s",
    "begun", "in_flight_max", "cpu_s", "connections", "retried", "rss_bytes",
)  # fmt: skip
HIGHEST: Final = ("cpu_share_max",)
