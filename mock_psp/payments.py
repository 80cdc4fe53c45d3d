"""Payments as the payer side and the banks know them, and the real work of their stations."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from typing import TYPE_CHECKING, Any, Final, Literal

from fewseconds import chance
from fewseconds import journey as j
from fewseconds.contracts import (
    TECHNICAL_CODES,
    Authorisation,
    Callback,
    Payment,
    PayRequest,
)
from fewseconds.errors import MalformedError
from fewseconds.payer_app import WALLET
from mock_psp.journal import Entry, Kind
from mock_psp.messages import SENDING, Passed, mode
from mock_psp.references import SIZE, References
from mock_psp.station import Answer, Call, Duty
from mock_psp.switch_checks import STEP, TOO_MANY_CHECKS, SwitchChecks

if TYPE_CHECKING:
    from mock_psp.biller_line import BillerLine
    from mock_psp.calendar import Calendar
    from mock_psp.journal import Journal
    from mock_psp.merchant import Merchant
    from mock_psp.walk import Journey, Walk
    from mock_psp.world import World

PREFIX: Final = "FWS"
"""First letters of a transaction id: whose it is."""
MESSAGES: Final = {
    "SUCCESS": "Payment successful", "FAILURE": "Payment failed", "PENDING": "Payment processing",
}  # fmt: skip


WRONG_PINS: Final = frozenset({"0000", "000000"})
"""Every PIN is right but these."""
PIN_TRIES: Final = 3
"""The third wrong PIN in a row locks: Z6 from then on, also for the right one."""
WRONG_PIN_CODES: Final = ("ZM", "Z6")
WRONG_MAX: Final = 100_000
"""Payers whose wrong PINs are counted; beyond them, those of the longest ago are forgotten."""
AFTER_LIMIT_S: Final = 0.1
"""So much later than the limit comes what is too late: the two are timed by different clocks."""
NEVER_CREDITED, ANSWER_LOST = "RB", "U68"
"""Forced, these leave the payment deemed at the end of the limit for a credit: the payee's bank
never credits, or it does and its answer is lost (status classes of Juspay: RB is *deemed*)."""
MAGIC_AMOUNTS: Final = {
    20_100: "Z9", 20_400: "ZM", 30_200: "ZA", 40_200: "YC", 50_200: NEVER_CREDITED,
    50_400: ANSWER_LOST,
}  # fmt: skip
"""Paise → response code, for codes made over the API (a bill may cost anything): the amounts in
rupees are those of Razorpay's test mode, insufficient funds, wrong PIN, cancelled, declined, and
two of our own."""

MAGIC_HANDLE: Final = "@forced"
"""Payers whose own address says what their bank answers, such as ``z9@forced``: no bank and no
payer of a plan has this handle, so no bill is met by accident."""
REVERSED_AFTER_S: Final = 5 * 86_400
"""What was debited and never credited goes back by itself: T+5 (RBI, 20 September 2019)."""
CREDIT_FAILED: Final = "U31"

FAILURE_CODE: Final = re.compile(r"[A-Z0-9]{2,3}")
NO_FAILURES: Final = frozenset({"00", "01"})
"""Response codes of success, and of what is under way."""

PaymentStatus = Literal["SUCCESS", "FAILURE", "PENDING"]
PaymentOutcome = Literal["ok", "declined", "timed_out", "error", "unfinished"]
TOLD: Final[dict[int, PaymentOutcome]] = {
    j.OK: "ok", j.DECLINED: "declined", j.TIMED_OUT: "timed_out", j.UNFINISHED: "unfinished",
}  # fmt: skip


def magic_code(payer_vpa: str) -> str:
    """The response code that a payer's address asks for; empty if it asks for none.

    Raises MalformedError as :func:`forced_code` does.
    """
    name, handle, rest = payer_vpa.partition(MAGIC_HANDLE)
    return forced_code("payer_vpa", name.upper()) if handle and not rest else ""


def forced_code(place: str, code: str) -> str:
    """The response code of a failure that a test asks for; raises MalformedError for any other."""
    if FAILURE_CODE.fullmatch(code) is None or code in NO_FAILURES:
        what = f"{code!r} is not UPI's response code of a failure; ask for one, such as Z9"
        raise MalformedError(place, what)
    return code


class Transaction:
    """One payment attempt on its way: the parcel that the legs of ``pay`` pass on."""

    __slots__ = (
        "attempt", "code", "credited", "debited", "forced", "journey", "noted", "outcome",
        "paid_s", "passed", "request", "reversed", "rrn", "shown", "status", "transaction_id",
    )  # fmt: skip

    def __init__(
        self, transaction_id: str, request: PayRequest, journey: Journey, attempt: int
    ) -> None:
        """Nothing has been debited yet."""
        self.transaction_id, self.request = transaction_id, request
        self.journey, self.attempt = journey, attempt
        self.status: PaymentStatus = "PENDING"
        self.code, self.rrn = j.PENDING_CODE, ""
        self.outcome: PaymentOutcome = "unfinished"
        self.debited = self.credited = self.reversed = False
        self.forced = ""
        """Response code that a test wants the payer's bank to give."""
        self.passed: list[Passed] = []
        """The stations that it has passed, …"""
        self.noted = 0
        """… and how many of them are in the journal."""
        self.shown: Passed | None = None
        """What the payer's PSP was told at the end."""
        self.paid_s = 0
        """When Pay was pressed, by the calendar."""

    def asks(self, request: PayRequest) -> bool:
        """Whether a request asks for the same payment.

        The PIN is not remembered over a restart, and the payer's address only from the credit on.
        """
        mine = self.request
        return request == mine or (
            not mine.pin
            and (request.bill_number, request.amount_paise) == (mine.bill_number, mine.amount_paise)
            and mine.payer_vpa in ("", request.payer_vpa)
        )

    def visits(self, begin: int = 0) -> tuple[Passed, ...]:
        """Where messages were sent, from the station at ``begin`` on."""
        return tuple(one for one in self.passed[begin:] if one.station in SENDING)

    def end(self, answer: Answer) -> None:
        """Note what the payer will be told."""
        self.outcome = TOLD.get(answer.outcome, "error")
        self.code = "00" if answer.outcome == j.OK else answer.code
        if answer.outcome == j.OK:
            self.status = "SUCCESS"
        elif answer.outcome != j.UNFINISHED:
            self.status = "FAILURE"

    def showed(self, at_us: int, outcome: str, code: str) -> None:
        """The payer's PSP was told this end at that moment of the plan."""
        number = j.OUTCOMES.index(outcome)
        self.shown = Passed("pay", "", self.attempt, at_us, at_us, number, code)

    def payment(self) -> Payment:
        """What the payer's app is told."""
        return Payment(
            self.transaction_id, self.status, self.code, self.request.amount_paise,
            self.request.bill_number, self.rrn, MESSAGES[self.status], self.outcome,
        )  # fmt: skip


class Banks:
    """The remitter bank and the beneficiary bank: they move the money and keep the journal."""

    def __init__(self, world: World, journal: Journal, calendar: Calendar, last: str) -> None:
        """``last`` is the last reference number in the journal: the next ones go on from there."""
        self._clock, self._journal = world.clock, journal
        # A biller that outlives a run must not meet the reference numbers of an earlier one.
        first = chance.stream(world.spec.run_name) % SIZE
        self._references = References(first, last, world.clock.moment())
        self._calendar = calendar
        self._written: Counter[Kind] = Counter()
        world.counts.append(lambda: {f"payments_{kind}": n for kind, n in self._written.items()})
        self.wrong: dict[str, int] = {}
        """Wrong PINs in a row by payer."""
        self.now_us = world.clock.now_us
        self.merchant: Merchant
        self.duties = {
            ("pay", "remitter_bank"): self._debiting,
            ("pay", "beneficiary_bank"): self._crediting,
            ("reversal", "remitter_bank"): self._reversing,
            (STEP, "switch"): lambda _, transaction: Duty(lambda: self._check(transaction)),
        }
        self.checks = SwitchChecks(calendar)
        self._deemed: dict[str, asyncio.Task[None]] = {}
        """Payments whose end is not known, each with what gives it back when its time is over."""

    def owe(self, walk: Walk, transaction: Transaction) -> None:
        """Give a deemed payment back when its time is over, unless its end is known before."""
        self._deemed[transaction.transaction_id] = walk.start(self.give_back(transaction))

    def write(
        self, entry: Kind, transaction: Transaction, status: str = "",
        visits: tuple[Passed, ...] = (),
    ) -> int:  # fmt: skip
        """Put something that happened to a payment into the journal, and its visits until then.

        ``visits`` are those that end with it and will be known to the payment a moment later.
        Returns the moment that it was written with.
        """
        self._written[entry] += 1
        told: dict[str, Any] = {}
        failed = status == "FAILURE"
        if entry == "debit" or (failed and not transaction.debited):
            request = transaction.request
            told = {
                "trace": transaction.journey.trace("callback", 1).header(),
                "mode": mode(request.scanned), "funding": request.funding,
                "forced": transaction.forced,
            }  # fmt: skip
            self._journal.write_payer(transaction.transaction_id, request.payer_vpa)
        if failed or entry in ("debit", "credit", "checked"):
            told["created_s"] = self._calendar.now_s()
        if failed or status == "PENDING":
            told["code"] = transaction.code
        if failed:
            told["outcome"] = transaction.outcome
        told["passed"] = transaction.visits(transaction.noted) + visits
        transaction.noted = len(transaction.passed) + len(visits)
        at_us = self.now_us()
        self._journal.write(
            Entry(
                at_us, entry, transaction.transaction_id,
                transaction.journey.journey_id, transaction.attempt,
                transaction.request.amount_paise, transaction.request.bill_number,
                transaction.rrn, status, **told,
            )
        )  # fmt: skip
        return at_us

    def forced(self, request: PayRequest) -> str:
        """The response code that a payer's address or an amount asks for; empty if neither does."""
        code = magic_code(request.payer_vpa)
        if not code and self.merchant.owns(request.bill_number):
            code = MAGIC_AMOUNTS.get(request.amount_paise, "")
        return code

    def _debiting(self, _: Call, transaction: Transaction) -> Duty:
        return Duty(lambda: self._refusal(transaction), lambda: self._debit(transaction))

    def _refusal(self, transaction: Transaction) -> Answer | None:
        """Why the payer's bank does not debit: what a test wants, or the PIN."""
        request, code = transaction.request, transaction.forced
        if code and code not in (NEVER_CREDITED, ANSWER_LOST):
            return Answer(j.ERROR if code in TECHNICAL_CODES else j.DECLINED, code)
        if request.funding == WALLET:
            return None  # Nobody is asked for a PIN.
        wrong = self.wrong.get(request.payer_vpa, 0)
        if request.pin in WRONG_PINS or wrong >= PIN_TRIES:
            self.wrong[request.payer_vpa] = wrong + 1
            # Whoever has locked an account must not get it open by a restart.
            self._journal.write_payer(transaction.transaction_id, request.payer_vpa)
            if len(self.wrong) > WRONG_MAX:
                del self.wrong[next(iter(self.wrong))]
            return Answer(j.DECLINED, WRONG_PIN_CODES[wrong + 1 >= PIN_TRIES])
        self.wrong.pop(request.payer_vpa, None)
        return None

    def _debit(self, transaction: Transaction) -> None:
        # A reversal that overtook its debit in the queue has cancelled it.
        if not transaction.reversed:
            transaction.rrn = self._references.next(self._clock.moment())
            transaction.debited = True
            self.write("debit", transaction)

    def _crediting(self, call: Call, transaction: Transaction) -> Duty:
        if transaction.forced == NEVER_CREDITED:
            steps = transaction.journey.route.steps
            leg = next(step for step in steps if step.name == call.step).legs[call.leg]
            return Duty(done=lambda: self._hang((leg.timeout_ms or 0) / 1000))
        return Duty(done=lambda: self._credit(transaction))

    @staticmethod
    async def _hang(limit_s: float) -> Answer:
        """Say no when nobody waits for it any more."""
        await asyncio.sleep(limit_s + AFTER_LIMIT_S)
        return Answer(j.ERROR, CREDIT_FAILED)

    def _credit(self, transaction: Transaction) -> Answer | None:
        if transaction.reversed:
            # The calendar has overtaken a bank that was slow: the payer has the money back.
            return Answer(j.ERROR, CREDIT_FAILED)
        request = transaction.request
        if self.merchant.owns(request.bill_number):
            # The code may have been paid or closed since this payment was allowed.
            own = self.merchant.authorisation(request.bill_number, request.amount_paise)
            if not own.approved:
                return Answer(j.DECLINED, own.code, own.reason)
        transaction.credited = True
        self.write("credit", transaction)
        self.merchant.credited(transaction)
        return Answer(j.TIMED_OUT, ANSWER_LOST) if transaction.forced == ANSWER_LOST else None

    def show(self, transaction: Transaction) -> None:
        """The payer's screen is told what has become of a payment; a failure has an end there."""
        at_us = self.write("shown", transaction, transaction.status)
        if transaction.status != "PENDING":
            # Nobody need wait five days for what is known, nor hold it in memory for as long.
            waiting = self._deemed.pop(transaction.transaction_id, None)
            if waiting is not None and waiting is not asyncio.current_task():
                waiting.cancel()
        transaction.showed(at_us, transaction.outcome, transaction.code)
        if transaction.status == "FAILURE":
            self.merchant.failed(transaction)
            # A debit that was not answered has a reversal of its own on its way.
            uncredited = transaction.debited and not transaction.credited
            if uncredited and transaction.outcome != "timed_out":
                self.reverse(transaction)

    async def give_back(self, transaction: Transaction) -> None:
        """End a payment that is still deemed when its time is over; no credit, and it goes back."""
        due_s = transaction.paid_s + REVERSED_AFTER_S
        await self._calendar.sleep(due_s - self._calendar.now_s())
        if transaction.status != "PENDING":
            return
        if not transaction.credited:
            self.reverse(transaction)
        transaction.end(Answer(j.OK) if transaction.credited else Answer(j.ERROR, CREDIT_FAILED))
        self.show(transaction)

    def may_check(self, transaction: Transaction) -> str:
        """Why the switch may not be asked about a payment now; empty if it may."""
        route = transaction.journey.route
        return self.checks.refusal(transaction.transaction_id, transaction.paid_s, route)

    def _check(self, transaction: Transaction) -> Answer | None:
        """The switch counts who asks, and turns away whom it must not be asked by any more."""
        why = self.may_check(transaction)
        if why:
            return Answer(j.UNFINISHED, TOO_MANY_CHECKS, why)
        self.checks.note(transaction.transaction_id, self._calendar.now_s())
        self.write("checked", transaction)
        return None

    def _reversing(self, call: Call, transaction: Transaction) -> Duty:
        begun_us = self.now_us()

        def done() -> None:
            now_us = self.now_us()
            visit = Passed(call.step, "remitter_bank", call.attempt, begun_us, now_us, j.OK, "")
            self.reverse(transaction, (visit,))

        return Duty(done=done)

    def reverse(self, transaction: Transaction, visits: tuple[Passed, ...] = ()) -> None:
        """Give the payer back what was debited, if it was; cancel the debit if it was not yet.

        ``visits`` is the one that does it; without one, the switch tells the bank on the spot.
        """
        if transaction.debited and not transaction.reversed:
            if not visits:
                now_us = self.now_us()
                transaction.passed.append(
                    Passed("reversal", "remitter_bank", 1, now_us, now_us, j.OK, "")
                )
            self.write("reversal", transaction, visits=visits)
        transaction.reversed = True


class PayeeSide:
    """What the switch and the payee PSP ask of the biller and tell it."""

    def __init__(self, line: BillerLine, banks: Banks) -> None:
        """``line`` leads to the biller."""
        self._line, self._banks, self._merchant = line, banks, banks.merchant

    async def authorise(self, call: Call, transaction: Transaction) -> Answer:
        """ReqAuthDetails: the biller may decline before anything is debited."""
        request = transaction.request
        if self._merchant.owns(request.bill_number):
            own = self._merchant.authorisation(request.bill_number, request.amount_paise)
            return Answer(j.OK if own.approved else j.DECLINED, own.code, own.reason)
        asked = Authorisation(transaction.transaction_id, request.bill_number, request.amount_paise)
        answer = await self._line.authorise(call, asked)
        if answer.outcome == j.OK and not answer.value.approved:
            return Answer(j.DECLINED, answer.value.code, answer.value.reason)
        return answer

    async def call_back(self, call: Call, transaction: Transaction) -> Answer:
        """Tell the biller that a payment was credited, signed; the same event in every attempt."""
        begun_us = self._banks.now_us()
        event_id = f"evt_{transaction.transaction_id}"
        request = transaction.request
        if self._merchant.owns(request.bill_number):
            # A merchant who makes codes over the API is told by webhooks.
            return Answer(j.OK)
        callback = Callback(
            event_id, transaction.transaction_id, transaction.rrn, "SUCCESS", "00",
            request.bill_number, request.amount_paise, request.payer_vpa,
        )  # fmt: skip
        answer = await self._line.call_back(call, callback)
        if answer.outcome == j.OK:
            visit = Passed(
                call.step, "biller", call.attempt, begun_us, self._banks.now_us(), j.OK, ""
            )
            self._banks.write("acknowledged", transaction, answer.value.posting, (visit,))
        return answer
