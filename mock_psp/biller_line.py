"""The line from the payee PSP to the biller: the mock one, or somebody else's through an adapter.

The payment service says the same three things to either: what is owed, may it be paid, it has been
paid. Which requests that makes is the line's affair.
"""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec

from fewseconds import journey as j
from fewseconds.contracts import (
    BILLER_AUTHORISE,
    BILLER_CALLBACK,
    BILLER_RESOLVE,
    Acknowledged,
    Authorisation,
    Authorised,
    BillDetails,
    BillQuery,
    Callback,
    signature,
)
from fewseconds.errors import MalformedError, UsageError
from fewseconds.outcomes import Outcome
from fixtures import qr
from mock_psp.adapter import Reading, load, tls_context, with_rupees
from mock_psp.clock import wall_s
from mock_psp.delivery import SIGNATURES, Event
from mock_psp.faults import Disturbed
from mock_psp.station import Answer

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable

    from mock_psp.adapter import Adapter, Request
    from mock_psp.outgoing import Outgoing
    from mock_psp.station import Call
    from mock_psp.world import World

STATION: Final = "biller"
UNKNOWN_BILL: Final = "ZD"
"""UPI's code for a payee's customer that is not valid, as the mock biller uses it."""
DECLINED_BY_BILLER: Final = "YG"
"""UPI's code for *merchant error*, for a refusal that came without a code of its own."""


class BillerLine(Protocol):
    """What the payment service may say to a biller."""

    punctual: bool
    """Whether ``resolve`` keeps its caller's limit itself; else somebody has to watch it."""

    def resolve(self, call: Call, query: BillQuery, limit_us: int = 0) -> Awaitable[Answer]:
        """What is owed; the value is :class:`BillDetails`."""

    async def authorise(self, call: Call, asked: Authorisation) -> Answer:
        """May this payment go ahead; the value is :class:`Authorised`."""

    async def call_back(self, call: Call, callback: Callback) -> Answer:
        """A payment was credited, signed; the value is :class:`Acknowledged`."""


class OwnBiller:
    """The mock biller, in its own words."""

    punctual = True

    def __init__(self, world: World, outgoing: Outgoing) -> None:
        """The biller's address and the key of the callbacks come from the run."""
        self._url, self._outgoing = world.spec.url("biller"), outgoing
        self._resolving = self._url + BILLER_RESOLVE
        self._key = world.secrets.keys()[0]

    def resolve(self, call: Call, query: BillQuery, limit_us: int = 0) -> Awaitable[Answer]:
        """What is owed; the value is :class:`BillDetails`."""
        body, url = msgspec.json.encode(query), self._resolving
        return self._outgoing.post(url, call, body, BillDetails, limit_us=limit_us)

    async def authorise(self, call: Call, asked: Authorisation) -> Answer:
        """May this payment go ahead; the value is :class:`Authorised`."""
        body = msgspec.json.encode(asked)
        return await self._outgoing.post(self._url + BILLER_AUTHORISE, call, body, Authorised)

    async def call_back(self, call: Call, callback: Callback) -> Answer:
        """A payment was credited, signed; the value is :class:`Acknowledged`."""
        body, timestamp_s = msgspec.json.encode(callback), wall_s()
        headers = {
            "webhook-id": callback.event_id,
            "webhook-timestamp": str(timestamp_s),
            "webhook-signature": signature(self._key, callback.event_id, timestamp_s, body),
        }
        url = self._url + BILLER_CALLBACK
        return await self._outgoing.post(url, call, body, Acknowledged, headers)


class ForeignBiller:
    """Somebody else's biller, through an adapter: who is late is waited for, to write it down."""

    punctual = False

    def __init__(
        self, url: str, adapter: Adapter, secret: str, outgoing: Outgoing, world: World
    ) -> None:
        """``secret`` signs callbacks; raises UsageError if bills cannot be asked for."""
        self._world = world
        if not adapter.speaks("resolve"):
            raise UsageError("adapter: has no [resolve]; without it no bill can be shown")
        self._url, self._adapter, self._secret = url.rstrip("/"), adapter, secret
        self._outgoing = outgoing
        self._tls: ssl.SSLContext | None = None
        if url.startswith("https:"):
            self._tls = tls_context(adapter.tls)

    async def resolve(self, call: Call, query: BillQuery, limit_us: int = 0) -> Answer:  # noqa: ARG002 - see above
        """What is owed; the value is :class:`BillDetails`."""
        request = self._adapter.request("resolve", msgspec.structs.asdict(query))
        answer = await self._said(call, "resolve", request)
        if not isinstance(answer.value, Reading) or answer.outcome != j.OK:
            code = UNKNOWN_BILL if answer.outcome == j.DECLINED else answer.code
            return Answer(answer.outcome, code)
        told = answer.value.fields
        try:
            shown = BillDetails(
                str(told.get("bill_number", query.bill_number)),
                str(told.get("consumer_number", query.consumer_number)), "",
                int(told["amount_paise"]), dt.date.fromisoformat(str(told["due_on"])), qr.PAYEE,
                qr.PAYEE_NAME,
            )  # fmt: skip
        except (KeyError, ValueError, TypeError) as error:
            return Answer(j.ERROR, "malformed", f"resolve: {error!r}")
        return Answer(j.OK, "", shown)

    async def authorise(self, call: Call, asked: Authorisation) -> Answer:
        """May this payment go ahead; a biller that is never asked agrees."""
        if not self._adapter.speaks("authorise"):
            return Answer(j.OK, "", Authorised(approved=True))
        fields = with_rupees(msgspec.structs.asdict(asked))
        answer = await self._said(call, "authorise", self._adapter.request("authorise", fields))
        if answer.outcome == j.DECLINED:
            return Answer(j.OK, "", Authorised(approved=False, code=DECLINED_BY_BILLER))
        if answer.outcome != j.OK:
            return answer
        told: dict[str, Any] = answer.value.fields
        approved = bool(told.get("approved", True))
        code = str(told.get("code") or "00")
        if not approved and code == "00":
            code = DECLINED_BY_BILLER
        return Answer(j.OK, "", Authorised(approved=approved, code=code))

    async def call_back(self, call: Call, callback: Callback) -> Answer:
        """A payment was credited, signed; the value is :class:`Acknowledged`."""
        fields = with_rupees(msgspec.structs.asdict(callback))
        request = self._adapter.request("callback", fields)
        event = Event(callback.event_id, request.body, wall_s())
        signed = SIGNATURES[self._adapter.signature](self._secret, event)
        request = msgspec.structs.replace(request, headers=request.headers | signed)
        answer = await self._said(call, "callback", request)
        if answer.outcome != j.OK:
            return answer
        told: dict[str, Any] = answer.value.fields
        posting: Any = told.get("posting")
        if posting not in ("credited", "refund_due"):
            posting = "none"
        duplicate = bool(told.get("duplicate", False))
        return Answer(j.OK, "", Acknowledged(callback.transaction_id, "", duplicate, posting))

    async def _said(self, call: Call, operation: str, request: Request) -> Answer:
        """The answer to a request, whose time is written down as the biller's own station's is."""
        clock, writer = self._world.clock, self._world.writer
        begun_us = clock.now_us()
        answer = await self._heard(operation, request)
        writer.add(
            Outcome(
                "server", writer.process, call.journey_id, call.branch, call.step, call.leg,
                call.attempt, STATION, begun_us, begun_us, begun_us, clock.now_us(),
                j.OUTCOMES[answer.outcome], answer.code,
            )
        )  # fmt: skip
        return answer

    async def _heard(self, operation: str, request: Request) -> Answer:
        """The answer to a request; its value is a :class:`Reading`."""
        got = await self._outgoing.send(
            request.method, self._url + request.path, request.body, request.headers, self._tls
        )
        if isinstance(got, Answer):
            return got
        try:
            reading = self._adapter.read(operation, *got)
        except MalformedError as error:
            return Answer(j.ERROR, f"http_{got[0]}", str(error))
        if not reading.accepted:
            return Answer(j.DECLINED, f"http_{reading.status}", reading)
        return Answer(j.OK, "", reading)


def biller_line(world: World, outgoing: Outgoing) -> BillerLine:
    """The line to the biller of this run."""
    line: BillerLine
    foreign = world.spec.biller
    if foreign is None:
        line = OwnBiller(world, outgoing)
    else:
        adapter = load(Path(foreign.adapter)) if foreign.adapter else load()
        line = ForeignBiller(foreign.url, adapter, world.secrets.biller, outgoing, world)
    return Disturbed(line, world.faults) if world.faults.possible else line
