"""Answers on the wire, whole, cut anywhere and broken; the oracle is h11, which others wrote."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests import response
from loadtests.response import Response, ResponseReader, WireError


class Seen(NamedTuple):
    """What a reader made of some bytes."""

    status: int
    body: bytes


def by_h11(data: bytes, method: str = "GET") -> Seen | None:
    """What h11 reads from a stream that ends after ``data``; None if it objects."""
    peer = h11.Connection(h11.CLIENT, max_incomplete_event_size=10**7)
    peer.send(h11.Request(method=method, target="/", headers=[("host", "x")]))
    peer.send(h11.EndOfMessage())
    status, body = 0, b""
    try:
        peer.receive_data(data)
        peer.receive_data(b"")
        while True:
            event = peer.next_event()
            if isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                return Seen(status, body)
            elif not isinstance(event, h11.InformationalResponse):
                return None
    except h11.RemoteProtocolError:
        return None


def by_us(pieces: list[bytes], *, head_only: bool = False) -> Seen | None:
    """What our reader makes of the same stream in pieces."""
    reader = ResponseReader()
    reader.begin(head_only=head_only)
    try:
        whole = any(reader.feed(piece) for piece in pieces if piece)
        found = reader.response if whole else reader.end()
    except WireError:
        return None
    assert found is not None
    return Seen(found.status, found.body)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """The stream in pieces."""
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[a:b] for a, b in pairwise(edges)]


@st.composite
def answers(draw: st.DrawFn) -> bytes:
    """An answer as a server may send it."""
    status = draw(st.sampled_from([200, 201, 204, 304, 302, 404, 429, 500, 503, 599]))
    body = draw(st.binary(max_size=300))
    head = b"".join(draw(st.lists(st.sampled_from(EARLY), max_size=2)))
    head += b"HTTP/1.1 %d %s\r\n" % (status, draw(st.sampled_from([b"OK", b"", b"Not so"])))
    head += b"".join(draw(st.lists(st.sampled_from(FIELDS), max_size=4)))
    if status in (204, 304):
        return head + b"\r\n"
    framing = draw(st.sampled_from(["length", "chunked", "close"]))
    if framing == "length":
        return head + b"Content-Length:  %d \r\n\r\n" % len(body) + body
    if framing == "close":
        return head + b"\r\n" + body
    head += b"transfer-Encoding: Chunked\r\n\r\n"
    parts = [part for part in cut(body, draw(st.lists(st.integers(0, 300), max_size=4))) if part]
    end = draw(st.sampled_from([b"0\r\n\r\n", b"000\r\nx-sum: 1\r\n\r\n", b"0;last\r\n\r\n"]))
    return head + b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + end


EARLY = [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early\r\nlink: <x>\r\n\r\n"]
FIELDS = [b"server: x\r\n", b"X-Empty:\r\n", b"date: now\r\n", b"connection: keep-alive\r\n"]
PLACES = st.lists(st.integers(0, 2000), max_size=8)


@given(answers(), PLACES)
def test_answers_are_read_as_another_reader_reads_them(data: bytes, places: list[int]) -> None:
    """However it arrives in pieces, an answer is the one that h11 reads."""
    expected = by_h11(data)
    assert expected is not None
    assert by_us(cut(data, places)) == expected
    assert by_us([data[i : i + 1] for i in range(len(data))]) == expected


@given(answers(), PLACES, st.integers(0, 2000), st.binary(max_size=3), st.integers(0, 3))
def test_a_damaged_answer_is_never_read_as_something_else(
    data: bytes, places: list[int], at: int, put: bytes, gone: int
) -> None:
    """Bytes changed, lost or added make an answer that is refused, or the one that h11 reads."""
    at %= len(data)
    damaged = data[:at] + put + data[at + gone :]
    ours = by_us(cut(damaged, places))
    if ours is not None:
        assert ours == by_h11(damaged)


@given(answers(), st.integers(1, 2000))
def test_half_an_answer_is_not_an_answer(data: bytes, kept: int) -> None:
    """An answer that states where it ends is refused when it ends before."""
    half = data[: kept % len(data)]
    assert by_us([half]) == by_h11(half)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"SSH-2.0-OpenSSH\r\n", "no_http"),
        (b"HTTP/2 200\r\n\r\n", "no_http"),
        (b"HTTP/1.1 2000 OK\r\n\r\n", "no_http"),
        (b"HTTP/1.1 200 OK\r\nbad name: 1\r\n\r\n", "malformed_header"),
        (b"HTTP/1.1 200 OK\r\nname : 1\r\n\r\n", "malformed_header"),
        (b"HTTP/1.1 200 OK\r\na: 1\r\n folded\r\n\r\n", "malformed_header"),
        (b"HTTP/1.1 200 OK\r\na: \x00\r\n\r\n", "malformed_header"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n", "malformed_length"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 1_0\r\n\r\n", "malformed_length"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab", "two_lengths"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 1, 2\r\n\r\nab", "two_lengths"),
        (
            b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            "two_lengths",
        ),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n", "unknown_coding"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n-1\r\n", "malformed_chunk"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nabc", "malformed_chunk"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n", "body_too_long"),
        (b"HTTP/1.1 200 OK\r\na: " + b"x" * response.HEAD_BYTES_MAX, "head_too_long"),
        (b"HTTP/1.1 200 OK\r\na: " + b"x" * response.HEAD_BYTES_MAX + b"\r\n\r\n", "head_too_long"),
    ],
)
def test_what_is_wrong_is_named(data: bytes, code: str) -> None:
    """Every way to break the grammar, or to be too long, has its word."""
    reader = ResponseReader()
    with pytest.raises(WireError) as caught:
        reader.feed(data)
    assert caught.value.code == code


def test_an_endless_body_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A body without a stated length, or in chunks, ends at the limit."""
    monkeypatch.setattr(response, "BODY_BYTES_MAX", 1000)
    for head, piece in ((b"", b"x" * 99), (b"transfer-encoding: chunked\r\n", b"1\r\nx\r\n")):
        reader = ResponseReader()
        reader.feed(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n")
        with pytest.raises(WireError, match="body_too_long"):
            any(reader.feed(piece) for _ in range(1002))


def test_an_answer_to_head_has_no_body() -> None:
    """Its length speaks of a body that is not sent."""
    data = b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n"
    assert by_us([data], head_only=True) == by_h11(data, "HEAD") == Seen(200, b"")


@pytest.mark.parametrize(
    ("data", "keep"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", True),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nConnection: x, Close\r\n\r\n", False),
        (b"HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n", False),
        (b"HTTP/1.0 200 OK\r\ncontent-length: 0\r\nconnection: Keep-Alive\r\n\r\n", True),
        (b"HTTP/1.1 204 No\r\n\r\nbytes that nobody asked for", False),
        (b"HTTP/1.1 101 Switching\r\nupgrade: x\r\n\r\n", False),
    ],
)
def test_a_connection_is_kept_only_where_both_sides_may(data: bytes, *, keep: bool) -> None:
    """The version, the connection field and stray bytes decide over another request."""
    reader = ResponseReader()
    assert reader.feed(data)
    assert isinstance(reader.response, Response)
    assert reader.response.keep is keep


def test_repeated_fields_are_joined() -> None:
    """Fields are found by their names in lower case."""
    reader = ResponseReader()
    reader.feed(b"HTTP/1.1 204 No\r\nSet-It: a\r\nset-it: b\r\nRetry-After:3 \r\n\r\n")
    assert reader.response is not None
    assert reader.response.headers == {"set-it": "a, b", "retry-after": "3"}
