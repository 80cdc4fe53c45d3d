"""The messages that a payment sent through the UPI switch, built when somebody asks for them.

Their order is that of a direct payment by QR: ``ReqPay`` (PAY) from the payer's PSP,
``ReqAuthDetails`` to the payee's, ``ReqPay`` (DEBIT) and (CREDIT) to the banks, ``RespPay`` to the
payer's PSP and ``ReqTxnConfirmation`` to the payee's; ``ReqPay`` (REVERSAL) where a debit is given
back, ``ReqChkTxn`` where an answer stays away (Oracle Banking Payments, *UPI*; Setu, *UPI 102*).
Every request is acknowledged at once, which is left out here; its answer is a message of its own.
Names of messages and fields are those of NPCI's XML; here they are JSON.

While a payment is under way only one :class:`Passed` a leg is kept; the journal has them too.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import msgspec

from fewseconds import journey as j
from fewseconds.identity import TRANSACTION_ID_LENGTH, rupees
from mock_psp.switch_checks import TOO_MANY_CHECKS

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable

    from mock_psp.payments import Transaction

SWITCH, PAYER_PSP, PAYEE_PSP, REMITTER, BENEFICIARY = (
    "NPCI", "payer PSP", "payee PSP", "remitter bank", "beneficiary bank",
)  # fmt: skip
ORGANISATIONS: Final = {
    SWITCH: "NPC", PAYER_PSP: "FWS", PAYEE_PSP: "FWP", REMITTER: "RMT", BENEFICIARY: "BNF",
}  # fmt: skip
"""First letters of the ids of the messages that each sends."""
MODE: Final = re.compile(r"[?&]mode=([0-9]{2})(?:&|$)")
NO_MODE: Final = "00"
"""Initiation mode of what was not scanned."""
SENDING: Final = frozenset({"switch", "biller", "remitter_bank", "beneficiary_bank"})
"""Stations at which a payment's messages are sent; at the others only time passes."""
Type = Literal["PAY", "DEBIT", "CREDIT", "REVERSAL", "ChkTxn"]
Result = Literal["SUCCESS", "FAILURE", "PENDING", "DEEMED"]
OPEN: Final[dict[str, Result]] = {j.TIMED_OUT_AS["deemed"][1]: "DEEMED", TOO_MANY_CHECKS: "FAILURE"}
"""What an answer calls a payment whose fate is open, by its code; others are ``PENDING``.

``DEEMED`` is a result that NPCI's ``RespPay`` has (Oracle Banking Payments, *Response Handling*),
and the status of ``RB`` (Juspay, *NPCI Response Codes*).
"""


class Passed(NamedTuple):
    """A visit of a payment to a station: what its messages are made from."""

    step: str
    station: str
    attempt: int
    begun_us: int
    ended_us: int
    outcome: int
    code: str


class _Part(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """A part of a message."""


class Head(_Part, frozen=True):
    """Who sent it, and when."""

    ver: str
    ts: str
    org_id: str
    msg_id: str


class Txn(_Part, frozen=True):
    """The payment that it is about."""

    id: str
    type: Type
    ref_id: str
    """The bill's number: ``tr`` of the code."""
    initiation_mode: str
    purpose: str = "00"
    cust_ref: str = ""
    """The RRN of 12 digits, once there is one."""
    org_txn_id: str = ""
    """Of a reversal or a check: the payment that it goes back to."""
    note: str = ""


class Resp(_Part, frozen=True):
    """The answer in an answer."""

    req_msg_id: str
    result: Result
    err_code: str = ""


class Message(_Part, frozen=True, tag_field="name"):
    """What all messages have."""

    head: Head
    txn: Txn
    sender: str
    receiver: str


class ReqPay(Message, frozen=True, tag="ReqPay"):
    """Move money: PAY from the payer's PSP, DEBIT, CREDIT and REVERSAL from the switch."""

    payer: str
    payee: str
    amount: str
    """Rupees."""
    limit_ms: int | None = None
    """How long the sender waits for the answer."""


class ReqAuthDetails(Message, frozen=True, tag="ReqAuthDetails"):
    """Ask the payee's side to authorise: here an expired or paid bill is declined."""

    payee: str
    amount: str


class ReqTxnConfirmation(Message, frozen=True, tag="ReqTxnConfirmation"):
    """Tell the payee's PSP that the money is there; it tells the merchant."""

    payee: str
    amount: str


class ReqChkTxn(Message, frozen=True, tag="ReqChkTxn"):
    """Ask what became of a payment whose answer stayed away."""


class RespPay(Message, frozen=True, tag="RespPay"):
    """Answer to ReqPay."""

    resp: Resp


class RespAuthDetails(Message, frozen=True, tag="RespAuthDetails"):
    """Answer to ReqAuthDetails."""

    resp: Resp


class RespTxnConfirmation(Message, frozen=True, tag="RespTxnConfirmation"):
    """Answer to ReqTxnConfirmation."""

    resp: Resp


class RespChkTxn(Message, frozen=True, tag="RespChkTxn"):
    """Answer to ReqChkTxn."""

    resp: Resp


AnyMessage = (
    ReqPay
    | ReqAuthDetails
    | ReqTxnConfirmation
    | ReqChkTxn
    | RespPay
    | RespAuthDetails
    | RespTxnConfirmation
    | RespChkTxn
)


class MessageLog(msgspec.Struct, frozen=True):
    """All messages of a payment, in the order of their times."""

    transaction_id: str
    messages: list[AnyMessage]


Answers = type[RespPay] | type[RespAuthDetails] | type[RespTxnConfirmation] | type[RespChkTxn]


class _Writer:
    """Writes the messages of one payment."""

    def __init__(self, transaction: Transaction, moment: Callable[[int], dt.datetime]) -> None:
        """``moment`` is the date and time of a moment of the plan."""
        self._paid, self._moment, self.rrn = transaction, moment, ""
        request = transaction.request
        self._money: dict[str, Any] = {
            "payee": request.payee_vpa,
            "amount": rupees(request.amount_paise),
        }
        self._mode = mode(request.scanned)
        steps = transaction.journey.route.steps
        self._limits = {
            (one.name, leg.station): leg.timeout_ms for one in steps for leg in one.legs
        }
        self.found: list[tuple[int, int, AnyMessage]] = []
        self._sent: Counter[tuple[Type, str, str]] = Counter()

    def _common(self, at_us: int, kind: Type, sender: str, receiver: str) -> dict[str, Any]:
        paid, way = self._paid, (kind, sender, receiver)
        # The same id whenever somebody asks, whatever else has been sent by then.
        self._sent[way] += 1
        place = f"{paid.transaction_id} {way} {self._sent[way]}"
        digest = hashlib.sha256(place.encode()).hexdigest()
        org = ORGANISATIONS[sender]
        at = self._moment(at_us).isoformat(timespec="milliseconds")
        back = paid.transaction_id if kind in ("REVERSAL", "ChkTxn") else ""
        return {
            "head": Head("2.0", at, org, (org + digest)[:TRANSACTION_ID_LENGTH]),
            "txn": Txn(
                paid.transaction_id, kind, paid.request.bill_number, self._mode,
                cust_ref=self.rrn, org_txn_id=back, note="Electricity bill",
            ),
            "sender": sender,
            "receiver": receiver,
        }  # fmt: skip

    def put(self, at_us: int, message: AnyMessage) -> str:
        """Add a message; its id."""
        self.found.append((at_us, len(self.found), message))
        return message.head.msg_id

    def pay(self, passed: Passed, kind: Type, sender: str, receiver: str) -> str:
        """The ReqPay that begins a visit; its id."""
        common = self._common(passed.begun_us, kind, sender, receiver)
        limit_ms = self._limits.get((passed.step, passed.station))
        payer = self._paid.request.payer_vpa
        return self.put(
            passed.begun_us, ReqPay(**common, **self._money, payer=payer, limit_ms=limit_ms)
        )

    def ask(self, cls: type[ReqAuthDetails | ReqTxnConfirmation], passed: Passed) -> str:
        """What the switch asks the payee's PSP, or tells it; its id."""
        common = self._common(passed.begun_us, "PAY", SWITCH, PAYEE_PSP)
        return self.put(passed.begun_us, cls(**common, **self._money))

    def check(self, passed: Passed) -> str:
        """The question of the payer's PSP after a payment; its id."""
        common = self._common(passed.begun_us, "ChkTxn", PAYER_PSP, SWITCH)
        return self.put(passed.begun_us, ReqChkTxn(**common))

    def answer(self, cls: Answers, passed: Passed, asked: str, sender: str) -> None:
        """The answer to the message ``asked``, unless it was lost on its way back."""
        if passed.outcome == j.TIMED_OUT:
            return
        message = next(one for *_, one in self.found if one.head.msg_id == asked)
        common = self._common(passed.ended_us, message.txn.type, sender, message.sender)
        code = "00" if passed.outcome == j.OK else passed.code
        result: Result = "SUCCESS" if passed.outcome == j.OK else "FAILURE"
        if passed.outcome == j.UNFINISHED:
            result = OPEN.get(code, "PENDING")
        resp = Resp(asked, result, code)
        self.put(passed.ended_us, cls(**common, resp=resp))


def mode(scanned: str) -> str:
    """The initiation mode of a scanned link, two digits."""
    found = MODE.search(scanned)
    return NO_MODE if found is None else found[1]


def messages(transaction: Transaction, moment: Callable[[int], dt.datetime]) -> MessageLog:
    """The messages of ``transaction``; ``moment`` gives the date of a moment of the plan."""
    writer, opening = _Writer(transaction, moment), ""
    for passed in sorted(transaction.passed, key=lambda one: one.begun_us):
        if (passed.step, passed.station) == ("pay", "switch"):
            opening = writer.pay(passed, "PAY", PAYER_PSP, SWITCH)
        elif (passed.step, passed.station) == ("pay", "biller"):
            asked = writer.ask(ReqAuthDetails, passed)
            writer.answer(RespAuthDetails, passed, asked, PAYEE_PSP)
        elif passed.station == "remitter_bank":
            kind: Type = "DEBIT" if passed.step == "pay" else "REVERSAL"
            asked = writer.pay(passed, kind, SWITCH, REMITTER)
            writer.rrn = transaction.rrn
            writer.answer(RespPay, passed, asked, REMITTER)
        elif passed.station == "beneficiary_bank":
            asked = writer.pay(passed, "CREDIT", SWITCH, BENEFICIARY)
            writer.answer(RespPay, passed, asked, BENEFICIARY)
        elif (passed.step, passed.station) == ("ask_switch", "switch"):
            writer.answer(RespChkTxn, passed, writer.check(passed), SWITCH)
        elif (passed.step, passed.station) == ("callback", "biller"):
            asked = writer.ask(ReqTxnConfirmation, passed)
            writer.answer(RespTxnConfirmation, passed, asked, PAYEE_PSP)
    shown = transaction.shown
    if opening and shown is not None:
        if shown.outcome == j.TIMED_OUT and shown.code:
            # A bank did not answer; the switch itself did, and said so.
            shown = shown._replace(outcome=j.ERROR)
        writer.answer(RespPay, shown, opening, SWITCH)
    found = sorted(writer.found, key=lambda one: one[:2])
    return MessageLog(transaction.transaction_id, [message for *_, message in found])
