"""What a probe saw, second by second, in counts that several workers can add up."""

from __future__ import annotations

from array import array
from collections import Counter
from typing import Final

import msgspec
import numpy as np

from loadtests.histogram import LONGEST_US, Histogram, cells

SECOND_US: Final = 1_000_000
LATE_US: Final = 10_000
"""A request that leaves this much later than intended is late."""


class Second(msgspec.Struct):
    """What ended within one second of the schedule, on the grid of :mod:`loadtests.histogram`."""

    second: int
    cells: list[int]
    counts: list[int]
    never: int = 0

    def histogram(self) -> Histogram:
        """The same as a histogram; its maximum is not known."""
        histogram = Histogram()
        histogram.counts[self.cells] = self.counts
        histogram.never, histogram.max_us = self.never, LONGEST_US
        return histogram

    def share_above(self, limit_us: int) -> float:
        """See :meth:`loadtests.histogram.Histogram.share_above`."""
        return self.histogram().share_above(limit_us)


class Limit(msgspec.Struct, frozen=True):
    """An objective: at most ``1 - share`` of the requests may take longer than ``limit_us``."""

    name: str
    share: float
    limit_us: int


class Report(msgspec.Struct, kw_only=True):
    """What one worker did and saw; :func:`merged` adds several up. Times in µs unless said."""

    intended: int = 0
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
    """Of the busiest worker: processor time over wall time."""
    connections: int = 0
    retried: int = 0
    rss_bytes: int = 0


class Recorder:
    """Takes notes of every request; call :meth:`turn` about once a second."""

    def __init__(self, settle_us: int) -> None:
        """What was intended before ``settle_us`` is only counted as begun."""
        self._settle_us = settle_us
        self._latency, self._lag, self._sent = Histogram(), Histogram(), Histogram()
        self._buffers = [array("q") for _ in range(4)]
        self.outcomes: Counter[str] = Counter()
        self.seconds: dict[int, Second] = {}
        self.dropped = self.late = self.begun = 0
        self.sojourn_us = 0

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
            self._never(end_us)

    def drop(self, due_us: int) -> None:
        """A request could not be started."""
        if due_us >= self._settle_us:
            self.dropped += 1
            self._never(due_us)

    def _never(self, when_us: int) -> None:
        self._latency.never += 1
        self._sent.never += 1
        self._second(when_us // SECOND_US).never += 1

    def _second(self, number: int) -> Second:
        found = self.seconds.get(number)
        if found is None:
            found = self.seconds[number] = Second(number, [], [])
        return found

    def turn(self) -> None:
        """Put on the grid what has been noted since the last time."""
        latency, lag, sent, when = (np.array(buffer, np.int64) for buffer in self._buffers)
        self._buffers = [array("q") for _ in range(4)]
        self._latency.add(latency)
        self._sent.add(sent)
        self._lag.add(lag)
        self.late += int((lag > LATE_US).sum())
        numbers = when // SECOND_US
        for number in np.unique(numbers):
            second = self._second(int(number))
            _add(second, cells(latency[numbers == number]))

    def broken(self, limits: list[Limit]) -> bool:
        """Whether what ended in the latest second breaks a limit by itself."""
        if not limits or not self.seconds:
            return False
        latest = self.seconds[max(self.seconds)]
        return any(latest.share_above(limit.limit_us) > 1 - limit.share for limit in limits)

    def report(self) -> Report:
        """Everything so far."""
        self.turn()
        return Report(
            intended=self.outcomes.total() + self.dropped,
            started=self.outcomes.total(),
            completed=self.outcomes["ok"],
            dropped=self.dropped,
            late=self.late,
            outcomes=dict(self.outcomes),
            latency=self._latency.packed(),
            lag=self._lag.packed(),
            sent=self._sent.packed(),
            seconds=[self.seconds[number] for number in sorted(self.seconds)],
            sojourn_s=self.sojourn_us / 1e6,
            begun=self.begun,
        )


def _add(second: Second, found: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> None:
    together = Counter(dict(zip(second.cells, second.counts, strict=True)))
    used, counts = np.unique(found, return_counts=True)
    together.update(dict(zip(used.tolist(), counts.tolist(), strict=True)))
    second.cells, second.counts = list(together), list(together.values())


def merged(reports: list[Report]) -> Report:
    """What several workers did and saw together; nothing is averaged and nothing rounded."""
    total = Report(outcomes={}, seconds=[])
    histograms = {name: Histogram() for name in ("latency", "lag", "sent")}
    seconds: dict[int, Second] = {}
    for report in reports:
        for name in ADDED:
            setattr(total, name, getattr(total, name) + getattr(report, name))
        for name in HIGHEST:
            setattr(total, name, max(getattr(total, name), getattr(report, name)))
        for outcome, count in report.outcomes.items():
            total.outcomes[outcome] = total.outcomes.get(outcome, 0) + count
        for name, histogram in histograms.items():
            histogram.merge(Histogram.unpacked(getattr(report, name)))
        for one in report.seconds:
            second = seconds.setdefault(one.second, Second(one.second, [], []))
            second.never += one.never
            _add(second, np.repeat(np.array(one.cells, np.int64), one.counts))
    for name, histogram in histograms.items():
        setattr(total, name, histogram.packed())
    total.seconds = [seconds[number] for number in sorted(seconds)]
    return total


ADDED: Final = (
    "intended", "started", "completed", "dropped", "late", "in_flight_integral_s",
    "in_flight_variance_s2", "sojourn_s",
    "begun", "in_flight_max", "cpu_s", "connections", "retried", "rss_bytes",
)  # fmt: skip
HIGHEST: Final = ("cpu_share_max",)
