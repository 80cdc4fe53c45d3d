"""The SMS gateway's second door: SMPP 3.4, for billers that speak it.

A session binds with the password of the run, submits messages and gets their delivery receipts.
DLT ids travel in the vendor tags 0x1400 and 0x1401, as Indian gateways take them. Too many messages
a second are answered ``ESME_RTHROTTLED`` (0x58), too many unanswered ones ``ESME_RMSGQFUL`` (0x14).
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import itertools
import logging
import secrets
from typing import TYPE_CHECKING, Final, NamedTuple

from fewseconds import journey as j
from fewseconds.contracts import SmsRequest
from mock_psp import smpp_pdu as p
from mock_psp.lean_protocol import welcome

if TYPE_CHECKING:
    import socket

    from fewseconds.contracts import SmsReport
    from mock_psp.gateway import Gateway, Listener, Settle
    from mock_psp.lean_protocol import Network

DOOR: Final = "smpp"
SYSTEM_ID: Final = "fewseconds"
BIND_S: Final = 10
"""A connection that has not bound by then is closed."""
IDLE_S: Final = 60
"""Silence after which the other side is asked whether it is there (SMSFire: 60 s); after twice as
long the session is closed."""
WINDOW: Final = 100
"""Messages of a session that may be unanswered at once."""
RECEIPTS_MAX: Final = 10_000
"""Receipts that are kept for a sender who has no receiving session; the oldest are given up."""
BINDS: Final = {
    p.BIND_RECEIVER: (False, True),
    p.BIND_TRANSMITTER: (True, False),
    p.BIND_TRANSCEIVER: (True, True),
}
"""Command → (may submit, gets receipts)."""
ENCODINGS: Final = {0: "latin-1", 1: "ascii", 3: "latin-1", 8: "utf-16-be"}
"""Data coding → Python's codec; the letters of GSM's alphabet that we print are those of ASCII."""
STATES: Final = {"DELIVRD": 2, "UNDELIV": 5}
"""Message states of section 5.2.28."""

log = logging.getLogger(__name__)


class Receipt(NamedTuple):
    """A receipt that nobody has answered yet."""

    body: bytes
    settle: Settle


class Smpp:
    """The listener and its sessions."""

    def __init__(
        self, gateway: Gateway, password: str, allowed: tuple[Network, ...] | None
    ) -> None:
        """Nothing is open yet; ``allowed`` networks may come in, or whoever reaches us."""
        self.gateway, self.password, self._allowed = gateway, password, allowed
        self.sessions: set[Session] = set()
        self.receipts: dict[int, Receipt] = {}
        """By number; a process after this one makes them anew."""
        self.numbers = itertools.count(1)
        self._server: asyncio.Server | None = None
        gateway.listeners[DOOR] = self._listener

    async def start(self, listening: socket.socket) -> None:
        """Answer on a bound socket."""
        self._server = await asyncio.start_server(self._serve, sock=listening)

    async def stop(self) -> None:
        """Close the listener and every session."""
        if self._server is not None:
            self._server.close()
        for session in list(self.sessions):
            session.close()

    async def report(self, report: SmsReport, request: SmsRequest, settle: Settle) -> None:
        """Keep a receipt until a receiving session has taken it, and send it to one."""
        number = next(self.numbers)
        moment = self.gateway.world.clock.moment_of(report.at_us).strftime("%y%m%d%H%M")
        arrived = int(report.state == "DELIVRD")
        text = (
            f"id:{report.message_id} sub:001 dlvrd:{arrived:03d} submit date:{moment} "
            f"done date:{moment} stat:{report.state} err:{'000' if arrived else '001'} text:"
        )
        options = {
            p.RECEIPTED_MESSAGE_ID: p.c_string(report.message_id),
            p.MESSAGE_STATE: bytes([STATES[report.state]]),
        }
        body = p.deliver(request.to.lstrip("+"), request.sender, text.encode(), options)
        self.receipts[number] = Receipt(body, settle)
        if len(self.receipts) > RECEIPTS_MAX:
            self.receipts.pop(next(iter(self.receipts))).settle("unreported")
        for session in self.sessions:
            if session.receives:
                session.deliver(number, body)
                return

    def _listener(self, request: SmsRequest) -> Listener:
        """Whoever hears, at this door, what became of a message."""

        async def listener(report: SmsReport, settle: Settle) -> None:
            await self.report(report, request, settle)

        return listener

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        address, *_ = writer.get_extra_info("peername")
        if self._allowed is not None and not welcome(address, self._allowed):
            writer.transport.abort()
            return
        session = Session(self, reader, writer)
        self.sessions.add(session)
        try:
            await session.run()
        except (ConnectionError, asyncio.IncompleteReadError, TimeoutError):
            pass
        finally:
            self.sessions.discard(session)
            session.close()


class Session:
    """One connection."""

    def __init__(
        self, door: Smpp, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Not bound yet."""
        self._door, self._reader, self._writer = door, reader, writer
        self._submits = self.receives = False
        self._tasks: set[asyncio.Task[None]] = set()
        # A sequence number may come again, and so may a session's place in the list.
        self._name, self._numbers = secrets.token_hex(6), itertools.count(1)

    @property
    def _bound(self) -> bool:
        return self._submits or self.receives

    async def run(self) -> None:
        """Answer until the other side goes, is silent for too long or breaks the layout."""
        asked = False
        while True:
            try:
                async with asyncio.timeout(IDLE_S if self._bound else BIND_S):
                    pdu = await self._read()
            except TimeoutError:
                if asked or not self._bound:
                    return
                asked = True
                self._write(p.Pdu(p.ENQUIRE_LINK, p.ROK, next(self._door.numbers)))
                continue
            except p.PduError as error:
                log.warning("an SMPP session broke off", extra={"error": str(error)})
                self._write(p.Pdu(p.GENERIC_NACK, error.status, 0))
                return
            asked = False
            if not self._answer(pdu):
                return
            await self._writer.drain()

    def deliver(self, number: int, body: bytes) -> None:
        """Send a receipt; its answer takes it off the list."""
        self._write(p.Pdu(p.DELIVER_SM, p.ROK, number, body))

    def close(self) -> None:
        """End the connection; messages it handed over stay handed over."""
        with contextlib.suppress(ConnectionError, RuntimeError):
            self._writer.close()

    async def _read(self) -> p.Pdu:
        length, pdu = p.header(await self._reader.readexactly(p.HEADER.size))
        return pdu._replace(body=await self._reader.readexactly(length))

    def _write(self, pdu: p.Pdu) -> None:
        if not self._writer.is_closing():
            self._writer.write(pdu.encoded())

    def _answer(self, pdu: p.Pdu) -> bool:
        """Answer one unit; False if the session is over."""
        if pdu.command & p.RESPONSE:
            if pdu.command == p.DELIVER_SM | p.RESPONSE and pdu.status == p.ROK:
                taken = self._door.receipts.pop(pdu.sequence, None)
                if taken is not None:
                    taken.settle("reported")
            return True
        if pdu.command in BINDS:
            return self._bind(pdu)
        if pdu.command in (p.ENQUIRE_LINK, p.UNBIND):
            self._write(pdu.answer())
            return pdu.command == p.ENQUIRE_LINK
        if pdu.command != p.SUBMIT_SM:
            self._write(p.Pdu(p.GENERIC_NACK, p.RINVCMDID, pdu.sequence))
        elif not self._submits:
            self._write(pdu.answer(p.RINVBNDSTS))
        elif len(self._tasks) >= WINDOW:
            self._write(pdu.answer(p.RMSGQFUL))
        else:
            task = asyncio.get_running_loop().create_task(self._submit(pdu))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return True

    def _bind(self, pdu: p.Pdu) -> bool:
        try:
            given = p.bind(pdu.body)
        except p.PduError as error:
            self._write(pdu.answer(error.status))
            return False
        status = p.ROK
        if self._bound:
            status = p.RALYBND
        elif given.system_id != SYSTEM_ID:
            status = p.RINVSYSID
        elif not hmac.compare_digest(given.password.encode(), self._door.password.encode()):
            status = p.RINVPASWD
        if status != p.ROK:
            self._write(pdu.answer(status))
            return self._bound
        self._submits, self.receives = BINDS[pdu.command]
        self._write(pdu.answer(p.ROK, p.c_string(SYSTEM_ID)))
        if self.receives:
            for number, receipt in self._door.receipts.items():
                self.deliver(number, receipt.body)
        return True

    async def _submit(self, pdu: p.Pdu) -> None:
        try:
            submit = p.submit(pdu.body)
            request = _request(submit, f"smpp-{self._name}-{next(self._numbers)}")
        except p.PduError as error:
            self._write(pdu.answer(error.status))
            return

        wanted = DOOR if submit.registered_delivery & 1 else ""
        answer = await self._door.gateway.take(request, None, wanted)
        if answer.outcome == j.OK:
            self._write(pdu.answer(p.ROK, p.c_string(answer.value.message_id)))
        else:
            known = {j.DECLINED: p.RINVDSTADR, j.REJECTED: p.RTHROTTLED}
            self._write(pdu.answer(known.get(answer.outcome, p.RSYSERR)))


def _request(submit: p.Submit, reference: str) -> SmsRequest:
    """A submitted message as the gateway takes it; raises PduError."""
    codec = ENCODINGS.get(submit.data_coding)
    if codec is None:
        raise p.PduError(p.RSYSERR, f"data_coding {submit.data_coding}: not one of {[*ENCODINGS]}")
    try:
        text = submit.message.decode(codec)
    except UnicodeDecodeError as error:
        raise p.PduError(p.RSYSERR, f"short_message: {error}") from None

    def option(tag: int) -> str:
        return submit.options.get(tag, b"").rstrip(b"\0").decode("latin-1")

    return SmsRequest(
        to="+" + submit.destination.lstrip("+"),
        sender=submit.source,
        entity_id=option(p.ENTITY_ID),
        template_id=option(p.TEMPLATE_ID),
        text=text,
        reference=reference,
    )
