"""From the ledger's outbox to the SMS gateway, as soon as a posting is durable.

A posting wakes the relay, which reads every unsent message once. What the gateway does not take in
spite of the journey's retries (it was away, or had too much to do) is sent again every few seconds
until it does; after a restart the relay finds what the process before it left unsent. A message may
be sent twice (the process died between the gateway's answer and the note of it); its reference lets
the gateway make one of the two.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
from sqlalchemy.exc import SQLAlchemyError

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
AGAIN_S: Final = 5.0
"""How often messages that are left are sent again: *assumption*."""
AGAIN_MAX: Final = 2000
"""So many at a time, so that a gateway that is back is not drowned at once: *assumption*."""
OWN_JOURNEYS: Final = 1 << 41
"""Journey ids from here on belong to messages that no journey waits for any more; the plan's are
far below, those of the gateway's strangers above."""
ROUNDS: Final = 256
ROUND: Final = 1 << 32
"""Each time that a message is sent again is a journey of its own, so that it has its own luck."""

log = logging.getLogger(__name__)


class _Parcel(NamedTuple):
    """A message on its way."""

    message: Message
    posted_us: int
    """When it was known to be durable."""
    again: int = 0
    """In which round it is sent again; 0 the first time."""


class Relay:
    """Sends what the outbox holds."""

    def __init__(self, world: World, ledger: Ledger, outgoing: Outgoing) -> None:
        """Nothing is sent before :meth:`wake`."""
        self._world, self._ledger, self._outgoing = world, ledger, outgoing
        self._last = self._again = 0
        self._left: int | None = None
        """No message before this one is left behind."""
        self._under_way: set[int] = set()
        self._refused: set[int] = set()
        self._unnoted: dict[int, int] = {}
        """When the gateway took messages, as long as the ledger has not been able to note it."""
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

    async def rounds(self) -> None:
        """Come back to what is left, for as long as the service runs."""
        while not self._world.spec.sms_paused:
            await asyncio.sleep(AGAIN_S)
            try:
                self._send_left()
            except Exception:
                # A database that is away for a moment is no reason to give up the messages.
                log.exception("messages of the outbox were not looked for")

    def _send_left(self) -> None:
        if self._left is None:
            return
        until = min(self._left + AGAIN_MAX - 1, self._last)
        found = self._ledger.unsent(self._left - 1, until)
        left = [one for one in found if one.sequence not in self._refused]
        self._left = left[0].sequence if left else until + 1 if until < self._last else None
        self._again += 1
        now_us = self._world.clock.now_us()
        for message in left:
            if message.sequence in self._under_way:
                continue
            if message.sequence in self._unnoted:
                self._under_way.add(message.sequence)
                self.walk.start(self._note(message.sequence))
            else:
                self.walk.start(self._deliver(_Parcel(message, now_us, self._again)))

    async def _deliver(self, parcel: _Parcel) -> None:
        """Send a message, and remember it if the gateway has not taken it."""
        sequence = parcel.message.sequence
        self._under_way.add(sequence)
        try:
            answer = await self._attempts(parcel)
            if answer.outcome == j.OK:
                self._unnoted[sequence] = self._world.clock.now_us()
                await self._note(sequence)
            elif answer.outcome == j.DECLINED:
                # It would be refused again; a person has to look.
                self._refused.add(sequence)
                log.warning("a message of the outbox is refused", extra={"sequence": sequence})
            else:
                self._leave(sequence)
                log.warning("a message of the outbox is unsent", extra={"sequence": sequence})
        finally:
            self._under_way.discard(sequence)

    async def _note(self, sequence: int) -> None:
        """Note that the gateway has a message; another round tries again what cannot be noted."""
        try:
            await self._ledger.sent(sequence, self._unnoted[sequence])
        except SQLAlchemyError:
            self._leave(sequence)
            log.warning("a sent message could not be noted", extra={"sequence": sequence})
        else:
            del self._unnoted[sequence]
        finally:
            self._under_way.discard(sequence)

    def _leave(self, sequence: int) -> None:
        """Come back to a message in another round."""
        self._left = sequence if self._left is None else min(self._left, sequence)

    async def _attempts(self, parcel: _Parcel) -> Answer:
        """Pass the legs of the step, again if need be, as the journey's rules say."""
        message = parcel.message
        trace = Trace.read(message.trace)
        route = self._world.route(trace.kind) if trace is not None else None
        if trace is None or route is None:
            route = self._world.route_through(STEP)
            trace = Trace(route.kind, OWN_JOURNEYS + message.sequence, STEP, 0, 1)
        journey_id = trace.journey_id
        if parcel.again:
            journey_id = OWN_JOURNEYS + parcel.again % ROUNDS * ROUND + message.sequence
        journey = Journey(route, journey_id, self._world.traits(trace))
        first = next(branch for branch in route.branches if branch.name == STEP)
        return await self.walk.branch(journey, first, parcel)

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
