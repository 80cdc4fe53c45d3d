"""The client between services, with a server that answers when it is told to."""

from __future__ import annotations

import asyncio
import json
import random
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest

from mock_psp.alarms import Alarms
from mock_psp.clock import monotonic_us
from mock_psp.lean_client import LeanClient

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

MS = 1000
LIMIT_MS = 60
IDLE_S, GIVE_UP_S = 15, 20


class Clock:
    """The time that limits are counted in."""

    now_us = staticmethod(monotonic_us)


class Server:
    """Answers each question after as many milliseconds as it asks for, with its number."""

    def __init__(self) -> None:
        """Nobody has come."""
        self.connections = self.open = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, one question at a time."""
        self.connections += 1
        self.open += 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                lines = head.lower().split(b"\r\n")
                length = next(int(one[15:]) for one in lines if one.startswith(b"content-length:"))
                asked = json.loads(await reader.readexactly(length))
                await asyncio.sleep(asked["after_ms"] / 1000)
                told = json.dumps(asked["number"]).encode()
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(told), told))
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            return
        finally:
            self.open -= 1
            writer.close()


async def ask(client: LeanClient, url: str, number: int, after_ms: int, limit_ms: int = 0) -> int:
    """The number that comes back."""
    body = json.dumps({"number": number, "after_ms": after_ms}).encode()
    reply = await client.post(url, body, {}, limit_ms * MS)
    return int(reply.body)


def met(work: Callable[[LeanClient, str, Server], Awaitable[None]]) -> None:
    """Do something with a client and a server."""

    async def together() -> None:
        server, clock = Server(), Clock()
        told: Any = clock
        async with AsyncExitStack() as open_now:
            listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
            await open_now.enter_async_context(listening)
            place = f"127.0.0.1:{listening.sockets[0].getsockname()[1]}"
            client = LeanClient(Alarms(told), IDLE_S, GIVE_UP_S)
            open_now.push_async_callback(client.close)
            await work(client, f"http://{place}/ask", server)

    asyncio.run(together())


def test_who_is_late_is_not_taken_for_the_next_one() -> None:
    """An answer after its limit is nobody's: whoever asks next hears what it has asked for."""

    async def work(client: LeanClient, url: str, server: Server) -> None:
        assert await ask(client, url, 1, 0) == 1
        began_s = time.monotonic()
        with pytest.raises(TimeoutError):
            await ask(client, url, 2, 4 * LIMIT_MS, LIMIT_MS)
        assert (time.monotonic() - began_s) * 1000 >= LIMIT_MS - 1
        for number in range(3, 6):
            assert await ask(client, url, number, 2 * LIMIT_MS) == number
        assert (server.connections, server.open) == (2, 1)

    met(work)


def test_everybody_hears_an_answer_of_its_own_or_none() -> None:
    """Many at once, with limits that end before their answers come, after them, and never."""
    dice = random.Random(7)  # noqa: S311 - a mixture of cases
    asked = [
        (number, dice.choice([0, 5, 300, 1500]), dice.choice([0, 100, 700]))
        for number in range(120)
    ]

    async def work(client: LeanClient, url: str, _: Server) -> None:
        async def one(number: int, after_ms: int, limit_ms: int) -> int | None:
            await asyncio.sleep(dice.random() / 10)
            try:
                return await ask(client, url, number, after_ms, limit_ms)
            except TimeoutError:
                return None

        heard = await asyncio.gather(*(one(*each) for each in asked))
        wanted = [
            None if 0 < limit_ms < after_ms else number for number, after_ms, limit_ms in asked
        ]
        assert heard == wanted

    met(work)


def test_a_limit_holds_while_nobody_lets_one_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connecting counts as well: a host that never answers takes no longer than the limit."""

    async def never(*_: object) -> None:
        await asyncio.sleep(3600)

    async def work(client: LeanClient, url: str, _: Server) -> None:
        monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", never)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(ask(client, url, 1, 0, LIMIT_MS), GIVE_UP_S)

    met(work)


def test_a_limit_is_not_begun_anew_once_connected(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who took most of its time to let one in has only the rest of it to answer."""

    async def work(client: LeanClient, url: str, _: Server) -> None:
        loop = asyncio.get_running_loop()
        real = loop.create_connection

        async def slowly(*told: Any) -> Any:  # noqa: ANN401 - as asyncio's
            await asyncio.sleep(0.4)
            return await real(*told)

        monkeypatch.setattr(loop, "create_connection", slowly)
        with pytest.raises(TimeoutError):
            await ask(client, url, 1, 400, 600)

    met(work)


def test_a_closed_connection_is_an_error_at_once() -> None:
    """Who is cut off does not wait for its limit."""

    async def work(client: LeanClient, url: str, _: Server) -> None:
        asking = asyncio.ensure_future(ask(client, url, 1, 60_000, 30_000))
        while not client._busy:  # noqa: ASYNC110 - there is nothing to be told by
            await asyncio.sleep(0.01)
        for connection in client._busy:
            connection.transport.abort()
        with pytest.raises(ConnectionError):
            await asyncio.wait_for(asking, 5)

    met(work)
