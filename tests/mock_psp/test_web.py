"""The edge of every service: what is no request of ours is refused in one form."""

from __future__ import annotations

import http.client
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
import uvicorn
from uvicorn.server import ServerState

from fewseconds import contracts as c
from mock_psp.lean_protocol import HEADER_BYTES_MAX, RECEIVE_LIMIT_S, LeanProtocol
from mock_psp.spec import SERVICES
from mock_psp.web import BODY_BYTES_MAX

if TYPE_CHECKING:
    from tests.mock_psp.conftest import SkippingLoop, World


@pytest.mark.parametrize("service", SERVICES)
def test_every_service_is_healthy_and_describes_itself(world: World, service: str) -> None:
    """Health and readiness are said, and the OpenAPI description names a body for each POST."""
    assert world.ask("GET", service, c.HEALTH).body == "ok"
    assert world.ask("GET", service, c.READY).body == "ready"
    described = world.ask("GET", service, "/schema/openapi.json").body
    paths = described["paths"].items()
    plain = ("/close", "/disable", "/sweeps", "/checks")
    posts = [path["post"] for name, path in paths if "post" in path and not name.endswith(plain)]
    assert posts
    assert all(post["requestBody"]["content"]["application/json"]["schema"] for post in posts)


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/nothing/here", None, 404),
        ("GET", c.PAY, None, 405),
        ("POST", c.PAY, b"", 400),
        ("POST", c.PAY, b"{", 400),
        ("POST", c.PAY, b"[]", 400),
        ("POST", c.PAY, b"\xff\xfe\x00", 400),
        ("POST", c.PAY, b'{"amount_paise": NaN}', 400),
        ("POST", c.PAY, b"[" * 60_000, 400),
        ("POST", c.RESOLVE, b'{"app": "x", "scanned": 5}', 400),
        ("POST", c.RESOLVE, b'{"app": "x", "scanned": "' + b"y" * BODY_BYTES_MAX + b'"}', 413),
    ],
)
def test_what_cannot_be_read_is_a_problem(
    world: World, method: str, path: str, body: bytes | None, status: int
) -> None:
    """Errors of every kind are problem details with the right status, never a 5xx."""
    reply = world.ask(method, "psp", path, body)
    assert (reply.status, reply.content_type) == (status, "application/problem+json")
    assert reply.body["status"] == status


def test_an_unknown_kind_of_journey_is_refused(world: World) -> None:
    """A trace that names no journey of the scenario is the caller's mistake."""
    typed = c.ResolveRequest("x", consumer_number=world.bill(1).consumer)
    for kind, step in (("by_train", "resolve"), ("qr_ebill", "by_train")):
        trace = c.Trace(kind, 1, step, -1, 1).header()
        reply = world.ask("POST", "psp", c.RESOLVE, typed, fewseconds_journey=trace)
        assert reply.status == 400


@pytest.mark.parametrize(
    "trace",
    [
        "{",
        "[]",
        c.Trace("qr_ebill", 1 << 70, "resolve", -1, 1).header(),
        c.Trace("qr_ebill", -5, "resolve", -1, 1).header(),
        c.Trace("qr_ebill", 1, "resolve", -1, 0).header(),
        c.Trace("qr_ebill", 1, "resolve", 1 << 40, 1).header(),
    ],
)
def test_a_trace_that_makes_no_sense_is_no_trace(world: World, trace: str) -> None:
    """Numbers that no row of outcomes could hold are not taken into the record."""
    typed = c.ResolveRequest("x", consumer_number=world.bill(1).consumer)
    reply = world.ask("POST", "psp", c.RESOLVE, typed, fewseconds_journey=trace)
    assert reply.status == 200
    asked = c.BillQuery(bill_number=world.bill(1).number)
    reply = world.ask("POST", "biller", c.BILLER_RESOLVE, asked, fewseconds_journey=trace)
    assert reply.status == 200


def _answered(connection: http.client.HTTPConnection) -> int:
    connection.endheaders()
    return connection.getresponse().status


def test_headers_are_bounded(world: World) -> None:
    """A connection that floods the server with headers is cut off."""
    parts = urlsplit(world.url("psp", c.HEALTH))
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=10)
    connection.putrequest("GET", c.HEALTH)
    for index in range(40):
        connection.putheader(f"x-{index}", "y" * (HEADER_BYTES_MAX // 32))
    with pytest.raises((http.client.HTTPException, OSError)):
        _answered(connection)
    connection.close()
    assert world.ask("GET", "psp", c.HEALTH).status == 200


class Wire:
    """The transport of one connection."""

    cut = False

    def abort(self) -> None:
        """Cut it off."""
        self.cut = True

    def get_extra_info(self, _: str) -> None:
        """Nothing is known about the other side."""


def protocol(loop: SkippingLoop) -> tuple[LeanProtocol, Wire]:
    """A connection that has just been made."""

    async def answer(_scope: object, _receive: object, _send: object) -> None:
        pass

    config = uvicorn.Config(answer, log_config=None)
    made, wire = LeanProtocol(config, ServerState(), {}, _loop=loop), Wire()
    transport: Any = wire
    made.connection_made(transport)
    return made, wire


def passed(loop: SkippingLoop, seconds: float) -> None:
    """Let time pass."""

    async def wait() -> None:
        loop.call_later(seconds, ended.set_result, None)
        await ended

    ended = loop.create_future()
    loop.run_until_complete(wait())


@pytest.mark.parametrize("sent", [b"", b"POST / HTTP/1.1\r\n", b"POST / HTTP/1.1\r\nhost: x\r\n"])
def test_a_request_that_never_comes_is_cut_off(virtual_loop: SkippingLoop, sent: bytes) -> None:
    """Silence, and one byte now and then, end at the same deadline."""
    made, wire = protocol(virtual_loop)
    if sent:
        made.data_received(sent)
    for _ in range(RECEIVE_LIMIT_S - 1):
        passed(virtual_loop, 1)
        if sent:
            made.data_received(b"x")
        assert not wire.cut
    passed(virtual_loop, 1.1)
    assert wire.cut


def test_a_request_that_has_come_is_not_cut_off(virtual_loop: SkippingLoop) -> None:
    """The deadline is for receiving, not for the work that follows."""
    made, wire = protocol(virtual_loop)
    made.data_received(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\nok")
    passed(virtual_loop, RECEIVE_LIMIT_S * 10)
    assert not wire.cut
