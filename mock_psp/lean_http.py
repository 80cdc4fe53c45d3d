"""HTTP between the services without the weight of a framework, on both ends.

A hot path costs a few hundred microseconds in all, and a general framework takes most of it for
routing, injection and headers that nobody reads. So the handlers of hot paths are called straight
from the ASGI server, with a request that has what they read (``headers``, ``body``, ``app``); all
other paths, and the description of all of them, stay with Litestar. Calls from one service to
another go over kept-alive connections, parsed by httptools.
"""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import urlsplit

import httptools
import msgspec

from mock_psp.metrics import OTHER

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from mock_psp.metrics import Meter

    Scope = dict[str, Any]
    Receive = Callable[[], Awaitable[dict[str, Any]]]
    Send = Callable[[dict[str, Any]], Awaitable[None]]
    Handler = Callable[..., Awaitable[Any]]

JSON: Final = (b"content-type", b"application/json")


class TooLargeError(Exception):
    """A body that is longer than what is taken."""


class LeanRequest:
    """One request, as far as hot handlers read it."""

    __slots__ = ("_headers", "_limit", "_raw", "_receive", "app")

    def __init__(self, scope: Scope, receive: Receive, app: object, limit: int) -> None:
        """Nothing is read yet; ``limit`` is the longest body in bytes."""
        self._raw, self._receive, self.app, self._limit = scope["headers"], receive, app, limit
        self._headers: dict[str, str] | None = None

    @property
    def headers(self) -> Mapping[str, str]:
        """Headers by lower-case name; of a repeated one, the last."""
        if self._headers is None:
            self._headers = {
                name.decode("latin-1"): value.decode("latin-1") for name, value in self._raw
            }
        return self._headers

    async def body(self) -> bytes:
        """The whole body; raises TooLargeError."""
        message = await self._receive()
        body: bytes = message.get("body", b"")
        while message.get("more_body"):
            message = await self._receive()
            body += message.get("body", b"")
            if len(body) > self._limit:
                break
        if len(body) > self._limit:
            raise TooLargeError
        return body


class Front:
    """An ASGI application that answers hot paths itself and leaves the rest to another."""

    def __init__(
        self,
        inner: Any,  # noqa: ANN401 - an ASGI application
        state: object,
        routes: Mapping[tuple[str, str], tuple[Handler, int]],
        problem: Callable[[Any, Exception], Any],
        limit: int,
        meter: Meter,
    ) -> None:
        """``routes``: handler and status of a good answer, by method and path."""
        self.inner, self._routes, self._problem, self._limit = inner, routes, problem, limit
        self._meter, self._clock = meter, time.perf_counter
        self._app = SimpleNamespace(state=state)
        self._encoder = msgspec.json.Encoder()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        hot = (
            self._routes.get((scope["method"], scope["path"])) if scope["type"] == "http" else None
        )
        if hot is None:
            await self._passed_on(scope, receive, send)
            return
        handler, status = hot
        began_s = self._clock()
        self._meter.in_flight += 1
        kind = JSON
        try:
            answer = await handler(LeanRequest(scope, receive, self._app, self._limit))
            content = self._encoder.encode(answer)
        except Exception as error:  # noqa: BLE001 - every error is answered as a problem
            told = self._problem(None, error)
            content, status = told.content, told.status_code
            kind = (b"content-type", told.media_type.encode())
        finally:
            self._meter.in_flight -= 1
        length = (b"content-length", b"%d" % len(content))
        self._meter.answered(scope["method"], scope["path"], status, self._clock() - began_s)
        await send({"type": "http.response.start", "status": status, "headers": [kind, length]})
        await send({"type": "http.response.body", "body": content})

    async def _passed_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Leave a request to the framework, and count it."""
        if scope["type"] != "http":
            await self.inner(scope, receive, send)
            return
        began_s, statuses = self._clock(), []

        async def watching(message: dict[str, Any]) -> None:
            if "status" in message:
                statuses.append(message["status"])
            await send(message)

        self._meter.in_flight += 1
        try:
            await self.inner(scope, receive, watching)
        finally:
            self._meter.in_flight -= 1
            path = scope.get("path_template") or OTHER
            status = statuses[0] if statuses else 0
            self._meter.answered(scope["method"], path, status, self._clock() - began_s)


class Reply(msgspec.Struct, frozen=True):
    """What a service answered."""

    status: int
    body: bytes


class _Connection(asyncio.Protocol):
    """One kept-alive connection: one request at a time."""

    def __init__(self) -> None:
        """Not connected yet."""
        self.transport: asyncio.Transport
        self.idle_since = 0.0
        self.usable = True
        self._answered: asyncio.Future[Reply] | None = None
        self._parts: list[bytes] = []
        self._parser: Any = None

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
        except (httptools.HttpParserError, AttributeError):
            self.transport.abort()

    def on_body(self, body: bytes) -> None:
        """A part of the answer's body."""
        self._parts.append(body)

    def on_message_complete(self) -> None:
        """The whole answer is here."""
        parser, answered = self._parser, self._answered
        if not parser.should_keep_alive():
            self.usable = False
        if answered is not None and not answered.done():
            answered.set_result(Reply(parser.get_status_code(), b"".join(self._parts)))

    async def ask(self, request: bytes) -> Reply:
        """Send a request and wait for its answer; raises ConnectionError."""
        self._parser = httptools.HttpResponseParser(self)
        self._parts = []
        self._answered = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        try:
            return await self._answered
        except asyncio.CancelledError:
            # Its answer would otherwise be taken for that of the next request.
            self.usable = False
            self.transport.abort()
            raise
        finally:
            self._answered = None


class LeanClient:
    """Posts JSON to services, over as many connections as are in use at once."""

    def __init__(self, idle_s: float, give_up_s: float) -> None:
        """Unused connections are closed after ``idle_s``; no answer takes over ``give_up_s``."""
        self._idle_s, self._give_up_s = idle_s, give_up_s
        self._idle: dict[str, list[_Connection]] = {}
        self._heads: dict[str, tuple[str, int, str, bytes]] = {}
        self._busy: set[_Connection] = set()

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        """Post a body; raises TimeoutError, ConnectionError or another OSError."""
        found = self._heads.get(url)
        if found is None:
            found = self._heads[url] = _head(url)
        host, port, place, head = found
        lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
        request = b"%b%bcontent-length: %d\r\n\r\n%b" % (
            head, lines.encode("latin-1"), len(body), body,
        )  # fmt: skip
        connection = await self._connection(host, port, place)
        self._busy.add(connection)
        loop = asyncio.get_running_loop()
        alarm = loop.call_later(self._give_up_s, connection.transport.abort)
        try:
            reply = await connection.ask(request)
        finally:
            alarm.cancel()
            self._busy.discard(connection)
        if connection.usable:
            connection.idle_since = loop.time()
            self._idle[place].append(connection)
        else:
            connection.transport.close()
        return reply

    async def close(self) -> None:
        """Close all connections."""
        for connections in self._idle.values():
            for connection in connections:
                connection.transport.close()
        for connection in self._busy:
            connection.transport.abort()
        self._idle.clear()

    async def _connection(self, host: str, port: int, place: str) -> _Connection:
        """A connection that is open and unused, a new one if need be."""
        loop = asyncio.get_running_loop()
        idle = self._idle.setdefault(place, [])
        while idle:
            # The last one in is the freshest.
            connection = idle.pop()
            if connection.usable and loop.time() - connection.idle_since < self._idle_s:
                return connection
            connection.transport.close()
        _, connection = await loop.create_connection(_Connection, host, port)
        return connection


def _head(url: str) -> tuple[str, int, str, bytes]:
    """Where a URL leads, and the first lines of a request to it."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or 80
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    lines = f"POST {target} HTTP/1.1", f"host: {host}:{port}", "content-type: application/json", ""
    return host, port, f"{host}:{port}", "\r\n".join(lines).encode("latin-1")
