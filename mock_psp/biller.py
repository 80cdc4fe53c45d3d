"""The biller as a service: what is owed, may it be paid, it has been paid.

This is the system under test: it works at its own speed, unless the scenario slows it down.
"""

from __future__ import annotations

import hashlib
import logging
import re
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec
from litestar import get, post
from sqlalchemy.exc import SQLAlchemyError

from fewseconds import journey as j
from fewseconds.contracts import (
    BILLER_AUTHORISE,
    BILLER_CALLBACK,
    BILLER_RECEIPTS,
    BILLER_RESOLVE,
    Acknowledged,
    Authorisation,
    Authorised,
    BillCode,
    BillDetails,
    BillQuery,
    Callback,
    Receipt,
)  # fmt: skip
from fewseconds.errors import MalformedError
from fewseconds.identity import TRANSACTION_ID_LENGTH, masked
from fixtures import consumers, qr, tariff
from mock_psp import back_office, bbps, database
from mock_psp.bill_book import BillBook
from mock_psp.clock import wall_s
from mock_psp.described import PARTIES, SIGNED, described
from mock_psp.ledger import Ledger
from mock_psp.merchant_client import MerchantClient
from mock_psp.outbox import Relay
from mock_psp.outgoing import Outgoing
from mock_psp.posting import Conflict, Notice
from mock_psp.reconcile import Sweeper
from mock_psp.station import Answer, Duty
from mock_psp.web import (
    HttpRequest,
    Refusal,
    ShortWay,
    body_of,
    refuse_nul,
    refused,
    trace_of,
)
from mock_psp.web import application as service
from mock_psp.webhook import NotAuthenticError, checked_id

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from fewseconds.contracts import Trace
    from fewseconds.identity import Bill
    from mock_psp.front import Front
    from mock_psp.giving_back import Refunded
    from mock_psp.merchant_client import Made
    from mock_psp.world import World

REMEMBERED: Final = 8192
GRACE_DAYS: Final = qr.DAYS_VALID_AFTER_DUE
"""Bills are accepted this long after the due date, as long as their code is valid."""
_TRANSACTION: Final = re.compile(rf"[A-Za-z0-9]{{{TRANSACTION_ID_LENGTH}}}")
_RRN: Final = re.compile(r"[0-9]{12}")
ASKED: Final = (404, 409, *PARTIES)
_CALLBACK: Final = msgspec.json.Decoder(Callback)

log = logging.getLogger(__name__)


class Biller:
    """The parts of the service."""

    def __init__(self, world: World) -> None:
        """The ledger is opened when the event loop runs."""
        self.world = world
        self.station = world.station("biller")
        self._keys = world.secrets.keys()
        self.book = BillBook(world.spec)
        # The same bill is asked for three times within seconds: shown, authorised, posted.
        self.bill = lru_cache(REMEMBERED)(self._bill)
        self.name = lru_cache(REMEMBERED)(partial(consumers.name, world.seed))

    async def start(self) -> None:
        """Open the ledger and send what was left unsent."""
        self.name(0)  # The pools of names take half a second to fill.
        world = self.world
        url = database.url_of(world.secrets.database, world.folder)
        self.ledger = Ledger(url, world.spec.run_name)
        world.counts.append(
            lambda: {"ledger_orders": self.ledger.orders, "ledger_batches": self.ledger.batches}
        )
        world.unable.append(self.ledger.unable)
        self.outgoing = Outgoing(world)
        self.relay = Relay(self.world, self.ledger, self.outgoing)
        self.relay.wake()
        self.relay.walk.start(self.relay.rounds())
        self.merchant = MerchantClient(world, self.ledger, self.given_back)
        self.sweeper = Sweeper(
            self.merchant, self.ledger, self._post_missed, self._given_back_unheard
        )
        world.counts.append(lambda: self.sweeper.counts)

    async def stop(self) -> None:
        """Leave nothing half written."""
        await self.sweeper.close()
        await self.merchant.close()
        await self.relay.walk.close()
        await self.outgoing.close()
        self.ledger.close()

    async def visit(
        self, trace: Trace | None, work: Callable[[], Answer | Awaitable[Answer]]
    ) -> Answer:
        """Do some work as one visit of the station; without a trace, nobody keeps a row of it."""
        call = None if trace is None else self.world.call(trace)
        if call is None:
            result = work()
            return result if isinstance(result, Answer) else await result
        return await self.station.visit(call, Duty(do=work))

    def _bill(self, number: str) -> Bill | None:
        """The bill with that number, None if there is none."""
        try:
            return self.book.numbered(number)
        except MalformedError:
            return None

    def details(self, query: BillQuery) -> Answer:
        """What the payer is shown before paying."""
        try:
            found = self._asked_for(query)
        except MalformedError as error:
            return _declined(Refusal(400, "Malformed", str(error)))
        if not found:
            problem = Refusal(404, "No such bill", "check the number on the bill", code="ZD")
            return Answer(j.DECLINED, "ZD", problem.problem)
        if query.unpaid:
            found = [one for one in found if self.ledger.paid_by(one.number) is None]
        if not found:
            problem = Refusal(409, "Already paid", "nothing is owed on this bill", code="YG")
            return Answer(j.DECLINED, "YG", problem.problem)
        bill = found[0]
        owed = self.payable(bill).amount_paise
        if query.amount_paise not in (0, owed):
            detail = "the amount on the bill has changed; scan its new code"
            problem = Refusal(409, "Wrong amount", detail, code="B6", outcome="declined")
            return Answer(j.DECLINED, "B6", problem.problem)
        name = masked(self.name(bill.index))
        shown = BillDetails(
            bill.number, bill.consumer, name, owed, bill.due_on, qr.PAYEE,
            qr.PAYEE_NAME,
        )  # fmt: skip
        return Answer(j.OK, "", shown)

    def _asked_for(self, query: BillQuery) -> Sequence[Bill]:
        """The bills that a question is about; raises MalformedError for what is no number."""
        if query.bill_number:
            bill = self.bill(query.bill_number)
            return () if bill is None else (bill,)
        return self.book.of_consumer(query.consumer_number) if query.consumer_number else ()

    def authorisation(self, asked: Authorisation) -> Answer:
        """May this payment go ahead? The codes are those of UPI's response-code lists."""
        bill = self.bill(asked.bill_number)
        refusal = None
        if bill is None:
            refusal = "ZD", "unknown bill"
        elif self._expired(bill):
            refusal = "PE", "expired bill"
        elif asked.amount_paise != self.payable(bill).amount_paise:
            refusal = "B6", "wrong amount"
        elif self.ledger.paid_by(bill.number) not in (None, asked.transaction_id):
            refusal = "YG", "already paid"
        if refusal is not None:
            return Answer(
                j.DECLINED,
                refusal[0],
                Authorised(approved=False, code=refusal[0], reason=refusal[1]),
            )
        return Answer(j.OK, "", Authorised(approved=True))

    async def call_back(self, request: HttpRequest, body: bytes) -> Answer:
        """Authenticate, read and post a callback; returns when the posting is durable."""
        try:
            message_id = checked_id(request.headers, body, self._keys, wall_s())
        except NotAuthenticError as error:
            log.warning("a callback was refused", extra={"reason": str(error)})
            return _declined(Refusal(401, "Not authentic", str(error)))
        try:
            refuse_nul(body)
            callback = _CALLBACK.decode(body)
            _check(callback, message_id)
        except (msgspec.DecodeError, MalformedError) as error:
            return _declined(Refusal(400, "Malformed", str(error)))
        trace = trace_of(request)
        told = "" if trace is None else trace.header()
        notice = self.notice(callback, hashlib.sha256(body).hexdigest(), trace=told)
        try:
            result = await self.ledger.post(notice)
        except SQLAlchemyError as error:
            log.exception("the ledger did not take a posting")
            detail = self.ledger.unable() or type(error).__name__
            refusal = Refusal(503, "Ledger unavailable", detail, outcome="error")
            return Answer(j.ERROR, "ledger", refusal.problem)
        if isinstance(result, Conflict):
            log.warning("a callback contradicts an earlier one", extra={"reason": result.reason})
            return _declined(Refusal(409, "Conflict", result.reason))
        if not result.duplicate:
            self.relay.wake()
            if result.posting == "refund_due":
                self.merchant.wake()
        return Answer(j.OK, "", result)

    def notice(
        self,
        callback: Callback,
        body_sha256: str,
        *,
        trace: str = "",
        channel: Literal["upi", "bbps"] = "upi",
    ) -> Notice:
        """What the ledger needs to know to post a payment."""
        bill, today = self.bill(callback.bill_number), self.world.clock.today()
        phone = ""
        if bill is not None:
            phone = bill.phone or consumers.phone_number(self.world.seed, bill.index)
        billing = self.world.scenario.billing
        amounts = frozenset() if bill is None else tariff.payable_lately(bill, today, billing)
        return Notice(
            callback, body_sha256, bill, phone, trace, self.world.clock.now_us(), amounts,
            bill is not None and self._expired(bill), channel,
        )  # fmt: skip

    def payable(self, bill: Bill) -> tariff.Payable:
        """What is owed on a bill today."""
        return tariff.payable(bill, self.world.clock.today(), self.world.scenario.billing)

    def code(self, query: BillQuery) -> BillCode:
        """The QR code of a bill as it has to be shown now."""
        answer = self.details(query)
        bill = self.bill(answer.value.bill_number) if answer.outcome == j.OK else None
        if bill is None:
            raise refused(answer)
        today, billing = self.world.clock.today(), self.world.scenario.billing
        link, owed = tariff.code(self.world.seed, bill, today, billing)
        return BillCode(bill.number, link, owed.amount_paise, owed.valid_until, owed.terms)

    async def _post_missed(self, callback: Callback) -> bool:
        """Post what the sweep has found; whether it was news."""
        try:
            _check(callback, callback.event_id)
        except MalformedError as error:
            log.warning("the sweep found what cannot be a payment", extra={"reason": str(error)})
            return False
        body = msgspec.json.encode(callback)
        result = await self.ledger.post(self.notice(callback, hashlib.sha256(body).hexdigest()))
        self.relay.wake()
        self.merchant.wake()
        return not isinstance(result, Conflict) and not result.duplicate

    async def given_back(self, order: Refunded) -> bool | Conflict:
        """Post a refund that has been made; whether it was news. Raises as the ledger does."""
        news = await self.ledger.refunded(order)
        if isinstance(news, Conflict):
            log.warning("a refund contradicts what is known", extra={"reason": news.reason})
        elif news:
            self.relay.wake()
        return news

    async def _given_back_unheard(self, made: Made, transaction_id: str) -> bool:
        """Post a refund that the sweep has found; whether it was news."""
        order = made.order("sweep", transaction_id, self.world.clock.now_us())
        return await self.given_back(order) is True

    def _expired(self, bill: Bill) -> bool:
        return (self.world.clock.today() - bill.due_on).days > GRACE_DAYS


def _check(callback: Callback, message_id: str) -> None:
    """Raise MalformedError for a field that no payment can have."""
    if callback.event_id != message_id:
        raise MalformedError("event_id", "differs from the signed webhook-id; send one id")
    if _TRANSACTION.fullmatch(callback.transaction_id) is None:
        raise MalformedError("transaction_id", f"is not {TRANSACTION_ID_LENGTH} letters and digits")
    if callback.amount_paise <= 0:
        raise MalformedError("amount_paise", f"{callback.amount_paise!r} is not above 0")
    if _RRN.fullmatch(callback.rrn) is None and (callback.rrn or callback.status == "SUCCESS"):
        raise MalformedError("rrn", f"{callback.rrn!r} is not 12 digits")


def _declined(refusal: Refusal) -> Answer:
    return Answer(j.DECLINED, f"http_{refusal.problem.status}", refusal.problem)


@post(BILLER_RESOLVE, status_code=200, operation_class=described(BillQuery, refuses=ASKED))
async def resolve(request: HttpRequest) -> BillDetails:
    """What is owed on a bill, or by a consumer."""
    biller: Biller = request.app.state.biller
    data = await body_of(request, BillQuery)
    answer = await biller.visit(trace_of(request), lambda: biller.details(data))
    if answer.outcome != j.OK:
        raise refused(answer)
    details: BillDetails = answer.value
    return details


@post(BILLER_AUTHORISE, status_code=200, operation_class=described(Authorisation, refuses=PARTIES))
async def authorise(request: HttpRequest) -> Authorised:
    """May this payment of this bill go ahead?"""
    biller: Biller = request.app.state.biller
    data = await body_of(request, Authorisation)
    answer = await biller.visit(trace_of(request), lambda: biller.authorisation(data))
    if isinstance(answer.value, Authorised):
        return answer.value
    raise refused(answer)


@post(
    BILLER_CALLBACK,
    status_code=200,
    operation_class=described(Callback, refuses=(409, *PARTIES), needs=SIGNED),
)
async def callback(request: HttpRequest) -> Acknowledged:
    """A signed callback: a payment reached its end. Answered when it is on durable storage."""
    biller: Biller = request.app.state.biller
    body = await request.body()
    answer = await biller.visit(trace_of(request), lambda: biller.call_back(request, body))
    if answer.outcome != j.OK:
        raise refused(answer)
    acknowledged: Acknowledged = answer.value
    return acknowledged


@get(BILLER_RECEIPTS + "/{transaction_id:str}", operation_class=described(refuses=(404, 503)))
async def receipt(request: HttpRequest, transaction_id: str) -> Receipt:
    """The receipt of a payment."""
    biller: Biller = request.app.state.biller
    found = biller.ledger.receipt(transaction_id)
    if found is None:
        raise Refusal(404, "No such receipt", "no payment of that name has been posted")
    return found


def application(world: World) -> Front:
    """The biller as an ASGI application."""
    biller = Biller(world)
    handlers: list[Any] = [
        resolve, authorise, callback, receipt, *back_office.handlers,
        bbps.fetch, bbps.receipt,
    ]  # fmt: skip
    return service(
        world,
        "biller",
        handlers,
        {"biller": biller},
        biller.start,
        biller.stop,
        hot=(ShortWay(resolve, at_once=True), ShortWay(authorise, at_once=True), callback),
        absent=(SQLAlchemyError,),
    )
