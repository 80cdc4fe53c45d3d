"""The edge of every service: what is no request of ours is refused in one form."""

from __future__ import annotations

import asyncio
import http.client
import socket
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
import uvicorn
from uvicorn.server import ServerState

from fewseconds import contracts as c
from mock_psp.front import Front, Hot, LeanHeaders
from mock_psp.lean_protocol import (
    HEAD_BYTES_MAX,
    HEADER_BYTES_MAX,
    RECEIVE_LIMIT_S,
    WORK_LIMIT_S,
    LeanProtocol,
)
from mock_psp.metrics import Meter
from mock_psp.spec import SERVICES
from mock_psp.web import BODY_BYTES_MAX, problem

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


def test_what_comes_behind_a_body_is_bounded_too(world: World) -> None:
    """Fields of a trailer count as well: no request fills the memory with them."""
    parts = urlsplit(world.url("psp", c.RESOLVE))
    trailer = b"".join(b"x-%d: %b\r\n" % (n, b"y" * 1000) for n in range(4000))
    at_once_s = RECEIVE_LIMIT_S / 2
    place = parts.hostname or "", parts.port or 0
    with socket.create_connection(place, at_once_s) as connection:
        connection.sendall(
            b"POST %b HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n0\r\n"
            % parts.path.encode()
        )
        try:
            connection.sendall(trailer)
            said = connection.recv(1)
        except ConnectionError:
            said = b""
    assert not said
    assert world.ask("GET", "psp", c.HEALTH).status == 200


def test_of_a_repeated_header_the_last_one_counts() -> None:
    """As the framework has it."""
    headers = LeanHeaders([(b"x", b"1"), (b"y", b"2"), (b"x", b"3")])
    assert (headers.get("x"), headers.get("y"), headers.get("z", "none")) == ("3", "2", "none")


class Wire:
    """The transport of one connection."""

    cut = False
    said = b""

    def write(self, data: bytes) -> None:
        """Keep what is sent."""
        self.said += data

    def is_closing(self) -> bool:
        """Only once it is cut."""
        return self.cut

    def close(self) -> None:
        """Nothing more will be sent."""

    def pause_reading(self) -> None:
        """More comes all the same."""

    def resume_reading(self) -> None:
        """More comes anyway."""

    def abort(self) -> None:
        """Cut it off."""
        self.cut = True

    def get_extra_info(self, _: str) -> None:
        """Nothing is known about the other side."""


def protocol(loop: SkippingLoop) -> tuple[LeanProtocol, Wire]:
    """A connection that has just been made."""

    async def answer(_scope: object, _receive: object, _send: object) -> None:
        await loop.create_future()

    config = uvicorn.Config(answer, log_config=None)
    made, wire = LeanProtocol(config, ServerState(), {}, _loop=loop), Wire()
    transport: Any = wire
    made.connection_made(transport)
    return made, wire


def broken_off(loop: SkippingLoop, made: LeanProtocol) -> None:
    """End the requests that are still being worked on."""
    for task in list(made.tasks):
        task.cancel()
    loop.run_until_complete(asyncio.gather(*made.tasks, return_exceptions=True))


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


def test_a_request_that_has_come_has_another_deadline(virtual_loop: SkippingLoop) -> None:
    """Work may take longer than receiving, but not for ever: nobody waits for a hung service."""
    made, wire = protocol(virtual_loop)
    made.data_received(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\nok")
    passed(virtual_loop, WORK_LIMIT_S - 1)
    assert not wire.cut
    passed(virtual_loop, RECEIVE_LIMIT_S + 2)
    assert wire.is_closing()
    broken_off(virtual_loop, made)


def test_a_hung_handler_is_given_up_with_a_problem(virtual_loop: SkippingLoop) -> None:
    """Whoever waits for a hot path that never answers is told so when the time is over."""

    async def hangs(_: object) -> None:
        await virtual_loop.create_future()

    hot = Hot("GET", "/hangs", hangs, 200)
    front = Front(None, object(), {("GET", "/hangs"): hot}, problem, 1000, Meter())
    config = uvicorn.Config(front, log_config=None, proxy_headers=False)
    made, wire = LeanProtocol(config, ServerState(), {}, _loop=virtual_loop), Wire()
    transport: Any = wire
    made.connection_made(transport)
    made.data_received(b"GET /hangs HTTP/1.1\r\nhost: x\r\n\r\n")
    passed(virtual_loop, WORK_LIMIT_S - 1)
    assert wire.said == b""
    passed(virtual_loop, RECEIVE_LIMIT_S + 2)
    assert wire.said.startswith(b"HTTP/1.1 504 ")
    assert b"no-answer-in-time" in wire.said


@pytest.mark.parametrize("begun", [b"GET /", b"GET / HTTP/1.1\r\nhost: x\r\nx: "])
def test_a_head_without_end_is_cut_off(virtual_loop: SkippingLoop, begun: bytes) -> None:
    """Neither an address nor one header can fill the memory; what was kept is a few reads."""
    made, wire = protocol(virtual_loop)
    made.data_received(begun)
    taken = 0
    while not wire.cut:
        made.data_received(b"a" * 65_536)
        taken += 65_536
    assert taken <= 2 * HEAD_BYTES_MAX


def test_long_bodies_are_no_heads(virtual_loop: SkippingLoop) -> None:
    """Requests that follow each other on a connection are counted one by one."""
    made, wire = protocol(virtual_loop)
    head = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 60000\r\n\r\n"
    for _ in range(8):
        made.data_received(head)
        made.data_received(b"x" * 60_000)
    assert not wire.cut
    broken_off(virtual_loop, made)
