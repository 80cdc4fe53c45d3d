"""A JSON client for greenlets, and what its answers mean as outcomes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, TypeVar

import msgspec

from fewseconds import contracts as c
from fewseconds.errors import UsageError
from fewseconds.journey import OUTCOMES
from loadtests.connection import AnswerTimeoutError
from loadtests.pool import Pool
from loadtests.response import WireError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from loadtests.response import Response

T = TypeVar("T")
FIELDS: Final = "accept: application/json\r\ncontent-type: application/json\r\n"
SERVICE_UNAVAILABLE, TOO_MANY_REQUESTS, SERVER_ERROR, CLIENT_ERROR = 503, 429, 500, 400


class Answer(NamedTuple):
    """What came back: an outcome, its code, and the message if it was one."""

    outcome: str
    code: str
    message: Any = None


class Transport(Protocol):
    """What carries a request to a service; :class:`loadtests.pool.Pool` unless asked otherwise."""

    def exchange(
        self, method: str, target: str, fields: str, body: bytes, timeout_s: float
    ) -> Response:
        """Send a request; raises WireError, OSError or AnswerTimeoutError instead of an answer."""

    def close(self) -> None:
        """Hang up."""

    @property
    def retried(self) -> int:
        """Requests that went out a second time, without an attempt of whoever sent them."""


def transport(name: str) -> Callable[[str, int], Transport]:
    """The maker of a transport, ``lean`` or ``fasthttp``; raises UsageError for another name."""
    if name == "fasthttp":
        # It loads half of Locust's HTTP stack, which the lean client does without.
        from loadtests.fasthttp import FastHttp  # noqa: PLC0415

        return FastHttp
    if name != "lean":
        message = f"--client {name!r}: unknown; choose lean or fasthttp"
        raise UsageError(message)
    return Pool


class Client:
    """Requests to one service; safe to share between greenlets."""

    def __init__(
        self,
        base_url: str,
        connections: int,
        heard: Callable[..., None],
        make: Callable[[str, int], Transport] = Pool,
        headers: Mapping[str, str] = {},
    ) -> None:
        """Keep up to ``connections`` open; ``heard`` is told of every request (Locust's event).

        ``headers`` go with everything that is sent.

        Raises UsageError if ``base_url`` is no address.
        """
        self._transport = make(base_url, connections)
        self._heard = heard
        self._fields = FIELDS + "".join(f"{name}: {value}\r\n" for name, value in headers.items())

    def ask(
        self,
        method: str,
        path: str,
        wanted: type[T],
        *,
        trace: c.Trace,
        timeout_s: float,
        body: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send one request and read its answer; never raises for what a server or network does."""
        fields = f"{self._fields}{c.TRACE_HEADER}: {trace.header()}\r\n"
        if headers:
            fields += "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        payload = b"" if body is None else msgspec.json.encode(body)
        begun = time.perf_counter()
        size, error = 0, None
        try:
            response = self._transport.exchange(method, path, fields, payload, timeout_s)
            size = len(response.body)
            answer = self._answer(response.status, response.body, wanted)
        except AnswerTimeoutError:
            answer = Answer("timed_out", "no_answer")
        except WireError as trouble:
            answer = Answer("error", trouble.code)
        except OSError as trouble:
            answer = Answer("error", type(trouble).__name__)
        if answer.outcome not in ("ok", "declined"):
            error = RuntimeError(f"{answer.outcome} {answer.code}")
        self._heard(
            request_type=method,
            name=trace.step,
            response_time=(time.perf_counter() - begun) * 1e3,
            response_length=size,
            exception=error,
            context={},
        )
        return answer

    @staticmethod
    def _answer(status: int, data: bytes, wanted: type[T]) -> Answer:
        if status < CLIENT_ERROR:
            try:
                return Answer("ok", "", msgspec.json.decode(data, type=wanted))
            except (msgspec.ValidationError, msgspec.DecodeError):
                return Answer("error", "not_understood")
        try:
            problem = msgspec.json.decode(data, type=c.Problem)
        except (msgspec.ValidationError, msgspec.DecodeError):
            problem = c.Problem("", "", status)
        code = problem.code or str(status)
        if problem.outcome in OUTCOMES:
            return Answer(problem.outcome, code)
        if status in (SERVICE_UNAVAILABLE, TOO_MANY_REQUESTS):
            return Answer("rejected", code)
        return Answer("declined" if status < SERVER_ERROR else "error", code)

    @property
    def retried(self) -> int:
        """Requests that its transport has sent a second time."""
        return self._transport.retried

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()
