"""Amounts, codes and refunds that cannot be: refused at the door, and nothing else is harmed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from fewseconds import contracts as c
from fewseconds.identity import transaction_id
from mock_psp import auditor
from mock_psp import merchant_contract as m
from mock_psp.serve import Options, Services
from tests.mock_psp.conftest import SEED, World
from tests.mock_psp.databases import BOTH, address
from tests.mock_psp.scenarios import quick_scenario

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.mock_psp.conftest import Reply


@pytest.fixture(scope="module", params=BOTH)
def world(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    """Services whose ledger is in either database."""
    options = Options(database=address(request, "hostile"))
    folder = tmp_path_factory.mktemp("hostile")
    chosen = ("psp", "biller")
    with Services(quick_scenario(), SEED, folder, only=chosen, options=options) as services:
        yield World(services)


def called_back(world: World, index: int, **changes: object) -> Reply:
    """Send a signed callback with fields that none of our own parties would send."""
    callback = world.callback(index, transaction_id("ABC", 1, index, 1))
    body = json.dumps({**msgspec.to_builtins(callback), **changes}).encode()
    headers = world.signed(body, callback.event_id)
    return world.ask("POST", "biller", c.BILLER_CALLBACK, body, **under(headers))


def under(headers: dict[str, str]) -> dict[str, str]:
    """Names of headers as the names of arguments."""
    return {name.replace("-", "_"): value for name, value in headers.items()}


@pytest.mark.parametrize("amount_paise", [2**63, 10**12 + 1, -(2**70), 0])
def test_an_amount_beyond_all_money_is_refused_and_harms_no_other(
    world: World, amount_paise: int
) -> None:
    """A signed callback with an amount that no database holds is a 400; the next one is posted."""
    index = 4000 + amount_paise % 7
    assert called_back(world, index, amount_paise=amount_paise).status == 400
    assert world.ask("GET", "biller", c.READY).status == 200
    assert called_back(world, index).status == 200
    paid = world.pay(index + 10, amount_paise=amount_paise)
    assert paid.status == 400
    asked = {"app": "bhim", "bill_number": "x", "amount_paise": amount_paise}
    query = json.dumps({"transaction_id": "x", **asked}).encode()
    assert world.ask("POST", "biller", c.BILLER_AUTHORISE, query).body.get("approved") is not True


@pytest.mark.parametrize("name", ["00", "01", "banana", "zzzz"])
def test_only_failures_can_be_forced(world: World, name: str) -> None:
    """A code of success, or no code of UPI at all, is refused: nobody can make money that way."""
    index = 4100 + len(name)
    paid = world.pay(index, payer_vpa=f"{name}@forced")
    assert (paid.status, paid.body["detail"].split(":")[0]) == (400, "payer_vpa")
    bill = world.bill(index)
    body = msgspec.json.encode(
        {**PAYER, "bill_number": bill.number, "amount_paise": bill.amount_paise}
    )
    headers = {"fewseconds_force": name, "fewseconds_token": world.secrets.token}
    assert world.ask("POST", "psp", c.PAY, body, **headers).status == 400


PAYER = {
    "app": "bhim", "payer_vpa": "payer@examplebank", "payer_bank": "SBI",
    "payee_vpa": "best.bills@examplebank", "pin": "1234",
}  # fmt: skip


def test_a_forced_failure_is_no_payment_to_the_merchant(world: World) -> None:
    """What a bank declined is failed in the merchant's list and cannot be refunded."""
    paid = world.pay(4120, payer_vpa="u30@forced").body
    assert (paid["status"], paid["code"]) == ("FAILURE", "U30")
    place = f"{m.PAYMENTS}/{m.payment_id(paid['transaction_id'])}"
    assert world.merchant("GET", place).body["captured"] is False
    assert world.merchant("POST", f"{place}/refund", b"{}").status == 400
    assert not {"debit", "credit", "refund"} & set(world.journal(paid["transaction_id"]))


@pytest.mark.parametrize(
    "path", [f"{c.BILLER_RECEIPTS}/%00", f"{c.BILLER_RECEIPTS}/a?x=%00", "/%00"]
)
def test_an_address_with_a_nul_is_refused(world: World, path: str) -> None:
    """PostgreSQL cannot even be asked about such a text, so nobody is."""
    assert world.ask("GET", "biller", path).status == 400


def test_a_body_with_a_nul_is_refused(world: World) -> None:
    """A text that one of the databases cannot hold is refused before either."""
    assert called_back(world, 4130, payer_vpa="a\0b@bank").status == 400
    assert (
        world.ask("POST", "biller", c.BILLER_RESOLVE, b'{"bill_number": "\\u0000"}').status == 400
    )


def test_a_refund_that_contradicts_what_is_known_is_an_alarm(world: World) -> None:
    """Another body, more than was paid, less than nothing: refused; a copy is answered again."""
    index = 4140
    callback = world.callback(index, transaction_id("ABC", 1, index, 1))
    assert world.call_back(callback).status == 200
    name, whole = callback.transaction_id, callback.amount_paise
    known = alarms(world)
    for event, refund, amount, status in (
        ("evtR1", "rfnd_1", 100, 200),
        ("evtR1", "rfnd_1", 100, 200),
        ("evtR1", "rfnd_2", 100, 409),
        ("evtR2", "rfnd_1", 101, 409),
        ("evtR3", "rfnd_3", -5, 400),
        ("evtR4", "rfnd_4", 0, 400),
        ("evtR5", "rfnd_5", whole - 99, 409),
        ("evtR6", "rfnd_6", 2**63, 400),
        ("evtR7", "rfnd_7", whole - 100, 200),
    ):
        reply = give_back(world, name, event, refund, amount)
        assert (event, refund, reply.status) == (event, refund, status)
    kinds = [kind for kind, _ in alarms(world)[len(known) :]]
    assert kinds == [
        "event_with_another_body", "refund_with_other_facts", "refund_beyond_the_payment",
    ]  # fmt: skip
    receipt = world.ask("GET", "biller", f"{c.BILLER_RECEIPTS}/{name}").body
    assert receipt["posting"] == "refunded"
    found = {one.name: one for one in auditor.audit(world.services.folder.root).checks}
    rule = found["a callback that contradicts an earlier one is an alarm, and changes nothing"]
    assert (rule.passed, rule.checked) == (True, len(alarms(world)))
    assert found["every posting has two lines that balance"].passed


def test_a_refund_of_a_payment_that_failed_is_an_alarm(world: World) -> None:
    """Nothing came in, so nothing can go back."""
    index = 4150
    callback = world.callback(
        index, transaction_id("ABC", 1, index, 1), status="FAILURE", code="U30", rrn=""
    )
    assert world.call_back(callback).status == 200
    reply = give_back(world, callback.transaction_id, "evtF1", "rfnd_F1", 5)
    assert (reply.status, reply.body["detail"]) == (409, "refund_of_a_failed_payment")


def give_back(world: World, name: str, event: str, refund: str, amount: int) -> Reply:
    """Send the webhook of a refund as the payment service does."""
    told: dict[str, Any] = {
        "refund": {"entity": {"id": refund, "amount": amount}},
        "payment": {"entity": {"acquirer_data": {"upi_transaction_id": name}}},
    }
    body = json.dumps({"event": "refund.processed", "payload": told}).encode()
    return world.ask("POST", "biller", c.BILLER_REFUNDS, body, **under(world.signed(body, event)))


def alarms(world: World) -> list[tuple[str, str]]:
    """The alarms of the ledger so far."""
    return [
        (kind, event_id)
        for kind, event_id in world.rows("SELECT kind, event_id FROM alarms ORDER BY sequence")
    ]
