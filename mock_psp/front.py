"""The front of a service: hot paths are answered here, all others by the framework behind it.

A hot path costs a few hundred microseconds in all, and a general framework takes most of it for
routing, injection and headers that nobody reads. So the handlers of hot paths are called straight
from the connection (see ``lean_protocol`` and ``door``), with a request that has what they read
(``headers``, ``body``, ``app``); all other paths, and the description of all, stay with Litestar.
"""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

import msgspec

from fewseconds.errors import MalformedError
from mock_psp.metrics import OTHER

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from mock_psp.metrics import Meter

    Scope = dict[str, Any]
    Receive = Callable[[], Awaitable[dict[str, Any]]]
    Send = Callable[[dict[str, Any]], Awaitable[None]]
    Handler = Callable[..., Awaitable[Any]]
    Arguments = Callable[[str, str], dict[str, Any] | None]

JSON: Final = b"application/json"


class TooLargeError(Exception):
    """A body that is longer than what is taken."""


class LeanHeaders:
    """The headers of a request: handlers ask for one or two, and most for none."""

    __slots__ = ("_raw",)

    def __init__(self, raw: list[tuple[bytes, bytes]]) -> None:
        """``raw`` holds them by lower-case name."""
        self._raw = raw

    def get(self, name: str, default: str = "") -> str:
        """The header of that (lower-case) name; of a repeated one, the last."""
        value = dict(self._raw).get(name.encode())
        return default if value is None else value.decode("latin-1")


class LeanRequest:
    """One request, as far as hot handlers read it."""

    __slots__ = ("_body", "app", "headers")

    def __init__(
        self, raw: list[tuple[bytes, bytes]], body: bytes | None, app: SimpleNamespace
    ) -> None:
        """``raw`` holds headers by lower-case name; no body is one that was too long."""
        self.headers, self._body, self.app = LeanHeaders(raw), body, app

    async def body(self) -> bytes:
        """The whole body; raises TooLargeError."""
        if self._body is None:
            raise TooLargeError
        return self._body


class Hot(msgspec.Struct, frozen=True):
    """A handler that is called without the framework."""

    method: str
    path: str
    """With its parameter's name, as requests are counted."""
    handler: Handler
    status: int
    """Of a good answer."""
    arguments: Arguments | None = None
    """From the last part of the path, and the query, to what the handler is called with besides the
    request; None leaves the request to the framework."""
    at_once: bool = False
    """Whether it begins before a task is made for it, and gets one only if it has to wait. Nothing
    in it may ask which task it is in (``asyncio.timeout`` and aiohttp do)."""


class Reply(msgspec.Struct, frozen=True):
    """What a hot handler has come to."""

    status: int
    media_type: bytes
    content: bytes


async def _sent(send: Send, reply: Reply) -> None:
    headers = [
        (b"content-type", reply.media_type), (b"content-length", str(len(reply.content)).encode()),
    ]  # fmt: skip
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.content})


class Front:
    """An ASGI application that answers hot paths itself and leaves the rest to another."""

    def __init__(
        self,
        inner: Any,  # noqa: ANN401 - an ASGI application
        state: object,
        routes: Mapping[tuple[str, str], Hot],
        problem: Callable[[Any, Exception], Any],
        limit: int,
        meter: Meter,
    ) -> None:
        """Hot handlers by method and path; ``limit`` is the longest body in bytes.

        The path of a handler with arguments is that before the last slash.
        """
        self.inner, self._problem, self.limit = inner, problem, limit
        self._meter, self._clock = meter, time.perf_counter
        self.app = SimpleNamespace(state=state)
        self._routes = {
            (method.encode(), path.encode()): hot for (method, path), hot in routes.items()
        }
        self._encoder = msgspec.json.Encoder()

    def find(self, method: bytes, url: bytes) -> tuple[Hot, dict[str, Any]] | None:
        """The hot handler of a request and its arguments; None leaves it to the framework."""
        hot = self._routes.get((method, url))
        if hot is not None:
            return None if hot.arguments else (hot, {})
        path, _, query = url.partition(b"?")
        folder, _, last = path.rpartition(b"/")
        hot = self._routes.get((method, folder))
        if hot is None or hot.arguments is None:
            return None
        found = hot.arguments(unquote(last.decode("latin-1")), query.decode("latin-1"))
        return None if found is None else (hot, found)

    async def reply(self, hot: Hot, arguments: dict[str, Any], request: LeanRequest) -> Reply:
        """Call a hot handler; every error is answered as a problem."""
        began_s, meter = self._clock(), self._meter
        meter.in_flight += 1
        try:
            answer = await hot.handler(request, **arguments)
            reply = Reply(hot.status, JSON, self._encoder.encode(answer))
        except Exception as error:  # noqa: BLE001 - every error is answered as a problem
            told = self._problem(None, error)
            reply = Reply(told.status_code, told.media_type.encode(), told.content)
        finally:
            meter.in_flight -= 1
        meter.answered(hot.method, hot.path, reply.status, self._clock() - began_s)
        return reply

    def overdue(self, hot: Hot, limit_s: int) -> Reply:
        """The answer to a request whose handler has not come to one."""
        told = self._problem(None, TimeoutError(f"{hot.path}: no answer within {limit_s} s"))
        self._meter.answered(hot.method, hot.path, told.status_code, limit_s)
        return Reply(told.status_code, told.media_type.encode(), told.content)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Leave a request to the framework, and count it."""
        if scope["type"] != "http":
            await self.inner(scope, receive, send)
            return
        if b"%00" in scope.get("raw_path", b"") or b"%00" in scope["query_string"]:
            # No name has one, and PostgreSQL cannot even be asked about it.
            nul = MalformedError("address", "holds a NUL character; leave it out")
            told = self._problem(None, nul)
            await _sent(send, Reply(told.status_code, told.media_type.encode(), told.content))
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
