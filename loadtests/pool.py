"""Requests over as many keep-alive connections to one service as are needed or allowed."""

from __future__ import annotations

import socket
import ssl
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from gevent.event import AsyncResult

from fewseconds import address
from fewseconds.errors import UsageError
from loadtests.connection import AnswerTimeoutError, Connection
from loadtests.response import WireError

if TYPE_CHECKING:
    from loadtests.response import Response

IDEMPOTENT: Final = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"})
"""RFC 9110, section 9.2.2."""
CONNECT_TIMEOUT_S: Final = 5.0
HTTPS_PORT, HTTP_PORT = 443, 80


class Pool:
    """Connections to one origin. Without a limit, a request never waits for another's answer."""

    def __init__(self, base_url: str, connections_max: int = 0) -> None:
        """``connections_max`` 0 is no limit; else requests wait, in order, for a connection.

        Raises UsageError if ``base_url`` is none.
        """
        trouble = address.fault(base_url)
        if trouble:
            raise UsageError(f"{address.shown(base_url)}: {trouble}")
        parts = urlsplit(base_url)
        self.prefix = parts.path.rstrip("/")
        self._host, secure = parts.hostname or "", parts.scheme == "https"
        usual = HTTPS_PORT if secure else HTTP_PORT
        self._port = parts.port or usual
        self._context = ssl.create_default_context() if secure else None
        literal = f"[{self._host}]" if ":" in self._host else self._host
        shown = literal if self._port == usual else f"{literal}:{self._port}"
        self._host_line = f" HTTP/1.1\r\nhost: {shown}\r\n"
        self._address: tuple[int, tuple[Any, ...]] | None = None
        self._idle: list[Connection] = []
        self._waiting: deque[AsyncResult] = deque()
        self.connections_max = connections_max
        self.open = self.opened = self.retried = 0

    def exchange(
        self, method: str, target: str, fields: str, body: bytes, timeout_s: float
    ) -> Response:
        """Send a request and wait for its answer.

        ``target`` begins with a slash; ``fields`` are header lines, each with its line end.
        Raises WireError, OSError or AnswerTimeoutError; the time-out covers everything.
        """
        head = f"{method} {self.prefix}{target}{self._host_line}{fields}"
        if body or method not in IDEMPOTENT:
            head = f"{head}content-length: {len(body)}\r\n"
        request = head.encode() + b"\r\n" + body
        deadline_s = time.perf_counter() + timeout_s
        if not self._idle:
            return self._slow(method, request, deadline_s)
        connection = self._idle.pop()
        try:
            return self._on(connection, method, request, timeout_s)
        except (WireError, OSError) as trouble:
            if not may_retry(method, connection, trouble):
                raise
        # The server had hung up on an idle connection before it saw the request: once more, on a
        # fresh one (RFC 9112, section 9.3.1). That is no attempt of the consumer's.
        self.retried += 1
        return self._slow(method, request, deadline_s, fresh=True)

    def _on(
        self, connection: Connection, method: str, request: bytes, timeout_s: float
    ) -> Response:
        try:
            response = connection.exchange(request, timeout_s, head_only=method == "HEAD")
        except BaseException:
            self._drop(connection)
            raise
        if response.keep:
            self._give_back(connection)
        else:
            self._drop(connection)
        return response

    def _slow(
        self, method: str, request: bytes, deadline_s: float, *, fresh: bool = False
    ) -> Response:
        """As :meth:`exchange`, when no connection is idle: open one, or wait for one."""
        connection = None if fresh and not self._full else self._awaited(_left_s(deadline_s))
        if connection is None:
            connection = self._opened(min(_left_s(deadline_s), CONNECT_TIMEOUT_S))
        return self._on(connection, method, request, _left_s(deadline_s))

    @property
    def _full(self) -> bool:
        return 0 < self.connections_max <= self.open

    def _awaited(self, timeout_s: float) -> Connection | None:
        """An idle connection once it is our turn; None is the right to open one."""
        if not self._full:
            return None
        turn = AsyncResult()
        self._waiting.append(turn)
        try:
            connection: Connection | None = turn.get(timeout=timeout_s)
        except BaseException as trouble:
            if turn in self._waiting:
                self._waiting.remove(turn)
            elif turn.ready() and turn.value is not None:
                self._give_back(turn.value)
            if isinstance(trouble, Exception) or type(trouble).__name__ == "Timeout":
                raise AnswerTimeoutError from None
            raise
        return connection

    def _opened(self, timeout_s: float) -> Connection:
        self.open += 1
        self.opened += 1
        connection = Connection(self._drop_idle)
        try:
            if self._address is None:
                self._address = self._resolved()
            family, address = self._address
            tls = None if self._context is None else (self._context, self._host)
            connection.open(address, family, tls, timeout_s)
        except BaseException:
            self._drop(connection)
            raise
        return connection

    def _resolved(self) -> tuple[int, tuple[Any, ...]]:
        # Once for all requests: a load test aims at what the name meant when it began.
        found = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        family, _, _, _, address = found[0]
        return family, address

    def _give_back(self, connection: Connection) -> None:
        if self._waiting:
            self._waiting.popleft().set(connection)
        else:
            self._idle.append(connection)

    def _drop(self, connection: Connection) -> None:
        connection.close()
        self.open -= 1
        if self._waiting and not self._full:
            self._waiting.popleft().set(None)

    def _drop_idle(self, connection: Connection) -> None:
        self._idle.remove(connection)
        self._drop(connection)

    def close(self) -> None:
        """Hang up on every idle connection."""
        while self._idle:
            self._drop(self._idle.pop())


def _left_s(deadline_s: float) -> float:
    """Until the deadline; a timer needs a little even when that has passed."""
    return max(deadline_s - time.perf_counter(), 0.001)


def may_retry(method: str, connection: Connection, trouble: Exception) -> bool:
    """Whether a request may go out again that died with its connection (RFC 9110, 9.2.2)."""
    if method not in IDEMPOTENT or not connection.answered:
        return False
    if isinstance(trouble, WireError):
        return not trouble.bytes_seen
    return isinstance(trouble, (ConnectionResetError, BrokenPipeError)) and connection.untouched
