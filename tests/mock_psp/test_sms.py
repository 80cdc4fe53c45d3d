"""The gateway, the operators and the handsets."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import msgspec
import pytest

from fewseconds import contracts as c
from fixtures import consumers
from mock_psp import templates

if TYPE_CHECKING:
    from tests.mock_psp.conftest import World

PHONE = "+910512345678"


def message(**changes: str) -> dict[str, str]:
    """A message that the gateway lets through."""
    return {
        "to": PHONE,
        "sender": templates.SENDER,
        "entity_id": templates.ENTITY_ID,
        "template_id": templates.RECEIPT,
        "text": "BEST: Rs.10.00 received for consumer 2000000000, bill 26110000000000. "
        "Receipt R1. UPI ref 1. Thank you.",
        "reference": "one",
        **changes,
    }


def send(world: World, **changes: str) -> tuple[int, dict[str, str]]:
    """Send it."""
    reply = world.ask("POST", "sms", c.SMS_SEND, msgspec.json.encode(message(**changes)))
    return reply.status, reply.body


def inbox(world: World, query: str, token: str | None = None) -> tuple[int, dict[str, list[str]]]:
    """Look into the handset."""
    token = world.secrets.token if token is None else token
    reply = world.ask("GET", "sms", f"{c.INBOX}/{PHONE}?{query}", fewseconds_token=token)
    return reply.status, reply.body


def test_a_reference_is_one_message_however_often_it_is_sent(world: World) -> None:
    """Copies get the same message id, and the handset gets one message."""
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: send(world, reference="often"), range(4)))
    assert {status for status, _ in answers} == {202}
    assert len({body["message_id"] for _, body in answers}) == 1
    _, found = inbox(world, "reference=often&wait_ms=5000")
    assert len(found["messages"]) == 1


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"to": "12345"}, "23010"),
        ({"entity_id": "0"}, "600"),
        ({"sender": "BESTMU"}, "620"),
        ({"sender": "BESTMU-P"}, "620"),
        ({"template_id": "0"}, "630"),
        ({"text": "Win a prize"}, "23082"),
        ({"text": message()["text"].replace("Rs.10.00", "Rs." + "9" * 41)}, "23082"),
    ],
)
def test_a_message_that_is_not_registered_is_not_let_through(
    world: World, changes: dict[str, str], code: str
) -> None:
    """Number, entity, header, template and text are checked as DLT scrubbing does."""
    status, body = send(world, reference="scrubbed", **changes)
    assert (status, body["code"]) == (422, code)
    assert inbox(world, "reference=scrubbed")[1]["messages"] == []


@pytest.mark.parametrize("token", ["", "guess"])
def test_an_inbox_needs_the_token(world: World, token: str) -> None:
    """Nobody reads a handset without the run's token."""
    assert inbox(world, "reference=often", token)[0] == 401


@pytest.mark.parametrize("wait", ["-1", "30001", "soon"])
def test_a_wait_has_a_limit(world: World, wait: str) -> None:
    """A long poll of more than 30 s, or of no length at all, is refused."""
    assert inbox(world, f"wait_ms={wait}")[0] == 400


def test_whoever_waits_is_woken_by_the_message(world: World) -> None:
    """A poll that began before the message was sent returns it."""
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(inbox, world, "reference=later&wait_ms=20000")
        send(world, reference="later")
        _, found = waiting.result()
    assert len(found["messages"]) == 1


def test_an_undelivered_message_never_arrives(world: World) -> None:
    """The gateway accepts what the operator then loses; the payment is not affected."""
    paid = world.pay(400, operator="vi").body
    assert paid["status"] == "SUCCESS"
    assert world.inbox(400, paid["transaction_id"], wait_ms=700) == []
    phone = consumers.consumer(world.seed, 400).phone
    assert phone.startswith("+9105")
