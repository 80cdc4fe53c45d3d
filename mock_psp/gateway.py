"""The SMS gateway behind its doors (HTTP and SMPP): scrubbing, operators, handsets, reports.

A message is taken over when its number can be dialled. Then the operators' DLT platforms scrub it
(TCCCPR 2018): sender, entity, template and wording must be registered together, and one that does
not fit is *accepted and never arrives*: no report tells of it, only the gateway's own log does.
A message that comes again with a reference that is known is the same message: it is answered and
not sent again. Another message with that reference is an error, and not sent either. What was
accepted comes to its end, over kills and restarts, and is reported to who asked for that until it
has been taken; handsets hold what they held (``kept_messages``).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Final

from fewseconds import chance
from fewseconds import journey as j
from fewseconds.contracts import InboxMessage, SmsAccepted, SmsReport, SmsRequest, Trace
from fewseconds.plan import Traits
from mock_psp.dlt import Platform
from mock_psp.handset import MESSAGES_MAX, Handsets
from mock_psp.kept_messages import Kept, KeptMessages, kept_before
from mock_psp.message_log import (
    ENDS,
    REPEATS,
    SETTLED,
    Entry,
    LogEntry,
    MessageLog,
    Messages,
    digest_of,
    left_by,
)
from mock_psp.station import Answer, Call, Duty
from mock_psp.walk import Journey, Walk
from mock_psp.web import Refusal

if TYPE_CHECKING:
    from mock_psp.world import World

STEP: Final = "sms"
STATION: Final = "sms_gateway"
PHONE: Final = re.compile(r"\+91[0-9]{10}")
UNKNOWN_NUMBER: Final = "23010"
"""Code of a number that cannot be dialled (Exotel's list)."""
STRANGERS: Final = 1 << 42
"""Journey ids from here on belong to messages without a trace; the plan's are far below."""

Settle = Callable[[Entry], None]
"""Takes note that a report is ``reported`` or ``unreported``; until then it is owed."""
Listener = Callable[[SmsReport, Settle], Awaitable[None]]
"""Whoever asked for the delivery report of a message, and settles it when it has been taken."""


class Gateway:
    """What both doors of the gateway lead to."""

    def __init__(self, world: World) -> None:
        """Stations are made ready; the log is opened when the event loop runs."""
        self.world = world
        self.handsets = Handsets(world.closing)
        self._station = world.station(STATION)
        self.walk = Walk(world, {"operator": world.station("operator")}, {}, {})
        self._messages = Messages()
        self._platform = Platform(world.spec.registrations)
        self._noted: Counter[Entry] = Counter()
        self.listeners: dict[str, Callable[[SmsRequest], Listener]] = {}
        """Door → who hears there what became of a message; filled before the start."""
        world.counts.append(lambda: {f"sms_{entry}": n for entry, n in self._noted.items()})

    async def start(self) -> None:
        """Remember what was before a restart; go on with what was on its way or unreported."""
        path, texts = self.world.folder.messages, self.world.folder.texts
        left = left_by(path, self._messages, MESSAGES_MAX)
        arrived, kept = set(left.arrived), dict[str, Kept]()
        for one in kept_before(texts):
            name = one.message_id
            accepted = self._messages.known(one.request.reference) == name
            if accepted and (name in arrived or left.wants(name)):
                kept[name] = one
        self._log = MessageLog(path)
        self._kept = KeptMessages(texts, [one for name, one in kept.items() if left.wants(name)])
        for name in left.arrived:
            if name in kept:
                self._arrive(kept[name])
        for message in self._kept.unended():
            ended = left.owed.get(message.message_id)
            if ended is not None:
                self.walk.start(self._tell(message, ended))
            else:
                self._send(message, self._call(message.request, Trace.read(message.trace)))

    async def stop(self) -> None:
        """Break off the way of messages to their handsets; the next start goes on with them."""
        await self.walk.close()
        for message in self._kept.unended():
            if self._messages.latest(message.message_id) not in ENDS:
                self._note("stopped", message.message_id, message.request)
        self._log.close()
        self._kept.close()

    async def take(self, request: SmsRequest, trace: Trace | None, door: str = "") -> Answer:
        """Take a message over, once; its way to the handset goes on by itself.

        The listener at ``door`` hears what became of it, unless DLT scrubbing swallows it.
        """
        if PHONE.fullmatch(request.to) is None:
            told = Refusal(
                422, "Number unknown", "the number is not +91 and ten digits",
                code=UNKNOWN_NUMBER, outcome="declined",
            ).problem  # fmt: skip
            return Answer(j.DECLINED, UNKNOWN_NUMBER, told)
        call, header = self._call(request, trace), "" if trace is None else trace.header()
        accept = Duty(done=lambda: self._accept(request, call, header, door))
        return await self._station.visit(call, accept)

    def state(self, message_id: str) -> str | None:
        """What a sender is told about a message; None if there is no such message.

        One that was scrubbed is ``ACCEPTD`` for ever, as if an operator still had it.
        """
        entry = self._messages.latest(message_id)
        if entry is None:
            return None
        return {"delivered": "DELIVRD", "undelivered": "UNDELIV"}.get(entry, "ACCEPTD")

    def _accept(self, request: SmsRequest, call: Call, trace: str, door: str) -> Answer:
        known, digest = self._messages.known(request.reference), digest_of(request)
        if known is not None and not self._messages.is_same(known, digest):
            self._note("conflict", known, request)
            what = f"{request.reference!r} is the reference of another message, {known}"
            return Answer(j.DECLINED, "http_409", Refusal(409, "Conflict", what).problem)
        if known is not None:
            self._note("duplicate", known, request)
            return Answer(j.OK, "", SmsAccepted(known))
        message = Kept(self._messages.accept(request.reference, digest), request, trace, door)
        self._kept.keep(message)
        self._note("accepted", message.message_id, request, digest=digest, door=door)
        self._send(message, call)
        return Answer(j.OK, "", SmsAccepted(message.message_id))

    def _send(self, message: Kept, call: Call) -> None:
        """Have a message scrubbed, and start it on its way."""
        code = self._platform.refusal(message.request)
        if code:
            self._note("scrubbed", message.message_id, message.request, code)
            self._kept.over(message.message_id)
        else:
            self.walk.start(self._carry(message, call))

    async def _carry(self, message: Kept, call: Call) -> None:
        """The operator's part: a message arrives, or it never does."""
        name, request = message.message_id, message.request
        route = self.world.route(call.kind)
        answer = Answer(j.OK)
        if route is not None:
            journey, step = Journey(route, call.journey_id, call.traits), route.index(call.step)
            answer = await self.walk.attempt(
                journey, step, call.attempt, None, branch=call.branch, first_leg=call.leg + 1
            )
        if answer.outcome == j.OK:
            ended = self._note("delivered", name, request)
            self._arrive(message)
        else:
            ended = self._note("undelivered", name, request, answer.code)
        if message.door:
            await self._tell(message, ended)
        else:
            self._kept.over(name)

    def _arrive(self, message: Kept) -> None:
        """Put a message on its handset."""
        name, request = message.message_id, message.request
        shown = InboxMessage(name, request.reference, request.sender, request.text)
        self.handsets.deliver(request.to, shown)

    async def _tell(self, message: Kept, ended: LogEntry) -> None:
        """Have whoever asked for it told what became of a message."""
        name, request = message.message_id, message.request
        report = SmsReport(
            name, request.reference, "DELIVRD" if ended.entry == "delivered" else "UNDELIV",
            ended.code, ended.at_us,
        )  # fmt: skip
        await self.listeners[message.door](request)(report, partial(self._settle, message))

    def _settle(self, message: Kept, how: Entry) -> None:
        self._note(how, message.message_id, message.request)
        self._kept.over(message.message_id)

    def _call(self, request: SmsRequest, trace: Trace | None) -> Call:
        """The visit that a message is, by its trace or by itself."""
        call = None if trace is None else self.world.call(trace)
        return call or self._stranger(request)

    def _stranger(self, request: SmsRequest) -> Call:
        """The visit of a message that no journey announced: its draws are keyed by its reference.

        Its operator is that of the number, drawn by the operators' shares.
        """
        route = self.world.route_through(STEP)
        index = route.index(STEP)
        leg = next(n for n, one in enumerate(route.steps[index].legs) if one.station == STATION)
        shares = self.world.scenario.operators
        luck = chance.uniform(self.world.seed, chance.stream("sms", request.to), 0, 1)
        operator = list(shares)[chance.pick(chance.cumulative(list(shares.values())), luck)]
        journey_id = STRANGERS + chance.stream("sms", request.reference)
        traits = Traits("", "", "", "", operator)
        return Call(route.kind, journey_id, STEP, STEP, leg, 1, traits)

    def _note(
        self, entry: Entry, name: str, request: SmsRequest, code: str = "", digest: str = "",
        door: str = "",
    ) -> LogEntry:  # fmt: skip
        self._noted[entry] += 1
        now_us, to = self.world.clock.now_us(), "•" * 9 + request.to[-4:]
        noted = LogEntry(now_us, entry, name, request.reference, to, code, digest, door)
        if entry in SETTLED:
            self._log.put_off(noted)
            return noted
        if entry not in REPEATS:
            self._messages.note(name, entry)
        self._log.write(noted)
        return noted
