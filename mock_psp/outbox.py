"""From the ledger's outbox to the SMS gateway, as soon as a posting is durable.

Nobody polls: a posting wakes the relay, which reads every unsent message once. After a restart it
finds what the process before it left unsent. A message may be sent twice (the process died between
the gateway's answer and the note of it); its reference lets the gateway make one of the two.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from fewseconds import journey as j
from fewseconds.contracts import SMS_SEND, SmsAccepted, SmsRequest, Trace
from mock_psp import templates
from mock_psp.walk import Journey, Walk

if TYPE_CHECKING:
    from mock_psp.ledger import Ledger, Message
    from mock_psp.outgoing import Outgoing
    from mock_psp.station import Answer, Call
    from mock_psp.world import World

STEP: Final = "sms"

log = logging.getLogger(__name__)


class _Parcel(NamedTuple):
    """A message on its way."""

    message: Message
    posted_us: int
    """When it was known to be durable."""


class Relay:
    """Sends what the outbox holds."""

    def __init__(self, world: World, ledger: Ledger, outgoing: Outgoing) -> None:
        """Nothing is sent before :meth:`wake`."""
        self._world, self._ledger, self._outgoing = world, ledger, outgoing
        self._last = 0
        self._station = world.station("sms_outbox")
        self._url = world.spec.url("sms") + SMS_SEND
        self.walk = Walk(world, {}, {"sms_outbox": self._take, "sms_gateway": self._send}, {})

    def wake(self) -> None:
        """Send every message that has come since the last time: a posting is durable."""
        if self._world.spec.sms_paused:
            return
        posted_us = self._world.clock.now_us()
        for message in self._ledger.unsent(self._last):
            self._last = message.sequence
            self.walk.start(self._deliver(_Parcel(message, posted_us)))

    async def _deliver(self, parcel: _Parcel) -> None:
        """Pass the legs of the step, again if need be, as the journey's rules say."""
        message = parcel.message
        trace = Trace.read(message.trace)
        route = self._world.route(trace.kind) if trace is not None else None
        if trace is None or route is None:
            route = self._world.route_through(STEP)
            trace = Trace(route.kind, (1 << 41) + message.sequence, STEP, 0, 1)
        journey = Journey(route, trace.journey_id, self._world.traits(trace))
        first = next(branch for branch in route.branches if branch.name == STEP)
        answer = await self.walk.branch(journey, first, parcel)
        if answer.outcome == j.OK:
            await self._ledger.sent(message.sequence, self._world.clock.now_us())
        else:
            # It stays in the outbox; the next start of the biller tries again.
            log.warning("a message of the outbox is unsent", extra={"sequence": message.sequence})

    async def _take(self, call: Call, parcel: _Parcel) -> Answer:
        """The outbox's own part: from the posting until the gateway is called."""
        posted_us = parcel.posted_us if call.attempt == 1 else None
        return await self._station.visit(call, arrived_us=posted_us)

    async def _send(self, call: Call, parcel: _Parcel) -> Answer:
        message = parcel.message
        request = SmsRequest(
            to=message.phone,
            sender=templates.SENDER,
            entity_id=templates.ENTITY_ID,
            template_id=message.template_id,
            text=message.text,
            reference=message.reference,
        )
        return await self._outgoing.post(self._url, call, msgspec.json.encode(request), SmsAccepted)
