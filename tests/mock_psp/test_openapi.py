"""The descriptions that the services publish are true: Schemathesis calls every operation."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from fewseconds import contracts as c
from fixtures import qr
from mock_psp import described, templates
from mock_psp import merchant_contract as m
from mock_psp.clock import wall_s
from mock_psp.serve import Options, Services
from tests.mock_psp.conftest import SEED, World
from tests.mock_psp.databases import address
from tests.mock_psp.scenarios import quick_scenario

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

CHECKS = [
    not_a_server_error, status_code_conformance, content_type_conformance,
    response_schema_conformance,
]  # fmt: skip
SERVICES = ("psp", "biller", "sms", "portal")
EXAMPLES = 15
NEVER_GOOD = {
    "POST /v1/refunds", "POST /portal/v1/passwords",
    "POST /upi/v1/payments/{transaction_id}/checks",
}  # fmt: skip
"""Their bodies tell what only an earlier answer has told, or they come too early here; the tests of
each send them."""
LOGIN, PASSWORD = "schemathesis", "a password of some length"
CONSUMERS = st.integers(0, 400)


@pytest.fixture(scope="module")
def own_world(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    """Services that nobody else uses: these tests move the calendar and put faults in force."""
    options = Options(database=address(request, "openapi"), faults_allowed=True)
    folder = tmp_path_factory.mktemp("openapi")
    with Services(quick_scenario(), SEED, folder, options=options) as services:
        yield World(services)


def keys(world: World, operation: Mapping[str, Any], body: bytes) -> dict[str, str]:
    """What the description says that a caller has to show."""
    secrets, shown = world.secrets, {}
    for name in (name for one in operation.get("security", []) for name in one):
        if name == described.RUN_TOKEN:
            shown[c.TOKEN_HEADER] = secrets.token
        elif name == described.MERCHANT_KEY:
            pair = f"{secrets.merchant_key_id}:{secrets.merchant_key_secret}".encode()
            shown["authorization"] = "Basic " + base64.b64encode(pair).decode()
        elif name == described.PLATFORM_TOKEN:
            shown["authorization"] = f"Bearer {secrets.bbps_token}"
        elif name == described.PORTAL_SESSION:
            shown["authorization"] = f"Bearer {session(world)}"
        else:
            assert name == described.SIGNED
            message, now_s = msgspec.json.decode(body), wall_s()
            named = message.get("event_id") if isinstance(message, dict) else ""
            told = header(named or hashlib.sha256(body).hexdigest())
            signed = c.signature(secrets.keys()[0], told, now_s, body)
            shown |= {
                "webhook-id": told, "webhook-timestamp": str(now_s), "webhook-signature": signed,
            }  # fmt: skip
    return shown


def header(text: object) -> str:
    """A text as a header can carry it."""
    return "".join(sign for sign in str(text) if sign.isascii() and sign.isalnum()) or "evt"


@cache
def session(world: World) -> str:
    """The token of somebody who has logged in."""
    account = c.PortalAccount(LOGIN, PASSWORD, world.bill(7).consumer)
    world.ask("POST", "portal", c.PORTAL_REGISTER, account)
    asked = c.PortalLogIn(account.login, account.password)
    token: str = world.ask("POST", "portal", c.PORTAL_LOG_IN, asked).body["token"]
    return token


def plausible(world: World, body: object, index: int) -> object:
    """The same body about a consumer, a bill and a phone that there are."""
    if not isinstance(body, dict):
        return body
    bill = world.bill(index)
    transaction = f"FWS{index:032d}"
    known: dict[str, object] = {
        "bill_number": bill.number, "consumer_number": bill.consumer, "pin": "1234",
        "amount_paise": bill.amount_paise, "payer_vpa": "payer@examplebank",
        "payee_vpa": qr.PAYEE, "app": "phonepe", "payer_bank": "SBI",
        "scanned": qr.bill_uri(SEED, bill), "transaction_id": transaction, "rrn": f"{index:012d}",
        "event_id": f"evt{transaction}", "to": "+915550000001", "sender": templates.SENDER,
        "entity_id": templates.ENTITY_ID, "template_id": templates.RECEIPT,
        "text": templates.filled(templates.RECEIPT, *"12345"), "reference": transaction,
        "report_url": "", "login": LOGIN, "password": PASSWORD,
        "billerBillID": bill.number, "uniquePaymentRefID": f"U{index:05d}",
        "platformTransactionRefID": f"P{index:05d}",
        "amountPaid": {"value": bill.amount_paise, "currencyCode": "INR"},
        "customerIdentifiers": [
            {"attributeName": "Consumer Number", "attributeValue": bill.consumer}
        ],
        "event": "refund.processed", "payload": refunded(transaction),
        "faults": [{"kind": "doubled_callback", "share": 0.5}],
        "url": "http://127.0.0.1:9/events", "events": ["payment.failed"], "secret": "whsec_AAAA",
    }  # fmt: skip
    return {
        name: known[name] if name in known else plausible(world, value, index)
        for name, value in body.items()
    }


@cache
def names(world: World) -> dict[str, str]:
    """What there is, by the part of a path that it is put in."""
    payment = world.pay(401).body["transaction_id"]
    asked = m.QrCodeRequest(type="upi_qr", usage="multiple_use")
    basic = keys(world, {"security": [{described.MERCHANT_KEY: []}]}, b"")
    paid = f"{m.PAYMENTS}/{m.payment_id(payment)}"
    code = world.ask("POST", "psp", f"{m.PAYMENTS}/qr_codes", asked, **basic).body["id"]
    refund = world.ask("POST", "psp", f"{paid}/refund", m.RefundRequest(amount=100), **basic).body
    hook = world.ask("GET", "psp", m.WEBHOOKS, **basic).body["items"][0]["id"]
    return {
        "qr_codes/{name}": code, "payments/{name}": m.payment_id(payment),
        "refunds/{name}": refund["id"], "webhooks/{name}": hook,
        "payments/{transaction_id}": payment, "receipts/{transaction_id}": payment,
        "messages/{message_id}": message_id(world),
    }  # fmt: skip


def refunded(transaction: str) -> dict[str, object]:
    """What a webhook says of a refund of one rupee."""
    told = {"upi_transaction_id": transaction}
    return {
        "refund": {"entity": {"id": f"rfnd_{transaction[-14:]}", "amount": 100}},
        "payment": {"entity": {"acquirer_data": told}},
    }


def message_id(world: World) -> str:
    """A message that the gateway has accepted."""
    text = templates.filled(templates.RECEIPT, *"12345")
    asked = c.SmsRequest(
        "+915550000001", templates.SENDER, templates.ENTITY_ID, templates.RECEIPT, text, "R1"
    )
    accepted: str = world.ask("POST", "sms", c.SMS_SEND, asked).body["message_id"]
    return accepted


def exercised(world: World, operation: Any) -> set[int]:  # noqa: ANN401 - of Schemathesis
    """Call one operation with all sorts of requests; the statuses that it answered."""
    statuses: set[int] = set()
    raw: Mapping[str, Any] = operation.definition.raw

    @settings(
        max_examples=EXAMPLES, deadline=None, database=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck), derandomize=True,
    )  # fmt: skip
    @given(case=operation.as_strategy(), real=st.booleans(), index=CONSUMERS)
    def call(case: Any, real: bool, index: int) -> None:  # noqa: ANN401, FBT001
        body = plausible(world, case.body, index) if real else case.body
        if "requestBody" in raw:
            # The very bytes that are signed.
            case.body = msgspec.json.encode(body)
        for part, name in names(world).items() if real else ():
            if part in operation.label:
                case.path_parameters = {part.partition("{")[2].rstrip("}"): name}
        if case.query and "wait_ms" in case.query:
            case.query["wait_ms"] = 1
        shown = keys(world, raw, case.body if "requestBody" in raw else b"")
        kind = {"content-type": "application/json"}
        response = case.call(headers=kind | shown)
        statuses.add(response.status_code)
        case.validate_response(response, checks=CHECKS)
        if shown:
            assert case.call(headers=kind).status_code in (400, 401)

    call()
    return statuses


def as_described(world: World, service: str) -> None:
    """No 5xx, nothing that is not written; 2xx where it can be, and 401 without the key."""
    schema = schemathesis.openapi.from_url(world.url(service, "/schema/openapi.json"))
    found: list[Any] = list(schema.get_all_operations())
    reached = {one.ok().label: exercised(world, one.ok()) for one in found}
    assert f"PUT {c.FAULTS}" in reached
    assert {label for label, statuses in reached.items() if min(statuses) >= 300} <= NEVER_GOOD


@pytest.mark.parametrize("own_world", ["sqlite"], indirect=True)
@pytest.mark.parametrize("service", SERVICES)
def test_every_operation_answers_as_its_description_says(own_world: World, service: str) -> None:
    """Good requests and bad ones, with the key and without, and with faults in force."""
    as_described(own_world, service)


@pytest.mark.parametrize("own_world", ["postgresql"], indirect=True)
def test_the_biller_answers_so_on_postgresql_too(own_world: World) -> None:
    """What one database takes and the other does not makes no difference to a caller."""
    as_described(own_world, "biller")
