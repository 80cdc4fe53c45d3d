"""How payment services deliver webhooks, as data: how they sign, and when they try again.

A profile is one signature and one schedule, in any combination. Secrets are the text that the
receiver has typed into the service's dashboard.

Signatures, each as its service publishes it:

- ``razorpay``: hexadecimal HMAC-SHA256 of the raw body (razorpay.com/docs/webhooks/validate-test);
- ``setu``: base64 HMAC-SHA256 of the raw body
  (docs.setu.co/payments/umap/notifications/verify-signature);
- ``cashfree``: base64 HMAC-SHA256 of timestamp and raw body, with nothing in between
  (cashfree.com/docs/api-reference/webhooks/payloads-and-signatures; the dot in another of its pages
  is PHP's, which joins texts); its timestamps count milliseconds;
- ``standard-webhooks``: base64 HMAC-SHA256 of ``id.timestamp.body`` (standardwebhooks.com), with a
  key that is written in base64 after ``whsec_``.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import msgspec

from fewseconds.contracts import signature as standard_signature

if TYPE_CHECKING:
    from collections.abc import Callable

STANDARD_PREFIX: Final = "whsec_"


class Event(msgspec.Struct, frozen=True):
    """One webhook as it is sent: the same bytes in every attempt, dated anew in each."""

    event_id: str
    body: bytes
    timestamp_s: int


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """When a delivery that failed is tried again, and what counts as delivered."""

    delays_s: tuple[int, ...]
    """Pauses after the first, second, … attempt; after the last one the service gives up."""
    source: str
    timeout_s: float = 5.0
    statuses: tuple[int, int] = (200, 299)
    """First and last HTTP status that counts as delivered."""
    content_type: str = ""
    """What the answer's content type must begin with, if that matters."""
    disables: bool = False
    """Whether the webhook is switched off when the service gives up."""

    def delivered(self, status: int, content_type: str) -> bool:
        """Whether an answer means that the event need not be sent again."""
        first, last = self.statuses
        return first <= status <= last and content_type.startswith(self.content_type)

    def times_s(self) -> tuple[int, ...]:
        """When the attempts are made, in seconds after the first one, if each fails at once."""
        times = [0]
        for delay_s in self.delays_s:
            times.append(times[-1] + delay_s)
        return tuple(times)


def _razorpay(secret: str, event: Event) -> dict[str, str]:
    return {
        "x-razorpay-signature": hmac.new(secret.encode(), event.body, hashlib.sha256).hexdigest(),
        "x-razorpay-event-id": event.event_id,
    }


def _setu(secret: str, event: Event) -> dict[str, str]:
    return {"x-setu-signature": _base64_hmac(secret.encode(), event.body)}


def _cashfree(secret: str, event: Event) -> dict[str, str]:
    timestamp = str(event.timestamp_s * 1000)
    return {
        "x-webhook-timestamp": timestamp,
        "x-webhook-signature": _base64_hmac(secret.encode(), timestamp.encode() + event.body),
        "x-idempotency-key": event.event_id,
    }


def _standard(secret: str, event: Event) -> dict[str, str]:
    signed = standard_signature(standard_key(secret), event.event_id, event.timestamp_s, event.body)
    return {
        "webhook-id": event.event_id,
        "webhook-timestamp": str(event.timestamp_s),
        "webhook-signature": signed,
    }


def standard_key(secret: str) -> bytes:
    """The key of a Standard Webhooks secret; raises ValueError if it is not base64."""
    try:
        return base64.b64decode(secret.removeprefix(STANDARD_PREFIX), validate=True)
    except binascii.Error as error:
        raise ValueError(f"secret: is not base64 after {STANDARD_PREFIX!r}: {error}") from None


def _base64_hmac(key: bytes, message: bytes) -> str:
    return base64.b64encode(hmac.new(key, message, hashlib.sha256).digest()).decode()


def _doubling(first_s: int, until_s: int) -> tuple[int, ...]:
    """Pauses that double until ``until_s``, when there is one last attempt."""
    delays, delay_s, total_s = [], first_s, 0
    while total_s + delay_s < until_s:
        delays.append(delay_s)
        total_s += delay_s
        delay_s *= 2
    return (*delays, until_s - total_s)


def _between(times_s: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(later - earlier for earlier, later in pairwise(times_s))


SIGNATURES: Final[dict[str, Callable[[str, Event], dict[str, str]]]] = {
    "razorpay": _razorpay,
    "setu": _setu,
    "cashfree": _cashfree,
    "standard-webhooks": _standard,
}
"""The headers that sign an event, by the name of the service that signs so."""

SCHEDULES: Final = {
    "razorpay": Schedule(
        delays_s=_doubling(60, 24 * 3600),
        disables=True,
        source="razorpay.com/docs/webhooks: 2xx within 5 s, else exponentially for 24 hours, then "
        "the webhook is disabled; assumption: the first pause is a minute and pauses double",
    ),
    "juspay": Schedule(
        delays_s=_between((0, 2, 6, 14, 30)),
        statuses=(200, 200),
        content_type="application/json",
        source="juspay.io, handling callbacks: 0, 2, 6, 14 and 30 s; 200 with JSON is a success",
    ),
    "cashfree": Schedule(
        delays_s=(120, 600, 1800),
        statuses=(200, 200),
        source="cashfree.com/docs, reliability and operations: again after 2, 10 and 30 minutes",
    ),
    "setu": Schedule(
        delays_s=(180, 360, 720),
        source="docs.setu.co, UMAP notifications: 3 more, exponential from 3 minutes; assumption: "
        "pauses double",
    ),
}  # fmt: skip
