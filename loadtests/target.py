"""A server whose answer times are known beforehand, for checking load generators against.

``python -m loadtests.target '{"freeze_s": 2, "period_s": 20}'`` prints its port on stdout, answers
every request at once, and stands still for the last ``freeze_s`` of every ``period_s``. With
``servers`` it is a station instead: so many servers in parallel, one queue, first come first
served, service times exponential (seeded) or constant. With ``answers`` it stands for services that
cost next to nothing. It ends when its standard input does.
"""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Self, cast

import msgspec
import uvloop

from fewseconds.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Callable

ANSWER = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 16\r\n\r\n"
    b'{"word":"hello"}'
)
START_S = 20.0


class TargetSpec(msgspec.Struct, frozen=True):
    """What the server does."""

    freeze_s: float = 0.0
    period_s: float = 0.0
    """0 is never to freeze. A period begins with the first request."""
    servers: int = 0
    """0 answers at once."""
    service_s: float = 0.0
    exponential: bool = True
    seed: int = 1
    answers: dict[str, str] = {}
    """JSON by the beginning of the path; requests may then have a body."""


class Target:
    """The server as a process of its own; use as a context manager."""

    def __init__(self, spec: TargetSpec) -> None:
        """Nothing runs before the context is entered."""
        self.spec = spec
        self.url, self.pid = "", 0

    def __enter__(self) -> Self:
        """Start it; raises HarnessError if it does not come up."""
        order = msgspec.json.encode(self.spec).decode()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "loadtests.target", order],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        line = self._process.stdout.readline() if self._process.stdout else b""
        if not line:
            code = self._process.wait()
            message = f"loadtests.target: ended with {code} before it listened; see what it said"
            raise HarnessError(message)
        self.url = f"http://127.0.0.1:{int(line)}/"
        self.pid = self._process.pid
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()


class _Station:
    """Servers in parallel with one queue; answers by calling back."""

    def __init__(self, spec: TargetSpec) -> None:
        self._free, self._spec = spec.servers, spec
        self._queue: deque[Callable[[], None]] = deque()
        self._luck = random.Random(spec.seed)  # noqa: S311 - service times, not secrets
        self._loop = asyncio.get_running_loop()

    def arrive(self, answer: Callable[[], None]) -> None:
        """Serve somebody now or later."""
        if self._free:
            self._free -= 1
            self._serve(answer, time.perf_counter())
        else:
            self._queue.append(answer)

    def _serve(self, answer: Callable[[], None], from_s: float) -> None:
        mean = self._spec.service_s
        length = self._luck.expovariate(1 / mean) if self._spec.exponential else mean
        # The next service begins where this one should have ended, so timers that ring late do
        # not make the servers slower than they are said to be.
        end_s = from_s + length
        self._loop.call_later(max(end_s - time.perf_counter(), 0.0), self._end, answer, end_s)

    def _end(self, answer: Callable[[], None], ended_s: float) -> None:
        answer()
        if self._queue:
            self._serve(self._queue.popleft(), ended_s)
        else:
            self._free += 1


class _Line(asyncio.Protocol):
    """A connection: every empty line ends a request without a body."""

    def __init__(self, begun: Callable[[], None], station: _Station | None) -> None:
        self._begun, self._station = begun, station
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Answer what is whole."""
        self._begun()
        *whole, self._rest = (self._rest + data).split(b"\r\n\r\n")
        for _ in whole:
            if self._station is None:
                self._transport.write(ANSWER)
            else:
                self._station.arrive(self._answer)

    def _answer(self) -> None:
        if not self._transport.is_closing():
            self._transport.write(ANSWER)


class _Services(asyncio.Protocol):
    """A connection on which the path decides the answer; one request at a time."""

    def __init__(self, answers: dict[bytes, bytes]) -> None:
        self._answers = answers
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Answer what is whole."""
        self._rest += data
        head, end, body = self._rest.partition(b"\r\n\r\n")
        _, length, after = head.partition(b"content-length: ")
        if not end or (length and len(body) < int(after.split(b"\r", 1)[0])):
            return
        self._rest = b""
        path = head[head.index(b" ") + 1 :]
        for beginning, answer in self._answers.items():
            if path.startswith(beginning):
                self._transport.write(answer)
                return
        self._transport.write(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")


def _written(body: str) -> bytes:
    """An answer on the wire."""
    head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length:"
    return f"{head} {len(body.encode())}\r\n\r\n{body}".encode()


async def _serve(spec: TargetSpec) -> None:
    loop = asyncio.get_running_loop()
    freezing = False

    def freeze(at_s: float) -> None:
        time.sleep(max(at_s + spec.freeze_s - loop.time(), 0.0))
        loop.call_at(at_s + spec.period_s, freeze, at_s + spec.period_s)

    def begun() -> None:
        nonlocal freezing
        if spec.period_s and not freezing:
            freezing = True
            at_s = loop.time() + spec.period_s - spec.freeze_s
            loop.call_at(at_s, freeze, at_s)

    station = _Station(spec) if spec.servers else None
    answers = {path.encode(): _written(body) for path, body in spec.answers.items()}

    def line() -> asyncio.Protocol:
        return _Services(answers) if answers else _Line(begun, station)

    server = await loop.create_server(line, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201 - for whoever started it
    over = asyncio.Event()

    def wait_for_the_end() -> None:
        sys.stdin.buffer.read()
        loop.call_soon_threadsafe(over.set)

    threading.Thread(target=wait_for_the_end, daemon=True).start()
    await over.wait()


def main() -> None:
    """Serve as the first argument says."""
    spec = msgspec.json.decode(sys.argv[1], type=TargetSpec)
    uvloop.run(_serve(spec))


if __name__ == "__main__":
    main()
