"""Connections: how many there are, when they are used again, when a request goes out twice, TLS."""

from __future__ import annotations

import contextlib
import datetime as dt
import http.server
import socket
import ssl
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import gevent
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from fewseconds.errors import UsageError
from loadtests import pool as pool_module
from loadtests.connection import AnswerTimeoutError, Connection
from loadtests.pool import Pool
from loadtests.response import WireError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PATIENT_S = 20.0


@pytest.fixture
def pool() -> Iterator[Callable[..., Pool]]:
    """Make pools; they are closed at the end."""
    pools: list[Pool] = []

    def make(url: str, connections: int = 0) -> Pool:
        pools.append(Pool(url, connections))
        return pools[-1]

    yield make
    for one in pools:
        one.close()


def get(pool: Pool, method: str = "GET", timeout_s: float = PATIENT_S, body: bytes = b"") -> bytes:
    """Ask once."""
    return pool.exchange(method, "/", "", body, timeout_s).body


@pytest.mark.parametrize(("method", "again"), [("GET", True), ("PUT", True), ("POST", False)])
def test_only_what_may_be_repeated_goes_out_again(
    serve: Callable[..., Any],
    json_reply: Callable[..., bytes],
    pool: Callable[..., Pool],
    method: str,
    *,
    again: bool,
) -> None:
    """A kept connection that dies unanswered costs a GET or PUT nothing, a POST an error."""

    # It hangs up when it has read the second request, so nothing was known before.
    def second_dies(_: object, connection: socket.socket) -> bool:
        if len(server.requests) != 2:
            connection.sendall(json_reply(200, 1))
            return True
        return False

    server = serve(second_dies)
    line = pool(server.url)
    assert get(line, method) == b"1"
    if again:
        assert get(line, method) == b"1"
        assert (len(server.requests), server.accepted, line.retried) == (3, 2, 1)
    else:
        with pytest.raises(WireError) as caught:
            get(line, method)
        assert caught.value.code == "closed"
        assert (len(server.requests), line.retried) == (2, 0)
    assert line.open == int(again)


def test_a_request_that_goes_out_again_has_only_the_time_that_is_left(
    serve: Callable[..., Any],
    json_reply: Callable[..., bytes],
    pool: Callable[..., Pool],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A server that hangs up after eight of twenty seconds leaves its second chance twelve."""
    now_s, given_s = [100.0], []
    monkeypatch.setattr(pool_module, "time", SimpleNamespace(perf_counter=lambda: now_s[0]))
    exchange = Connection.exchange

    def noted(self: Connection, request: bytes, timeout_s: float, **more: bool) -> Any:  # noqa: ANN401
        given_s.append(timeout_s)
        return exchange(self, request, timeout_s, **more)

    monkeypatch.setattr(Connection, "exchange", noted)

    def second_dies(_: object, connection: socket.socket) -> bool:
        if len(server.requests) == 2:
            now_s[0] += 8.0
            return False
        connection.sendall(json_reply(200, 1))
        return True

    server = serve(second_dies)
    line = pool(server.url)
    assert [get(line), get(line)] == [b"1", b"1"]
    assert line.retried == 1
    assert given_s == [20.0, 20.0, 12.0]


def test_a_request_goes_out_twice_at_most(
    serve: Callable[..., Any], json_reply: Callable[..., bytes], pool: Callable[..., Pool]
) -> None:
    """A server that answers no second request is not asked for ever."""

    def only_the_first(_: object, connection: socket.socket) -> bool:
        if len(server.requests) == 1:
            connection.sendall(json_reply(200, 1))
            return True
        return False

    server = serve(only_the_first)
    line = pool(server.url)
    get(line)
    with pytest.raises(WireError, match="closed"):
        get(line)
    assert len(server.requests) == 3
    assert line.open == 0


def test_half_an_answer_is_not_asked_for_again(
    serve: Callable[..., Any], json_reply: Callable[..., bytes], pool: Callable[..., Pool]
) -> None:
    """Once a byte of the answer has arrived, the request has been seen."""

    def half(_: object, connection: socket.socket) -> bool:
        first = len(server.requests) == 1
        connection.sendall(json_reply(200, 1) if first else b"H")
        return first

    server = serve(half)
    line = pool(server.url)
    get(line)
    with pytest.raises(WireError, match="closed_early"):
        get(line)
    assert len(server.requests) == 2


def test_a_server_that_hangs_up_between_requests_is_noticed(
    serve: Callable[..., Any], json_reply: Callable[..., bytes], pool: Callable[..., Pool]
) -> None:
    """Its connection is gone before the next request, also a POST, could die with it."""

    def answer_and_go(_: object, connection: socket.socket) -> bool:
        connection.sendall(json_reply(200, 1))
        return False

    server = serve(answer_and_go)
    line = pool(server.url)
    for _ in range(3):
        assert get(line, "POST") == b"1"
        with gevent.Timeout(PATIENT_S):
            while line.open:
                gevent.sleep(0)
    assert line.opened == 3


def test_no_limit_means_no_waiting(serve: Callable[..., Any], pool: Callable[..., Pool]) -> None:
    """A hundred requests to a server that answers nobody are a hundred connections."""
    server = serve()
    line = pool(server.url)
    asking = [gevent.spawn(get, line) for _ in range(100)]
    with gevent.Timeout(PATIENT_S):
        while len(server.requests) < 100:
            gevent.sleep(0.01)
    assert line.open == 100
    gevent.killall(asking)
    assert line.open == 0


@pytest.mark.parametrize("connections", [1, 2])
def test_with_a_limit_requests_wait_in_order(
    serve: Callable[..., Any],
    json_reply: Callable[..., bytes],
    pool: Callable[..., Pool],
    connections: int,
) -> None:
    """One or two connections serve twenty requests, first come first served."""
    server = serve(json_reply(200, 1))
    line = pool(server.url, connections)
    ended: list[int] = []

    def ask(number: int) -> None:
        get(line, "POST", body=b"%d" % number)
        ended.append(number)

    asking = [gevent.spawn(ask, number) for number in range(20)]
    gevent.joinall(asking, timeout=PATIENT_S, raise_error=True)
    assert server.accepted == connections
    assert sorted(int(request.body) for request in server.requests) == list(range(20))
    # Of two, one may be kept waiting for as long as the other takes for many.
    assert connections > 1 or ended == list(range(20))


def test_waiting_for_a_connection_counts_against_the_time_limit(
    serve: Callable[..., Any], pool: Callable[..., Pool]
) -> None:
    """Who waits behind a request that hangs times out, and leaves no trace in the queue."""
    line = pool(serve().url, 1)
    first = gevent.spawn(get, line)
    gevent.sleep(0)
    with pytest.raises(AnswerTimeoutError):
        get(line, timeout_s=0.1)
    assert not line._waiting
    first.kill()
    assert line.open == 0


def test_big_requests_and_answers_arrive_whole(
    serve: Callable[..., Any], json_reply: Callable[..., bytes], pool: Callable[..., Pool]
) -> None:
    """Megabytes, which no single send or receive can hold, go both ways."""

    def echo(request: Any, connection: socket.socket) -> bool:  # noqa: ANN401 - conftest's Request
        connection.sendall(json_reply(200, request.body))
        return True

    body = bytes(range(256)) * 40_000
    line = pool(serve(echo).url)
    assert get(line, "POST", body=body) == body
    assert get(line, "POST", body=body[1:]) == body[1:]
    assert line.opened == 1


def test_head_reads_no_body(serve: Callable[..., Any], pool: Callable[..., Pool]) -> None:
    """The length in an answer to HEAD is not waited for, and the connection serves on."""
    server = serve(b"HTTP/1.1 200 OK\r\ncontent-length: 999\r\n\r\n")
    line = pool(server.url)
    assert [get(line, "HEAD") for _ in range(3)] == [b""] * 3
    assert server.accepted == 1


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://127.0.0.1", "127.0.0.1"), ("http://127.0.0.1:80", "127.0.0.1"),
        ("http://127.0.0.1:443", "127.0.0.1:443"), ("https://127.0.0.1", "127.0.0.1"),
        ("https://127.0.0.1:443", "127.0.0.1"), ("https://127.0.0.1:80", "127.0.0.1:80"),
        ("https://[::1]:8443", "[::1]:8443"),
    ],
)  # fmt: skip
def test_the_host_field_names_every_port_but_the_schemes_own(
    url: str, host: str, pool: Callable[..., Pool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As urllib3 writes it (RFC 9110, 7.2): a server of many sites tells them apart by it."""
    sent: list[bytes] = []

    def listen(_: str, request: bytes, *__: float) -> None:
        sent.append(request)

    line = pool(url)
    monkeypatch.setattr(line, "_slow", listen)
    line.exchange("GET", "/", "", b"", 1.0)
    assert [part for part in sent[0].split(b"\r\n") if part.startswith(b"host:")] == [
        b"host: " + host.encode()
    ]


@pytest.mark.parametrize("url", ["ftp://here/", "127.0.0.1:80", "http://", "nonsense"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    """Only http and https with a host can be asked."""
    with pytest.raises(UsageError, match=r"begin|host"):
        Pool(url)


class QuietHandler(http.server.BaseHTTPRequestHandler):
    """Keeps the tests' output clean."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def secure(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """Python's own HTTP server behind TLS, and the certificate to trust."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem, secret = tmp_path / "cert.pem", tmp_path / "key.pem"
    pem.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )

    class Echo(QuietHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem, secret)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    server.daemon_threads = True
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"https://localhost:{server.server_address[1]}", pem
    server.shutdown()
    server.server_close()


def test_tls_is_spoken_where_the_address_says_so(
    secure: tuple[str, Path], pool: Callable[..., Pool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Small and big bodies go through TLS on one kept connection."""
    url, certificate = secure
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    line = pool(url)
    for body in (b"small", b"x" * 2_000_000, b"small again"):
        assert get(line, "POST", body=body) == body
    assert line.opened == 1


def test_a_certificate_that_nobody_vouches_for_is_an_error(
    secure: tuple[str, Path], pool: Callable[..., Pool]
) -> None:
    """The other side must be who it claims to be."""
    line = pool(secure[0])
    with pytest.raises(ssl.SSLCertVerificationError):
        get(line, "POST", body=b"?")
    assert line.open == 0


def test_a_handshake_that_hangs_is_given_up_in_time(pool: Callable[..., Pool]) -> None:
    """A port that takes connections and says nothing is an answer that did not come."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        line = pool(f"https://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(AnswerTimeoutError):
            get(line, timeout_s=0.2)
    assert line.open == 0


def test_the_wrong_kind_of_port_is_an_outcome_at_once(
    secure: tuple[str, Path], pool: Callable[..., Pool]
) -> None:
    """TLS to a port that speaks none, and none to a port that wants it, are errors of their own."""
    plain = http.server.HTTPServer(("127.0.0.1", 0), QuietHandler)
    threading.Thread(target=plain.serve_forever, daemon=True).start()
    with contextlib.closing(plain.socket):
        line = pool(f"https://127.0.0.1:{plain.server_port}")
        with pytest.raises(ssl.SSLError, match=r"WRONG_VERSION_NUMBER|RECORD_LAYER"):
            get(line)
        plain.shutdown()
    careless = pool(secure[0].replace("https:", "http:"))
    with pytest.raises((WireError, ConnectionResetError)):
        get(careless)
    assert (line.open, careless.open) == (0, 0)
