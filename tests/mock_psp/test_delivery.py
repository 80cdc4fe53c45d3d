"""Delivery profiles: each signs and tries again as its service publishes."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import warnings
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
import standardwebhooks

from mock_psp.calendar import Calendar
from mock_psp.clock import wall_s
from mock_psp.delivery import SCHEDULES, SIGNATURES, Event, standard_key
from tests.mock_psp.merchants import taken_by_cashfree, taken_by_setu

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import razorpay
    from razorpay.errors import SignatureVerificationError

if TYPE_CHECKING:
    from tests.mock_psp.conftest import SkippingLoop

SETU_BODY = '{"id":"01J1ZBPW7Y8M6NV1YXJYGJST5Q","rrn":"418666712574"}'
"""The notification and the key below are those of Setu's page on verifying signatures."""
SETU_KEY = "thisisasecretkey"


def test_the_standard_scheme_signs_the_specifications_example() -> None:
    """Key, id, time, body and signature are the example of the Standard Webhooks libraries."""
    event = Event("msg_p5jXN8AQM9LWM0D4loKWxJek", b'{"test": 2432232314}', 1_614_265_330)
    headers = SIGNATURES["standard-webhooks"]("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", event)
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_reference_library_verifies_the_standard_scheme() -> None:
    """The `standardwebhooks` library takes our headers now, and not with another body."""
    secret = "whsec_" + base64.b64encode(b"a key of twenty-four byt").decode()
    event = Event("msg_1", b'{"a":1}', wall_s())
    headers = SIGNATURES["standard-webhooks"](secret, event)
    library = standardwebhooks.Webhook(secret)
    assert library.verify(event.body, headers) == {"a": 1}
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        library.verify(b'{"a":2}', headers)


@pytest.mark.parametrize("secret", ["whsec_not base64", "whsec_AAA"])
def test_a_standard_secret_that_is_not_base64_is_refused(secret: str) -> None:
    """Whoever mistypes a key hears of it when it is given, not when it does not fit."""
    with pytest.raises(ValueError, match="base64"):
        standard_key(secret)


def test_razorpays_library_verifies_razorpays_scheme() -> None:
    """The official library accepts the body as it was sent and nothing else."""
    client: Any = razorpay.Client(auth=("key", "secret"))
    signed = SIGNATURES["razorpay"]("secret", Event("e1", b'{"a": 1}', 1))
    signature = signed["x-razorpay-signature"]
    assert client.utility.verify_webhook_signature('{"a": 1}', signature, "secret")
    with pytest.raises(SignatureVerificationError):
        client.utility.verify_webhook_signature('{"a":1}', signature, "secret")
    assert signed["x-razorpay-event-id"] == "e1"


def test_a_merchant_of_setu_takes_setus_scheme() -> None:
    """Setu's published check takes its published notification and key, and no other body or key."""
    signed = SIGNATURES["setu"](SETU_KEY, Event("e1", SETU_BODY.encode(), 1))
    assert list(signed) == ["x-setu-signature"]
    signature = signed["x-setu-signature"]
    assert taken_by_setu(SETU_BODY, signature, SETU_KEY)
    assert not taken_by_setu(SETU_BODY.replace(",", ", "), signature, SETU_KEY)
    assert not taken_by_setu(SETU_BODY, signature, SETU_KEY.upper())


def test_a_merchant_of_cashfree_takes_cashfrees_scheme() -> None:
    """Cashfree's published check takes an event at its published second, and no other one."""
    # 1.00 must stay 1.00: who parses the body and writes it again has another signature.
    body = '{"data":{"order":{"order_amount":1.00}},"type":"PAYMENT_SUCCESS_WEBHOOK"}'
    signed = SIGNATURES["cashfree"]("secret", Event("e1", body.encode(), 1_617_695_238))
    assert re.fullmatch("1617695238[0-9]{3}", signed["x-webhook-timestamp"])
    assert taken_by_cashfree(body, signed, "secret")
    assert not taken_by_cashfree(json.dumps(json.loads(body)), signed, "secret")
    assert not taken_by_cashfree(body, signed | {"x-webhook-timestamp": "1617695239000"}, "secret")
    assert not taken_by_cashfree(body, signed, "Secret")


@pytest.mark.parametrize(
    ("name", "times_s"),
    [
        ("juspay", (0, 2, 6, 14, 30)),
        ("cashfree", (0, 120, 120 + 600, 120 + 600 + 1800)),
        ("setu", (0, 180, 540, 1260)),
    ],
)
def test_schedules_are_the_published_ones(name: str, times_s: tuple[int, ...]) -> None:
    """Attempts are made when the service's documentation says."""
    assert SCHEDULES[name].times_s() == times_s


def test_razorpay_tries_for_a_day_and_then_disables() -> None:
    """Pauses double, and the last attempt is made when the 24 hours are over."""
    schedule = SCHEDULES["razorpay"]
    *pauses, last_s = schedule.delays_s
    assert all(later == 2 * earlier for earlier, later in pairwise(pauses))
    assert 0 < last_s <= 2 * pauses[-1]
    assert schedule.times_s()[-1] == 86_400
    assert [name for name in SCHEDULES if SCHEDULES[name].disables] == ["razorpay"]


@pytest.mark.parametrize(
    ("name", "status", "content_type", "delivered"),
    [
        ("razorpay", 204, "", True),
        ("razorpay", 302, "", False),
        ("juspay", 200, "application/json; charset=utf-8", True),
        ("juspay", 200, "text/html", False),
        ("juspay", 201, "application/json", False),
        ("cashfree", 200, "", True),
        ("cashfree", 202, "", False),
    ],
)
def test_each_service_has_its_own_idea_of_success(
    name: str,
    status: int,
    content_type: str,
    delivered: bool,  # noqa: FBT001 - a fact of the table above
) -> None:
    """Razorpay takes any 2xx, Cashfree 200, Juspay 200 with JSON."""
    assert SCHEDULES[name].delivered(status, content_type) is delivered


def test_the_calendar_wakes_sleepers_in_order_when_it_is_moved(virtual_loop: SkippingLoop) -> None:
    """Moved by an hour, it wakes who sleeps less; who sleeps a day sleeps on, in real time too."""
    woken: list[str] = []

    async def sleeper(calendar: Calendar, name: str, seconds: float) -> None:
        await calendar.sleep(seconds)
        woken.append(name)

    async def work() -> None:
        calendar = Calendar(virtual_loop.time)
        sleeps = {"day": 86_400, "hour": 3600, "minute": 60}
        tasks = [asyncio.ensure_future(sleeper(calendar, *one)) for one in sleeps.items()]
        await asyncio.sleep(0)
        before_s = calendar.now_s()
        assert calendar.advance(3600) == before_s + 3600
        for _ in range(3):
            await asyncio.sleep(0)
        assert woken == ["minute", "hour"]
        await asyncio.gather(*tasks)
        assert virtual_loop.time() == pytest.approx(86_400 - 3600)

    virtual_loop.run_until_complete(work())
    assert woken == ["minute", "hour", "day"]
