"""After a crash of the payment service: what its journal says was under way, and going on with it.

Money that was debited and neither credited nor reversed goes back to its payer: at once where the
payment was interrupted, on its day (T+5) where the payer was told to wait. Such a payment is deemed
after a restart as it was before: its bank is still at the credit, which may come, and the switch is
asked. Callbacks that the biller has not acknowledged are sent again. Whoever asks again for a
payment that had been made before gets that payment, not a second one, whether it was debited or
declined.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from typing import TYPE_CHECKING, Final

import msgspec

from fewseconds import journey as j
from fewseconds.contracts import PayRequest, Trace
from fewseconds.payer_app import WALLET
from fixtures import qr
from mock_psp.journal import entries, payer_addresses
from mock_psp.messages import NO_MODE
from mock_psp.payments import WRONG_PIN_CODES, PaymentOutcome, Transaction
from mock_psp.walk import Journey

if TYPE_CHECKING:
    from mock_psp.journal import Entry
    from mock_psp.payments import Banks
    from mock_psp.walk import Walk
    from mock_psp.world import World

STEP: Final = "callback"
OUTCOMES: Final[dict[str, PaymentOutcome]] = {"SUCCESS": "ok", "PENDING": "unfinished"}
RESTARTED: Final = "U31"
"""UPI response code *credit failed*: what the payer of an interrupted payment is told."""


class Recovered(msgspec.Struct):
    """What a journal holds."""

    transactions: OrderedDict[str, Transaction]
    last_rrn: str
    """Reference number of the last debit; empty if there was none."""
    unanswered: list[Transaction]
    """Credited, but the biller has not acknowledged it."""
    stuck: list[Transaction]
    """Debited, and nothing else."""
    deemed: list[Transaction]
    """The payer was told to wait, and the last entry of the journal leaves it at that."""
    checks: list[tuple[str, int]]
    """About which payment the switch was asked, and when by the calendar."""
    wrong: dict[str, int]
    """Wrong PINs in a row by payer."""

    def resume(self, walk: Walk, banks: Banks) -> None:
        """Give back what is stuck, wait on for what is deemed, send the callbacks that are due."""
        banks.wrong.update(self.wrong)
        for asked in self.checks:
            banks.checks.note(*asked)
        for transaction in self.deemed:
            _wait_on(transaction, walk, banks)
        for transaction in self.stuck:
            banks.reverse(transaction)
            transaction.status, transaction.code = "FAILURE", RESTARTED
            transaction.outcome = "error"
            banks.show(transaction)
        for transaction in self.unanswered:
            route = transaction.journey.route
            branch = next((one for one in route.branches if one.name == STEP), None)
            if branch is not None:
                walk.start(walk.branch(transaction.journey, branch, transaction))


def recovered(world: World) -> Recovered:
    """Read the journal of the run; empty at the first start."""
    found: OrderedDict[str, Transaction] = OrderedDict()
    answered: set[str] = set()
    waiting: set[str] = set()
    checks: list[tuple[str, int]] = []
    wrong: Counter[str] = Counter()
    last_rrn, payers = "", payer_addresses(world.folder.payers)
    for entry in entries(world.folder.journal):
        payer = payers.get(entry.transaction_id, "")
        if entry.entry == "shown" and entry.code in WRONG_PIN_CODES and payer:
            wrong[payer] += 1
        elif entry.entry == "debit":
            last_rrn = entry.rrn
            del wrong[payer]
        if entry.trace and entry.transaction_id not in found:
            transaction = _transaction(world, entry, payer)
            if transaction is not None:
                found[entry.transaction_id] = transaction
        known = found.get(entry.transaction_id)
        if known is not None:
            known.passed.extend(entry.passed)
            known.noted = len(known.passed)
        if entry.entry == "acknowledged":
            answered.add(entry.transaction_id)
        elif entry.entry == "checked":
            checks.append((entry.transaction_id, entry.created_s))
        elif known is not None:
            if entry.entry == "shown" and entry.status == "PENDING":
                waiting.add(entry.transaction_id)
            _happened(known, entry)
    unanswered = [one for name, one in found.items() if one.credited and name not in answered]
    uncredited = [
        one for one in found.values() if one.debited and not (one.credited or one.reversed)
    ]
    stuck = [one for one in uncredited if one.transaction_id not in waiting]
    deemed = [one for one in uncredited if one.transaction_id in waiting]
    for one in found.values():
        if one.credited and one.shown is not None and one.shown.outcome == j.UNFINISHED:
            # The bank knows it by now; the payer's service has to ask, as before the restart.
            one.status, one.code, one.outcome = "PENDING", one.shown.code, "unfinished"
            deemed.append(one)
    return Recovered(found, last_rrn, unanswered, stuck, deemed, checks, wrong)


def _wait_on(transaction: Transaction, walk: Walk, banks: Banks) -> None:
    """Go on with a deemed payment: its bank credits it or does not, as the same draw says.

    One that has been credited meanwhile waits for somebody to ask.
    """
    journey = transaction.journey
    step = journey.route.index("pay")
    credit = next(
        place for place, leg in enumerate(journey.route.steps[step].legs)
        if leg.on_timeout == "deemed"
    )  # fmt: skip
    walk.happen(journey, "pay.deemed", transaction)
    if not transaction.credited:
        walk.start(walk.attempt(journey, step, transaction.attempt, transaction, first_leg=credit))
    banks.owe(walk, transaction)


def _transaction(world: World, entry: Entry, payer_vpa: str) -> Transaction | None:
    """A payment of which nothing is known yet; None if its kind of journey is no longer known."""
    trace = Trace.read(entry.trace)
    route = None if trace is None else world.route(trace.kind)
    if trace is None or route is None:
        return None
    traits = world.traits(trace)
    if entry.funding == WALLET:
        traits = msgspec.structs.replace(traits, account=WALLET)
    request = PayRequest(
        trace.app, payer_vpa, trace.bank, qr.PAYEE, entry.bill_number, entry.amount_paise, "",
        # All that is left of the link.
        "" if entry.mode == NO_MODE else f"upi://pay?mode={entry.mode}", funding=entry.funding,
    )  # fmt: skip
    journey = Journey(route, trace.journey_id, traits)
    found = Transaction(entry.transaction_id, request, journey, entry.attempt)
    found.forced = entry.forced
    return found


def _happened(transaction: Transaction, entry: Entry) -> None:
    if entry.entry == "debit":
        transaction.debited, transaction.rrn = True, entry.rrn
        transaction.paid_s = entry.created_s
    elif entry.entry == "credit":
        transaction.credited, transaction.status, transaction.code = True, "SUCCESS", "00"
        transaction.outcome = "ok"
        transaction.journey.events.add(("pay.credited", transaction.transaction_id))
    elif entry.entry == "reversal":
        transaction.reversed = True
        if transaction.status != "FAILURE":
            transaction.status, transaction.outcome = "FAILURE", "error"
            transaction.code = RESTARTED
    elif entry.entry == "shown":
        if entry.status == "FAILURE":
            transaction.status = "FAILURE"
            transaction.outcome = msgspec.convert(entry.outcome or "declined", PaymentOutcome)
        if entry.status == "FAILURE" or transaction.status == "PENDING":
            transaction.code = entry.code or transaction.code
        outcome = OUTCOMES.get(entry.status, transaction.outcome)
        transaction.showed(entry.at_us, outcome, "00" if outcome == "ok" else entry.code)
