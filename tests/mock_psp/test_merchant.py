"""The merchant's side: Razorpay's own client library, unmodified, finds what it expects."""

from __future__ import annotations

import base64
import datetime as dt
import re
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from fewseconds import contracts as c
from fewseconds.identity import IST
from fixtures import keys, qr
from mock_psp import auditor
from mock_psp.books_contract import CalendarMove
from mock_psp.serve import Services
from tests.mock_psp.merchants import TAKEN

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import razorpay
    from razorpay.errors import BadRequestError, SignatureVerificationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from fewseconds.scenario import Scenario
    from tests.mock_psp.conftest import Reply, World
    from tests.mock_psp.merchants import Receiver

SECRET = "webhook secret of the test"  # noqa: S105 - of a test
ATTEMPTS = 12
"""Within 24 hours: one at once, and one after each of eleven pauses, each twice as long."""


@pytest.fixture
def client(world: World) -> Iterator[Any]:
    """Razorpay's client with the merchant's key; only its base URL is ours."""
    secrets = world.secrets
    auth = (secrets.merchant_key_id, secrets.merchant_key_secret)
    made: Any = razorpay.Client(auth=auth, base_url=world.services.urls["psp"])
    yield made
    made.session.close()


def scan_and_pay(world: World, link: str, journey: int, amount_paise: int | None = None) -> Reply:
    """What a payer does with a code: look what it is for, and pay what the screen shows."""
    trace = world.trace(journey, "resolve")
    scanned = c.ResolveRequest("phonepe", link)
    shown = world.ask("POST", "psp", c.RESOLVE, scanned, fewseconds_journey=trace)
    assert shown.status == 200, shown
    amount = shown.body["amount_paise"] if amount_paise is None else amount_paise
    return world.pay(journey, bill_number=shown.body["bill_number"], amount_paise=amount)


def test_a_code_made_with_the_library_is_a_signed_link(client: Any) -> None:  # noqa: ANN401
    """The link names amount and payee, and its signature holds for a second implementation."""
    asked = {
        "type": "upi_qr",
        "name": "Ward office",
        "usage": "single_use",
        "fixed_amount": True,
        "payment_amount": 12_345,
        "description": "Deposit",
        "notes": {"purpose": "deposit"},
    }
    made = client.qrcode.create(asked)
    assert {name: made[name] for name in asked} == asked
    assert re.fullmatch(r"qr_[0-9A-Za-z]{14}", made["id"])
    payload = qr.verify(made["image_content"], keys.registry(7))
    assert (payload.amount_paise, payload.payee_name) == (12_345, "Ward office")
    assert client.qrcode.fetch(made["id"]) == made
    assert made in client.qrcode.all({"count": 100})["items"]


def test_money_paid_to_a_code_shows_up_in_its_payments(world: World, client: Any) -> None:  # noqa: ANN401
    """A payer scans and pays; the merchant sees the amount, the address and the RRN."""
    code = client.qrcode.create(
        {"type": "upi_qr", "usage": "single_use", "fixed_amount": True, "payment_amount": 50_000}
    )
    paid = scan_and_pay(world, code["image_content"], 500)
    assert paid.body["status"] == "SUCCESS"
    (payment,) = client.qrcode.fetch_all_payments(code["id"])["items"]
    assert payment["amount"] == 50_000
    assert payment["status"] == "captured"
    assert payment["vpa"] == "payer500@examplebank"
    assert payment["acquirer_data"] == {
        "rrn": paid.body["rrn"],
        "upi_transaction_id": paid.body["transaction_id"],
    }
    assert client.payment.fetch(payment["id"]) == payment
    after = client.qrcode.fetch(code["id"])
    received = after["payments_amount_received"], after["payments_count_received"]
    assert (after["status"], after["close_reason"], received) == ("closed", "paid", (50_000, 1))
    again = world.pay(501, bill_number=payment["reference"], amount_paise=50_000)
    assert (again.body["status"], again.body["code"]) == ("FAILURE", "YG")


def test_a_code_refuses_other_amounts_and_payments_after_it_was_closed(
    world: World, client: Any  # noqa: ANN401
) -> None:  # fmt: skip
    """A fixed amount is fixed; a code that was closed on demand takes nothing more."""
    code = client.qrcode.create(
        {"type": "upi_qr", "usage": "multiple_use", "fixed_amount": True, "payment_amount": 700}
    )
    wrong = scan_and_pay(world, code["image_content"], 502, 699)
    assert (wrong.body["status"], wrong.body["code"]) == ("FAILURE", "B6")
    assert scan_and_pay(world, code["image_content"], 503).body["status"] == "SUCCESS"
    assert scan_and_pay(world, code["image_content"], 504).body["status"] == "SUCCESS"
    shut = client.qrcode.close(code["id"])
    assert (shut["status"], shut["close_reason"]) == ("closed", "on_demand")
    late = scan_and_pay(world, code["image_content"], 505)
    assert (late.body["status"], late.body["code"]) == ("FAILURE", "PE")
    listed = client.qrcode.fetch_all_payments(code["id"])["items"]
    assert [one["status"] for one in listed] == ["failed", "captured", "captured", "failed"]
    assert [one["error_reason"] for one in listed][::3] == ["payment_expired", "amount_mismatch"]
    with pytest.raises(BadRequestError, match="already closed"):
        client.qrcode.close(code["id"])


def test_a_refund_gives_back_no_more_than_was_paid(world: World, client: Any) -> None:  # noqa: ANN401
    """Parts add up to the whole; the same idempotency key is the same refund."""
    code = client.qrcode.create({"type": "upi_qr", "usage": "multiple_use"})
    assert scan_and_pay(world, code["image_content"], 506, 9_000).body["status"] == "SUCCESS"
    (payment,) = client.qrcode.fetch_all_payments(code["id"])["items"]
    key = {"X-Refund-Idempotency": "refund-000001"}
    part = client.payment.refund(payment["id"], {"amount": 4_000}, headers=dict(key))
    assert client.payment.refund(payment["id"], {"amount": 4_000}, headers=dict(key)) == part
    with pytest.raises(BadRequestError, match="idempotency"):
        client.payment.refund(payment["id"], {"amount": 4_001}, headers=dict(key))
    with pytest.raises(BadRequestError, match="greater"):
        client.payment.refund(payment["id"], {"amount": 5_001})
    half = client.payment.fetch(payment["id"])
    assert (half["status"], half["refund_status"]) == ("captured", "partial")
    rest = client.refund.create({"payment_id": payment["id"]})
    assert rest["amount"] == 5_000
    whole = client.payment.fetch(payment["id"])
    refunded = whole["status"], whole["refund_status"], whole["amount_refunded"]
    assert refunded == ("refunded", "full", 9_000)
    assert client.refund.fetch(part["id"]) == part
    listed = client.payment.fetch_multiple_refund(payment["id"])["items"]
    assert [one["id"] for one in listed] == [part["id"], rest["id"]]


def test_eight_refunds_at_once_under_one_key_are_one(world: World, client: Any) -> None:  # noqa: ANN401
    """Whoever asks again because no answer came gives the money back once."""
    code = client.qrcode.create({"type": "upi_qr", "usage": "multiple_use"})
    assert scan_and_pay(world, code["image_content"], 510, 9_000).body["status"] == "SUCCESS"
    (payment,) = client.qrcode.fetch_all_payments(code["id"])["items"]

    def refunded(_: int) -> str:
        key = {"X-Refund-Idempotency": "refund-000510"}
        return str(client.payment.refund(payment["id"], {"amount": 1_000}, headers=key)["id"])

    with ThreadPoolExecutor(8) as pool:
        assert len({*pool.map(refunded, range(8))}) == 1
    assert client.payment.fetch(payment["id"])["amount_refunded"] == 1_000


def test_the_settlement_file_of_the_next_day_holds_payment_and_refund(
    world: World, client: Any  # noqa: ANN401
) -> None:  # fmt: skip
    """What came in and went out is settled at the next midnight, not before."""
    code = client.qrcode.create({"type": "upi_qr", "usage": "multiple_use"})
    assert scan_and_pay(world, code["image_content"], 507, 8_000).body["status"] == "SUCCESS"
    (payment,) = client.qrcode.fetch_all_payments(code["id"])["items"]
    refund = client.payment.refund(payment["id"], {"amount": 3_000})
    day = dt.datetime.fromtimestamp(payment["created_at"], IST).date() + dt.timedelta(days=1)
    query = {"year": day.year, "month": day.month, "day": day.day}

    def lines() -> dict[str, tuple[int, int]]:
        found = client.settlement.report(query)["items"]
        wanted = payment["id"], refund["id"]
        return {
            one["entity_id"]: (one["credit"], one["debit"])
            for one in found
            if one["entity_id"] in wanted
        }

    assert lines() == {}
    token = {"fewseconds_token": world.secrets.token}
    moved = world.ask("POST", "psp", c.CALENDAR, CalendarMove(86_400), **token)
    assert moved.status == 200
    assert lines() == {payment["id"]: (8_000, 0), refund["id"]: (0, 3_000)}
    assert world.ask("POST", "psp", c.CALENDAR, CalendarMove(86_400)).status == 401


def test_the_auditor_sees_refunds_and_the_money_of_codes(
    quick: Callable[..., Scenario], enter: Callable[[Services], World], tmp_path: Path
) -> None:
    """A clean run is; a rupee too much given back, or a code that lies, is noticed."""
    with Services(quick(), 7, tmp_path, only=("psp", "biller")) as services:
        world = enter(services)
        key = world.secrets.merchant_key_id, world.secrets.merchant_key_secret
        client: Any = razorpay.Client(auth=key, base_url=services.urls["psp"])
        code = client.qrcode.create({"type": "upi_qr", "usage": "multiple_use"})
        scan_and_pay(world, code["image_content"], 1, 5_000)
        (payment,) = client.qrcode.fetch_all_payments(code["id"])["items"]
        client.payment.refund(payment["id"], {"amount": 5_000})
        client.session.close()
    journal, merchant = tmp_path / "journal.jsonl", tmp_path / "merchant.jsonl"

    def broken() -> list[str]:
        return [check.name for check in auditor.audit(tmp_path).checks if not check.passed]

    assert broken() == []
    whole = journal.read_text("utf-8")
    refund = next(line for line in whole.splitlines() if '"refund"' in line)
    more = refund.replace('"reference":"', '"reference":"x').replace(":5000", ":100")
    journal.write_text(whole + more + "\n", "utf-8")
    assert broken() == ["no more is given back than was credited"]
    journal.write_text(whole, "utf-8")
    said = merchant.read_text("utf-8")
    merchant.write_text(said.replace('received":5000', 'received":5001'), "utf-8")
    assert ["QR code" in name for name in broken()] == [True]


def test_webhooks_carry_a_signature_that_the_library_accepts(
    world: World, client: Any, receiver: Receiver  # noqa: ANN401
) -> None:  # fmt: skip
    """Each event of a code's life comes once, signed over its raw body, with an id of its own."""
    hook = client.post(
        "/v1/webhooks",
        {
            "url": receiver.url,
            "secret": SECRET,
            "events": [
                "qr_code.created",
                "qr_code.credited",
                "qr_code.closed",
                "payment.captured",
                "payment.failed",
                "refund.processed",
            ],
        },
    )
    code = client.qrcode.create(
        {"type": "upi_qr", "usage": "single_use", "fixed_amount": True, "payment_amount": 60_000}
    )
    came = [receiver.next()]
    scan_and_pay(world, code["image_content"], 508, 1)
    came.append(receiver.next())
    scan_and_pay(world, code["image_content"], 509)
    came += [receiver.next() for _ in range(3)]
    (payment, _) = client.qrcode.fetch_all_payments(code["id"])["items"]
    client.payment.refund(payment["id"], {"amount": 60_000})
    came.append(receiver.next())
    client.post(f"/v1/webhooks/{hook['id']}/disable", {})
    for one in came:
        signature = one.headers["x-razorpay-signature"]
        assert client.utility.verify_webhook_signature(one.raw, signature, SECRET)
        with pytest.raises(SignatureVerificationError):
            client.utility.verify_webhook_signature(one.raw + " ", signature, SECRET)
    events = {one.body["event"]: one.body for one in came}
    assert [*events][:2] == ["qr_code.created", "payment.failed"]
    assert {*events} == {
        "qr_code.created", "payment.failed", "qr_code.credited", "qr_code.closed",
        "payment.captured", "refund.processed",
    }  # fmt: skip
    assert len({one.headers["x-razorpay-event-id"] for one in came}) == 6
    credited = events["qr_code.credited"]
    assert credited["contains"] == ["payment", "qr_code"]
    assert credited["payload"]["qr_code"]["entity"]["payments_amount_received"] == 60_000
    assert events["payment.captured"]["payload"]["payment"]["entity"]["id"] == payment["id"]
    assert events["refund.processed"]["payload"]["refund"]["entity"]["amount"] == 60_000


def test_a_webhook_that_fails_is_sent_again_for_a_day_and_then_disabled(
    world: World, client: Any, receiver: Receiver  # noqa: ANN401
) -> None:  # fmt: skip
    """The calendar moves a day ahead step by step; every attempt carries the same event."""
    receiver.status = 500
    hook = client.post(
        "/v1/webhooks", {"url": receiver.url, "secret": SECRET, "events": ["qr_code.created"]}
    )
    client.qrcode.create({"type": "upi_qr", "usage": "multiple_use"})
    came = [receiver.next()]
    token = {"fewseconds_token": world.secrets.token}
    while True:
        # An attempt has ended when the next pause has begun, so the move is made until one comes.
        active = {one["id"]: one["active"] for one in client.get("/v1/webhooks", {})["items"]}
        if not active[hook["id"]]:
            break
        world.ask("POST", "psp", c.CALENDAR, CalendarMove(600), **token)
        while not receiver.came.empty():
            came.append(receiver.next())
    # The last one may have come after the others were taken, and before the hook was looked at.
    came += [receiver.next() for _ in range(ATTEMPTS - len(came))]
    assert len(came) == ATTEMPTS
    assert receiver.came.empty()
    assert len({one.headers["x-razorpay-event-id"] for one in came}) == 1
    assert len({one.raw for one in came}) == 1


@pytest.mark.parametrize("signature", TAKEN)
def test_a_webhook_is_signed_as_one_service_does_and_repeated_as_another(
    world: World, client: Any, receiver: Receiver, signature: str  # noqa: ANN401
) -> None:  # fmt: skip
    """Refused once, it comes again after Setu's three minutes, in the same words."""
    receiver.status = 500
    secret = "whsec_" + base64.b64encode(b"a key of twenty-four byt").decode()
    wanted = {"url": receiver.url, "secret": secret, "events": ["qr_code.created"]}
    hook = client.post("/v1/webhooks", {**wanted, "signature": signature, "schedule": "setu"})
    client.qrcode.create({"type": "upi_qr", "usage": "multiple_use"})
    came = [receiver.next()]
    receiver.status = 200
    token = {"fewseconds_token": world.secrets.token}
    while receiver.came.empty():
        # An attempt has ended when the next pause has begun, so the move is made until one comes.
        world.ask("POST", "psp", c.CALENDAR, CalendarMove(180), **token)
    came.append(receiver.next())
    client.post(f"/v1/webhooks/{hook['id']}/disable", {})
    assert came[0].raw == came[1].raw
    for one in came:
        assert TAKEN[signature](one, secret)
        assert not TAKEN[signature](one._replace(raw=one.raw + " "), secret)


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/meta-data",
        "http://10.0.0.1/",
        "http://internal.example/",
        "ftp://127.0.0.1/",
        "http://127.0.0.1@10.0.0.1/",
        "http://0.0.0.0/",
        "http://[::ffff:10.0.0.1]/",
        "http://[",
    ],
)
def test_webhooks_go_to_this_machine_only(client: Any, url: str) -> None:  # noqa: ANN401
    """The service cannot be made to talk to machines that only it can reach."""
    with pytest.raises(BadRequestError, match="url"):
        client.post("/v1/webhooks", {"url": url, "secret": SECRET, "events": ["payment.captured"]})


def test_without_the_merchants_key_nothing_is_told(world: World) -> None:
    """A wrong secret, a wrong scheme and no key at all are refused alike, as Razorpay does."""
    key = world.secrets.merchant_key_id
    for auth in ((key, "wrong"), ("wrong", world.secrets.merchant_key_secret), None):
        client: Any = razorpay.Client(auth=auth, base_url=world.services.urls["psp"])
        with pytest.raises(BadRequestError, match="Authentication failed"):
            client.qrcode.all()
        client.session.close()


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"type": "bharat_qr"}, "type"),
        ({"usage": "once"}, "usage"),
        ({"fixed_amount": True}, "payment_amount"),
        ({"fixed_amount": True, "payment_amount": 99}, "payment_amount"),
        ({"fixed_amount": True, "payment_amount": "500"}, "payment_amount"),
        ({"close_by": 1}, "close_by"),
        ({"notes": {str(number): "x" for number in range(16)}}, "notes"),
    ],
)
def test_a_malformed_code_is_refused_by_field(
    world: World, change: dict[str, Any], field: str
) -> None:
    """The error names the field, where Razorpay names it."""
    body = {"type": "upi_qr", "usage": "single_use", **change}
    basic = f"{world.secrets.merchant_key_id}:{world.secrets.merchant_key_secret}"
    header = "Basic " + base64.b64encode(basic.encode()).decode()
    refused = world.ask(
        "POST", "psp", "/v1/payments/qr_codes", msgspec.json.encode(body), authorization=header
    )
    error = refused.body["error"]
    assert (refused.status, error["code"], error["field"]) == (400, "BAD_REQUEST_ERROR", field)
