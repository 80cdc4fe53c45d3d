"""Calls through a door, with a service that answers when it is told to."""

from __future__ import annotations

import asyncio
import itertools
import random
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from uvicorn.server import ServerState

from mock_psp.alarms import Alarms
from mock_psp.clock import monotonic_us
from mock_psp.door import FRAME_BYTES_MAX, Doors, Frames, Inside, Question, framed
from mock_psp.front import Front, Hot
from mock_psp.metrics import Meter
from mock_psp.web import problem

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from mock_psp.door import Reply
    from mock_psp.front import LeanRequest

MS = 1000
LIMIT_MS = 60
GIVE_UP_S = 20
BODY_BYTES_MAX = 1000
URL = "http://127.0.0.1:1"


class Clock:
    """The time that limits are counted in."""

    now_us = staticmethod(monotonic_us)


class Asked(msgspec.Struct):
    """A question: when it is to be answered."""

    number: int
    after_ms: int = 0


class Service:
    """A front with one hot path, which answers with the question's number, and its door."""

    def __init__(self, path: Path, *, at_once: bool) -> None:
        """It is not open yet."""
        self.path, self.state, self.heard = path, ServerState(), 0
        self.meter = Meter()
        hot = Hot("POST", "/ask", self._ask, 200, at_once=at_once)
        routes = {("POST", "/ask"): hot}
        self.front = Front(None, None, routes, problem, BODY_BYTES_MAX, self.meter)

    async def _ask(self, request: LeanRequest) -> dict[str, Any]:
        asked = msgspec.json.decode(await request.body(), type=Asked)
        self.heard += 1
        if asked.after_ms:
            await asyncio.sleep(asked.after_ms / 1000)
        return {"number": asked.number, "trace": request.headers.get("trace")}

    async def open(self) -> asyncio.Server:
        """Let neighbours in, as a new process does in place of an old one."""
        self.path.unlink(missing_ok=True)
        loop = asyncio.get_running_loop()
        return await loop.create_unix_server(
            lambda: Inside(self.front, self.state, loop), self.path
        )

    def end(self) -> None:
        """Be gone, as one that is killed."""
        for connection in list(self.state.connections):
            inside: Any = connection
            inside.transport.abort()


async def ask(doors: Doors, number: int, after_ms: int = 0, limit_ms: int = 0) -> int | None:
    """The number that comes back; None without an answer in time."""
    body = msgspec.json.encode(Asked(number, after_ms))
    try:
        reply = await doors.post(f"{URL}/ask", body, {"trace": str(number)}, limit_ms * MS)
    except TimeoutError:
        return None
    assert reply is not None
    told = msgspec.json.decode(reply.body)
    assert (reply.status, told["trace"]) == (200, str(number))
    return int(told["number"])


def met(
    path: Path, work: Callable[[Doors, Service], Awaitable[None]], *, at_once: bool = False
) -> None:
    """Do something with a service and one that asks it."""

    async def together() -> None:
        service, clock = Service(path / "door", at_once=at_once), Clock()
        told: Any = clock
        async with AsyncExitStack() as open_now:
            await open_now.enter_async_context(await service.open())
            doors = Doors(Alarms(told), GIVE_UP_S, {URL: str(service.path)})
            open_now.callback(doors.close)
            await work(doors, service)

    asyncio.run(together())


class Kept(Frames):
    """Keeps frames."""

    def __init__(self) -> None:
        """None has come; nothing is said."""
        super().__init__(Mock())
        self.kept: list[bytes] = []

    def take(self, content: bytes) -> None:
        """Keep one."""
        self.kept.append(content)


@given(st.lists(st.binary(max_size=40)), st.lists(st.integers(0, 400)))
def test_frames_come_out_whole_wherever_they_are_cut(
    contents: list[bytes], cuts: list[int]
) -> None:
    """However a stream is cut into pieces, the same frames come out, in order."""
    stream = b"".join(len(one).to_bytes(4, "little") + one for one in contents)
    places = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    frames = Kept()
    for begin, end in itertools.pairwise(places):
        frames.data_received(stream[begin:end])
    assert frames.kept == contents


@pytest.mark.parametrize("at_once", [False, True])
def test_everybody_hears_an_answer_of_its_own_or_none(tmp_path: Path, *, at_once: bool) -> None:
    """Many at once on one connection, with limits that end before answers come, and after."""
    dice = random.Random(7)  # noqa: S311 - a mixture of cases
    asked = [
        (number, dice.choice([0, 5, 300, 1500]), dice.choice([0, 100, 700]))
        for number in range(200)
    ]

    async def work(doors: Doors, service: Service) -> None:
        async def one(number: int, after_ms: int, limit_ms: int) -> int | None:
            await asyncio.sleep(dice.random() / 10)
            return await ask(doors, number, after_ms, limit_ms)

        heard = await asyncio.gather(*(one(*each) for each in asked))
        wanted = [
            None if 0 < limit_ms < after_ms else number for number, after_ms, limit_ms in asked
        ]
        assert heard == wanted
        assert (service.heard, len(service.state.connections)) == (len(asked), 1)
        while service.meter.in_flight or service.state.tasks:  # noqa: ASYNC110 - who is late works
            await asyncio.sleep(0.01)
        assert not any(line.waiting for line in doors._lines.values())

    met(tmp_path, work, at_once=at_once)


class Line:
    """Keeps what is written through the transport of a connection, write by write."""

    def __init__(self) -> None:
        """Open."""
        self.writes: list[bytes] = []
        self.closed = False

    def write(self, data: bytes) -> None:
        """Keep it."""
        self.writes.append(data)

    def is_closing(self) -> bool:
        """Whether it was ended."""
        return self.closed

    def abort(self) -> None:
        """End it."""
        self.closed = True


def test_what_is_said_in_one_turn_is_one_write() -> None:
    """At its end, or when somebody closes; nothing goes to a connection that has ended."""
    said = [Question(number, b"/ask", [], b"x" * number) for number in range(5)]
    whole = b"".join(map(framed, said))

    async def together(end: Callable[[Frames, Line], None]) -> Line:
        wire = Line()
        transport: Any = wire
        frames = Frames(asyncio.get_running_loop())
        frames.connection_made(transport)
        for one in said:
            frames.say(one)
        assert not wire.writes
        end(frames, wire)
        await asyncio.sleep(0)
        for one in said:
            frames.say(one)
        await asyncio.sleep(0)
        return wire

    assert asyncio.run(together(lambda _, __: None)).writes == [whole, whole]
    assert asyncio.run(together(lambda _, wire: wire.abort())).writes == []
    assert asyncio.run(together(lambda frames, _: frames.flush())).writes == [whole, whole]


def test_who_goes_is_heard_to_the_end(tmp_path: Path) -> None:
    """What was asked in the turn in which the asker closes comes to the service."""

    async def work(doors: Doors, service: Service) -> None:
        assert await ask(doors, 1) == 1
        last = asyncio.ensure_future(ask(doors, 2))
        await asyncio.sleep(0)
        doors.close()
        with pytest.raises(ConnectionError):
            await last
        while service.heard < 2:  # noqa: ASYNC110 - there is nothing to be told by
            await asyncio.sleep(0.01)

    met(tmp_path, work)


def test_a_service_that_has_gone_is_an_error_and_its_successor_answers(tmp_path: Path) -> None:
    """Who waits hears at once that the connection is gone; who asks next meets the next one."""

    async def work(doors: Doors, service: Service) -> None:
        assert await ask(doors, 1) == 1
        waiting = asyncio.ensure_future(ask(doors, 2, 60_000))
        while service.heard < 2:  # noqa: ASYNC110 - there is nothing to be told by
            await asyncio.sleep(0.01)
        service.end()
        with pytest.raises(ConnectionError):
            await asyncio.wait_for(waiting, 5)
        async with await Service(service.path, at_once=False).open():
            assert await ask(doors, 3) == 3

    met(tmp_path, work)


def test_who_drains_answers_what_was_asked_and_closes(tmp_path: Path) -> None:
    """What had come before is answered; who comes now goes to the port, which is shut as well."""

    async def work(doors: Doors, service: Service) -> None:
        waiting = asyncio.ensure_future(ask(doors, 1, 2 * LIMIT_MS))
        while not service.heard:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.01)
        for connection in list(service.state.connections):
            connection.shutdown()
        assert await doors.post(f"{URL}/ask", b"", {}) is None
        assert not waiting.done()
        assert len(service.state.tasks) == 1
        assert await waiting == 1
        await asyncio.sleep(0.1)
        assert (service.heard, len(service.state.connections)) == (1, 0)

    met(tmp_path, work)


def test_where_there_is_no_door_the_port_has_to_be_taken(tmp_path: Path) -> None:
    """A host without a door, one whose name only begins like it, and a door that nobody opens."""

    async def work(doors: Doors, service: Service) -> None:
        assert await doors.post("http://127.0.0.1:2/ask", b"", {}) is None
        assert await doors.post(f"{URL}9/ask", b"", {}) is None
        service.path.unlink()
        assert await doors.post(f"{URL}/ask", b"", {}) is None

    met(tmp_path, work)


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [("/ask", b"x" * (BODY_BYTES_MAX + 1), 413), ("/nowhere", b"{}", None), ("/ask", b"{", 500)],
)
def test_what_cannot_be_answered_is_refused(
    tmp_path: Path, path: str, body: bytes, status: int | None
) -> None:
    """Too long a body, a path for the port alone and a body that is none: the line goes on."""

    async def work(doors: Doors, service: Service) -> None:
        reply: Reply | None = await doors.post(URL + path, body, {})
        assert (None if reply is None else reply.status) == status
        assert await ask(doors, 1) == 1
        assert len(service.state.connections) == 1

    met(tmp_path, work)


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        (FRAME_BYTES_MAX + 1).to_bytes(4, "little"),
        b"\x03\x00\x00\x00\xff\xff\xff",
        framed(Question(1, b"/ask", [], b""))[:-1] + b"\xc1",
    ],
)
def test_what_is_no_frame_ends_the_connection_and_nothing_else(
    tmp_path: Path, garbage: bytes
) -> None:
    """A stranger's bytes close its own connection; the neighbours' goes on."""

    async def work(doors: Doors, service: Service) -> None:
        assert await ask(doors, 1) == 1
        reader, writer = await asyncio.open_unix_connection(service.path)
        writer.write(garbage)
        try:
            assert await asyncio.wait_for(reader.read(), 5) == b""
        except ConnectionResetError:
            pass
        finally:
            writer.close()
        assert await ask(doors, 2) == 2
        assert len(service.state.connections) == 1

    met(tmp_path, work)
