"""Calls between services that run beside each other: frames through a Unix socket.

A frame is its length (four bytes, the lowest first) and a message in MessagePack. All questions of
one service to another share a connection and are answered in whatever order they are done, so that
what comes together is written and read with one call of the kernel. Only hot paths are answered
here, by the handlers that answer them over HTTP; everything else is sent on to the port.
"""

from __future__ import annotations

import asyncio
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec

from mock_psp.at_once import started
from mock_psp.front import LeanRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from uvicorn.server import ServerState

    from mock_psp.alarms import Alarms
    from mock_psp.front import Front, Hot

POST: Final = b"POST"
LENGTH_BYTES: Final = 4
FRAME_BYTES_MAX: Final = 1 << 20
"""Longer ones have no place between these services: the connection is not ours, or broken."""


NOT_HERE: Final = 0
"""Status of a question that has to come to the port: its path is not hot, or the door closes."""


class Question(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A request; ``number`` tells the answer apart from others on the same connection."""

    number: int
    path: bytes
    headers: list[tuple[bytes, bytes]]
    """By lower-case name."""
    body: bytes


class Reply(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a service answered."""

    number: int
    status: int
    body: bytes


_ENCODER: Final = msgspec.msgpack.Encoder()
_QUESTION: Final = msgspec.msgpack.Decoder(Question)
_REPLY: Final = msgspec.msgpack.Decoder(Reply)


def framed(message: Question | Reply) -> bytes:
    """A message as a frame."""
    content = _ENCODER.encode(message)
    return len(content).to_bytes(LENGTH_BYTES, "little") + content


class Frames(asyncio.Protocol):
    """Cuts what comes into frames, and sends what is said in one turn of the loop together.

    A write wakes the other side, which costs both as much as a dozen frames.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Nothing has come."""
        self.transport: asyncio.Transport
        self._loop = loop
        self._rest = b""
        self._said: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is open."""
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Take every frame that is here in full; the connection ends with what is none."""
        if self._rest:
            data = self._rest + data
        begin, end = 0, len(data)
        while end - begin >= LENGTH_BYTES:
            until = begin + LENGTH_BYTES
            length = int.from_bytes(data[begin:until], "little")
            if length > FRAME_BYTES_MAX:
                self.transport.abort()
                return
            if end - until < length:
                break
            begin = until + length
            try:
                self.take(data[until:begin])
            except msgspec.DecodeError:
                self.transport.abort()
                return
        self._rest = data[begin:]

    def say(self, message: Question | Reply) -> None:
        """Send a message, when all that are ready now have said theirs."""
        if not self._said:
            self._loop.call_soon(self.flush)
        self._said.append(framed(message))

    def flush(self) -> None:
        """Send what has been said; nobody hears what is said to a connection that is closed."""
        said, self._said = self._said, []
        if said and not self.transport.is_closing():
            self.transport.write(b"".join(said))

    def take(self, content: bytes) -> None:
        """Take a frame; raises msgspec.DecodeError for one that says nothing."""
        raise NotImplementedError


class Inside(Frames):
    """The side of the service that answers; to uvicorn a connection like any other."""

    def __init__(self, front: Front, state: ServerState, loop: asyncio.AbstractEventLoop) -> None:
        """``state`` is what a server that drains waits for."""
        super().__init__(loop)
        self._front, self._state = front, state
        self._open = 0
        """Questions that are not answered yet."""
        self._closing = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A neighbour has come."""
        super().connection_made(transport)
        member: Any = self
        self._state.connections.add(member)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - as asyncio calls it
        """It has gone; what it has asked for is done all the same."""
        member: Any = self
        self._state.connections.discard(member)

    def shutdown(self) -> None:
        """Answer what has been asked, and no more."""
        self._closing = True
        self._close_if_done()

    def take(self, content: bytes) -> None:
        """Begin to answer a question."""
        question = _QUESTION.decode(content)
        front, found = self._front, self._front.find(POST, question.path)
        if found is None or self._closing:
            self.say(Reply(question.number, NOT_HERE, b""))
            return
        self._open += 1
        body = question.body if len(question.body) <= front.limit else None
        request = LeanRequest(question.headers, body, front.app)
        hot, arguments = found
        work = self._answered(question.number, hot, arguments, request)
        task = started(self._loop, work, at_once=hot.at_once)
        if task is not None:
            self._state.tasks.add(task)
            task.add_done_callback(self._state.tasks.discard)

    async def _answered(
        self, number: int, hot: Hot, arguments: dict[str, Any], request: LeanRequest
    ) -> None:
        try:
            reply = await self._front.reply(hot, arguments, request)
            self.say(Reply(number, reply.status, reply.content))
        finally:
            self._open -= 1
            self._close_if_done()

    def _close_if_done(self) -> None:
        if self._closing and not self._open:
            self.flush()
            self.transport.close()


class _Line(Frames):
    """The side of the service that asks: one connection."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Not connected yet."""
        super().__init__(loop)
        self.lost = False
        self.waiting: dict[int, asyncio.Future[Reply | None]] = {}

    def connection_lost(self, exc: Exception | None) -> None:
        """It is closed: whoever waits for an answer will not get one."""
        self.lost = True
        for answered in self.waiting.values():
            if not answered.done():
                answered.set_exception(ConnectionResetError(str(exc or "closed")))

    def take(self, content: bytes) -> None:
        """An answer has come; nobody waits any more for one that is late."""
        reply = _REPLY.decode(content)
        answered = self.waiting.get(reply.number)
        if answered is not None and not answered.done():
            answered.set_result(reply)


class Doors:
    """Posts to the services beside this one that have a door."""

    def __init__(self, alarms: Alarms, give_up_s: int, doors: Mapping[str, str]) -> None:
        """Must be made where the event loop of ``alarms`` runs.

        ``doors`` are Unix sockets by the beginning of the URLs that they stand for; no answer takes
        over ``give_up_s``.
        """
        self._alarms, self._doors = alarms, doors
        self._give_up_us = give_up_s * 1_000_000
        self._places: dict[str, tuple[str, bytes]] = {}
        """Door and path by URL; no door where the port has to be taken."""
        self._lines: dict[str, _Line] = {}
        self._opening = asyncio.Lock()
        self._numbers = count(1)

    async def post(
        self, url: str, body: bytes, headers: Mapping[str, str], limit_us: int = 0
    ) -> Reply | None:
        """The answer to a post; None if there is no door for it, or it is shut: take the port then.

        Header names are in small letters.

        Raises TimeoutError without an answer within ``limit_us`` (0: no limit but that of all), and
        ConnectionError if the other side has gone.
        """
        door, path = self._places.get(url) or self._place(url)
        if not door:
            return None
        # A limit that is the answer's own future spares the caller a task to wait for.
        answered = self._alarms.within(limit_us or self._give_up_us)
        line = self._lines.get(door)
        if line is None or line.lost:
            line = await self._opened(door)
            if line is None:
                return None
        number = next(self._numbers)
        told = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
        line.waiting[number] = answered
        line.say(Question(number, path, told, body))
        try:
            reply: Reply | None = await answered
        finally:
            del line.waiting[number]
        if reply is None:
            raise TimeoutError
        return None if reply.status == NOT_HERE else reply

    def close(self) -> None:
        """Close all connections; what has been said until now is heard."""
        for line in self._lines.values():
            line.flush()
            line.transport.abort()

    def _place(self, url: str) -> tuple[str, bytes]:
        """Which door a URL leads to, and what is asked for there."""
        found = "", b""
        for start, door in self._doors.items():
            if url.startswith(f"{start}/"):
                found = door, url.removeprefix(start).encode()
        self._places[url] = found
        return found

    async def _opened(self, door: str) -> _Line | None:
        """The connection to a door, made if need be; None if nobody answers there now."""
        async with self._opening:
            line = self._lines.get(door)
            if line is None or line.lost:
                try:
                    loop = self._alarms.loop
                    _, line = await loop.create_unix_connection(partial(_Line, loop), door)
                except OSError:
                    return None
                self._lines[door] = line
            return line
