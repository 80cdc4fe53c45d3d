"""HTTP to other services without the weight of a framework: JSON over kept-alive connections.

A call costs less than a tenth of what a general client takes: the head of a request is written once
for each address, and answers are parsed by httptools.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import urlsplit

import httptools
import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mock_psp.alarms import Alarms

LOOKS: Final = 8
"""How often, while a request may last, it is looked whether it has lasted too long."""


class Reply(msgspec.Struct, frozen=True):
    """What a service answered."""

    status: int
    body: bytes


class _Connection(asyncio.Protocol):
    """One kept-alive connection: one request at a time."""

    def __init__(self) -> None:
        """Not connected yet."""
        self.transport: asyncio.Transport
        self.since_s = 0.0
        """When its request was sent, or when it became idle."""
        self.usable = True
        self._answered: asyncio.Future[Reply | None] | None = None
        self._parts: list[bytes] = []
        self._parser: Any = httptools.HttpResponseParser(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is open."""
        self.transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is closed: whoever waits for an answer will not get one."""
        self.usable = False
        if self._answered is not None and not self._answered.done():
            self._answered.set_exception(ConnectionResetError(str(exc or "closed")))

    def data_received(self, data: bytes) -> None:
        """A part of the answer has come."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.transport.abort()

    def on_body(self, body: bytes) -> None:
        """A part of the answer's body."""
        self._parts.append(body)

    def on_message_complete(self) -> None:
        """The whole answer is here."""
        parser, answered = self._parser, self._answered
        if answered is None or not parser.should_keep_alive():
            self.usable = False
        if answered is not None and not answered.done():
            answered.set_result(Reply(parser.get_status_code(), b"".join(self._parts)))
        self._parts = []

    async def ask(self, request: bytes, answered: asyncio.Future[Reply | None]) -> Reply:
        """Send a request and wait for its answer; raises ConnectionError.

        Raises TimeoutError when somebody else says that there will be none.
        """
        self._answered = answered
        self.transport.write(request)
        reply = None
        try:
            reply = await answered
        finally:
            self._answered = None
            if reply is None:
                # Its answer would otherwise be taken for that of the next request.
                self.usable = False
                self.transport.abort()
        if reply is None:
            raise TimeoutError
        return reply


class LeanClient:
    """Posts JSON to services, over as many connections as are in use at once."""

    def __init__(self, alarms: Alarms, idle_s: float, give_up_s: float) -> None:
        """Must be made where the event loop of ``alarms`` runs.

        Unused connections are closed after ``idle_s``; no answer takes over ``give_up_s``.
        """
        self._idle_s, self._give_up_s = idle_s, give_up_s
        self._alarms, self._loop = alarms, alarms.loop
        self._idle: dict[str, list[_Connection]] = {}
        self._heads: dict[str, tuple[str, int, str, bytes]] = {}
        self._busy: set[_Connection] = set()
        self._watch: asyncio.TimerHandle | None = None

    async def post(
        self, url: str, body: bytes, headers: Mapping[str, str], limit_us: int = 0
    ) -> Reply:
        """Post a body; raises TimeoutError, ConnectionError or another OSError.

        A limit of 0 is none but the client's own.
        """
        found = self._heads.get(url)
        if found is None:
            found = self._heads[url] = _head(url)
        host, port, place, head = found
        lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
        request = b"%b%bcontent-length: %d\r\n\r\n%b" % (
            head, lines.encode("latin-1"), len(body), body,
        )  # fmt: skip
        loop = self._loop
        answered: asyncio.Future[Reply | None]
        # A limit that is the answer's own future spares the caller a task to wait for.
        answered = self._alarms.within(limit_us) if limit_us else loop.create_future()
        connection = self._kept(place, loop.time())
        if connection is None:
            async with asyncio.timeout(limit_us / 1e6 or None):
                _, connection = await loop.create_connection(_Connection, host, port)
        connection.since_s = loop.time()
        self._busy.add(connection)
        if self._watch is None:
            self._watch = loop.call_later(self._give_up_s / LOOKS, self._give_up, loop)
        try:
            reply = await connection.ask(request, answered)
        finally:
            self._busy.discard(connection)
        if connection.usable:
            connection.since_s = loop.time()
            self._idle[place].append(connection)
        else:
            connection.transport.close()
        return reply

    async def close(self) -> None:
        """Close all connections."""
        if self._watch is not None:
            self._watch.cancel()
        for connections in self._idle.values():
            for connection in connections:
                connection.transport.close()
        for connection in self._busy:
            connection.transport.abort()
        self._idle.clear()

    def _kept(self, place: str, now_s: float) -> _Connection | None:
        """A connection that is open and unused, if there is one."""
        idle = self._idle.setdefault(place, [])
        while idle:
            # The last one in is the freshest.
            connection = idle.pop()
            if connection.usable and now_s - connection.since_s < self._idle_s:
                return connection
            connection.transport.close()
        return None

    def _give_up(self, loop: asyncio.AbstractEventLoop) -> None:
        """Break off what has taken too long; one look at all costs less than an alarm for each."""
        self._watch = None
        for connection in self._busy:
            if loop.time() - connection.since_s >= self._give_up_s:
                connection.transport.abort()
        if self._busy:
            self._watch = loop.call_later(self._give_up_s / LOOKS, self._give_up, loop)


def _head(url: str) -> tuple[str, int, str, bytes]:
    """Where a URL leads, and the first lines of a request to it."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or 80
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    lines = f"POST {target} HTTP/1.1", f"host: {host}:{port}", "content-type: application/json", ""
    return host, port, f"{host}:{port}", "\r\n".join(lines).encode("latin-1")
