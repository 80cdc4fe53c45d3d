"""The SMS gateway as a service, with the operators and the handsets behind it.

Messages are accepted when sender and template are registered (the checks of the DLT platforms of
Indian operators, TCCCPR 2018). A message that comes again with a reference that is known is the
same message: it is answered and not sent again.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from litestar import get, post
from litestar.params import Parameter

from fewseconds import journey as j
from fewseconds.contracts import (
    INBOX,
    SMS_SEND,
    Inbox,
    InboxMessage,
    SmsAccepted,
    SmsRequest,
    Trace,
)
from mock_psp import templates
from mock_psp.handset import Handsets
from mock_psp.message_log import LogEntry, MessageLog, log_entries
from mock_psp.station import Answer, Duty
from mock_psp.walk import Journey, Walk
from mock_psp.web import HttpRequest, Refusal, body_of, check_token, refused, taking, trace_of
from mock_psp.web import application as service

if TYPE_CHECKING:
    from litestar import Litestar

    from mock_psp.station import Call
    from mock_psp.world import World

WAIT_MS_MAX: Final = 30_000
TEXT_LENGTH_MAX: Final = 160
PHONE: Final = re.compile(r"\+91[0-9]{10}")


class Gateway:
    """The parts of the service."""

    def __init__(self, world: World) -> None:
        """Stations are made ready; the log is opened when the event loop runs."""
        self.world = world
        self.handsets = Handsets(world.closing)
        self._station = world.station("sms_gateway")
        self.walk = Walk(world, {"operator": world.station("operator")}, {}, {})
        self._accepted: dict[str, str] = {}

    async def start(self) -> None:
        """Remember what was accepted before a restart."""
        path = self.world.folder.messages
        for entry in log_entries(path):
            self._accepted[entry.reference] = entry.message_id
        self._log = MessageLog(path)

    async def stop(self) -> None:
        """Messages on their way to a handset get lost."""
        await self.walk.close()
        self._log.close()

    async def send(self, request: SmsRequest, trace: Trace | None) -> Answer:
        """Take a message over, once; its way to the handset goes on by itself."""
        refusal = _scrubbed(request)
        if refusal is not None:
            return Answer(j.DECLINED, refusal.problem.code, refusal.problem)
        call = None if trace is None else self.world.call(trace)
        if call is None:
            return self._accept(request, None)
        return await self._station.visit(call, Duty(done=lambda: self._accept(request, call)))

    def _accept(self, request: SmsRequest, call: Call | None) -> Answer:
        known = self._accepted.get(request.reference)
        name = known or f"SMS{len(self._accepted) + 1:09d}"
        self._note("accepted" if known is None else "duplicate", name, request)
        if known is None:
            self._accepted[request.reference] = name
            self.walk.start(self._carry(request, name, call))
        return Answer(j.OK, "", SmsAccepted(name))

    async def _carry(self, request: SmsRequest, name: str, call: Call | None) -> None:
        """The operator's part: a message arrives, or it never does."""
        route = None if call is None else self.world.route(call.kind)
        if call is not None and route is not None:
            journey, step = Journey(route, call.journey_id, call.traits), route.index(call.step)
            answer = await self.walk.attempt(
                journey, step, call.attempt, None, branch=call.branch, first_leg=call.leg + 1
            )
            if answer.outcome != j.OK:
                return
        self._note("delivered", name, request)
        message = InboxMessage(name, request.reference, request.sender, request.text)
        self.handsets.deliver(request.to, message)

    def _note(
        self, entry: Literal["accepted", "duplicate", "delivered"], name: str, request: SmsRequest
    ) -> None:
        now_us, to = self.world.clock.now_us(), "•" * 9 + request.to[-4:]
        self._log.write(LogEntry(now_us, entry, name, request.reference, to))


def _scrubbed(request: SmsRequest) -> Refusal | None:
    """Why a message is not let through; codes as Exotel lists them for DLT scrubbing."""
    text = request.text
    if PHONE.fullmatch(request.to) is None:
        found = "23010", "the number is not +91 and ten digits"
    elif request.entity_id != templates.ENTITY_ID:
        found = "600", "the entity is not registered"
    elif request.sender != templates.SENDER:
        found = "620", "the header is not registered; it ends in its category (-S)"
    elif request.template_id not in templates.TEXTS:
        found = "630", "the template is not registered"
    elif not templates.fits(request.template_id, text) or len(text) > TEXT_LENGTH_MAX:
        found = "23082", "the text does not fit the template"
    else:
        return None
    return Refusal(422, "Not let through", found[1], code=found[0], outcome="declined")


@post(SMS_SEND, status_code=202, operation_class=taking(SmsRequest))
async def send(request: HttpRequest) -> SmsAccepted:
    """Take a message over for delivery."""
    gateway: Gateway = request.app.state.gateway
    data = await body_of(request, SmsRequest)
    answer = await gateway.send(data, trace_of(request))
    if answer.outcome != j.OK:
        raise refused(answer)
    accepted: SmsAccepted = answer.value
    return accepted


@get(INBOX + "/{phone:str}")
async def inbox(
    request: HttpRequest,
    phone: str,
    reference: str = "",
    wait_ms: Annotated[int, Parameter(ge=0, le=WAIT_MS_MAX)] = 0,
) -> Inbox:
    """Messages on a handset; waits for the first one if asked to. Needs the run's token."""
    gateway: Gateway = request.app.state.gateway
    check_token(request, gateway.world.secrets.token)
    found = await gateway.handsets.wait(phone, reference, wait_ms / 1000)
    return Inbox(found)


def application(world: World) -> Litestar:
    """The SMS gateway as an ASGI application."""
    gateway = Gateway(world)
    handlers: list[Any] = [send, inbox]
    return service(
        world, "sms gateway", handlers, {"gateway": gateway}, gateway.start, gateway.stop
    )
