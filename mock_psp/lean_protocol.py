"""Connections of a service: hot paths are answered at once, with a deadline for everybody.

Uvicorn's protocol is kept for all that is not a hot path: framing, pipelining, draining. What it
lacks is here: a request must arrive in full by a deadline and be answered by another, and its head
is bounded.
"""

from __future__ import annotations

import asyncio
import ipaddress
from typing import TYPE_CHECKING, Any, ClassVar, Final

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from mock_psp.at_once import started
from mock_psp.front import Front, LeanRequest

if TYPE_CHECKING:
    from mock_psp.front import Hot

RECEIVE_LIMIT_S: Final = 10
"""A request that has not arrived in full by then is cut off: *assumption*, generous for 64 KiB."""
HEADER_BYTES_MAX: Final = 16 * 1024
"""Uvicorn sets no bound with httptools; 16 KiB is what other servers take."""
HEAD_BYTES_MAX: Final = 128 * 1024
"""What may come before the end of a head, in whatever pieces: above what one read brings of a head
that is bounded as above, with a body behind it."""
WORK_LIMIT_S: Final = 180
"""A request that has not been answered by then is given up: *assumption*, longer than any chain of
parties may take before somebody in it gives up."""
KEEP_ALIVE_S: Final = 75

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class _Nobody:
    """Stands where uvicorn wakes an ASGI application that waits for its request."""

    def set(self) -> None:
        """Nobody waits."""


class _Exchange:
    """A request of a hot path until it is answered: to uvicorn, a cycle like any other."""

    __slots__ = ("arguments", "begun", "body", "disconnected", "hot", "keep_alive", "overdue",
                 "response_complete", "size", "task")  # fmt: skip
    message_event: ClassVar = _Nobody()

    def __init__(self, hot: Hot, arguments: dict[str, Any], *, keep_alive: bool) -> None:
        """Its head has come."""
        self.hot, self.arguments, self.keep_alive = hot, arguments, keep_alive
        self.body: list[bytes] = []
        self.size = 0
        self.begun = self.response_complete = self.disconnected = self.overdue = False
        self.task: asyncio.Task[None] | None = None


class LeanProtocol(HttpToolsProtocol):
    """HTTP with deadlines for receiving and answering, a bound on heads, and a short way in."""

    allowed: ClassVar[tuple[Network, ...] | None] = None
    """Networks that requests are taken from; None is everybody who reaches us."""

    _front: Front | None = None
    _exchange: _Exchange | None = None
    _read_bytes = _head_bytes = _trailer_bytes = 0
    _in_head = False
    _due_s = 0.0
    """When the connection is closed unless something happens."""
    _alarm: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A connection that never says anything is cut off as well; a stranger's is at once."""
        super().connection_made(transport)
        app: Any = self.app
        self._front = app if isinstance(app, Front) else None
        if self.allowed is not None:
            address, *_ = transport.get_extra_info("peername")
            if not welcome(address, self.allowed):
                transport.abort()
                return
        self._due_s = self.loop.time() + RECEIVE_LIMIT_S
        self._look_later(RECEIVE_LIMIT_S)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing more will come."""
        if self._alarm is not None:
            self._alarm.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what has come; a head that never ends is cut off before it fills the memory."""
        self._read_bytes = len(data)
        super().data_received(data)
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES_MAX:
                self.transport.abort()

    def on_message_begin(self) -> None:
        """The first byte of a request has come."""
        self._head_bytes = self._trailer_bytes = 0
        self._in_head = True
        self._due_s = self.loop.time() + RECEIVE_LIMIT_S
        # Uvicorn's scope is only made for what is not a hot path.
        self.url, self.headers, self.expect_100_continue = b"", [], False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; those of a trailer come after the head's have been counted."""
        if not self._in_head:
            self._trailer_bytes += len(name) + len(value)
            if self._trailer_bytes > HEADER_BYTES_MAX:
                self.transport.abort()
                return
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """The head of a request is here: the short way, or uvicorn's."""
        self._in_head = False
        # Hardly any head is so long that its headers have to be counted.
        if self._head_bytes + self._read_bytes > HEADER_BYTES_MAX:
            sizes = (len(name) + len(value) for name, value in self.headers)
            if sum(sizes) > HEADER_BYTES_MAX:
                self.transport.abort()
        self._exchange = exchange = self._short_way()
        if exchange is not None:
            cycle: Any = exchange
            self.cycle = cycle
            return
        url, headers, expected = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expected
        self.headers += headers
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a part of the body; one that is too long is refused before its end."""
        exchange = self._exchange
        if exchange is None:
            super().on_body(body)
        elif not exchange.begun and self._front is not None:
            exchange.body.append(body)
            exchange.size += len(body)
            if exchange.size > self._front.limit:
                self._answer(self._front, exchange, None)

    def on_message_complete(self) -> None:
        """The whole request is here."""
        self._due_s = self.loop.time() + WORK_LIMIT_S
        exchange = self._exchange
        if exchange is None:
            super().on_message_complete()
        elif not exchange.begun and self._front is not None:
            self._answer(self._front, exchange, b"".join(exchange.body))

    def on_response_complete(self) -> None:
        """Go on with what was sent ahead, or wait for the next request, but not for ever."""
        if self.pipeline or self.transport.is_closing():
            super().on_response_complete()
            return
        self.server_state.total_requests += 1
        self.flow.resume_reading()
        self._due_s = self.loop.time() + KEEP_ALIVE_S

    def _short_way(self) -> _Exchange | None:
        """The exchange of a hot path, if nothing about the request is unusual."""
        parser = self.parser
        busy = self.cycle is not None and not self.cycle.response_complete
        if self._front is None or busy or self.expect_100_continue or parser.should_upgrade():
            return None
        found = self._front.find(parser.get_method(), self.url)
        if found is None or parser.get_http_version() != "1.1":
            return None
        return _Exchange(*found, keep_alive=parser.should_keep_alive())

    def _answer(self, front: Front, exchange: _Exchange, body: bytes | None) -> None:
        exchange.begun = True
        request = LeanRequest(self.headers, body, front.app)
        work = self._answered(front, exchange, request)
        exchange.task = started(self.loop, work, at_once=exchange.hot.at_once)
        if exchange.task is not None:
            # A server that drains waits for what is in here.
            self.tasks.add(exchange.task)

    async def _answered(self, front: Front, exchange: _Exchange, request: LeanRequest) -> None:
        """Call the handler, and write its answer with one call."""
        try:
            try:
                reply = await front.reply(exchange.hot, exchange.arguments, request)
            except asyncio.CancelledError:
                if not exchange.overdue:
                    raise
                exchange.keep_alive, reply = False, front.overdue(exchange.hot, WORK_LIMIT_S)
            if not self.transport.is_closing():
                end = b"" if exchange.keep_alive else b"\r\nconnection: close"
                self.transport.write(
                    b"%bcontent-type: %b\r\ncontent-length: %d%b\r\n\r\n%b"
                    % (
                        STATUS_LINE[reply.status], reply.media_type, len(reply.content), end,
                        reply.content,
                    )
                )  # fmt: skip
        except BaseException:
            self.transport.close()
            raise
        finally:
            exchange.response_complete = True
            if exchange.task is not None:
                self.tasks.discard(exchange.task)
        if not exchange.keep_alive:
            self.transport.close()
        self.on_response_complete()

    def _look_later(self, delay_s: float) -> None:
        """Look at the deadline once in a while: an alarm for each request would cost more."""
        self._alarm = self.loop.call_later(delay_s, self._look)

    def _look(self) -> None:
        now_s, exchange = self.loop.time(), self._exchange
        if self._due_s > now_s:
            self._look_later(min(self._due_s - now_s, RECEIVE_LIMIT_S))
        elif exchange is not None and exchange.task is not None and not exchange.response_complete:
            self._alarm = None
            exchange.overdue = True
            exchange.task.cancel()
        else:
            self._alarm = None
            self.transport.abort()


def welcome(address: str, allowed: tuple[Network, ...]) -> bool:
    """Whether the other end of a connection is this machine or in one of the networks."""
    peer = ipaddress.ip_address(address)
    if isinstance(peer, ipaddress.IPv6Address) and peer.ipv4_mapped is not None:
        peer = peer.ipv4_mapped
    return peer.is_loopback or any(peer in network for network in allowed)
