"""Locust's own FastHttpUser client behind our requests: for targets that need what it can do.

It is several times as expensive a request as ours. What it adds is compressed answers.
"""

from __future__ import annotations

import ssl
from http.client import HTTPException
from typing import Any

import gevent
from locust.contrib.fasthttp import LocustUserAgent

from loadtests.connection import AnswerTimeoutError
from loadtests.pool import CONNECT_TIMEOUT_S
from loadtests.response import Response, WireError


class _Agent(LocustUserAgent):
    """Statuses are answers, also those that say no; redirects are followed by nobody."""

    redirect_response_codes = frozenset[int]()

    def _verify_status(self, status_code: int, url: object = None) -> None:
        """Take every status."""


class FastHttp:
    """As :class:`loadtests.pool.Pool`, by Locust's client."""

    def __init__(self, base_url: str, connections_max: int = 0) -> None:
        """See :class:`loadtests.pool.Pool`; no limit means a very high one here."""
        self.retried = 0
        self._base = base_url.rstrip("/")
        self._agent: Any = _Agent(
            max_redirects=0,
            max_retries=0,
            connection_timeout=CONNECT_TIMEOUT_S,
            network_timeout=120.0,
            ssl_context_factory=ssl.create_default_context,
            concurrency=connections_max or 100_000,
        )

    def exchange(
        self, method: str, target: str, fields: str, body: bytes, timeout_s: float
    ) -> Response:
        """See :meth:`loadtests.pool.Pool.exchange`."""
        headers = dict(line.split(": ", 1) for line in fields.split("\r\n") if line)
        url = f"{self._base}{target}"
        try:
            with gevent.Timeout(timeout_s):
                answer = self._agent.urlopen(url, method=method, payload=body, headers=headers)
                response = Response(answer.status_code, b"", keep=True)
                response.body = bytes(answer.content or b"")
        except gevent.Timeout:
            raise AnswerTimeoutError from None
        except (HTTPException, ValueError, EOFError) as trouble:
            raise WireError(type(trouble).__name__) from trouble
        return response

    def close(self) -> None:
        """Hang up."""
        self._agent.close()
