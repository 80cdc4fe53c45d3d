"""The SMS gateway as a service over HTTP: sending, asking what became of it, and the handsets."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Final
from urllib.parse import parse_qsl

from litestar import get, post
from litestar.params import Parameter

from fewseconds import journey as j
from fewseconds.contracts import INBOX, SMS_SEND, Inbox, SmsAccepted, SmsRequest, SmsState
from mock_psp.described import PARTIES, RUN_TOKEN, described
from mock_psp.gateway import Gateway
from mock_psp.reports import Reports
from mock_psp.smpp import Smpp
from mock_psp.web import (
    HttpRequest,
    Refusal,
    ShortWay,
    body_of,
    check_token,
    refused,
    trace_of,
)
from mock_psp.web import application as service
from mock_psp.webhooks import ForbiddenTargetError, check_target

if TYPE_CHECKING:
    from mock_psp.front import Front
    from mock_psp.world import World

WAIT_MS_MAX: Final = 30_000
HTTP_DOOR: Final = "http"
_NUMBER: Final = re.compile(r"[0-9]{1,6}")


@post(SMS_SEND, status_code=202, operation_class=described(SmsRequest, refuses=(409, *PARTIES)))
async def send(request: HttpRequest) -> SmsAccepted:
    """Take a message over for delivery."""
    gateway: Gateway = request.app.state.gateway
    data = await body_of(request, SmsRequest)
    if data.report_url:
        try:
            check_target(data.report_url, gateway.world.spec.webhook_hosts)
        except ForbiddenTargetError as error:
            raise Refusal(400, "Malformed", f"report_{error}", outcome="declined") from None
    answer = await gateway.take(data, trace_of(request), HTTP_DOOR if data.report_url else "")
    if answer.outcome != j.OK:
        raise refused(answer)
    accepted: SmsAccepted = answer.value
    return accepted


@get(SMS_SEND + "/{message_id:str}", operation_class=described(refuses=(404,)))
async def state(request: HttpRequest, message_id: str) -> SmsState:
    """What became of a message, for senders that take no reports."""
    gateway: Gateway = request.app.state.gateway
    found = gateway.state(message_id)
    if found is None:
        raise Refusal(404, "Not found", f"no message {message_id!r} was accepted here")
    return SmsState(message_id, found)


@get(INBOX + "/{phone:str}", operation_class=described(needs=RUN_TOKEN))
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


def _inbox_arguments(phone: str, query: str) -> dict[str, Any] | None:
    """What the inbox is asked for, if the question is an ordinary one."""
    pairs = parse_qsl(query, keep_blank_values=True)
    told = dict(pairs)
    wait_ms = told.get("wait_ms", "0")
    if not phone or len(told) < len(pairs) or _NUMBER.fullmatch(wait_ms) is None:
        return None
    if int(wait_ms) > WAIT_MS_MAX:
        return None
    return {"phone": phone, "reference": told.get("reference", ""), "wait_ms": int(wait_ms)}


def application(world: World) -> Front:
    """The SMS gateway as an ASGI application, with a second door for SMPP if it is wanted."""
    gateway, reports = Gateway(world), Reports()
    gateway.listeners[HTTP_DOOR] = lambda request: reports.listener(request.report_url)
    smpp = None
    if world.smpp is not None:
        smpp = Smpp(gateway, world.secrets.smpp_password, world.spec.networks("sms"))

    async def start() -> None:
        reports.start()
        await gateway.start()
        if smpp is not None and world.smpp is not None:
            await smpp.start(world.smpp)

    async def stop() -> None:
        if smpp is not None:
            await smpp.stop()
        await gateway.stop()
        await reports.stop()

    handlers: list[Any] = [send, state, inbox]
    parts = {"gateway": gateway, "reports": reports}
    return service(
        world,
        "sms gateway",
        handlers,
        parts,
        start,
        stop,
        hot=(send, ShortWay(inbox, _inbox_arguments)),
    )
