"""What servers and networks do to a request, told as outcomes; the server is a real socket."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING, Any

import gevent
import msgspec
import pytest

from fewseconds import contracts as c
from loadtests.client import Answer, Client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PATIENT_S = 30.0
TRACE = c.Trace("qr_ebill", 7, "pay", -1, 2, app="phonepe")


class Wanted(msgspec.Struct):
    """What the tests want to hear."""

    word: str


class Line:
    """A client and what it told Locust."""

    def __init__(self, url: str, connections: int) -> None:
        """Nothing has been sent yet."""
        self.heard: list[dict[str, Any]] = []
        self.client = Client(url, connections, lambda **told: self.heard.append(told))

    def ask(self, method: str = "GET", timeout_s: float = PATIENT_S, **more: Any) -> Answer:  # noqa: ANN401
        """Ask for the word."""
        return self.client.ask(method, "/word", Wanted, trace=TRACE, timeout_s=timeout_s, **more)


@pytest.fixture
def dial() -> Iterator[Callable[..., Line]]:
    """Make lines to addresses; they are hung up at the end."""
    lines: list[Line] = []

    def to(url: str, connections: int = 4) -> Line:
        lines.append(Line(url, connections))
        return lines[-1]

    yield to
    for line in lines:
        line.client.close()


def test_an_answer_that_was_wanted_is_ok(
    serve: Callable[..., Any], json_reply: Callable[..., bytes], dial: Callable[..., Line]
) -> None:
    """A 200 with the wanted struct is ``ok`` and brings the struct."""
    line = dial(serve(json_reply(200, {"word": "hello"})).url)
    assert line.ask() == Answer("ok", "", Wanted("hello"))
    (told,) = line.heard
    assert told["exception"] is None
    assert told["name"] == "pay"
    assert told["response_length"] == len(json.dumps({"word": "hello"}))


def test_the_request_says_what_it_belongs_to(
    serve: Callable[..., Any], json_reply: Callable[..., bytes], dial: Callable[..., Line]
) -> None:
    """Method, prefix, body and headers reach the server, and the trace can be read there."""
    server = serve(json_reply(200, {"word": ""}))
    line = dial(f"{server.url}/behind/a/proxy/")
    line.ask("POST", body=Wanted("a ₹ sign"), headers={"authorization": "Bearer x"})
    (request,) = server.requests
    assert (request.method, request.path) == ("POST", "/behind/a/proxy/word")
    assert json.loads(request.body) == {"word": "a ₹ sign"}
    assert request.headers["authorization"] == "Bearer x"
    assert request.headers["content-type"] == "application/json"
    assert json.loads(request.headers[c.TRACE_HEADER])["journey_id"] == TRACE.journey_id
    assert c.Trace.read(request.headers[c.TRACE_HEADER]) == TRACE


PROBLEM = {"type": "about:blank", "title": "No", "status": 400}


@pytest.mark.parametrize(
    ("status", "content", "outcome", "code"),
    [
        (400, PROBLEM | {"code": "U05", "outcome": "declined"}, "declined", "U05"),
        (422, PROBLEM | {"code": "ZM"}, "declined", "ZM"),
        (404, PROBLEM, "declined", "404"),
        (404, {"detail": "not of our kind"}, "declined", "404"),
        (401, b"<html>who are you?</html>", "declined", "401"),
        (429, PROBLEM, "rejected", "429"),
        (503, b"", "rejected", "503"),
        (503, PROBLEM | {"code": "queue_full", "outcome": "rejected"}, "rejected", "queue_full"),
        (504, PROBLEM | {"code": "U67", "outcome": "timed_out"}, "timed_out", "U67"),
        (500, PROBLEM | {"code": "XY"}, "error", "XY"),
        (502, b"bad gateway", "error", "502"),
        (200, b"{}", "error", "not_understood"),
        (200, b'{"word": 5}', "error", "not_understood"),
        (200, b'{"word": "half', "error", "not_understood"),
        (200, b"\xff\xfe garbage", "error", "not_understood"),
        (200, b"", "error", "not_understood"),
        (302, b"", "error", "not_understood"),
    ],
)
def test_every_status_is_an_outcome(
    serve: Callable[..., Any],
    json_reply: Callable[..., bytes],
    dial: Callable[..., Line],
    status: int,
    content: object,
    outcome: str,
    code: str,
) -> None:
    """A refusal, a full house, a fault and nonsense each have their outcome and code."""
    line = dial(serve(json_reply(status, content)).url)
    answer = line.ask()
    assert (answer.outcome, answer.code) == (outcome, code)
    assert (line.heard[0]["exception"] is None) == (outcome in ("ok", "declined"))


def test_an_outcome_that_does_not_exist_is_not_taken_over(
    serve: Callable[..., Any], json_reply: Callable[..., bytes], dial: Callable[..., Line]
) -> None:
    """A problem that claims an unknown outcome is judged by its status."""
    line = dial(serve(json_reply(500, PROBLEM | {"code": "?", "outcome": "sorry"})).url)
    answer = line.ask()
    assert (answer.outcome, answer.code) == ("error", "?")


BROKEN = {
    "nothing": b"",
    "half a status line": b"HTTP/1.1 2",
    "half the headers": b"HTTP/1.1 200 OK\r\ncontent-le",
    "half the body": b'HTTP/1.1 200 OK\r\ncontent-length: 90\r\n\r\n{"word',
    "half a chunk": b'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nff\r\n{"word',
    "no HTTP at all": b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    "a length that is none": b"HTTP/1.1 200 OK\r\ncontent-length: many\r\n\r\n{}",
}


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("sent", BROKEN.values(), ids=BROKEN.keys())
def test_a_connection_that_breaks_off_is_an_error(
    serve: Callable[..., Any], dial: Callable[..., Line], sent: bytes, method: str
) -> None:
    """A server that hangs up, wherever it is in its answer, makes an error and no exception."""

    def break_off(_: object, connection: socket.socket) -> bool:
        connection.sendall(sent)
        return False

    server = serve(break_off)
    line = dial(server.url)
    assert line.ask(method).outcome == "error"
    assert len(line.heard) == 1
    # What is tried again is for the journey's rules to say: one attempt is one request.
    assert len(server.requests) == 1


def test_a_connection_that_is_reset_is_an_error(
    serve: Callable[..., Any], dial: Callable[..., Line]
) -> None:
    """A reset in the middle of an exchange is an error."""

    def reset(_: object, connection: socket.socket) -> bool:
        linger_for_no_time = b"\x01\x00\x00\x00\x00\x00\x00\x00"
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger_for_no_time)
        return False

    assert dial(serve(reset).url).ask("POST").outcome == "error"


def test_a_refused_connection_is_an_error(dial: Callable[..., Line]) -> None:
    """Nobody listening is an error that names the trouble."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    assert dial(url).ask() == Answer("error", "ConnectionRefusedError")


@pytest.mark.parametrize(
    "sent", [b"", b"HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\n{"], ids=["nothing", "half"]
)
def test_a_server_that_never_answers_times_out(
    serve: Callable[..., Any], dial: Callable[..., Line], sent: bytes
) -> None:
    """Silence, from the beginning or from the middle of an answer on, ends in ``timed_out``."""

    def stall(_: object, connection: socket.socket) -> bool:
        connection.sendall(sent)
        return bool(server.hang(_, connection))

    server = serve(stall)
    line = dial(server.url)
    assert line.ask(timeout_s=0.2) == Answer("timed_out", "no_answer")
    assert line.heard[0]["exception"] is not None


def test_a_time_out_gives_its_connection_back(
    serve: Callable[..., Any], json_reply: Callable[..., bytes], dial: Callable[..., Line]
) -> None:
    """With one connection allowed, the request after a time-out is answered on a fresh one."""
    good = json_reply(200, {"word": "late"})

    def only_the_second(_: object, connection: socket.socket) -> bool:
        if len(server.requests) == 1:
            return bool(server.hang(_, connection))
        connection.sendall(good)
        return True

    server = serve(only_the_second)
    line = dial(server.url, connections=1)
    assert line.ask(timeout_s=0.2).outcome == "timed_out"
    assert line.ask().message == Wanted("late")
    assert server.accepted == 2


@pytest.mark.parametrize("sent", BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_answer_gives_its_connection_back(
    serve: Callable[..., Any],
    json_reply: Callable[..., bytes],
    dial: Callable[..., Line],
    sent: bytes,
) -> None:
    """With one connection allowed, a broken answer does not block the requests after it."""
    good = json_reply(200, {"word": "again"})

    def first_broken(_: object, connection: socket.socket) -> bool:
        first = len(server.requests) == 1
        connection.sendall(sent if first else good)
        return not first

    server = serve(first_broken)
    line = dial(server.url, connections=1)
    assert line.ask("POST").outcome == "error"
    assert line.ask("POST").message == Wanted("again")


def test_chunked_answers_are_put_together(
    serve: Callable[..., Any], dial: Callable[..., Line]
) -> None:
    """An answer in chunks is the same as one in a piece."""
    body = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (b'{"wo', b'rd": "in ', b'3"}'))
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    server = serve(head + body + b"0\r\n\r\n")
    line = dial(server.url)
    assert [line.ask().message for _ in range(3)] == [Wanted("in 3")] * 3
    assert server.accepted == 1


def test_a_connection_is_used_again(
    serve: Callable[..., Any], json_reply: Callable[..., bytes], dial: Callable[..., Line]
) -> None:
    """Requests one after the other share a connection, answered well or not."""
    answers = [json_reply(200, {"word": "yes"}), json_reply(404, PROBLEM), json_reply(503, b"")]

    def in_turn(_: object, connection: socket.socket) -> bool:
        connection.sendall(answers[len(server.requests) % 3])
        return True

    server = serve(in_turn)
    line = dial(server.url)
    outcomes = [line.ask("POST", body=Wanted("?")).outcome for _ in range(9)]
    assert sorted(set(outcomes)) == ["declined", "ok", "rejected"]
    assert server.accepted == 1


def test_a_connection_that_the_server_closes_is_opened_anew(
    serve: Callable[..., Any], json_reply: Callable[..., bytes], dial: Callable[..., Line]
) -> None:
    """``connection: close`` costs a connection a request and no error."""
    server = serve(json_reply(200, {"word": "bye"}, close=True))
    line = dial(server.url)
    assert [line.ask("POST").outcome for _ in range(5)] == ["ok"] * 5
    assert server.accepted == 5


def test_requests_at_one_time_have_connections_of_their_own(
    serve: Callable[..., Any], json_reply: Callable[..., bytes], dial: Callable[..., Line]
) -> None:
    """Greenlets that ask together are answered together, each with its own answer."""
    together = 8

    def echo(request: Any, connection: socket.socket) -> bool:  # noqa: ANN401 - conftest's Request
        # Nobody is answered before everybody has asked.
        while len(server.requests) < together and not server.over.is_set():
            server.over.wait(0.01)
        connection.sendall(json_reply(200, json.loads(request.body)))
        return True

    server = serve(echo)
    line = dial(server.url, connections=together)
    asking = [
        gevent.spawn(line.ask, "POST", PATIENT_S, body=Wanted(str(number)))
        for number in range(together)
    ]
    gevent.joinall(asking)
    assert [one.value.message.word for one in asking] == [str(n) for n in range(together)]
    assert server.accepted == together
