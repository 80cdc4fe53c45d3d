"""Traces of journeys, as a collector receives them: decoded with the protocol's own messages."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from fewseconds import contracts as c
from loadtests.dispatcher import Dispatcher
from loadtests.spec import Clock, Telemetry
from loadtests.tracing import Tracer
from tests.loadtests.collector import Collector, collecting
from tests.loadtests.conftest import LOG_IN_ONLY

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator

COUNT, SHARE = 40, 0.3
FAILED = 2
"""``STATUS_CODE_ERROR`` of opentelemetry/proto/trace/v1/trace.proto."""


@pytest.fixture
def collector() -> Iterator[Collector]:
    """Somewhere to send traces to."""
    with collecting() as found:
        yield found


def test_a_traced_journey_is_one_trace_with_a_span_a_step(
    stage: Callable[..., Any],
    serve: Callable[..., Any],
    json_reply: Callable[..., bytes],
    collector: Collector,
) -> None:
    """Spans and the services' headers name the same trace; their times are those of the rows."""

    def answer(request: Any, connection: socket.socket) -> bool:  # noqa: ANN401 - conftest's Request
        if request.path == c.PORTAL_LOG_IN:
            connection.sendall(json_reply(201, {"token": "t"}))
        else:
            message = {"message_id": "m", "reference": "r", "sender": "BESTMU-S", "text": "Paid"}
            connection.sendall(json_reply(200, {"messages": [message]}))
        return True

    services = serve(answer)
    played = stage(services.url, COUNT, LOG_IN_ONLY)
    tracer = Tracer(
        played.world.scenario, 7, "run-1", played.world.clock,
        Telemetry(otlp=collector.url, trace_share=SHARE),
    )  # fmt: skip
    played.world.onlookers, played.world.traces = (tracer,), tracer
    begun_ns = time.time_ns()
    tracer.begin()
    Dispatcher(played.world, played.window_us).run()
    tracer.close()

    traces = collector.traces()
    assert set(traces) == {100 + n for n in range(COUNT) if tracer.traced(100 + n)}
    assert 0 < len(traces) < COUNT
    rows = played.rows().filter(played.rows()["journey_id"].is_in(list(traces)))
    roots = {root.trace_id: root for root, _ in traces.values()}
    steps = {span.span_id.hex(): span for _, spans in traces.values() for span in spans}
    assert len(steps) == rows.height
    took = sorted(span.end_time_unix_nano - span.start_time_unix_nano for span in steps.values())
    assert took == sorted(1000 * (rows["end_us"] - rows["start_us"]).to_numpy())
    for span in steps.values():
        root = roots[span.trace_id]
        assert root.start_time_unix_nano <= span.start_time_unix_nano
        assert span.end_time_unix_nano <= root.end_time_unix_nano <= time.time_ns()
        assert begun_ns - 1e9 < root.start_time_unix_nano
    sent = [r.headers["traceparent"].split("-") for r in services.requests
            if "traceparent" in r.headers]  # fmt: skip
    assert {(bytes.fromhex(t), s) for _, t, s, _ in sent} == {
        (span.trace_id, span_id) for span_id, span in steps.items()
        if span.name in ("log_in", "sms")
    }  # fmt: skip
    assert {(version, flags) for version, _, _, flags in sent} == {("00", "01")}


def test_what_failed_is_an_error_and_a_dead_collector_does_no_harm(
    stage: Callable[..., Any],
    serve: Callable[..., Any],
    json_reply: Callable[..., bytes],
    collector: Collector,
) -> None:
    """The step that failed and its journey have the status of an error; losing spans is counted."""
    broken = serve(json_reply(500, {}))
    played = stage(broken.url, 3, LOG_IN_ONLY)
    dead = serve(json_reply(404, {}))
    tracers = [
        Tracer(
            played.world.scenario, 7, "run-1", played.world.clock,
            Telemetry(otlp=one.url, trace_share=1.0),
        )
        for one in (collector, dead)
    ]  # fmt: skip
    played.world.onlookers = tuple(tracers)
    for one in tracers:
        one.begin()
    Dispatcher(played.world, played.window_us).run()
    for one in tracers:
        one.close()
    failed = {span.name for span in collector.spans() if span.status.code == FAILED}
    assert failed == {"log_in", "portal"}
    assert [one.lost for one in tracers] == [0, len(collector.spans())]


def test_the_same_journeys_are_traced_in_every_run(stage: Callable[..., Any]) -> None:
    """Sampling depends on seed and journey alone; names of traces differ between runs."""
    scenario = stage("http://127.0.0.1:9", 1, {}).world.scenario

    def made(seed: int, run: str, share: float = 0.1) -> Tracer:
        wish = Telemetry(otlp="http://127.0.0.1:9", trace_share=share)
        return Tracer(scenario, seed, run, Clock(0), wish)

    one, again, other = made(7, "a"), made(7, "b"), made(8, "a")
    chosen = [[n for n in range(5000) if tracer.traced(n)] for tracer in (one, again, other)]
    assert chosen[0] == chosen[1] != chosen[2]
    # Binomial: 500 ± 3.3 standard deviations.
    assert 430 < len(chosen[0]) < 570
    journey = chosen[0][0]
    assert one.headers(journey, "pay", 1) == made(7, "a").headers(journey, "pay", 1)
    assert one.headers(journey, "pay", 1) != again.headers(journey, "pay", 1)
    everything = made(7, "a", 1.0)
    assert set(chosen[0]) < {n for n in range(5000) if everything.traced(n)} == set(range(5000))


def test_nothing_of_it_is_imported_unless_asked_for() -> None:
    """A generator without --otlp and --metrics loads neither OpenTelemetry nor tables."""
    code = (
        "import sys, loadtests.locustfile\n"
        "print([m for m in sys.modules if m.split('.')[0] in ('opentelemetry', 'polars')])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


@pytest.mark.parametrize("share", [0.0])
def test_a_share_of_nothing_traces_nobody(stage: Callable[..., Any], share: float) -> None:
    """With a share of 0 no request carries a header."""
    scenario = stage("http://127.0.0.1:9", 1, {}).world.scenario
    tracer = Tracer(
        scenario, 7, "a", Clock(0), Telemetry(otlp="http://127.0.0.1:9", trace_share=share)
    )
    assert not any(tracer.headers(n, "pay", 1) for n in range(2000))
