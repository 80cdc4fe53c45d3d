"""Servers on real sockets that answer as a test says, and small worlds of consumers around them."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import polars as pl
import pyarrow as pa
import pytest

from fewseconds import contracts as c
from fewseconds import measures, outcomes, scenario_file
from fewseconds.errors import HarnessError
from fewseconds.outcomes import Writer
from fewseconds.plan import SCHEMA, Plan
from loadtests.client import Client
from loadtests.launch import Generator
from loadtests.spec import Clock, LoadSummary, Targets, Telemetry
from loadtests.world import World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import BinaryIO

    from fewseconds.plan import Row


ORDERS_COUNT, ORDERS_GAP_US = 30, 50_000
HUMAN = {"law": "constant", "value_ms": 50, "source": "quick for a test"}
LOG_IN_ONLY: dict[str, Any] = {
    "journeys": {"portal": {"steps": ["fill_log_in", "log_in"]}},
    "stations": {"person_logs_in": {"service_time": HUMAN}},
    "load": {"drain_s": 3, "in_flight_max": 100},
}


class Request(NamedTuple):
    """What a server has read."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Server:
    """A server whose whole behaviour is one function of the request and the raw socket.

    The function returns True to keep the connection open for the next request.
    """

    def __init__(self, answer: Callable[[Request, socket.socket], bool]) -> None:
        """Listen on a free port of this machine."""
        self.answer = answer
        self.requests: deque[Request] = deque()
        self.accepted = 0
        self.over = threading.Event()
        """Set when the test is over: a function that hangs waits for this."""
        self._open: list[socket.socket] = []
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def hang(self, _request: Request, _connection: socket.socket) -> bool:
        """Never answer."""
        self.over.wait()
        return False

    def close(self) -> None:
        """Hang up on everybody."""
        self.over.set()
        for one in (self._listening, *self._open):
            # Only a shutdown wakes a thread that waits in accept or recv.
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        while not self.over.is_set():
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            self.accepted += 1
            self._open.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                with connection.makefile("rb") as stream:
                    while (request := read(stream)) is not None:
                        self.requests.append(request)
                        if not self.answer(request, connection):
                            return
            except (OSError, ValueError):
                return


def read(stream: BinaryIO) -> Request | None:
    """The next request of a connection, or None when there is none any more."""
    line = stream.readline()
    if not line:
        return None
    method, path, _ = line.decode().split(" ")
    headers = {}
    while (line := stream.readline().strip()) != b"":
        name, _, value = line.decode().partition(":")
        headers[name.strip().lower()] = value.strip()
    body = stream.read(int(headers.get("content-length", 0)))
    return Request(method, path, headers, body)


def reply(status: int, content: object, *, close: bool = False) -> bytes:
    """An answer with a JSON body, as bytes on the wire."""
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    end = "connection: close\r\n" if close else ""
    head = f"HTTP/1.1 {status} Status\r\ncontent-length: {len(body)}\r\n{end}\r\n"
    return head.encode() + body


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """Start servers: give the bytes to answer with, or a function of request and socket."""
    servers: list[Server] = []

    def start(answer: bytes | Callable[[Request, socket.socket], bool] | None = None) -> Server:
        def send(_: Request, connection: socket.socket) -> bool:
            assert isinstance(answer, bytes)
            connection.sendall(answer)
            return b"connection: close" not in answer

        server = Server(send)
        if answer is None:
            server.answer = server.hang
        elif not isinstance(answer, bytes):
            server.answer = answer
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def json_reply() -> Callable[..., bytes]:
    """Make the bytes of an answer with a JSON body."""
    return reply


class Stage(NamedTuple):
    """A world around one server, and the plan that is played in it."""

    world: World
    window_us: tuple[int, int]
    outcomes: Path

    def rows(self) -> pl.DataFrame:
        """What has been written, as a frame."""
        self.world.writer.close()
        return measures.frame(outcomes.read(self.outcomes))


class NoScans:
    """Stands where scans would be made; asking for one is the harness's own failure."""

    def of(self, row: Row) -> object:
        """Fail as a dead decoding process does."""
        message = f"scans: none for journey {row.journey_id}"
        raise HarnessError(message)


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Callable[..., Stage]]:
    """Make a world: journeys of one kind, a little time apart, against one server."""
    clients: list[Client] = []

    def make(url: str, count: int, overrides: dict[str, Any], **more: Any) -> Stage:  # noqa: ANN401
        kind, gap_us = more.get("kind", "portal"), more.get("gap_us", 10_000)
        scenario = scenario_file.load("smoke", overrides)
        medium = "placard" if kind == "qr_counter" else ""
        rows = [
            {
                "journey_id": 100 + number, "consumer": number, "bill": number, "kind": kind,
                "app": "bhim", "bank": "SBI", "medium": medium,
                "intended_start_us": number * gap_us,
            }
            for number in range(count)
        ]  # fmt: skip
        plan = Plan(scenario, 7, pa.Table.from_pylist(rows, SCHEMA))
        clients.append(Client(url, scenario.load.in_flight_max, lambda **_: None))
        lines = dict.fromkeys(("psp", "sms", "portal"), clients[-1])
        folder = tmp_path / "outcomes"
        clock = Clock(0)
        world = World(plan, clock, lines, NoScans(), Writer(folder, "load"), "token")  # type: ignore[arg-type]
        clock.epoch_us = time.monotonic_ns() // 1000 + 50_000
        # Long enough for everybody to be on their way when the window, and the drain after it, end.
        return Stage(world, (0, count * gap_us + 1_500_000), folder)

    yield make
    for client in clients:
        client.close()


class Played(NamedTuple):
    """A generator's orders, and how to look at what came of them."""

    generator: Generator
    plan: Plan

    def rows(self) -> pl.DataFrame:
        """The outcomes of the journeys' first steps."""
        found = measures.frame(outcomes.read(self.generator.folder / "outcomes"))
        return found.filter(pl.col("step") == "fill_log_in").sort("journey_id")

    def summary(self) -> LoadSummary:
        """What the master wrote."""
        return msgspec.json.decode(self.generator.summary.read_bytes(), type=LoadSummary)


@pytest.fixture
def orders(
    tmp_path: Path, serve: Callable[..., Any], json_reply: Callable[..., bytes]
) -> Callable[..., Played]:
    """Make the orders for thirty short journeys against a portal that lets everybody in, or not."""

    def welcome(request: Request, connection: socket.socket) -> bool:
        if request.path == c.PORTAL_LOG_IN:
            connection.sendall(json_reply(201, {"token": "t"}))
        else:
            message = {"message_id": "m", "reference": "r", "sender": "BESTMU-S", "text": "Paid"}
            connection.sendall(json_reply(200, {"messages": [message]}))
        return True

    def make(
        processes: int, gap_us: int = ORDERS_GAP_US, *, in_flight_max: int = 100,
        abort_after_s: float = 0.0, answer: Callable[..., bool] | None = welcome, **telemetry: str,
    ) -> Played:  # fmt: skip
        rows = [
            {
                "journey_id": 100 + number, "consumer": number, "bill": number, "kind": "portal",
                "app": "bhim", "bank": "SBI", "medium": "", "intended_start_us": number * gap_us,
            }
            for number in range(ORDERS_COUNT)
        ]  # fmt: skip
        load = LOG_IN_ONLY["load"] | {"in_flight_max": in_flight_max}
        scenario = scenario_file.load("smoke", LOG_IN_ONLY | {"load": load})
        plan = Plan(scenario, 7, pa.Table.from_pylist(rows, SCHEMA))
        url = serve(answer).url
        window_us = (0, ORDERS_COUNT * gap_us)
        targets = Targets(url, url, url)
        generator = Generator(
            tmp_path, plan, window_us, targets, "token", processes=processes,
            abort_after_s=abort_after_s, telemetry=msgspec.convert(telemetry, Telemetry),
        )  # fmt: skip
        return Played(generator, plan)

    return make
