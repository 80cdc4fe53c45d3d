"""What a service counts, for Prometheus: requests, stations, its own books, and the process.

Counting a request costs about a microsecond; all else is read when somebody asks.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from fewseconds.journey import OUTCOMES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from mock_psp.station import Station

BOUNDS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""From a lookup to the time that the switch gives a bank for a credit."""
OTHER: Final = "other"
"""The path of requests to nowhere: callers must not choose how many series there are."""


class Times:
    """A histogram that is being filled."""

    __slots__ = ("counts", "sum_s")

    def __init__(self) -> None:
        """Empty."""
        self.counts = [0] * (len(BOUNDS_S) + 1)
        self.sum_s = 0.0

    def add(self, took_s: float) -> None:
        """Count one."""
        self.counts[bisect_left(BOUNDS_S, took_s)] += 1
        self.sum_s += took_s

    def buckets(self) -> list[tuple[str, int]]:
        """Cumulative counts by upper bound."""
        total, found = 0, []
        for bound, here in zip((*map(str, BOUNDS_S), "+Inf"), self.counts, strict=True):
            total += here
            found.append((bound, total))
        return found


class Meter:
    """The requests that a service has answered and is answering."""

    def __init__(self) -> None:
        """Nothing has been asked yet."""
        self.in_flight = 0
        self.times: dict[tuple[str, str, int], Times] = {}

    def answered(self, method: str, path: str, status: int, took_s: float) -> None:
        """Count an answer; ``path`` is the route, not what the caller wrote into it."""
        key = (method, path, status)
        times = self.times.get(key)
        if times is None:
            times = self.times[key] = Times()
        times.add(took_s)


class Metrics(Collector):
    """Everything that one service tells of itself."""

    def __init__(
        self,
        meter: Meter,
        stations: Sequence[Station],
        counts: Sequence[Callable[[], Mapping[str, int]]],
    ) -> None:
        """``counts`` give the totals of the service's own books, by name."""
        self._meter, self._stations, self._counts = meter, stations, counts
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def text(self) -> bytes:
        """All of it in Prometheus' text format."""
        return generate_latest(self._registry)

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """Nothing is promised before it is asked for."""
        return iter(())

    def collect(
        self,
    ) -> Iterator[CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily]:
        """What has been counted so far."""
        took = HistogramMetricFamily(
            "fewseconds_http_request_duration_seconds", "From the request to its answer.",
            labels=("method", "path", "status"),
        )  # fmt: skip
        for (method, path, status), times in list(self._meter.times.items()):
            took.add_metric((method, path, str(status)), times.buckets(), times.sum_s)
        yield took
        yield GaugeMetricFamily(
            "fewseconds_http_requests_in_flight", "Requests without an answer yet.",
            value=self._meter.in_flight,
        )  # fmt: skip
        yield from self._of_stations()
        for read in self._counts:
            for name, value in read().items():
                what = f"{name.replace('_', ' ').capitalize()}."
                yield CounterMetricFamily(f"fewseconds_{name}", what, value=value)

    def _of_stations(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        waiting = GaugeMetricFamily(
            "fewseconds_station_waiting", "Visits in the queue.", labels=("station",)
        )
        busy = GaugeMetricFamily(
            "fewseconds_station_busy", "Visits being served.", labels=("station",)
        )
        visits = CounterMetricFamily(
            "fewseconds_station_visits", "Visits that have ended.", labels=("station", "outcome")
        )
        for station in self._stations:
            waiting.add_metric((station.name,), station.waiting)
            busy.add_metric((station.name,), station.busy)
            for outcome, count in enumerate(station.ended):
                if count:
                    visits.add_metric((station.name, OUTCOMES[outcome]), count)
        yield from (waiting, busy, visits)
