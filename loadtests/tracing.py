"""Traces of some journeys, for an OpenTelemetry collector: one trace a journey, one span a step.

Which journeys is drawn by their number, so every run of a seed traces the same ones. Names of
spans in a request's ``traceparent`` (W3C Trace Context) are hashes of where the request belongs, so
they are known before the span is: spans are made from the rows that the phone writes anyway.
"""

from __future__ import annotations

import logging
import time
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

import gevent
from gevent.event import Event
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace.status import Status, StatusCode

from fewseconds import chance

if TYPE_CHECKING:
    from fewseconds.outcomes import Outcome
    from fewseconds.plan import Row
    from fewseconds.scenario import Scenario
    from loadtests.spec import Clock, Telemetry

log = logging.getLogger(__name__)

TRACED: Final = chance.stream("load", "traced")
PATH: Final = "/v1/traces"
TURN_S: Final = 2.0
WAITING_MAX: Final = 10_000
"""Spans beyond so many that wait for the collector are given up: a load test comes first."""
EXPORT_TIMEOUT_S: Final = 3
JOURNEY: Final = "journey"
SCOPE: Final = InstrumentationScope("fewseconds")
ANSWERED: Final = ("ok", "declined")


class Tracer:
    """The traces of one worker."""

    def __init__(
        self, scenario: Scenario, seed: int, run: str, clock: Clock, telemetry: Telemetry
    ) -> None:
        """``run`` tells runs of one seed apart; nothing is sent before :meth:`begin`."""
        self._seed, self._run, self._clock = seed, run.encode(), clock
        self._share = round(telemetry.trace_share * 2**32)
        address = telemetry.otlp.rstrip("/")
        self._exporter = OTLPSpanExporter(
            endpoint=address if address.endswith(PATH) else address + PATH,
            timeout=EXPORT_TIMEOUT_S,
        )
        self._resource = Resource(
            {
                "service.name": "fewseconds-load",
                "fewseconds.scenario": scenario.name,
                "fewseconds.seed": seed,
            }
        )
        self._requests = {
            name for name, step in scenario.steps.items() if step.clock == "machine"
        } - {"scan", "scan_again"}
        self._rows: dict[int, list[Outcome]] = {}
        self._waiting: list[ReadableSpan] = []
        self._over = Event()
        self._sending: gevent.Greenlet | None = None
        self._wall_ns = 0
        self.lost = 0

    def traced(self, journey_id: int) -> bool:
        """Whether a journey is among those that are traced."""
        return int(chance.uniform(self._seed, TRACED, journey_id, 1)) < self._share

    def headers(self, journey_id: int, step: str, attempt: int) -> dict[str, str]:
        """The trace context of a request; nothing for a journey that is not traced."""
        if not self.traced(journey_id):
            return {}
        trace_id, span_id = self._trace_id(journey_id), self._span_id(journey_id, step, attempt)
        return {"traceparent": f"00-{trace_id:032x}-{span_id:016x}-01"}

    def begin(self) -> None:
        """Send from now on; the plan's clock must have been set."""
        self._wall_ns = time.time_ns() - time.monotonic_ns() + self._clock.epoch_us * 1000
        self._sending = gevent.spawn(self._keep_sending)

    def close(self) -> None:
        """Send the rest."""
        self._over.set()
        if self._sending is not None:
            self._sending.get()
        self._exporter.shutdown()  # type: ignore[no-untyped-call]
        if self.lost:
            log.warning("OpenTelemetry: %d spans could not be delivered", self.lost)

    def noted(self, row: Row, outcome: Outcome) -> None:
        """A phone has written a row."""
        if self.traced(row.journey_id):
            self._rows.setdefault(row.journey_id, []).append(outcome)

    def ended(self, row: Row) -> None:
        """A journey is over: its spans may go."""
        rows = self._rows.pop(row.journey_id, None)
        if not rows:
            return
        spans = [self._step(row, one) for one in rows]
        spans.append(self._journey(row, rows))
        if len(self._waiting) + len(spans) > WAITING_MAX:
            self.lost += len(spans)
        else:
            self._waiting += spans

    def _keep_sending(self) -> None:
        over = False
        while not over:
            over = self._over.wait(TURN_S)
            if self._waiting:
                batch, self._waiting = self._waiting, []
                if self._exporter.export(batch) is not SpanExportResult.SUCCESS:
                    self.lost += len(batch)

    def _hash(self, size: int, *place: object) -> int:
        text = "/".join(map(str, (self._seed, *place)))
        found = blake2b(text.encode(), digest_size=size, key=blake2b(self._run).digest())
        # All zeros would be no name at all (W3C Trace Context, section 3.2.2.3).
        return int.from_bytes(found.digest(), "big") or 1

    def _trace_id(self, journey_id: int) -> int:
        return self._hash(16, journey_id)

    def _span_id(self, journey_id: int, step: str, attempt: int) -> int:
        return self._hash(8, journey_id, step, attempt)

    def _context(self, journey_id: int, step: str, attempt: int) -> trace.SpanContext:
        return trace.SpanContext(
            self._trace_id(journey_id),
            self._span_id(journey_id, step, attempt),
            is_remote=False,
            trace_flags=trace.TraceFlags(trace.TraceFlags.SAMPLED),
        )

    def _step(self, row: Row, one: Outcome) -> ReadableSpan:
        asked = one.step in self._requests
        return ReadableSpan(
            one.step,
            context=self._context(row.journey_id, one.step, one.attempt),
            parent=self._context(row.journey_id, JOURNEY, 0),
            resource=self._resource,
            attributes={
                "fewseconds.attempt": one.attempt,
                "fewseconds.outcome": one.outcome,
                "fewseconds.code": one.code,
                "fewseconds.lag_us": one.start_us - one.intended_us,
            },
            kind=trace.SpanKind.CLIENT if asked else trace.SpanKind.INTERNAL,
            status=_status(one.outcome, one.code),
            start_time=self._wall_ns + one.start_us * 1000,
            end_time=self._wall_ns + one.end_us * 1000,
            instrumentation_scope=SCOPE,
        )

    def _journey(self, row: Row, rows: list[Outcome]) -> ReadableSpan:
        last = [one for one in rows if one.branch == "main"][-1]
        return ReadableSpan(
            row.kind,
            context=self._context(row.journey_id, JOURNEY, 0),
            resource=self._resource,
            attributes={
                "fewseconds.journey_id": row.journey_id,
                "fewseconds.app": row.app,
                "fewseconds.bank": row.bank,
                "fewseconds.medium": row.medium,
                "fewseconds.last_step": last.step,
                "fewseconds.outcome": last.outcome,
            },
            status=_status(last.outcome, last.code),
            # From the intended start: what the generator was late is part of what was felt.
            start_time=self._wall_ns + row.intended_start_us * 1000,
            end_time=self._wall_ns + max(one.end_us for one in rows) * 1000,
            instrumentation_scope=SCOPE,
        )


def _status(outcome: str, code: str) -> Status:
    if outcome in ANSWERED:
        return Status(StatusCode.UNSET)
    return Status(StatusCode.ERROR, f"{outcome} {code}".strip())
