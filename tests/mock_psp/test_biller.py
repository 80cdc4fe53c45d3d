"""The biller's callbacks over real sockets: exactly once, and only from who knows the key."""

from __future__ import annotations

import datetime as dt
import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from fewseconds import contracts as c
from fewseconds.identity import transaction_id
from fixtures import bills
from mock_psp.clock import wall_s

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.mock_psp.conftest import Reply, World


LONG_AGO = dt.date(2026, 5, 1)
"""Half a year before the month of the scenario: what was due then may be paid no more."""


def name(index: int) -> str:
    """A transaction id of somebody else's PSP."""
    return transaction_id("ABC", 1, index, 1)


def counted(world: World, statement: str, **values: str) -> int:
    """A number out of the ledger."""
    ((found,),) = world.rows(statement, **values)
    return int(found)


def sent(world: World, body: bytes, headers: dict[str, str]) -> Reply:
    """Send a callback's body with given headers."""
    fields = {key.replace("-", "_"): value for key, value in headers.items()}
    return world.ask("POST", "biller", c.BILLER_CALLBACK, body, **fields)


def test_eight_copies_at_once_are_posted_once(world: World) -> None:
    """All copies get 200 and the same receipt; one credit, one receipt, one SMS come of them."""
    callback = world.callback(200, name(200))
    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(world.call_back, [callback] * 8))
    assert {reply.status for reply in replies} == {200}
    assert sum(not reply.body["duplicate"] for reply in replies) == 1
    assert len({reply.body["receipt_number"] for reply in replies}) == 1
    for table, rows in (("lines", 2), ("receipts", 1), ("outbox", 1), ("payments", 1)):
        statement = f"SELECT count(*) FROM {table} WHERE transaction_id = :name"
        assert counted(world, statement, name=name(200)) == rows
    assert len(world.inbox(200, name(200))) == 1


def refusals(world: World) -> list[dict[str, Any]]:
    """What the biller's log says of callbacks that it refused."""
    text = (world.services.folder.logs / "biller.log").read_text("utf-8")
    lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == "a callback was refused"]


def test_a_callback_without_the_key_changes_nothing(world: World) -> None:
    """Forged, unsigned, old and altered callbacks get 401, and nothing is written."""
    callback = world.callback(201, name(201))
    body = msgspec.json.encode(callback)
    good = world.signed(body, callback.event_id)
    rows = "SELECT (SELECT count(*) FROM callbacks) + (SELECT count(*) FROM alarms)"
    before = counted(world, rows)
    attempts: list[tuple[bytes, dict[str, str]]] = [
        (body, world.signed(body, callback.event_id, key=b"guessed")),
        (body, {}),
        (body, world.signed(body, callback.event_id, wall_s() - 301)),
        (body, world.signed(body, callback.event_id, wall_s() + 310)),
        (body.replace(b":", b": ", 1), good),
        (body, good | {"webhook-id": "evt_other"}),
    ]
    for content, headers in attempts:
        known = refusals(world)
        reply = sent(world, content, headers)
        assert (reply.status, reply.content_type) == (401, "application/problem+json")
        # One line for whoever looks after it, and it says why.
        (line,) = refusals(world)[len(known) :]
        assert (line["level"], line["reason"]) == ("warning", reply.body["detail"])
    assert counted(world, rows) == before
    assert sent(world, body, good).status == 200


def test_a_known_event_with_another_body_is_a_conflict(world: World) -> None:
    """Who knows the key and says two things under one id gets 409, and an alarm is kept."""
    callback = world.callback(202, name(202))
    assert world.call_back(callback).status == 200
    changed = msgspec.structs.replace(callback, payer_vpa="other@examplebank")
    assert world.call_back(changed).status == 409
    other_event = msgspec.structs.replace(callback, event_id="evt_2", amount_paise=1)
    assert world.call_back(other_event).status == 409
    alarms = "SELECT count(*) FROM alarms WHERE transaction_id = :name"
    assert counted(world, alarms, name=name(202)) == 2


def test_a_failure_that_comes_late_does_not_unpay(world: World) -> None:
    """After a success, a failure of the same payment is acknowledged and changes nothing."""
    callback = world.callback(203, name(203))
    world.call_back(callback)
    late = msgspec.structs.replace(callback, event_id="evt_late", status="FAILURE", code="U30")
    reply = world.call_back(late)
    assert (reply.status, reply.body["posting"]) == (200, "credited")
    receipt = world.ask("GET", "biller", f"{c.BILLER_RECEIPTS}/{name(203)}")
    assert receipt.body["posting"] == "credited"


def test_a_failure_has_no_receipt_and_no_sms(world: World) -> None:
    """A failed payment is remembered, and nobody is told that money came."""
    failed = world.callback(204, name(204), status="FAILURE", code="Z9", rrn="")
    assert world.call_back(failed).body["posting"] == "none"
    assert world.ask("GET", "biller", f"{c.BILLER_RECEIPTS}/{name(204)}").status == 404
    assert world.inbox(204, name(204), wait_ms=0) == []


def test_money_for_a_bill_of_long_ago_is_to_go_back(world: World) -> None:
    """It is taken, credited to no bill, and due to be refunded with that reason."""
    season = world.services.spec.scenario.season.amounts
    old = bills.bill(world.seed, 209, month=LONG_AGO, season=season)
    told = {"bill_number": old.number, "amount_paise": old.amount_paise}
    assert world.call_back(world.callback(209, name(209), **told)).body["posting"] == "refund_due"
    query = "SELECT reason, amount_paise FROM refunds WHERE transaction_id = :name"
    assert world.rows(query, name=name(209)) == [("expired", old.amount_paise)]


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"transaction_id": "short"}, "transaction_id"),
        ({"rrn": "12345678901x"}, "rrn"),
        ({"rrn": ""}, "rrn"),
        ({"amount_paise": 0}, "amount_paise"),
        ({"amount_paise": -5}, "amount_paise"),
    ],
)
def test_an_authentic_callback_that_makes_no_sense_is_refused(
    world: World, changes: dict[str, Any], place: str
) -> None:
    """A signature does not make a payment out of anything."""
    reply = world.call_back(world.callback(205, name(205), **changes))
    assert reply.status == 400
    assert reply.body["detail"].startswith(place)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff\xfe", b'{"amount_paise": NaN}', b"null"])
def test_an_authentic_body_that_is_no_callback_is_refused(world: World, body: bytes) -> None:
    """Signed garbage is answered with 400."""
    assert sent(world, body, world.signed(body, "evt_x")).status == 400


def test_an_event_under_another_signed_id_is_refused(world: World) -> None:
    """The id that is signed and the id in the body have to be the same."""
    callback = world.callback(206, name(206))
    body = msgspec.json.encode(callback)
    assert sent(world, body, world.signed(body, "evt_else")).status == 400


@pytest.mark.parametrize(
    ("ask", "code"),
    [
        (lambda bill: {"amount_paise": bill.amount_paise - 1}, "B6"),
        (lambda _: {"bill_number": "1" * 14}, "ZD"),
        (lambda _: {"bill_number": "' OR 1=1 --"}, "ZD"),
        (lambda bill: {"bill_number": bills.bill_number(bill.index, LONG_AGO)}, "PE"),
    ],
)
def test_an_authorisation_is_refused_with_its_code(
    world: World, ask: Callable[[Any], dict[str, Any]], code: str
) -> None:
    """Wrong amounts, unknown bills, old ones: declined by the codes that UPI has for them."""
    bill = world.bill(207)
    whole = {
        "transaction_id": name(207), "bill_number": bill.number,
        "amount_paise": bill.amount_paise, **ask(bill),
    }  # fmt: skip
    reply = world.ask("POST", "biller", c.BILLER_AUTHORISE, msgspec.json.encode(whole))
    assert reply.status == 200
    assert (reply.body["approved"], reply.body["code"]) == (False, code)


def test_no_personal_data_is_logged(world: World) -> None:
    """Logs, journal and message log hold no whole telephone number and no payment address."""
    world.pay(208)
    world.pay(208, pin="98x7")
    folder = world.services.folder
    texts = [*folder.logs.glob("*.log"), folder.journal, folder.messages]
    for path in texts:
        text = path.read_text("utf-8")
        assert "+9105" not in text
        assert "@examplebank" not in text
        assert "98x7" not in text
