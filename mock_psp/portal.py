"""The old portal as a service: accounts with really hashed passwords, sessions, the bill.

Passwords are hashed with argon2id at the parameters that RFC 9106 recommends where memory is
scarce (64 MiB, three passes, four lanes), in as many threads as the scenario gives the station
servers: the cost is real, and so is the queue in front of it.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError
from argon2.profiles import RFC_9106_LOW_MEMORY
from litestar import get, post

from fewseconds import journey as j
from fewseconds.contracts import (
    PORTAL_BILL,
    PORTAL_LOG_IN,
    PORTAL_REGISTER,
    BillDetails,
    PortalAccount,
    PortalLogIn,
    PortalRegistered,
    PortalSession,
    portal_password,
)  # fmt: skip
from fewseconds.errors import MalformedError
from fewseconds.identity import masked
from fixtures import bills, consumers, qr
from mock_psp.described import PARTIES, PORTAL_SESSION, described
from mock_psp.station import Answer, Duty
from mock_psp.web import HttpRequest, Refusal, body_of, refused, trace_of
from mock_psp.web import application as service

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from fewseconds.contracts import Trace
    from mock_psp.front import Front
    from mock_psp.station import Station
    from mock_psp.world import World

PASSWORD_LENGTHS: Final = range(8, 129)
SESSIONS_MAX: Final = 200_000


class Account:
    """Somebody who has registered."""

    __slots__ = ("consumer", "password_hash")

    def __init__(self, consumer: int, password_hash: str) -> None:
        """``consumer`` is the index of the consumer whose bills may be seen."""
        self.consumer, self.password_hash = consumer, password_hash


class Portal:
    """The parts of the service and what it remembers."""

    def __init__(self, world: World) -> None:
        """Nobody has registered or logged in in this run yet."""
        self.world = world
        self._hasher = PasswordHasher.from_parameters(RFC_9106_LOW_MEMORY)
        servers = world.scenario.stations["portal_password"].servers
        self._threads = ThreadPoolExecutor(max(servers, 1), "password")
        self.password = world.station("portal_password", pooled=True)
        self.page = world.station("portal_page")
        self._accounts: dict[str, Account] = {}
        self._sessions: OrderedDict[str, int] = OrderedDict()

    async def start(self) -> None:
        """Fill the pools of names, which takes half a second."""
        consumers.consumer(self.world.seed, 0)

    async def stop(self) -> None:
        """Begin no further hash."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def visit(
        self, station: Station, trace: Trace | None, work: Callable[[], Answer | Awaitable[Answer]]
    ) -> Answer:
        """Do some work as one visit of a station; raises the problem of a negative answer."""
        call = None if trace is None else self.world.call(trace)
        if call is None:
            result = work()
            answer = result if isinstance(result, Answer) else await result
        else:
            answer = await station.visit(call, Duty(do=work))
        if answer.outcome != j.OK:
            raise refused(answer)
        return answer

    async def register(self, account: PortalAccount) -> Answer:
        """Make an account; a repeated request with the same password finds it made."""
        if len(account.password) not in PASSWORD_LENGTHS:
            return _declined(Refusal(400, "Malformed", "password: is not 8 to 128 characters"))
        try:
            consumer = consumers.index_of(account.consumer_number)
        except MalformedError as error:
            return _declined(Refusal(400, "Malformed", str(error)))
        known = self._accounts.get(account.login)
        if known is not None:
            if not await self._verified(known.password_hash, account.password):
                return _declined(Refusal(409, "Login taken", "choose another login"))
        else:
            made = await self._hashed(account.password)
            self._accounts[account.login] = Account(consumer, made)
        return Answer(j.OK, "", PortalRegistered(account.login))

    async def log_in(self, given: PortalLogIn) -> Answer:
        """Open a session. One hash is computed whoever asks, also for a login that nobody has."""
        known = self._accounts.get(given.login)
        if known is not None:
            right, consumer = (
                await self._verified(known.password_hash, given.password),
                known.consumer,
            )
        else:
            right, consumer = await self._first_log_in(given)
        if not right:
            return _declined(Refusal(401, "Not logged in", "login or password is wrong"))
        token = secrets.token_urlsafe(32)
        self._sessions[token] = consumer
        if len(self._sessions) > SESSIONS_MAX:
            self._sessions.popitem(last=False)
        return Answer(j.OK, "", PortalSession(token))

    async def _first_log_in(self, given: PortalLogIn) -> tuple[bool, int]:
        """Who registered before this run: the account is made when it is first seen.

        Its hash is computed now from what was typed, at the price of verifying one.
        """
        try:
            consumer = consumers.index_of(given.login)
        except MalformedError:
            consumer = -1
        made = await self._hashed(given.password)
        wanted = portal_password(self.world.seed, max(consumer, 0))
        right = hmac.compare_digest(given.password.encode(), wanted.encode())
        known = 0 <= consumer < self.world.scenario.consumers
        if right and known:
            self._accounts[given.login] = Account(consumer, made)
        return right and known, consumer

    def bill(self, token: str) -> Answer:
        """The current bill of whoever is logged in."""
        consumer = self._sessions.get(token)
        if consumer is None:
            return _declined(Refusal(401, "Not logged in", "send Authorization: Bearer <token>"))
        bill = bills.bill(self.world.seed, consumer)
        name = masked(consumers.name(self.world.seed, consumer))
        shown = BillDetails(
            bill.number, bill.consumer, name, bill.amount_paise, bill.due_on, qr.PAYEE,
            qr.PAYEE_NAME,
        )  # fmt: skip
        return Answer(j.OK, "", shown)

    async def _hashed(self, password: str) -> str:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._hasher.hash, password)

    async def _verified(self, password_hash: str, password: str) -> bool:
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(
                self._threads, self._hasher.verify, password_hash, password
            )
        except VerifyMismatchError:
            return False


def _declined(refusal: Refusal) -> Answer:
    return Answer(j.DECLINED, f"http_{refusal.problem.status}", refusal.problem)


@post(
    PORTAL_REGISTER,
    status_code=201,
    operation_class=described(PortalAccount, refuses=(409, *PARTIES)),
)
async def register(request: HttpRequest) -> PortalRegistered:
    """Make an account."""
    portal: Portal = request.app.state.portal
    data = await body_of(request, PortalAccount)
    answer = await portal.visit(portal.password, trace_of(request), lambda: portal.register(data))
    registered: PortalRegistered = answer.value
    return registered


@post(
    PORTAL_LOG_IN, status_code=201, operation_class=described(PortalLogIn, refuses=(401, *PARTIES))
)
async def log_in(request: HttpRequest) -> PortalSession:
    """Open a session."""
    portal: Portal = request.app.state.portal
    data = await body_of(request, PortalLogIn)
    answer = await portal.visit(portal.password, trace_of(request), lambda: portal.log_in(data))
    session: PortalSession = answer.value
    return session


@get(PORTAL_BILL, operation_class=described(refuses=(404, *PARTIES), needs=PORTAL_SESSION))
async def current_bill(request: HttpRequest) -> BillDetails:
    """The current bill of whoever is logged in."""
    portal: Portal = request.app.state.portal
    token = request.headers.get("authorization", "").removeprefix("Bearer ")
    answer = await portal.visit(portal.page, trace_of(request), lambda: portal.bill(token))
    details: BillDetails = answer.value
    return details


def application(world: World) -> Front:
    """The portal as an ASGI application."""
    portal = Portal(world)
    handlers: list[Any] = [register, log_in, current_bill]
    return service(world, "portal", handlers, {"portal": portal}, portal.start, portal.stop)
