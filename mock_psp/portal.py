"""The old portal as a service: accounts with really hashed passwords, sessions, the bill.

Passwords are hashed with argon2id at the parameters that RFC 9106 recommends where memory is
scarce (64 MiB, three passes, four lanes), in as many threads as the scenario gives the station
servers: the cost is real, and so is the queue in front of it.

Which bill is open and what is owed on it is the biller's to say: the portal asks it, like any
party, so that a paid bill is not offered again and the amount is that of the day.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

import msgspec
from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError
from argon2.profiles import RFC_9106_LOW_MEMORY
from litestar import get, post

from fewseconds import journey as j
from fewseconds.contracts import (
    BILLER_RESOLVE,
    PORTAL_BILL,
    PORTAL_FORGOTTEN,
    PORTAL_LOG_IN,
    PORTAL_REGISTER,
    PORTAL_RESET,
    BillDetails,
    BillQuery,
    PortalAccount,
    PortalForgotten,
    PortalLogIn,
    PortalRegistered,
    PortalReset,
    PortalSession,
    portal_password,
)  # fmt: skip
from fewseconds.errors import MalformedError
from fixtures import consumers
from mock_psp.bill_book import BillBook
from mock_psp.described import PARTIES, PORTAL_SESSION, described
from mock_psp.kept_accounts import Kept, KeptAccounts
from mock_psp.outgoing import Outgoing
from mock_psp.portal_reset import Resets
from mock_psp.station import Answer, Duty
from mock_psp.web import HttpRequest, Refusal, body_of, refused, trace_of
from mock_psp.web import application as service

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from fewseconds.contracts import Trace
    from fewseconds.identity import Bill
    from mock_psp.front import Front
    from mock_psp.station import Station
    from mock_psp.world import World

PASSWORD_LENGTHS: Final = range(8, 129)
SESSIONS_MAX: Final = 200_000
HASHER: Final = PasswordHasher.from_parameters(RFC_9106_LOW_MEMORY)


class Account:
    """Somebody who has registered."""

    __slots__ = ("owner", "password_hash")

    def __init__(self, owner: Bill, password_hash: str) -> None:
        """``owner``: a bill of the consumer whose bills may be seen."""
        self.owner, self.password_hash = owner, password_hash


class Portal:
    """The parts of the service and what it remembers."""

    def __init__(self, world: World) -> None:
        """Who registered before a kill is known again; nobody has logged in yet."""
        self.world = world
        servers = world.scenario.stations["portal_password"].servers
        self._threads = ThreadPoolExecutor(max(servers, 1), "password")
        self.password = world.station("portal_password", pooled=True)
        self.page = world.station("portal_page")
        self._accounts: dict[str, Account] = {}
        self._sessions: OrderedDict[str, str] = OrderedDict()
        """Tokens and the numbers of the consumers who have them."""
        self._book = BillBook(world.spec)
        self._kept = KeptAccounts(world.folder.accounts)
        for one in self._kept.found():
            owner = self._book.of_consumer(one.consumer_number)[0]
            self._accounts[one.login] = Account(owner, one.password_hash)

    async def start(self) -> None:
        """Fill the pools of names, which takes half a second."""
        consumers.consumer(self.world.seed, 0)
        self._outgoing = Outgoing(self.world)
        self._resets = Resets(self.world.spec.url("sms"), self._outgoing)

    async def stop(self) -> None:
        """Begin no further hash."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        await self._outgoing.close()
        self._kept.close()

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
            theirs = self._book.of_consumer(account.consumer_number)
        except MalformedError as error:
            return _declined(Refusal(400, "Malformed", str(error)))
        if not theirs:
            return _declined(Refusal(400, "Malformed", "consumer_number: nobody has this one"))
        owner = self._owner(account.login)
        if owner is not None and owner.consumer != theirs[0].consumer:
            # Else it could be the number of a consumer who registered before this run.
            return _declined(Refusal(409, "Login taken", "choose another login"))
        if account.login not in self._accounts:
            made = await self._hashed(account.password)
            # Somebody else may have taken the login while the hash was computed.
            if account.login not in self._accounts:
                self._keep(account.login, theirs[0], made)
                return Answer(j.OK, "", PortalRegistered(account.login))
        known = self._accounts[account.login]
        if known.owner.consumer != theirs[0].consumer:
            return _declined(Refusal(409, "Login taken", "choose another login"))
        if not await self._verified(known.password_hash, account.password):
            return _declined(Refusal(409, "Login taken", "choose another login"))
        return Answer(j.OK, "", PortalRegistered(account.login))

    async def log_in(self, given: PortalLogIn) -> Answer:
        """Open a session. One hash is computed whoever asks, also for a login that nobody has."""
        known = self._accounts.get(given.login)
        if known is not None:
            right = await self._verified(known.password_hash, given.password)
            owner = known.owner if right else None
        else:
            owner = await self._first_log_in(given)
        if owner is None:
            return _declined(Refusal(401, "Not logged in", "login or password is wrong"))
        token = secrets.token_urlsafe(32)
        self._sessions[token] = owner.consumer
        if len(self._sessions) > SESSIONS_MAX:
            self._sessions.popitem(last=False)
        return Answer(j.OK, "", PortalSession(token))

    async def forgotten(self, login: str) -> None:
        """Send a code to whoever the login belongs to, if it belongs to anybody."""
        owner = self._owner(login)
        if owner is not None:
            phone = owner.phone or consumers.phone_number(self.world.seed, owner.index)
            await self._resets.send(login, phone)

    async def reset(self, asked: PortalReset) -> Answer:
        """Set a new password; who is logged in with the old one is no longer."""
        if len(asked.password) not in PASSWORD_LENGTHS:
            return _declined(Refusal(400, "Malformed", "password: is not 8 to 128 characters"))
        owner = self._owner(asked.login)
        if owner is None or not self._resets.used(asked.login, asked.code):
            return _declined(Refusal(401, "Not authentic", "the code is wrong, used or too old"))
        self._keep(asked.login, owner, await self._hashed(asked.password))
        for token in [token for token, whose in self._sessions.items() if whose == owner.consumer]:
            del self._sessions[token]
        return Answer(j.OK, "", PortalRegistered(asked.login))

    def _keep(self, login: str, owner: Bill, password_hash: str) -> None:
        """Have an account, in memory and over a kill."""
        self._kept.keep(Kept(login, owner.consumer, password_hash))
        self._accounts[login] = Account(owner, password_hash)

    def _owner(self, login: str) -> Bill | None:
        """Whose login it is: an account's, or a consumer's who registered before this run."""
        account = self._accounts.get(login)
        if account is not None:
            return account.owner
        try:
            theirs = self._book.of_consumer(login)
        except MalformedError:
            return None
        return theirs[0] if theirs else None

    async def _first_log_in(self, given: PortalLogIn) -> Bill | None:
        """Who registered before this run: the account is made when it is first seen.

        Its hash is computed now from what was typed, at the price of verifying one.
        """
        owner = self._owner(given.login)
        made = await self._hashed(given.password)
        wanted = portal_password(self.world.seed, 0 if owner is None else owner.index)
        right = hmac.compare_digest(given.password.encode(), wanted.encode())
        if owner is None or not right:
            return None
        self._accounts[given.login] = Account(owner, made)
        return owner

    async def bill(self, token: str) -> Answer:
        """The open bill of whoever is logged in, as the biller says; its refusals are passed on."""
        number, world = self._sessions.get(token), self.world
        if number is None:
            return _declined(Refusal(401, "Not logged in", "send Authorization: Bearer <token>"))
        if world.spec.biller is not None:
            refusal = Refusal(503, "No bills", "the portal shows those of the mock biller only")
            return Answer(j.REJECTED, "http_503", refusal.problem)
        asked = msgspec.json.encode(BillQuery(consumer_number=number, unpaid=True))
        # No visit of the biller's station: the model of this page has only the page.
        url = world.spec.url("biller") + BILLER_RESOLVE
        return await self._outgoing.post(url, None, asked, BillDetails)

    async def _hashed(self, password: str) -> str:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, HASHER.hash, password)

    async def _verified(self, password_hash: str, password: str) -> bool:
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._threads, HASHER.verify, password_hash, password)
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


@post(PORTAL_FORGOTTEN, status_code=202, operation_class=described(PortalForgotten))
async def forgotten(request: HttpRequest) -> None:
    """Have a code sent for a new password; the answer is the same for every login."""
    portal: Portal = request.app.state.portal
    data = await body_of(request, PortalForgotten)
    await portal.forgotten(data.login)


@post(
    PORTAL_RESET, status_code=201, operation_class=described(PortalReset, refuses=(401, *PARTIES))
)
async def reset(request: HttpRequest) -> PortalRegistered:
    """Set a new password with the code that came by SMS."""
    portal: Portal = request.app.state.portal
    data = await body_of(request, PortalReset)
    answer = await portal.visit(portal.password, trace_of(request), lambda: portal.reset(data))
    registered: PortalRegistered = answer.value
    return registered


@get(PORTAL_BILL, operation_class=described(refuses=(404, 409, *PARTIES), needs=PORTAL_SESSION))
async def current_bill(request: HttpRequest) -> BillDetails:
    """The open bill of whoever is logged in, with what is owed on it today; 409 if it is paid."""
    portal: Portal = request.app.state.portal
    token = request.headers.get("authorization", "").removeprefix("Bearer ")
    answer = await portal.visit(portal.page, trace_of(request), lambda: portal.bill(token))
    details: BillDetails = answer.value
    return details


def application(world: World) -> Front:
    """The portal as an ASGI application."""
    portal = Portal(world)
    handlers: list[Any] = [register, log_in, current_bill, forgotten, reset]
    return service(world, "portal", handlers, {"portal": portal}, portal.start, portal.stop)
