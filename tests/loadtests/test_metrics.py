"""The endpoint for Prometheus says what the outcomes say, to Prometheus' own parser.

The oracle is the run's outcomes, put through the measures of the verdict when everything is over.
"""

from __future__ import annotations

import math
import urllib.request
from typing import TYPE_CHECKING, Any

import gevent
import numpy as np
import polars as pl
import pytest
from prometheus_client.parser import text_string_to_metric_families

from fewseconds import contracts as c
from fewseconds import measures, promise, slo
from loadtests import notes, standing
from loadtests.dispatcher import Dispatcher
from loadtests.histogram import Histogram
from loadtests.launch import free_port
from loadtests.metrics import BOUNDS_S, Endpoint, buckets
from loadtests.notes import Notes

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

HUMAN = {"law": "constant", "value_ms": 50, "source": "quick for a test"}
QUICK: dict[str, Any] = {
    "journeys": {"portal": {"steps": ["fill_log_in", "log_in"]}},
    "stations": {"person_logs_in": {"service_time": HUMAN}},
    "load": {"drain_s": 1, "in_flight_max": 8},
    "slo": [
        {
            "name": "portal", "measure": "portal_time", "statistic": "p50", "limit": 60.0,
            "at_least": True, "source": "as shipped", "gate": False,
        },
        {
            "name": "errors", "measure": "error_rate", "statistic": "share", "limit": 0.5,
            "source": "quick for a test", "gate": True,
        },
    ],
}  # fmt: skip
COUNT, GAP_US = 60, 15_000
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def scraped(port: int) -> Samples:
    """Every sample of the endpoint by its name and labels."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def at(samples: Samples, name: str, **labels: str) -> float:
    """One sample; 0 if nothing of the kind has happened yet."""
    return samples.get((name, frozenset(labels.items())), 0.0)


def portal(json_reply: Callable[..., bytes]) -> Callable[..., bool]:
    """A portal that refuses every tenth log-in, and a handset with an SMS on it."""
    seen = 0

    def answer(request: Any, connection: socket.socket) -> bool:  # noqa: ANN401 - conftest's Request
        nonlocal seen
        if request.path == c.PORTAL_LOG_IN:
            seen += 1
            broken = seen % 10 == 0
            connection.sendall(json_reply(500, {}) if broken else json_reply(201, {"token": "t"}))
        else:
            message = {"message_id": "m", "reference": "r", "sender": "BESTMU-S", "text": "Paid"}
            connection.sendall(json_reply(200, {"messages": [message]}))
        return True

    return answer


def promises_broken(last: Samples, rows: pl.DataFrame, fates: dict[str, int]) -> list[bool]:
    """What the endpoint says of the generator, held to the outcomes."""
    on_time = rows.filter((pl.col("attempt") == 1) & (pl.col("outcome") != "dropped"))
    lags_ms = (on_time["start_us"] - on_time["intended_us"]).to_numpy() / 1e3
    told = {rule: at(last, "fewseconds_promise_broken", rule=rule) for rule in promise.LIVE}
    p99_ms = np.quantile(lags_ms, 0.99, method="inverted_cdf")
    assert told["lag"] == (p99_ms > promise.LAG_MS_P99_MAX)
    assert told["late"] == ((lags_ms > 10).mean() > promise.LATE_SHARE_MAX)
    assert told["dropped"] == (fates.get("dropped", 0) > COUNT / 1000)
    return [bool(one) for one in told.values()]


def test_a_scrape_says_what_the_outcomes_say(
    stage: Callable[..., Any],
    serve: Callable[..., Any],
    json_reply: Callable[..., bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Counts grow while journeys are under way, and at the end they are those of the outcomes."""
    monkeypatch.setattr(notes, "TURN_S", 0.1)
    played = stage(serve(portal(json_reply)).url, COUNT, QUICK, gap_us=GAP_US)
    dispatcher = Dispatcher(played.world, played.window_us)
    mine = Notes(played.world.scenario, 7)
    mine.counts = dispatcher.counts
    played.world.onlookers = (mine,)
    server = Endpoint(played.world.scenario, mine.standing).serve("127.0.0.1", 0)
    port, hub = server.server_port, gevent.get_hub()
    mine.keep_up()
    early: list[Samples] = []

    def look() -> None:
        while True:
            gevent.sleep(0.2)
            early.append(hub.threadpool.apply(scraped, (port,)))

    looking = gevent.spawn(look)
    dispatcher.run()
    looking.kill()
    mine.close()
    last = hub.threadpool.apply(scraped, (port,))
    server.stop()

    rows = played.rows()
    walked = measures.journeys(rows, played.world.plan)
    fates = dict(walked["fate"].value_counts().iter_rows())
    for fate, count in fates.items():
        name = "fewseconds_journeys_completed_total"
        assert at(last, name, kind="portal", fate=fate) == count
    assert at(last, "fewseconds_journeys_intended_total") == COUNT
    assert at(last, "fewseconds_journeys_dropped_total") == fates.get("dropped", 0)
    assert at(last, "fewseconds_journeys_in_flight") == 0
    # What was dropped never began, so it was not late either.
    assert at(last, "fewseconds_lag_seconds_count") == COUNT - fates.get("dropped", 0)
    took = walked["portal_us"].drop_nulls().to_numpy() / 1e6
    for bound in BOUNDS_S:
        told = at(last, "fewseconds_measure_seconds_bucket", measure="portal_time", le=str(bound))
        assert told == (took <= bound).sum()
    share = 1 - fates["confirmed"] / COUNT
    marks = {"measure": "error_rate", "statistic": "share", "gate": "true", "objective": "errors"}
    assert at(last, "fewseconds_objective_observed", **marks) == pytest.approx(share)
    # A claim that fails does not make the verdict, which rests on gates alone, and on ourselves.
    expected = "inconclusive" if any(promises_broken(last, rows, fates)) else "pass"
    states = {word: at(last, "fewseconds_verdict_state", fewseconds_verdict_state=word)
              for word in ("pass", "fail", "inconclusive")}  # fmt: skip
    assert states == {word: word == expected for word in states}
    begun = [at(one, "fewseconds_journeys_started_total") for one in [*early, last]]
    assert begun == sorted(begun)
    assert any(0 < count < COUNT for count in begun)


def test_buckets_count_what_numpy_counts() -> None:
    """Every bucket holds the durations up to its bound, to a cell's width, and the last one all."""
    values_us = np.random.default_rng(3).lognormal(13, 2, 20_000).astype(np.int64)
    histogram = Histogram()
    histogram.add(values_us)
    histogram.never = 11
    found = buckets(histogram, BOUNDS_S)
    for bound, (name, count) in zip(BOUNDS_S, found, strict=False):
        exact = float((values_us <= bound * 1e6).sum())
        wide = float((values_us <= bound * 1e6 * (1 + 1 / 1024)).sum())
        assert name == str(bound)
        assert exact <= count <= wide
    assert found[-1] == ("+Inf", 20_011)


def test_standings_of_workers_add_up_to_that_of_one() -> None:
    """Counts and histograms of two halves are those of the whole, whatever the order."""
    rng = np.random.default_rng(5)
    values_us = rng.integers(0, 10**7, 3000)

    def told(some: Any) -> standing.Standing:  # noqa: ANN401 - an array
        one = Histogram()
        one.add(some)
        return standing.Standing(
            intended=len(some), fates={"portal": {"confirmed": len(some)}},
            measures={"portal_time": one.packed()}, shares={"error_rate": (1, len(some))},
        )  # fmt: skip

    halves = [told(values_us[:1000]), told(values_us[1000:])]
    total = standing.together(reversed(halves))
    assert total.intended == 3000
    assert total.fates == {"portal": {"confirmed": 3000}}
    assert total.shares == {"error_rate": (2, 3000)}
    merged = Histogram.unpacked(total.measures["portal_time"])
    exact = np.quantile(values_us, 0.95, method="inverted_cdf")
    assert merged.quantile_us(0.95) == pytest.approx(exact, rel=1 / 1024)


def test_a_sample_that_is_too_small_leaves_the_objective_open(
    stage: Callable[..., Any], serve: Callable[..., Any], json_reply: Callable[..., bytes]
) -> None:
    """Ten journeys say nothing about a p95; a thousand that never ended say that it is missed."""
    played = stage(serve(portal(json_reply)).url, 1, {})
    few, many = Histogram(), Histogram()
    few.add(np.full(10, 1_000_000))
    many.never = 1000
    words = []
    for histogram in (few, many):
        seen = standing.Standing(measures={"machine_time": histogram.packed()})
        found = standing.objectives(played.world.scenario, seen)
        (p95,) = [o for o in found if (o.measure, o.statistic) == ("machine_time", "p95")]
        words.append((p95.word, p95.observed))
    assert words == [("inconclusive", None), ("fail", math.inf)]
    assert slo.overall(standing.objectives(played.world.scenario, standing.Standing())) == (
        "inconclusive"
    )


@pytest.mark.slow
def test_the_master_serves_what_its_workers_note(orders: Callable[..., Any]) -> None:
    """With two workers, one endpoint counts the journeys of both."""
    port = free_port()
    played = orders(2, 200_000, metrics=f"127.0.0.1:{port}")
    seen: list[Samples] = []

    def look() -> None:
        try:
            seen.append(scraped(port))
        except OSError:
            # Not yet, or no more.
            return

    with played.generator as generator:
        generator.wait(look)
    begun = [at(one, "fewseconds_journeys_started_total") for one in seen]
    done = [
        at(one, "fewseconds_journeys_completed_total", kind="portal", fate="confirmed")
        for one in seen
    ]
    assert begun == sorted(begun)
    # More than the half that either plays: both have been heard.
    assert len(played.plan) // 2 < max(done) <= max(begun) <= len(played.plan)
    assert {at(one, "fewseconds_journeys_dropped_total") for one in seen} == {0}
