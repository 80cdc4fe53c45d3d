"""The SMPP door, with smpplib's client as the other side, and what strangers throw at it."""

from __future__ import annotations

import contextlib
import socket
import struct
from typing import TYPE_CHECKING, Any

import pytest
import smpplib.client
import smpplib.command
import smpplib.consts
import smpplib.exceptions
from hypothesis import given
from hypothesis import strategies as st

from mock_psp import smpp_pdu as p
from mock_psp import templates
from mock_psp.serve import Options, Services
from mock_psp.smpp import SYSTEM_ID
from tests.mock_psp.test_kept_messages import LOSSY, STATES, noted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from fewseconds.scenario import Scenario
    from tests.mock_psp.conftest import World

PHONE = "910512345678"
TEXT = (
    "BEST: Rs.10.00 received for consumer 2000000000, bill 26110000000000. Receipt R1. UPI ref 1. "
    "Thank you."
)
LIMIT_S = 10


@pytest.fixture(scope="module")
def world(
    quick: Callable[..., Scenario],
    enter: Callable[[Services], World],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[World]:
    """A gateway with both doors; the operator ``vi`` loses every message."""
    folder: Path = tmp_path_factory.mktemp("smpp")
    options = Options(smpp_port=0)
    with Services(quick(LOSSY), 7, folder, only=("sms",), options=options) as services:
        yield enter(services)


class Peer:
    """A client of smpplib that keeps what it is answered."""

    def __init__(self, world: World) -> None:
        """Connect."""
        self.password = world.secrets.smpp_password
        port = world.services.spec.smpp_port
        self.client = smpplib.client.Client(
            "127.0.0.1", port, timeout=LIMIT_S, allow_unknown_opt_params=True
        )
        self.answers: dict[int, Any] = {}
        self.receipts: list[Any] = []
        self.client.set_message_sent_handler(self._sent)
        self.client.set_message_received_handler(self._received)
        # Answers with an error status come to the other handler as well; this one would raise.
        self.client.set_error_pdu_handler(lambda _: None)
        self.client.connect()

    def bind(
        self, password: str | None = None, system_id: str = SYSTEM_ID, kind: str = "transceiver"
    ) -> None:
        """Become a transceiver, or another kind of session."""
        given = self.password if password is None else password
        getattr(self.client, f"bind_{kind}")(system_id=system_id, password=given)

    def _sent(self, pdu: Any, **_: object) -> None:  # noqa: ANN401 - smpplib has no annotations
        self.answers[pdu.sequence] = pdu

    def _received(self, pdu: Any, **_: object) -> None:  # noqa: ANN401 - as above
        self.receipts.append(pdu)

    def submit(self, text: str = TEXT, **changes: Any) -> int:  # noqa: ANN401 - as above
        """Hand a message over; its sequence number."""
        told = {
            "source_addr": templates.SENDER,
            "destination_addr": PHONE,
            "short_message": text.encode(),
            "registered_delivery": True,
            "entity_id": templates.ENTITY_ID,
            "template_id": templates.RECEIPT,
            **changes,
        }
        tlvs = {name: told.pop(name) for name in ("entity_id", "template_id")}
        pdu = smpplib.command.factory("submit_sm", client=self.client, **told)
        pdu.sequence = self.client.next_sequence()
        # smpplib knows no vendor tags, so the ids are put behind what it has generated.
        raw = pdu.generate()
        for tag, value in zip((p.ENTITY_ID, p.TEMPLATE_ID), tlvs.values(), strict=True):
            octets = value.encode() + b"\0"
            raw += struct.pack(">HH", tag, len(octets)) + octets
        self.client._socket.sendall(struct.pack(">I", len(raw)) + raw[4:])
        return int(pdu.sequence)

    def answer(self, sequence: int) -> Any:  # noqa: ANN401 - as above
        """Wait for the answer to a message."""
        while sequence not in self.answers:
            self.client.read_once()
        return self.answers[sequence]

    def receipt(self) -> str:
        """Wait for a delivery receipt; its text."""
        while not self.receipts:
            self.client.read_once()
        return str(self.receipts.pop(0).short_message.decode())


@pytest.fixture
def peers(world: World) -> Iterator[Callable[..., Peer]]:
    """Clients of the gateway, which are closed at the end."""
    with contextlib.ExitStack() as stack:

        def peer(password: str | None = None, system_id: str = SYSTEM_ID) -> Peer:
            made = Peer(world)
            stack.callback(made.client.disconnect)
            made.bind(password, system_id)
            return made

        yield peer


def receipt_fields(text: str) -> dict[str, str]:
    """The fields of a receipt's text (SMPP 3.4, appendix B)."""
    names = ("id", "stat", "dlvrd", "err")
    found = {part.partition(":")[0]: part.partition(":")[2] for part in text.split()}
    return {name: found[name] for name in names}


def in_inbox(world: World, phone: str) -> int:
    """Number of messages on a handset."""
    reply = world.ask(
        "GET", "sms", f"/handset/v1/inbox/+{phone}", fewseconds_token=world.secrets.token
    )
    return len(reply.body["messages"])


def test_receipts_say_what_the_handsets_hold(world: World, peers: Callable[..., Peer]) -> None:
    """Each message is answered with an id, and reported as delivered exactly if it arrived."""
    peer = peers()
    phones = [f"9105123{index:05d}" for index in range(40)]
    sent = {}
    for phone in phones:
        answer = peer.answer(peer.submit(destination_addr=phone))
        assert answer.status == smpplib.consts.SMPP_ESME_ROK
        sent[answer.message_id.decode()] = phone
    receipts = [receipt_fields(peer.receipt()) for _ in phones]
    assert sorted(receipt["id"] for receipt in receipts) == sorted(sent)
    for receipt in receipts:
        arrived = in_inbox(world, sent[receipt["id"]])
        assert receipt["stat"] == ("DELIVRD" if arrived else "UNDELIV")
        assert receipt["dlvrd"] == f"00{arrived}"
    assert {receipt["stat"] for receipt in receipts} == {"DELIVRD", "UNDELIV"}


def test_a_receipt_waits_for_its_sender(peers: Callable[..., Peer]) -> None:
    """Receipts of a session that has gone are delivered to the next one."""
    first = peers()
    sequence = first.submit(destination_addr="910512999999")
    name = first.answer(sequence).message_id.decode()
    first.client.disconnect()
    # Whether the receipt came before the session went or not, it was never answered.
    assert receipt_fields(peers().receipt())["id"] == name


def test_a_killed_gateway_owes_its_receipts(
    quick: Callable[..., Scenario], enter: Callable[[Services], World], tmp_path: Path
) -> None:
    """Whoever binds after a kill gets every receipt that nobody had answered, and then no more."""
    options = Options(smpp_port=0)
    with contextlib.ExitStack() as stack:
        services = stack.enter_context(
            Services(quick(LOSSY), 7, tmp_path, only=("sms",), options=options)
        )
        world, folder = enter(services), services.folder

        def peer(kind: str = "transceiver") -> Peer:
            made = Peer(world)
            stack.callback(made.client.disconnect)
            made.bind(kind=kind)
            return made

        # One session gets the receipts and never answers, the other only hands messages over.
        peer("receiver")
        sender = peer("transmitter")
        answers = [
            sender.answer(sender.submit(destination_addr=f"9105123{index:05d}"))
            for index in range(20)
        ]
        sent = {answer.message_id.decode() for answer in answers}
        world.until(lambda: len(noted(folder, *STATES)) == len(sent))
        services.kill("sms")
        services.restart("sms")
        taker = peer()
        receipts = [receipt_fields(taker.receipt()) for _ in sent]
        assert {one["id"]: one["stat"] for one in receipts} == {
            name: STATES[one.entry] for name, one in noted(folder, *STATES).items()
        }
        assert {one["stat"] for one in receipts} == set(STATES.values())
        assert {one["id"] for one in receipts} == sent
        world.until(lambda: len(noted(folder, "reported")) == len(sent))
        services.kill("sms")
        services.restart("sms")
        last = peer()
        name = last.answer(last.submit()).message_id.decode()
        assert receipt_fields(last.receipt())["id"] == name


@pytest.mark.parametrize(
    ("password", "system_id", "status"),
    [("guess", SYSTEM_ID, 0x0E), ("", SYSTEM_ID, 0x0E), (None, "somebody", 0x0F)],
)
def test_a_bind_needs_the_password(
    peers: Callable[..., Peer], password: str | None, system_id: str, status: int
) -> None:
    """Nobody sends without the run's password and system id."""
    with pytest.raises(smpplib.exceptions.PDUError) as caught:
        peers(password, system_id)
    assert caught.value.args[1] == status


def test_a_message_that_is_not_registered_is_accepted_and_never_heard_of(
    world: World, peers: Callable[..., Peer]
) -> None:
    """DLT scrubbing is silent: an id, no receipt, nothing on the handset."""
    peer = peers()
    assert peer.answer(peer.submit("Win a prize", destination_addr="910512000001")).status == 0
    good = peer.answer(peer.submit(destination_addr="910512000002")).message_id.decode()
    assert receipt_fields(peer.receipt())["id"] == good
    assert in_inbox(world, "910512000001") == 0


def test_a_number_that_cannot_be_dialled_is_refused(peers: Callable[..., Peer]) -> None:
    """A destination of five digits is answered with ESME_RINVDSTADR."""
    peer = peers()
    assert peer.answer(peer.submit(destination_addr="12345")).status == 0x0B


def test_too_many_messages_a_second_are_throttled(
    quick: Callable[..., Scenario], enter: Callable[[Services], World], tmp_path: Path
) -> None:
    """The second message within a minute is answered with ESME_RTHROTTLED (0x58)."""
    limit = {"per_s": 1 / 60, "source": "a test"}
    scenario = quick({"stations": {"sms_gateway": {"rate_limit": limit}}})
    options = Options(smpp_port=0)
    with Services(scenario, 7, tmp_path, only=("sms",), options=options) as services:
        peer = Peer(enter(services))
        try:
            peer.bind()
            statuses = [peer.answer(peer.submit()).status for _ in range(2)]
        finally:
            peer.client.disconnect()
    assert statuses == [0x00, 0x58]


def raw_exchange(world: World, sent: bytes) -> bytes:
    """What the listener says to some bytes until it closes the connection."""
    port = world.services.spec.smpp_port
    with socket.create_connection(("127.0.0.1", port), LIMIT_S) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        said = b""
        while part := connection.recv(4096):
            said += part
        return said


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (struct.pack(">IIII", 5, p.SUBMIT_SM, 0, 1), p.RINVCMDLEN),
        (struct.pack(">IIII", 1 << 31, p.SUBMIT_SM, 0, 1), p.RINVCMDLEN),
        (struct.pack(">IIII", 16, 0x99, 0, 1), p.RINVCMDID),
        (struct.pack(">IIII", 16, p.SUBMIT_SM, 0, 1), p.RINVBNDSTS),
        (struct.pack(">IIII", 17, p.BIND_TRANSCEIVER, 0, 1) + b"x", p.RINVCMDLEN),
    ],
)
def test_broken_units_are_answered_with_their_fault(world: World, sent: bytes, status: int) -> None:
    """Lengths, commands, states and layouts that are wrong have a status of their own."""
    said = raw_exchange(world, sent)
    assert struct.unpack(">IIII", said[:16])[2] == status


@given(noise=st.binary(max_size=200))
def test_noise_is_a_typed_error(noise: bytes) -> None:
    """Whatever comes as the body of a message is read, or refused with a status."""
    for read in (p.bind, p.submit):
        status = p.ROK
        try:
            read(noise)
        except p.PduError as error:
            status = error.status
        assert status in (p.ROK, p.RINVCMDLEN, p.RINVMSGLEN)
