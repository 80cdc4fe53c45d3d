"""What ``--metrics`` and ``--otlp`` ask for, checked before anything starts."""

from __future__ import annotations

import socket
from importlib.util import find_spec
from typing import Final

from fewseconds import address
from fewseconds.errors import UsageError
from loadtests.spec import Telemetry

TRACE_SHARE: Final = Telemetry().trace_share


def telemetry(metrics: str, otlp: str = "", trace_share: float = TRACE_SHARE) -> Telemetry:
    """The wish in the generator's words; raises UsageError for what cannot be done."""
    if metrics:
        metrics = _endpoint(metrics)
    if otlp:
        trouble = address.fault(otlp)
        if trouble:
            raise UsageError(f"--otlp {address.shown(otlp)}: {trouble}")
        if find_spec("opentelemetry") is None or find_spec("opentelemetry.sdk") is None:
            message = "--otlp: OpenTelemetry is not installed; pip install 'fewseconds[tracing]'"
            raise UsageError(message)
    return Telemetry(metrics=metrics, otlp=otlp, trace_share=trace_share)


def _endpoint(text: str) -> str:
    """``host:port``; a port alone is one of this machine only. Raises UsageError if it is taken."""
    host, _, port = text.rpartition(":")
    host = host.strip("[]") or "127.0.0.1"
    if not port.isdigit() or not 0 < int(port) <= address.PORT_MAX:
        message = f"--metrics {text!r}: has no port; write 9464 or HOST:9464"
        raise UsageError(message)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tried.bind((host, int(port)))
    except OSError as error:
        message = f"--metrics {text!r}: {error.strerror}; choose another port or host"
        raise UsageError(message) from None
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
