"""An OpenTelemetry collector as a test has one: OTLP over HTTP, and everything is remembered."""

from __future__ import annotations

import gzip
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, NamedTuple

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.proto.trace.v1.trace_pb2 import Span


class Collector(NamedTuple):
    """What has arrived at an address."""

    url: str
    exports: list[tuple[str, bytes]]
    """Path and body of each request."""

    def spans(self) -> list[Span]:
        """Every span of every export, read with the protocol's own messages."""
        found: list[Span] = []
        for path, body in self.exports:
            assert path == "/v1/traces"
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                names = {one.key: one.value.string_value for one in resource.resource.attributes}
                assert names["service.name"] == "fewseconds-load"
                found += [span for scope in resource.scope_spans for span in scope.spans]
        return found

    def traces(self) -> dict[int, tuple[Span, list[Span]]]:
        """The root of every trace by the journey's number, and its children.

        A span that has no root in its own trace, and two traces of one journey, are errors.
        """
        spans = self.spans()
        roots = {span.span_id: span for span in spans if not span.parent_span_id}
        children: dict[bytes, list[Span]] = {span_id: [] for span_id in roots}
        for span in spans:
            if span.parent_span_id:
                assert roots[span.parent_span_id].trace_id == span.trace_id
                children[span.parent_span_id].append(span)
        found = {
            int(attributes(root)["fewseconds.journey_id"]): (root, children[span_id])
            for span_id, root in roots.items()
        }
        assert len(found) == len(roots) == len({root.trace_id for root in roots.values()})
        return found


def attributes(span: Span) -> dict[str, Any]:
    """A span's attributes as plain values."""
    return {
        one.key: getattr(one.value, one.value.WhichOneof("value") or "string_value")
        for one in span.attributes
    }


@contextmanager
def collecting() -> Iterator[Collector]:
    """Listen on a free port of this machine."""
    exports: list[tuple[str, bytes]] = []

    class Remember(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            packed = self.headers.get("content-encoding") == "gzip"
            exports.append((self.path, gzip.decompress(body) if packed else body))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Remember)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield Collector(f"http://127.0.0.1:{server.server_port}", exports)
    finally:
        server.shutdown()
        server.server_close()
