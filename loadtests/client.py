"""A lean keep-alive JSON client for greenlets, and what its answers mean as outcomes."""

from __future__ import annotations

import time
from http.client import HTTPException
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar
from urllib.parse import urlsplit

import gevent
import msgspec
from geventhttpclient import HTTPClient

from fewseconds import contracts as c
from fewseconds.journey import OUTCOMES

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
CONNECT_TIMEOUT_S: Final = 5.0
SERVICE_UNAVAILABLE, TOO_MANY_REQUESTS, SERVER_ERROR, CLIENT_ERROR = 503, 429, 500, 400


class Answer(NamedTuple):
    """What came back: an outcome, its code, and the message if it was one."""

    outcome: str
    code: str
    message: Any = None


class Client:
    """Requests to one service; safe to share between greenlets."""

    def __init__(self, base_url: str, connections: int, heard: Callable[..., None]) -> None:
        """Keep up to ``connections`` open; ``heard`` is told of every request (Locust's event)."""
        parts = urlsplit(base_url)
        self.prefix = parts.path.rstrip("/")
        self._http = HTTPClient(
            parts.hostname or "",
            parts.port,
            ssl=parts.scheme == "https",
            concurrency=connections,
            connection_timeout=CONNECT_TIMEOUT_S,
            network_timeout=120.0,
        )
        # The library asks again, up to size + 1 times, when a server hangs up on a GET. Here one
        # attempt is one request: whether to try again is for the journey's rules to say.
        self._http._connection_pool.size = -1  # noqa: SLF001 - it offers no option for this
        self._heard = heard

    def ask(
        self,
        method: str,
        path: str,
        wanted: type[T],
        *,
        trace: c.Trace,
        timeout_s: float,
        body: object = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """Send one request and read its answer; never raises for what a server or network does."""
        sent = {c.TRACE_HEADER: trace.header(), "content-type": "application/json"}
        sent |= headers or {}
        payload = b"" if body is None else msgspec.json.encode(body)
        begun = time.perf_counter()
        size, error = 0, None
        try:
            with gevent.Timeout(timeout_s):
                response = self._http.request(method, self.prefix + path, payload, sent)
                data = bytes(response.read())
                size = len(data)
                answer = self._answer(response.status_code, data, wanted)
        except gevent.Timeout:
            answer = Answer("timed_out", "no_answer")
        except (OSError, HTTPException, ValueError, EOFError) as trouble:
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

    def close(self) -> None:
        """Close the connections."""
        self._http.close()
