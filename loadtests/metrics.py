"""How a run stands, for Prometheus to scrape while it is under way.

Buckets are bounds that people set limits at. Counts come from histograms of three significant
digits, so a bucket may be off by the values of one cell of those: 1 part in 1 024 at worst.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from gevent import pywsgi
from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    StateSetMetricFamily,
)
from prometheus_client.registry import Collector

from fewseconds import promise, validity
from loadtests.histogram import Histogram, cells
from loadtests.standing import so_far

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from prometheus_client.core import Metric

    from fewseconds.scenario import Scenario
    from loadtests.standing import Standing

LAG_BOUNDS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
BOUNDS_S: Final = (
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 7.5, 10.0, 15.0, 20.0,
    30.0, 60.0, 120.0, 300.0,
)  # fmt: skip
"""From a quick answer of a service to a quarter of an hour at the portal; 5, 10 and 30 s are the
limits of the shipped scenarios."""
WORDS: Final = ("pass", "fail", "inconclusive")


class Endpoint(Collector):
    """Makes the metrics anew for every scrape."""

    def __init__(self, scenario: Scenario, standing: Callable[[], Standing]) -> None:
        """``standing`` is asked at every scrape."""
        self._scenario, self._standing = scenario, standing

    def serve(self, host: str, port: int) -> pywsgi.WSGIServer:
        """Answer from now on; raises OSError if the port is taken."""
        registry = CollectorRegistry(auto_describe=False)
        registry.register(self)
        server = pywsgi.WSGIServer((host, port), make_wsgi_app(registry), log=None)
        server.start()
        return server

    def describe(self) -> list[Metric]:
        """Nothing ahead of a scrape: registering is not yet looking."""
        return []

    def collect(self) -> Iterator[Metric]:
        """All metrics of this moment."""
        standing = self._standing()
        yield from _journeys(standing)
        yield _histogram(
            "fewseconds_lag_seconds",
            "How much later than it should a journey's worst step began: the generator's own fault",
            "",
            {"": standing.lag} if standing.lag else {},
            LAG_BOUNDS_S,
        )
        yield _histogram(
            "fewseconds_step_seconds",
            "From the intended start of a step's first attempt to the end of its last",
            "step",
            standing.steps,
            BOUNDS_S,
        )
        yield _histogram(
            "fewseconds_measure_seconds",
            "The measures that objectives bound; what the system failed is above every bound and "
            "not in the sum",
            "measure",
            standing.measures,
            BOUNDS_S,
        )
        yield from self._verdicts(standing)

    def _verdicts(self, standing: Standing) -> Iterator[Metric]:
        judged = so_far(self._scenario, standing)
        labels = ("objective", "measure", "statistic", "gate")
        limits = GaugeMetricFamily(
            "fewseconds_objective_limit", "Seconds, or a share", labels=labels
        )
        observed = GaugeMetricFamily(
            "fewseconds_objective_observed",
            "So far, in seconds or as a share; absent while the sample cannot support it",
            labels=labels,
        )
        words = StateSetMetricFamily(
            "fewseconds_objective_state", "What the objective says so far", labels=labels
        )
        for one in judged.objectives:
            marks = (one.name, one.measure, one.statistic, "true" if one.gate else "false")
            limits.add_metric(marks, one.limit)
            if one.observed is not None:
                observed.add_metric(marks, one.observed)
            words.add_metric(marks, {word: word == one.word for word in WORDS})
        yield limits
        yield observed
        yield words
        kept = GaugeMetricFamily(
            "fewseconds_promise_broken",
            "1 where the generator has broken its promise so far, so that nothing can be concluded",
            labels=("rule",),
        )
        broken = {rule for rule, _ in judged.broken}
        for rule in promise.LIVE:
            kept.add_metric((rule,), rule in broken)
        yield kept
        yield StateSetMetricFamily(
            "fewseconds_verdict_state",
            "What all gates say so far, before the ledger is audited",
            {word: word == judged.word for word in WORDS},
        )


def _journeys(standing: Standing) -> Iterator[Metric]:
    counters = {
        "intended": "Journeys whose time has come",
        "started": "Journeys that were started",
        "dropped": "Journeys that could not be started; they count against every objective",
        "late": "Journeys that have ended and had a step begin more than "
        f"{validity.LATE_MS:.0f} ms late",
    }
    for name, text in counters.items():
        yield CounterMetricFamily(f"fewseconds_journeys_{name}", text, getattr(standing, name))
    completed = CounterMetricFamily(
        "fewseconds_journeys_completed", "Journeys by how they ended", labels=("kind", "fate")
    )
    for kind, fates in sorted(standing.fates.items()):
        for fate, count in sorted(fates.items()):
            completed.add_metric((kind, fate), count)
    yield completed
    lost = CounterMetricFamily(
        "fewseconds_steps_failed", "Steps whose last attempt did not succeed", labels=("step",)
    )
    for step, count in sorted(standing.failed.items()):
        lost.add_metric((step,), count)
    yield lost
    yield GaugeMetricFamily(
        "fewseconds_journeys_in_flight", "Journeys under way now", standing.in_flight
    )
    yield GaugeMetricFamily(
        "fewseconds_generator_cpu_share",
        "Of a processor, by the busiest worker in its busiest ten seconds so far",
        standing.cpu_share,
    )
    yield GaugeMetricFamily(
        "fewseconds_window_elapsed_seconds", "Since the window began", standing.elapsed_s
    )


def _histogram(
    name: str, text: str, label: str, packed: dict[str, dict[str, Any]], bounds_s: tuple[float, ...]
) -> HistogramMetricFamily:
    family = HistogramMetricFamily(name, text, labels=(label,) if label else ())
    for value, one in sorted(packed.items()):
        histogram = Histogram.unpacked(one)
        family.add_metric(
            (value,) if label else (), buckets(histogram, bounds_s), histogram.sum_us / 1e6
        )
    return family


def buckets(histogram: Histogram, bounds_s: tuple[float, ...]) -> list[tuple[str, float]]:
    """Cumulative counts at ``bounds_s``, and of everything at ``+Inf``."""
    places = cells(np.rint(np.array(bounds_s) * 1e6).astype(np.int64))
    below = np.cumsum(histogram.counts)[places]
    found = [(str(bound), float(count)) for bound, count in zip(bounds_s, below, strict=True)]
    return [*found, ("+Inf", float(histogram.total))]
