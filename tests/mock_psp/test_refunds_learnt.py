"""The biller learns of every refund, whichever of the ways to it is broken."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

import msgspec
import pytest

from fewseconds import contracts as c
from mock_psp import auditor
from mock_psp import merchant_contract as m
from mock_psp.books_contract import CalendarMove
from mock_psp.serve import Services
from tests.mock_psp.scenarios import constant, quick_scenario

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.mock_psp.conftest import Reply, World

DAY_US = 86_400_000_000
RULE = "every refund at the bank is in the ledger, at its amount"


@pytest.fixture(scope="module")
def town(
    enter: Callable[[Services], World], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    """Services in which callbacks about customers of KOTAK take a while."""
    slow = {"by": ["bank"], "variants": {"KOTAK": {"service_time": constant(500)}}}
    folder = tmp_path_factory.mktemp("refunds")
    chosen = ("psp", "biller", "sms")
    with Services(
        quick_scenario({"stations": {"callback_network": slow}}), 7, folder, only=chosen
    ) as services:
        yield enter(services)
    # Whatever the tests below did, the books agree with the banks in the end.
    assert _broken(folder) == []


def _broken(folder: Path) -> list[tuple[str, tuple[str, ...]]]:
    checks = auditor.audit(folder).checks
    return [(one.name, one.first) for one in checks if not one.passed]


def _merchant(world: World, path: str, body: bytes = b"{}", **headers: str) -> Reply:
    pair = f"{world.secrets.merchant_key_id}:{world.secrets.merchant_key_secret}"
    header = "Basic " + base64.b64encode(pair.encode()).decode()
    return world.ask("POST", "psp", path, body, authorization=header, **headers)


def _posting(world: World, name: str) -> str:
    found = world.ask("GET", "biller", f"{c.BILLER_RECEIPTS}/{name}").body
    return str(found.get("posting", ""))


def _paid(world: World, index: int) -> str:
    """A payment that has been credited."""
    name = str(world.pay(index).body["transaction_id"])
    world.until(lambda: _posting(world, name) == "credited")
    return name


def _refund(name: str) -> str:
    return f"/v1/payments/{m.payment_id(name)}/refund"


def test_a_refund_whose_webhook_was_given_up_is_found_by_the_sweep(town: World) -> None:
    """The auditor misses it, the sweep posts it once with its SMS, and the bill is open again."""
    services, token = town.services, {"fewseconds_token": town.secrets.token}
    name = _paid(town, 30)
    services.kill("biller")
    refund = _merchant(town, _refund(name)).body["id"]
    log = services.folder.logs / "psp.log"

    def given_up() -> bool:
        # The calendar goes on faster than the half minute for which the webhook is tried.
        town.ask("POST", "psp", c.CALENDAR, CalendarMove(20), **token)
        return "an event was given up" in log.read_text("utf-8")

    town.until(given_up)
    assert (RULE, (f"{refund}: {town.bill(30).amount_paise} given back, posted nothing",)) in (
        _broken(services.folder.root)
    )
    services.restart("biller")
    swept = [town.ask("POST", "biller", c.BILLER_SWEEP, **token).body for _ in range(2)]
    assert [one["refunded"] for one in swept] == [[refund], []]
    assert _posting(town, name) == "refunded"
    assert len(town.inbox(30, refund)) == 1
    assert town.pay(30, journey=31).body["status"] == "SUCCESS"


def test_a_refund_that_was_ordered_is_posted_from_the_answer(town: World) -> None:
    """Without any webhook and without the sweep, money that is due is known to have gone back."""
    endpoint = json.loads(
        next(
            line
            for line in town.services.folder.merchant.read_text("utf-8").splitlines()
            if c.BILLER_REFUNDS in line
        )
    )["data"]["id"]
    assert _merchant(town, f"/v1/webhooks/{endpoint}/disable").status == 200
    first, second = (town.pay(40, bank="KOTAK", attempt=attempt).body for attempt in (1, 2))
    names = [first["transaction_id"], second["transaction_id"]]
    town.until(lambda: {_posting(town, name) for name in names} == {"credited", "refunded"})


def test_a_kill_between_a_refunds_order_and_its_money_loses_neither(town: World) -> None:
    """Asked again with the same key it is the same refund, and the money has gone back once."""
    services = town.services
    name = _paid(town, 50)
    key = {"x_refund_idempotency": "order-number-50"}
    order = m.RefundRequest(amount=town.bill(50).amount_paise)
    body = json.dumps({"amount": order.amount}).encode()
    refund = _merchant(town, _refund(name), body, **key).body
    services.kill("psp")
    # A kill that came a moment earlier would have left the journal without its last line.
    journal = services.folder.journal
    lines = journal.read_text("utf-8").splitlines(keepends=True)
    journal.write_text("".join(one for one in lines if refund["id"] not in one), "utf-8")
    services.restart("psp")
    again = _merchant(town, _refund(name), body, **key)
    assert (again.status, again.body["id"]) == (200, refund["id"])
    assert town.journal(name).count("refund") == 1
    more = _merchant(town, _refund(name), body, x_refund_idempotency="order-number-51")
    assert (more.status, "fully refunded" in str(more.body)) == (400, True)
    token = {"fewseconds_token": town.secrets.token}
    town.ask("POST", "biller", c.BILLER_SWEEP, **token)
    assert _posting(town, name) == "refunded"


def test_money_that_is_learnt_of_when_its_bill_has_expired_goes_back(
    enter: Callable[[Services], World], tmp_path: Path
) -> None:
    """Paid in time and told two months later: it is taken, given back with its reason, and told."""
    lost = {"failures": [{"outcome": "error", "code": "lost", "share": 1.0, "source": "test"}]}
    network = {"callback_network": {"by": ["bank"], "variants": {"KOTAK": lost}}}
    chosen = ("psp", "biller", "sms")
    with Services(quick_scenario({"stations": network}), 7, tmp_path, only=chosen) as services:
        world = enter(services)
        name = world.pay(30, bank="KOTAK").body["transaction_id"]
        services.kill("biller")
        origin_us = services.spec.plan_origin_us + 60 * DAY_US
        later = msgspec.structs.replace(services.spec, plan_origin_us=origin_us)
        services.folder.spec.write_bytes(msgspec.json.encode(later))
        services.restart("biller")
        token = {"fewseconds_token": world.secrets.token}
        assert world.ask("POST", "biller", c.BILLER_SWEEP, **token).body["posted"] == [name]
        world.until(lambda: _posting(world, name) == "refunded")
        query = "SELECT reason, amount_paise, psp_refund_id FROM refunds"
        ((reason, amount_paise, refund),) = world.rows(query)
        assert (reason, amount_paise) == ("expired", world.bill(30).amount_paise)
        (message,) = world.inbox(30, refund)
        assert "has been refunded" in message["text"]
    assert _broken(tmp_path) == []
