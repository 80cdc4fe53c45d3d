"""--metrics and --otlp are refused in words before anything starts."""

from __future__ import annotations

import socket

import pytest

from fewseconds.commands.telemetry import telemetry
from fewseconds.errors import UsageError


@pytest.mark.parametrize(
    ("metrics", "otlp", "complaint"),
    [
        ("here", "", "has no port"),
        ("127.0.0.1:70000", "", "has no port"),
        ("203.0.113.9:9464", "", "choose another port or host"),
        ("", "collector:4318", "write http://collector:4318"),
        ("", "http://collector:0", "its port is no number"),
        ("", "ftp://collector:4318", "nothing else is spoken"),
    ],
)
def test_what_cannot_be_served_or_reached_is_refused(
    metrics: str, otlp: str, complaint: str
) -> None:
    """The message quotes the option and says what to write instead."""
    with pytest.raises(UsageError, match=complaint):
        telemetry(metrics, otlp)


def test_a_port_alone_is_one_of_this_machine() -> None:
    """Nobody else can look at a run unless asked to; a port in use is said at once."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        with pytest.raises(UsageError, match="in use"):
            telemetry(str(port))
    assert telemetry(str(port)).metrics == f"127.0.0.1:{port}"
    assert telemetry("").metrics == ""
