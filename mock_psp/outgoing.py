"""Calls from one service to another, beside it or elsewhere: JSON, with the journey's trace."""

from __future__ import annotations

import asyncio
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import msgspec

from fewseconds.contracts import TRACE_HEADER, Problem, Trace
from fewseconds.journey import DECLINED, ERROR, OK, OUTCOMES, REJECTED, TIMED_OUT
from mock_psp.door import Doors
from mock_psp.lean_client import LeanClient, Reply
from mock_psp.station import QUEUE_FULL, Answer, Call

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

    from mock_psp.world import World

IDLE_S: Final = 15
"""Shorter than the servers keep a connection, so that no request meets one that just closed."""
GIVE_UP_S: Final = 120
"""No call outlives this, whatever the scenario lets its caller wait."""
BY_STATUS: Final = {429: REJECTED, 503: REJECTED, 504: TIMED_OUT}


class Outgoing:
    """The clients of one service."""

    def __init__(self, world: World) -> None:
        """Must be made where the event loop runs."""
        self._client = LeanClient(world.alarms, IDLE_S, GIVE_UP_S)
        self._doors = Doors(world.alarms, GIVE_UP_S, world.spec.doors_by_url())
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=IDLE_S),
            timeout=aiohttp.ClientTimeout(total=GIVE_UP_S),
            headers={"content-type": "application/json"},
            auto_decompress=False,
        )

    async def post(
        self,
        url: str,
        call: Call | None,
        body: bytes,
        answer_type: type[msgspec.Struct],
        headers: Mapping[str, str] = {},
        limit_us: int = 0,
    ) -> Answer:
        """Post ``body``; a 2xx answer is read as ``answer_type`` and becomes the answer's value.

        A problem with an ``outcome`` has that outcome; else 503 is ``rejected``, 504 ``timed_out``,
        other 4xx are ``declined`` (asking again would not help), the rest is an ``error``. Without
        ``call`` the other side keeps no row of the visit. Without an answer within ``limit_us``, if
        that is not 0, it has timed out.
        """
        trace = {} if call is None else {TRACE_HEADER: trace_of(call).header()}
        sent = {**headers, **trace}
        try:
            inside = await self._doors.post(url, body, sent, limit_us)
            got = inside or await self._elsewhere(url, body, sent, limit_us)
        except TimeoutError:
            return Answer(TIMED_OUT)
        except OSError as error:
            return Answer(ERROR, "connection", type(error).__name__)
        if isinstance(got, Answer):
            return got
        if got.status < 300:  # noqa: PLR2004 - the 2xx statuses
            try:
                return Answer(OK, "", decoder(answer_type).decode(got.body))
            except msgspec.DecodeError as error:
                return Answer(ERROR, "malformed", str(error))
        return _negative(got.status, got.body)

    async def _elsewhere(
        self, url: str, body: bytes, headers: Mapping[str, str], limit_us: int
    ) -> Reply | Answer:
        """Post at a port, or over TLS to somebody else's service; raises what posting raises."""
        if url.startswith("http://"):
            return await self._client.post(url, body, headers, limit_us)
        async with asyncio.timeout(limit_us / 1e6 or None):
            got = await self.send("POST", url, body, headers)
        return got if isinstance(got, Answer) else Reply(*got)

    async def send(
        self,
        method: str,
        url: str,
        body: bytes,
        headers: Mapping[str, str],
        tls: ssl.SSLContext | None = None,
    ) -> tuple[int, bytes] | Answer:
        """Status and body of what comes back, or what it means that nothing does.

        Redirects are not followed: they could lead anywhere.
        """
        try:
            async with self._session.request(
                method, url, data=body or None, headers=headers, ssl=tls or True,
                allow_redirects=False,
            ) as response:  # fmt: skip
                return response.status, await response.read()
        except TimeoutError:
            return Answer(TIMED_OUT)
        except aiohttp.ClientError as error:
            return Answer(ERROR, "connection", type(error).__name__)

    async def close(self) -> None:
        """Close the connections."""
        self._doors.close()
        await self._client.close()
        await self._session.close()


@lru_cache
def decoder(kind: type[msgspec.Struct]) -> msgspec.json.Decoder[Any]:
    """The reader of one kind of answer; making one costs more than using it."""
    return msgspec.json.Decoder(kind)


def trace_of(call: Call) -> Trace:
    """The trace that tells the other side which visit this is."""
    told = call.traits
    return Trace(
        call.kind, call.journey_id, call.step, call.leg, call.attempt, told.app, told.bank,
        told.medium, told.scanner, told.operator,
    )  # fmt: skip


def _negative(status: int, content: bytes) -> Answer:
    try:
        problem = msgspec.json.decode(content, type=Problem)
    except msgspec.DecodeError:
        problem = Problem("about:blank", "", status)
    if problem.outcome in OUTCOMES:
        return Answer(OUTCOMES.index(problem.outcome), problem.code, problem)
    client_fault = 400 <= status < 500  # noqa: PLR2004 - the 4xx statuses
    outcome = BY_STATUS.get(status, DECLINED if client_fault else ERROR)
    code = problem.code or (QUEUE_FULL if outcome == REJECTED else f"http_{status}")
    return Answer(outcome, code, problem)
