"""The payer side as a service: resolve, pay, ask what became of it.

It is the payer's PSP with the switch, the banks and the payee's PSP behind it; which of them an
attempt passes, and how long each takes, is the scenario's affair (see ``walk``).
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final

import msgspec
from litestar import get, post

from fewseconds import chance, identity
from fewseconds import journey as j
from fewseconds.contracts import (
    CALENDAR,
    FORCE_HEADER,
    PAY,
    PAYMENTS,
    RESOLVE,
    BillDetails,
    BillQuery,
    Payment,
    PayRequest,
    ResolveRequest,
    Trace,
)  # fmt: skip
from fewseconds.errors import MalformedError
from fewseconds.payer_app import WALLET
from fixtures import consumers, keys
from mock_psp import app_rules, merchant_api
from mock_psp.attempts import Attempts, check_payment, forget_oldest
from mock_psp.biller_line import biller_line
from mock_psp.books_contract import CalendarMove, CalendarTime
from mock_psp.calendar import Calendar
from mock_psp.described import PARTIES, RUN_TOKEN, described
from mock_psp.journal import Journal
from mock_psp.kept_payments import KeptPayments
from mock_psp.merchant import Merchant
from mock_psp.messages import MessageLog, messages
from mock_psp.outgoing import Outgoing
from mock_psp.payments import (
    PREFIX,
    Banks,
    PayeeSide,
    Transaction,
    forced_code,
)
from mock_psp.recovery import recovered
from mock_psp.station import Answer, Call, Duty
from mock_psp.switch_checks import STEP, TOO_MANY_CHECKS
from mock_psp.walk import Journey, Remote, Walk
from mock_psp.web import (
    HttpRequest,
    Refusal,
    ShortWay,
    body_of,
    check_token,
    refused,
    trace_of,
)  # fmt: skip
from mock_psp.web import application as service

if TYPE_CHECKING:
    from mock_psp.front import Front
    from mock_psp.walk import DutyOf
    from mock_psp.world import World

REFUSALS: Final = (404, 409, *PARTIES)
FIRST_MANUAL: Final = 101
"""Attempts of checks by hand: above those of any scenario, so that none draws the same."""
ELSEWHERE: Final = ("biller", "sms_outbox", "sms_gateway", "operator")


class Scan:
    """The parcel of a resolve attempt: what was scanned or typed, then the question it became."""

    __slots__ = ("query", "request", "verified")

    def __init__(self, request: ResolveRequest) -> None:
        """Nothing is verified yet."""
        self.request, self.query, self.verified = request, BillQuery(), False


class PayerSide:
    """The parts of the service and what it remembers."""

    def __init__(self, world: World) -> None:
        """Stations and keys are made ready; connections when the event loop runs."""
        self.world = world
        self.journeys: OrderedDict[tuple[str, int], Journey] = OrderedDict()
        self.transactions = KeptPayments(world)
        self.under_way: dict[str, asyncio.Future[None]] = {}
        self.checks: OrderedDict[str, int] = OrderedDict()
        self._keys = keys.registry(world.seed)
        # A biller that outlives a run must not meet the transactions of an earlier one.
        salt = chance.stream(world.spec.run_name) if world.spec.biller is not None else 0
        self._seed = world.seed ^ salt
        self.attempts = Attempts(world, self.transactions, self._seed)

    async def start(self) -> None:
        """Open the journal and build the walk."""
        world = self.world
        before = recovered(world)
        self.transactions.update(before.transactions)
        self.journal = Journal(world.folder.journal, world.folder.payers)
        self.outgoing = Outgoing(world)
        self.calendar = Calendar(kept=world.folder.calendar)
        self.banks = Banks(world, self.journal, self.calendar, before.last_rrn)
        self.merchant = Merchant(world, self.calendar, self.journal, self._payer_of)
        self.banks.merchant = self.merchant
        self.line = biller_line(world, self.outgoing)
        payee = PayeeSide(self.line, self.banks)
        by_step: dict[str, Remote] = {
            "resolve": self._ask_biller, "pay": payee.authorise, "callback": payee.call_back,
        }  # fmt: skip

        async def biller(call: Call, parcel: Any) -> Answer:  # noqa: ANN401 - of the step
            return await by_step[call.step](call, parcel)

        stations = {
            name: world.station(name)
            for name, table in world.scenario.stations.items()
            if table.role == "mocked" and name not in ELSEWHERE
        }
        duties: dict[tuple[str, str], DutyOf] = {
            ("resolve", "payer_psp"): lambda _, scan: Duty(do=lambda: self._read(scan)),
            ("pay", "payer_psp"): lambda _, parcel: Duty(do=lambda: self._limit(parcel.request)),
        }
        punctual = {("resolve", "biller"): self._ask_biller} if self.line.punctual else {}
        self.walk = Walk(
            world, stations, {"biller": biller}, {**duties, **self.banks.duties}, punctual
        )
        before.resume(self.walk, self.banks)

    async def stop(self) -> None:
        """Break off what is on its way and close what is open."""
        await self.walk.close()
        await self.merchant.close()
        await self.outgoing.close()
        self.journal.close()
        self.transactions.close()

    def journey(self, trace: Trace) -> Journey:
        """The journey of a trace, remembered from its earlier requests."""
        place = (trace.kind, trace.journey_id)
        found = self.journeys.get(place)
        if found is None:
            route = self.world.route(trace.kind)
            if route is None:
                raise Refusal(400, "Malformed", f"{trace.kind!r} is not a kind of journey here")
            found = self.journeys[place] = Journey(
                route, trace.journey_id, self.world.traits(trace)
            )
            forget_oldest(self.journeys)
        else:
            self.journeys.move_to_end(place)
        return found

    def _read(self, scan: Scan) -> Answer | None:
        """The payer PSP's work: verify what was scanned, or check what was typed."""
        request = scan.request
        try:
            if not request.scanned:
                if not self.world.spec.real_dates:
                    # A slip of one key is caught here, unless the biller's numbers are its own.
                    consumers.index_of(request.consumer_number)
                scan.query = BillQuery(consumer_number=request.consumer_number)
                return None
            payload, verified = app_rules.read(
                self.world.scenario, request.app, request.scanned, self._keys
            )
            if payload.expires_at is not None and self.world.clock.is_over(payload.expires_at):
                raise MalformedError("QRexpire", "is over; ask the biller for a new code")
            if payload.reference is None:
                raise MalformedError("tr", "is missing; only the code of a bill can be paid here")
        except MalformedError as error:
            problem = Refusal(400, "Malformed", str(error), code="U05", outcome="declined").problem
            return Answer(j.DECLINED, "U05", problem)
        asks_paise = payload.amount_paise or 0
        scan.query = BillQuery(bill_number=payload.reference, amount_paise=asks_paise)
        scan.verified = verified
        return None

    def _payer_of(self, transaction_id: str) -> str:
        """Whose account a payment is from; empty if it was interrupted before that was noted."""
        transaction = self.transactions.get(transaction_id)
        return "" if transaction is None else transaction.request.payer_vpa

    def _limit(self, request: PayRequest) -> Answer | None:
        """The payer PSP's work at a payment: the app's own limits."""
        code = app_rules.refusal(self.world.scenario, request)
        return Answer(j.DECLINED, code) if code else None

    async def _ask_biller(self, call: Call, scan: Scan, limit_us: int = 0) -> Answer:
        if self.merchant.owns(scan.query.bill_number):
            return Answer(j.OK, "", self.merchant.details(scan.query.bill_number))
        return await self.line.resolve(call, scan.query, limit_us)

    async def resolve(self, data: ResolveRequest, trace: Trace) -> BillDetails:
        """Bill details for a scanned link or a typed consumer number."""
        journey, scan = self.journey(trace), Scan(data)
        answer = await self.walk.attempt(journey, _step(journey, trace), trace.attempt, scan)
        if answer.outcome != j.OK:
            raise refused(answer)
        details: BillDetails = answer.value
        return msgspec.structs.replace(details, verified=scan.verified)

    async def pay(self, data: PayRequest, trace: Trace, forced: str = "") -> Payment:
        """One payment attempt; asked again with the same body, the same payment."""
        check_payment(data)
        journey = self.journey(trace)
        if data.funding == "wallet":
            app_rules.check_funding(self.world.scenario, data)
            journey.traits = msgspec.structs.replace(journey.traits, account=WALLET)
        step, seed = _step(journey, trace), self._seed
        name = identity.transaction_id(PREFIX, seed, trace.journey_id, trace.attempt)
        known = self.transactions.get(name)
        if known is not None:
            if not known.asks(data):
                raise Refusal(409, "Conflict", "this attempt was made with another body")
            if name in self.under_way:
                await asyncio.shield(self.under_way[name])
            return known.payment()
        transaction = Transaction(name, data, journey, trace.attempt)
        transaction.forced = forced or self.banks.forced(data)
        transaction.paid_s = self.calendar.now_s()
        self.transactions.add(transaction)
        self.under_way[name] = self.world.alarms.loop.create_future()
        try:
            answer = await self.walk.attempt(journey, step, trace.attempt, transaction)
            transaction.end(answer)
            self.banks.show(transaction)
            if transaction.status == "PENDING":
                self.banks.owe(self.walk, transaction)
        finally:
            self.under_way.pop(name).set_result(None)
        if answer.outcome in (j.REJECTED, j.RENEGED):
            raise refused(answer)
        return transaction.payment()

    async def status(self, transaction_id: str, trace: Trace | None) -> Payment:
        """What has become of a payment, as far as the payer PSP knows."""
        transaction = self.known(transaction_id)
        journey = transaction.journey
        if trace is not None:
            step, attempt = _step(journey, trace), trace.attempt
        else:
            step = journey.route.index("check_status")
            attempt = self.checks[transaction_id] = self.checks.get(transaction_id, 0) + 1
            forget_oldest(self.checks)
        answer = await self.walk.attempt(journey, step, attempt, transaction)
        if answer.outcome not in (j.OK, j.UNFINISHED):
            raise refused(answer)
        self._learn(transaction, answer)
        payment = transaction.payment()
        if answer.outcome == j.UNFINISHED and payment.status == "PENDING":
            # What the check itself says; the code of the payment is that of its own end.
            payment = msgspec.structs.replace(payment, code=answer.code or j.PENDING_CODE)
        return payment

    async def check(self, transaction_id: str) -> Payment:
        """Ask the switch what became of a payment; refused too early and too often."""
        transaction = self.known(transaction_id)
        journey = transaction.journey
        try:
            step, why = journey.route.index(STEP), self.banks.may_check(transaction)
        except KeyError:
            what = f"nobody asks the switch in {journey.route.kind!r}: it has no step {STEP!r}"
            raise Refusal(404, "No such step", what) from None
        if why:
            raise Refusal(429, "Too many checks", why, code=TOO_MANY_CHECKS)
        attempt = FIRST_MANUAL + self.banks.checks.count(transaction_id)
        answer = await self.walk.attempt(journey, step, attempt, transaction, branch=STEP)
        if answer.outcome not in (j.OK, j.UNFINISHED):
            raise refused(answer)
        self._learn(transaction, answer)
        return transaction.payment()

    def _learn(self, transaction: Transaction, answer: Answer) -> None:
        """Who was told to wait is told the end, once it is known."""
        if answer.outcome == j.OK and transaction.status == "PENDING":
            transaction.end(answer)
            self.banks.show(transaction)

    def known(self, transaction_id: str) -> Transaction:
        """The payment with that id; raises Refusal if there is none."""
        transaction = self.transactions.get(transaction_id)
        if transaction is None:
            raise Refusal(404, "No such payment", f"no payment {transaction_id!r} is known here")
        return transaction


def _step(journey: Journey, trace: Trace) -> int:
    """The position of the step that a trace names; refuses a step that its journey lacks."""
    try:
        return journey.route.index(trace.step)
    except KeyError:
        what = f"{trace.step!r} is not a step of {trace.kind!r}"
        raise Refusal(400, "Malformed", what) from None


@post(RESOLVE, status_code=200, operation_class=described(ResolveRequest, refuses=REFUSALS))
async def resolve(request: HttpRequest) -> BillDetails:
    """Read a scanned link (or a typed consumer number) and show the bill behind it."""
    payer: PayerSide = request.app.state.payer
    data = await body_of(request, ResolveRequest)
    return await payer.resolve(data, payer.attempts.trace(request, "resolve", data))


@post(PAY, status_code=200, operation_class=described(PayRequest, refuses=(401, *REFUSALS)))
async def pay(request: HttpRequest) -> Payment:
    """Pay a bill: SUCCESS, FAILURE, or PENDING when its fate is not known yet."""
    payer: PayerSide = request.app.state.payer
    data = await body_of(request, PayRequest)
    forced = request.headers.get(FORCE_HEADER, "")
    if forced:
        check_token(request, payer.world.secrets.token)
        forced = forced_code(FORCE_HEADER, forced)
    return await payer.pay(data, payer.attempts.trace(request, "pay", data), forced)


@get(PAYMENTS + "/{transaction_id:str}", operation_class=described(refuses=(400, *REFUSALS)))
async def payment_status(request: HttpRequest, transaction_id: str) -> Payment:
    """Tell what has become of a payment."""
    payer: PayerSide = request.app.state.payer
    return await payer.status(transaction_id, trace_of(request))


@get(PAYMENTS + "/{transaction_id:str}/messages", operation_class=described(refuses=(400, 404)))
async def payment_messages(request: HttpRequest, transaction_id: str) -> MessageLog:
    """Tell which messages of the switch a payment has sent."""
    payer: PayerSide = request.app.state.payer
    return messages(payer.known(transaction_id), payer.world.clock.moment_of)


@post(
    PAYMENTS + "/{transaction_id:str}/checks",
    status_code=200,
    operation_class=described(refuses=(400, 429, *REFUSALS)),
)
async def payment_check(request: HttpRequest, transaction_id: str) -> Payment:
    """Ask the switch what became of a payment, as seldom as the switch allows."""
    payer: PayerSide = request.app.state.payer
    return await payer.check(transaction_id)


@post(CALENDAR, status_code=200, operation_class=described(CalendarMove, needs=RUN_TOKEN))
async def calendar(request: HttpRequest) -> CalendarTime:
    """Move the calendar ahead: webhooks, settlements and reversals that are due then happen."""
    payer: PayerSide = request.app.state.payer
    check_token(request, payer.world.secrets.token)
    data = await body_of(request, CalendarMove)
    return CalendarTime(payer.calendar.advance(data.advance_s))


def _status_arguments(transaction_id: str, query: str) -> dict[str, Any] | None:
    return {"transaction_id": transaction_id} if transaction_id and not query else None


def application(world: World) -> Front:
    """The payer side as an ASGI application."""
    payer = PayerSide(world)
    handlers: list[Any] = [
        resolve, pay, payment_status, payment_messages, payment_check, calendar,
        merchant_api.router(),
    ]  # fmt: skip
    hot = resolve, pay, ShortWay(payment_status, _status_arguments)
    return service(
        world, "payer side", handlers, {"payer": payer}, payer.start, payer.stop, hot=hot
    )
