"""What is put to a biller, and what must come back: one function a case.

The first line of a function's docstring is what is expected; it is printed beside what happened.
A case names the rule of the ledger or of security that it stands for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from mock_psp.conformance import Exhausted, Unable, Unmet

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fewseconds.identity import Bill
    from mock_psp.conformance import Conversation

COPIES: Final = 8
"""Copies of one callback that arrive at the same moment."""
STALE_S: Final = 3600
FORGED: Final = "whsec_Zm9yZ2VkIGZvcmdlZCBmb3JnZWQgZm9yZ2VkIQ=="
"""A well-formed secret that is not the biller's."""
UNKNOWN_BILL: Final = "00000000000000"
GOING_BACK: Final = ("refund_due", "refunded")


class Verdict(msgspec.Struct, frozen=True):
    """What became of one case."""

    name: str
    expected: str
    word: Literal["pass", "fail", "skipped"]
    observed: str = ""
    group: str = ""
    for_want_of_bills: bool = False
    """It was skipped because no open bill was left, and could have been put with more of them."""


def judge(talk: Conversation) -> Iterator[Verdict]:
    """Put every case to the biller; cases that stand in each other's way do not exist."""
    for group, cases in GROUPS:
        for case in cases:
            yield msgspec.structs.replace(_judged(case, talk), group=group)


def _judged(case: Case, talk: Conversation) -> Verdict:
    name = case.__name__.replace("_", " ")
    expected = (case.__doc__ or "").split("\n", 1)[0]
    try:
        return Verdict(name, expected, "pass", case(talk) or "")
    except Unmet as error:
        return Verdict(name, expected, "fail", str(error))
    except Unable as error:
        wanting = isinstance(error, Exhausted)
        return Verdict(name, expected, "skipped", str(error), for_want_of_bills=wanting)


# --- what is owed ----------------------------------------------------------------------------


def bill_is_shown(talk: Conversation) -> str:
    """The bill is found, with its own number and amount."""
    bill = talk.fresh_bill()
    reading = _resolved(talk, bill.number)
    if not reading:
        raise Unmet(f"bill {bill.number} is not found")
    said = reading.get("bill_number", bill.number), reading.get("amount_paise", bill.amount_paise)
    _want(said == (bill.number, bill.amount_paise), f"bill {said[0]} over {said[1]} paise")
    return f"bill {bill.number}, {bill.amount_paise} paise"


def unknown_bill_is_not_shown(talk: Conversation) -> None:
    """A number that no bill has is refused."""
    _want(not _resolved(talk, UNKNOWN_BILL), f"bill {UNKNOWN_BILL} is shown")


# --- may it be paid --------------------------------------------------------------------------


def right_amount_is_authorised(talk: Conversation) -> None:
    """A payment of an open bill may go ahead."""
    _needs(talk, "authorise")
    bill = talk.fresh_bill()
    _want(talk.authorised(bill, talk.transaction_id()), "it is declined")


def wrong_amount_is_declined(talk: Conversation) -> None:
    """One paisa less, one more, and ten times as much are declined before any debit."""
    _needs(talk, "authorise")
    bill = talk.fresh_bill()
    for amount in (bill.amount_paise - 1, bill.amount_paise + 1, bill.amount_paise * 10):
        approved = talk.authorised(bill, talk.transaction_id(), amount)
        _want(not approved, f"{amount} paise are approved for a bill of {bill.amount_paise}")


def paid_bill_is_declined(talk: Conversation) -> None:
    """A second payment of a paid bill is declined before any debit."""
    _needs(talk, "authorise")
    bill, _ = _paid(talk)
    _want(not talk.authorised(bill, talk.transaction_id()), f"{bill.number} may be paid again")


def expired_bill_is_declined(talk: Conversation) -> None:
    """A bill long past its due date is declined before any debit."""
    _needs(talk, "authorise")
    if talk.expired is None:
        raise Unable("no bill is long past its due date; give one with --bills")
    approved = talk.authorised(talk.expired, talk.transaction_id())
    _want(not approved, f"a bill due on {talk.expired.due_on} may be paid")


# --- it has been paid ------------------------------------------------------------------------


def payment_is_posted(talk: Conversation) -> str:
    """A signed callback is taken, and the payment credited with its whole amount."""
    bill, payment = _paid(talk)
    receipt = talk.receipt(payment)
    amount = receipt.get("amount_paise", bill.amount_paise)
    _want(amount == bill.amount_paise, f"the receipt is over {amount} paise")
    return f"receipt {receipt.get('receipt_number', '')}"


def copy_is_taken_and_changes_nothing(talk: Conversation) -> None:
    """The same callback again is answered with success, and has no second effect."""
    _, payment = _paid(talk)
    before = talk.receipt(payment)
    again = talk.notify(payment)
    _want(again.accepted, f"the copy is answered with {again.status}")
    _want(again.fields.get("duplicate", True) is True, "the copy is taken for a new payment")
    _want(talk.receipt(payment) == before, "the receipt has changed")


def copies_at_once_are_one_payment(talk: Conversation) -> None:
    """Eight copies at the same moment are all answered with success, and one of them is new."""
    bill = talk.fresh_bill()
    payment = talk.payment(bill)
    answers = talk.at_once([payment] * COPIES)
    refused = [answer.status for answer in answers if not answer.accepted]
    _want(not refused, f"copies are answered with {refused}")
    told = [answer.fields["duplicate"] for answer in answers if "duplicate" in answer.fields]
    _want(not told or told.count(False) == 1, f"{told.count(False)} copies are called new")
    _credited(talk, payment)


def same_payment_with_another_amount_is_refused(talk: Conversation) -> None:
    """A known transaction with another amount, rightly signed, is refused and changes nothing."""
    _, payment = _paid(talk)
    before = talk.receipt(payment)
    for change in ({}, {"event_id": payment["event_id"] + "x"}):
        altered = payment | change | {"amount_paise": payment["amount_paise"] + 100}
        answer = talk.notify(altered)
        _want(not answer.accepted, f"it is answered with {answer.status}")
    _want(talk.receipt(payment) == before, "the receipt has changed")


def reference_of_another_payment_is_refused(talk: Conversation) -> None:
    """A second transaction with the bank's reference (RRN) of the first is not credited."""
    _, payment = _paid(talk)
    thief = talk.payment(talk.fresh_bill(), rrn=payment["rrn"])
    answer = talk.notify(thief)
    _want(not answer.accepted or talk.posting(thief) != "credited", "both are credited")


def two_phones_pay_one_bill_once(talk: Conversation) -> None:
    """Two payments of one bill at the same moment: one is credited, the other is to be refunded."""
    bill = talk.fresh_bill()
    payments = [talk.payment(bill), talk.payment(bill)]
    answers = talk.at_once(payments)
    refused = [answer.status for answer in answers if not answer.accepted]
    _want(not refused, f"money that came is answered with {refused}")
    postings = sorted(talk.posting(payment) for payment in payments)
    once = postings[0] == "credited" and postings[1] in GOING_BACK
    _want(once, f"they are {' and '.join(postings)}")


def wrong_amount_that_came_is_refunded(talk: Conversation) -> None:
    """Money that is one paisa short has come all the same: taken, not credited, to be refunded."""
    bill = talk.fresh_bill()
    payment = talk.payment(bill, amount_paise=bill.amount_paise - 1)
    answer = talk.notify(payment)
    _want(answer.accepted, f"it is answered with {answer.status}; the money would be lost")
    posting = talk.posting(payment)
    _want(posting in GOING_BACK, f"it is {posting}")


def late_success_counts(talk: Conversation) -> None:
    """A success after a failure (a late authorisation) is credited."""
    bill = talk.fresh_bill()
    payment = talk.payment(bill)
    failed = payment | {
        "event_id": payment["event_id"] + "f", "status": "FAILURE", "code": "U30", "rrn": "",
    }  # fmt: skip
    answer = talk.notify(failed)
    _want(answer.accepted, f"the failure is answered with {answer.status}")
    _want(talk.posting(payment) != "credited", "a failed payment is credited")
    talk.notify(payment)
    _credited(talk, payment)


def stale_failure_does_not_count(talk: Conversation) -> None:
    """A failure that arrives after the success does not take the payment back."""
    _, payment = _paid(talk)
    talk.notify(payment | {"event_id": payment["event_id"] + "f", "status": "FAILURE"})
    _credited(talk, payment)


# --- too late ---------------------------------------------------------------------------------


def money_for_an_expired_bill_is_refunded(talk: Conversation) -> None:
    """A payment of a bill that has expired meanwhile came all the same: taken, to be refunded."""
    if talk.expired is None:
        raise Unable("no bill is long past its due date; give one with --bills")
    payment = talk.payment(talk.expired)
    answer = talk.notify(payment)
    _want(answer.accepted, f"it is answered with {answer.status}; the money would be lost")
    posting = talk.posting(payment)
    _want(posting in GOING_BACK, f"it is {posting}")


def callback_after_the_refund_changes_nothing(talk: Conversation) -> None:
    """A success that comes once more when the money has gone back credits nothing."""
    _, payment = _paid(talk)
    answer = talk.give_back(payment)
    _want(answer.accepted, f"the refund is answered with {answer.status}")
    _want(talk.posting(payment) in GOING_BACK, f"after it the payment is {talk.posting(payment)}")
    _late_copy(talk, payment)


def callback_after_money_is_to_be_refunded_changes_nothing(talk: Conversation) -> None:
    """A success that comes again while a second payment waits for its refund credits nothing."""
    bill, _ = _paid(talk)
    second = talk.payment(bill)
    answer = talk.notify(second)
    _want(answer.accepted, f"money that came is answered with {answer.status}")
    _want(talk.posting(second) in GOING_BACK, f"the second payment is {talk.posting(second)}")
    _late_copy(talk, second)


# --- who says so -----------------------------------------------------------------------------


def forged_signature_is_refused(talk: Conversation) -> None:
    """A callback signed with another key is refused and has no effect."""
    _refused(talk, secret=FORGED)


def missing_signature_is_refused(talk: Conversation) -> None:
    """An unsigned callback is refused and has no effect."""
    _refused(talk, signed=False)


def body_changed_after_signing_is_refused(talk: Conversation) -> None:
    """A body whose amount was changed after signing is refused and has no effect."""
    bill = talk.fresh_bill()
    payment = talk.payment(bill)
    changed = talk.body(payment | {"amount_paise": 100})
    _without_effect(talk, payment, sent_instead=changed)


def same_meaning_in_other_bytes_is_refused(talk: Conversation) -> None:
    """The signature covers the bytes: a body that only means the same JSON is refused."""
    payment = talk.payment(talk.fresh_bill())
    body = talk.body(payment)
    if not body.startswith(b"{"):
        raise Unable("the callback's body is not a JSON object")
    _without_effect(talk, payment, sent_instead=b"{ " + body[1:])


def replay_is_refused(talk: Conversation) -> None:
    """A callback whose signed time is an hour ago is refused and has no effect."""
    if talk.adapter.signature not in ("standard-webhooks", "cashfree"):
        raise Unable(f"signatures of {talk.adapter.signature} carry no time")
    _refused(talk, age_s=STALE_S)


Case = Callable[["Conversation"], "str | None"]
GROUPS: Final[tuple[tuple[str, tuple[Case, ...]], ...]] = (
    ("What is owed", (bill_is_shown, unknown_bill_is_not_shown)),
    (
        "May it be paid",
        (
            right_amount_is_authorised,
            wrong_amount_is_declined,
            paid_bill_is_declined,
            expired_bill_is_declined,
        ),
    ),
    (
        "It has been paid",
        (
            payment_is_posted,
            copy_is_taken_and_changes_nothing,
            copies_at_once_are_one_payment,
            same_payment_with_another_amount_is_refused,
            reference_of_another_payment_is_refused,
            two_phones_pay_one_bill_once,
            wrong_amount_that_came_is_refunded,
            late_success_counts,
            stale_failure_does_not_count,
        ),
    ),
    (
        "It comes too late",
        (
            money_for_an_expired_bill_is_refunded,
            callback_after_the_refund_changes_nothing,
            callback_after_money_is_to_be_refunded_changes_nothing,
        ),
    ),
    (
        "Who says so",
        (
            forged_signature_is_refused,
            missing_signature_is_refused,
            body_changed_after_signing_is_refused,
            same_meaning_in_other_bytes_is_refused,
            replay_is_refused,
        ),
    ),
)
"""All cases, in the order in which they are put."""


def _needs(talk: Conversation, operation: str) -> None:
    if not talk.adapter.speaks(operation):
        raise Unable(f"the adapter has no [{operation}]")


def _resolved(talk: Conversation, number: str) -> dict[str, Any]:
    _needs(talk, "resolve")
    reading = talk.ask("resolve", {"bill_number": number, "consumer_number": ""})
    return {"bill_number": number, **reading.fields} if reading.accepted else {}


def _want(met: object, otherwise: str) -> None:
    if not met:
        raise Unmet(otherwise)


def _paid(talk: Conversation) -> tuple[Bill, dict[str, Any]]:
    """Pay a fresh bill; the bill and the payment."""
    bill = talk.fresh_bill()
    payment = talk.payment(bill)
    answer = talk.notify(payment)
    _want(answer.accepted, f"a rightly signed callback is answered with {answer.status}")
    _credited(talk, payment)
    return bill, payment


def _credited(talk: Conversation, payment: dict[str, Any]) -> None:
    posting = talk.posting(payment)
    _want(posting == "credited", f"the payment is {posting}")


def _late_copy(talk: Conversation, payment: dict[str, Any]) -> None:
    """The payment's success once more, as a new event: taken or refused, it credits nothing."""
    talk.notify(payment | {"event_id": payment["event_id"] + "late"})
    posting = talk.posting(payment)
    _want(posting in GOING_BACK, f"after the late callback the payment is {posting}")


def _refused(talk: Conversation, **how: Any) -> None:  # noqa: ANN401 - options of notify
    _without_effect(talk, talk.payment(talk.fresh_bill()), **how)


def _without_effect(talk: Conversation, payment: dict[str, Any], **how: Any) -> None:  # noqa: ANN401 - as above
    answer = talk.notify(payment, **how)
    _want(not answer.accepted, f"it is answered with {answer.status}")
    posting = talk.posting(payment)
    _want(posting == "none", f"it is refused, but the payment is {posting}")
