"""One keep-alive connection on a raw socket, driven by the event loop itself.

A request costs one ``send``, one turn of the loop and one ``recv``: the watcher for arriving bytes
stays armed, answers are read where the loop hands them over, and the greenlet that waits is only
woken for a whole answer. The same watcher notices a server that hangs up on an idle connection.
"""

from __future__ import annotations

import _socket
import errno
import os
import ssl
from typing import TYPE_CHECKING, Any, Final

from gevent import get_hub, getcurrent

from loadtests.response import Response, ResponseReader, WireError

if TYPE_CHECKING:
    from collections.abc import Callable

READ, WRITE = 1, 2
RECEIVE_BYTES: Final = 65_536


class AnswerTimeoutError(Exception):
    """The whole answer was not there in time."""


class Connection:
    """A connection to one address; at most one request at a time."""

    __slots__ = (
        "_closed", "_failure", "_incoming", "_loop", "_outgoing", "_reader", "_reading", "_ready",
        "_socket", "_timer", "_tls", "_waiter", "answered", "on_idle_end",
    )  # fmt: skip

    def __init__(self, on_idle_end: Callable[[Connection], None]) -> None:
        """Not yet open; ``on_idle_end`` is told when the other side hangs up between requests."""
        self._loop = get_hub().loop
        self._timer: Any = None
        self._reader = ResponseReader()
        self._socket: Any = None
        self._reading: Any = None
        self._tls: ssl.SSLObject | None = None
        self._waiter: Any = None
        self._ready = self._closed = False
        self._failure: BaseException | None = None
        self.answered = 0
        self.on_idle_end = on_idle_end

    def open(
        self, address: tuple[Any, ...], family: int, tls: tuple[ssl.SSLContext, str] | None,
        timeout_s: float,
    ) -> None:  # fmt: skip
        """Connect, with TLS if ``tls`` gives a context and the name to check.

        Raises OSError (also for TLS) or AnswerTimeoutError.
        """
        self._socket = _socket.socket(family, _socket.SOCK_STREAM)
        self._socket.setblocking(False)  # noqa: FBT003 - the socket's own signature
        self._socket.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
        self._limit(timeout_s)
        try:
            code = self._socket.connect_ex(address)
            if code == errno.EINPROGRESS:
                self._wait_for(WRITE)
                code = self._socket.getsockopt(_socket.SOL_SOCKET, _socket.SO_ERROR)
            if code:
                raise OSError(code, os.strerror(code))
            if tls is not None:
                self._handshake(*tls)
        finally:
            self._unlimit()
        self._reading = self._loop.io(self._socket.fileno(), READ)
        self._reading.start(self._readable)

    def exchange(self, request: bytes, timeout_s: float, *, head_only: bool) -> Response:
        """Send a whole request and wait for its whole answer.

        Raises WireError, OSError or AnswerTimeoutError, after which the connection is of no use.
        """
        self._reader.begin(head_only=head_only)
        self._ready, self._failure = False, None
        self._limit(timeout_s)
        try:
            self._send(request)
            if not self._ready:
                self._sleep()
        finally:
            self._unlimit()
        if self._failure is not None:
            raise self._failure
        response = self._reader.response
        assert response is not None  # noqa: S101 - woken without failure
        self.answered += 1
        return response

    @property
    def untouched(self) -> bool:
        """Whether nothing of the current answer has arrived."""
        return self._reader.untouched

    def close(self) -> None:
        """Hang up; doing so again does no harm."""
        if not self._closed:
            self._closed = True
            if self._reading is not None:
                self._reading.stop()
                self._reading.close()
            if self._socket is not None:
                self._socket.close()

    # --- what the loop calls -----------------------------------------------------------------

    def _readable(self) -> None:
        try:
            data = self._receive()
            if data is None:
                return
            if self._waiter is None:
                # Nobody has asked for anything: a server that hangs up, or talks by itself.
                self.on_idle_end(self)
                return
            whole = self._reader.feed(data) if data else self._reader.end() is not None
        except (OSError, WireError) as error:
            self._fail(error)
            return
        if whole:
            self._ready = True
            self._waiter.switch()

    def _receive(self) -> bytes | None:
        """What has arrived, b"" at the end of the stream, None if it is nothing for us."""
        try:
            data: bytes = self._socket.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return None
        if self._tls is None:
            return data
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()
        plain = []
        try:
            while piece := self._tls.read(RECEIVE_BYTES):
                plain.append(piece)
        except ssl.SSLWantReadError:
            return b"".join(plain) or None
        except ssl.SSLZeroReturnError:
            pass
        except ssl.SSLEOFError:
            # Cut off without a farewell: harmless between answers, a forgery within one.
            if not plain and not self._reader.untouched:
                raise
        return b"".join(plain)

    def _limit(self, timeout_s: float) -> None:
        self._timer = timer = self._loop.timer(timeout_s)
        timer.start(self._expire)

    def _unlimit(self) -> None:
        self._timer.stop()
        self._timer.close()

    def _expire(self) -> None:
        self._fail(AnswerTimeoutError())

    def _fail(self, failure: BaseException) -> None:
        if self._waiter is None:
            self.on_idle_end(self)
            return
        self._failure, self._ready = failure, True
        self._waiter.switch()

    # --- what the greenlet that waits calls --------------------------------------------------

    def _sleep(self) -> None:
        self._waiter = getcurrent()
        try:
            get_hub().switch()
        finally:
            self._waiter = None

    def _send(self, data: bytes) -> None:
        if self._tls is not None:
            self._tls.write(data)
            data = self._outgoing.read()
        while not self._ready:
            try:
                sent = self._socket.send(data)
            except BlockingIOError:
                sent = 0
            if sent == len(data):
                return
            data = data[sent:]
            self._wait_for(WRITE)

    def _wait_for(self, event: int) -> None:
        """Sleep until the socket is ready for ``event``, or something has gone wrong."""
        watcher = self._loop.io(self._socket.fileno(), event)
        self._waiter = waiter = getcurrent()
        watcher.start(waiter.switch)
        try:
            get_hub().switch()
        finally:
            self._waiter = None
            watcher.stop()
            watcher.close()
        if self._failure is not None:
            raise self._failure

    def _handshake(self, context: ssl.SSLContext, name: str) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=name)
        while True:
            try:
                tls.do_handshake()
            except ssl.SSLWantReadError:
                self._send(self._outgoing.read())
                self._wait_for(READ)
                data = self._socket.recv(RECEIVE_BYTES)
                if not data:
                    raise ConnectionResetError(errno.ECONNRESET, "hung up during TLS") from None
                self._incoming.write(data)
            else:
                break
        self._send(self._outgoing.read())
        self._tls = tls
