"""The protocol data units of SMPP 3.4 that a thin gateway needs, read and written.

Layouts: *Short Message Peer-to-Peer Protocol Specification v3.4* (SMPP Developers Forum, 1999),
sections 3.2 (header), 4.1 (binding), 4.4 (``submit_sm``), 4.6 (``deliver_sm``), 5.1 (command ids
and states), 5.3 (optional parameters).
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

HEADER: Final = struct.Struct(">IIII")
LENGTH_MAX: Final = 8192
"""Bytes of a PDU that is still read; the largest honest ``submit_sm`` has less than 1 KiB."""
RESPONSE: Final = 0x80000000

GENERIC_NACK: Final = 0x80000000
BIND_RECEIVER: Final = 0x00000001
BIND_TRANSMITTER: Final = 0x00000002
SUBMIT_SM: Final = 0x00000004
DELIVER_SM: Final = 0x00000005
UNBIND: Final = 0x00000006
BIND_TRANSCEIVER: Final = 0x00000009
ENQUIRE_LINK: Final = 0x00000015

ROK: Final = 0x00
RINVMSGLEN: Final = 0x01
RINVCMDLEN: Final = 0x02
RINVCMDID: Final = 0x03
RINVBNDSTS: Final = 0x04
RALYBND: Final = 0x05
RSYSERR: Final = 0x08
RINVSRCADR: Final = 0x0A
RINVDSTADR: Final = 0x0B
RINVPASWD: Final = 0x0E
RINVSYSID: Final = 0x0F
RMSGQFUL: Final = 0x14
RTHROTTLED: Final = 0x58

RECEIPTED_MESSAGE_ID: Final = 0x001E
MESSAGE_PAYLOAD: Final = 0x0424
MESSAGE_STATE: Final = 0x0427
ENTITY_ID: Final = 0x1400
"""Vendor tag under which Indian gateways take the DLT entity id, as a C string …"""
TEMPLATE_ID: Final = 0x1401
"""… and the template id."""


class PduError(ValueError):
    """A unit that breaks the layout; ``status`` is what its sender is answered."""

    def __init__(self, status: int, what: str) -> None:
        """``what`` is for the log."""
        super().__init__(what)
        self.status = status


class Pdu(NamedTuple):
    """One unit: header and the bytes after it."""

    command: int
    status: int
    sequence: int
    body: bytes = b""

    def encoded(self) -> bytes:
        """As it goes over the wire."""
        length = HEADER.size + len(self.body)
        return HEADER.pack(length, self.command, self.status, self.sequence) + self.body

    def answer(self, status: int = ROK, body: bytes = b"") -> Pdu:
        """The response to this unit."""
        return Pdu(self.command | RESPONSE, status, self.sequence, body)


class Bind(NamedTuple):
    """Who wants to be let in."""

    system_id: str
    password: str


class Submit(NamedTuple):
    """A message handed over."""

    source: str
    destination: str
    registered_delivery: int
    data_coding: int
    message: bytes
    options: Mapping[int, bytes]


class _Reader:
    """The fields of a body, one after the other."""

    def __init__(self, body: bytes) -> None:
        self._body, self._at = body, 0

    def text(self, name: str, size: int) -> str:
        """A C octet string of at most ``size`` bytes, its final NUL included."""
        end = self._body.find(b"\0", self._at, self._at + size)
        if end < 0:
            raise PduError(RINVCMDLEN, f"{name}: does not end within {size} bytes")
        raw, self._at = self._body[self._at : end], end + 1
        return raw.decode("latin-1")

    def byte(self, name: str) -> int:
        """One octet."""
        return self.octets(name, 1)[0]

    def octets(self, name: str, count: int) -> bytes:
        """Some octets."""
        if self._at + count > len(self._body):
            raise PduError(RINVCMDLEN, f"{name}: the unit ends too early")
        raw, self._at = self._body[self._at : self._at + count], self._at + count
        return raw

    def options(self) -> dict[int, bytes]:
        """Everything that is left, as tag → value; of a tag that comes twice, the first counts."""
        found: dict[int, bytes] = {}
        while self._at < len(self._body):
            tag, length = struct.unpack(">HH", self.octets("optional parameter", 4))
            found.setdefault(tag, self.octets(f"optional parameter {tag:#06x}", length))
        return found


def header(raw: bytes) -> tuple[int, Pdu]:
    """Length of the body that follows, and the unit still without it; raises PduError."""
    length, command, status, sequence = HEADER.unpack(raw)
    if not HEADER.size <= length <= LENGTH_MAX:
        raise PduError(RINVCMDLEN, f"a unit of {length} bytes; {HEADER.size} to {LENGTH_MAX} are")
    return length - HEADER.size, Pdu(command, status, sequence)


def bind(body: bytes) -> Bind:
    """Read the body of one of the three binds; raises PduError."""
    fields = _Reader(body)
    system_id, password = fields.text("system_id", 16), fields.text("password", 9)
    fields.text("system_type", 13)
    fields.octets("interface_version, addr_ton, addr_npi", 3)
    fields.text("address_range", 41)
    return Bind(system_id, password)


def submit(body: bytes) -> Submit:
    """Read the body of ``submit_sm``; raises PduError."""
    fields = _Reader(body)
    fields.text("service_type", 6)
    fields.octets("source_addr_ton, source_addr_npi", 2)
    source = fields.text("source_addr", 21)
    fields.octets("dest_addr_ton, dest_addr_npi", 2)
    destination = fields.text("destination_addr", 21)
    fields.octets("esm_class, protocol_id, priority_flag", 3)
    fields.text("schedule_delivery_time", 17)
    fields.text("validity_period", 17)
    registered = fields.byte("registered_delivery")
    fields.byte("replace_if_present_flag")
    coding = fields.byte("data_coding")
    fields.byte("sm_default_msg_id")
    message = fields.octets("short_message", fields.byte("sm_length"))
    options = fields.options()
    if MESSAGE_PAYLOAD in options:
        if message:
            raise PduError(RINVMSGLEN, "short_message and message_payload at once")
        message = options[MESSAGE_PAYLOAD]
    return Submit(source, destination, registered, coding, message, options)


def deliver(source: str, destination: str, message: bytes, options: Mapping[int, bytes]) -> bytes:
    """The body of a ``deliver_sm`` that carries a delivery receipt (``esm_class`` 0x04)."""
    fixed = b"\0" + _address(source) + _address(destination)
    return (
        fixed + b"\x04\0\0" + b"\0\0" + b"\0\0\0\0" + bytes([len(message)]) + message
        + b"".join(struct.pack(">HH", tag, len(value)) + value for tag, value in options.items())
    )  # fmt: skip


def c_string(text: str) -> bytes:
    """A C octet string."""
    return text.encode("latin-1") + b"\0"


def _address(number: str) -> bytes:
    """Type of number 1 (international), plan 1 (E.164), then the digits."""
    return b"\1\1" + c_string(number)
