"""Which payment a request is: the one that its trace names, or its key, or its body."""

from __future__ import annotations

import re
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final

import msgspec

from fewseconds import chance, identity
from fewseconds.contracts import IDEMPOTENCY_HEADER, PayRequest, Trace
from fewseconds.errors import MalformedError
from fixtures import qr
from mock_psp.payments import PREFIX, magic_code
from mock_psp.web import trace_of

if TYPE_CHECKING:
    from mock_psp.kept_payments import KeptPayments
    from mock_psp.web import HttpRequest
    from mock_psp.world import World

KEPT_MAX: Final = 10_000
"""Journeys that are remembered, those that something happens to last: one that is asked for again
begins anew. Their payments are remembered for ever (``kept_payments``)."""
PIN: Final = re.compile(r"[0-9]{4}|[0-9]{6}")


class Attempts:
    """The payments of callers without a trace."""

    def __init__(self, world: World, transactions: KeptPayments, seed: int) -> None:
        """``seed`` makes the ids of transactions."""
        self._world, self._transactions, self._seed = world, transactions, seed
        self._latest: OrderedDict[int, int] = OrderedDict()
        """The latest attempt of what was paid without a trace and failed before."""

    def trace(self, request: HttpRequest, step: str, body: object) -> Trace:
        """The trace of a request; for a caller without one, a trace that follows from the body.

        Who names an idempotency key gets the same payment for the same key. Without one the same
        body is the same payment, until that has failed: then it is another attempt.
        """
        found = trace_of(request)
        if found is not None:
            return found
        route = self._world.route_through("resolve", "pay", "check_status")
        key = request.headers.get(IDEMPOTENCY_HEADER, "")
        digest = chance.stream("key", key) if key else 0
        digest = digest or chance.stream(msgspec.json.encode(body).decode())
        attempt = 1
        if step == "pay" and not key:
            attempt = self._next_attempt((1 << 40) + digest)
        # Above every journey of a plan, so that a curious caller never meets one.
        return Trace(route.kind, (1 << 40) + digest, step, 0, attempt)

    def _next_attempt(self, journey_id: int) -> int:
        """The attempt that a body without a trace is: the first one that has not failed."""
        attempt = self._latest.get(journey_id, 1)
        while True:
            name = identity.transaction_id(PREFIX, self._seed, journey_id, attempt)
            known = self._transactions.get(name)
            if known is None or known.status != "FAILURE":
                break
            attempt += 1
        if attempt > 1:
            self._latest[journey_id] = attempt
            forget_oldest(self._latest)
        return attempt


def check_payment(data: PayRequest) -> None:
    """Refuse what is not a payment before any party hears of it; names the parameter at fault."""
    if PIN.fullmatch(data.pin) is None and (data.pin or data.funding != "wallet"):
        raise MalformedError("pin", "is not a PIN; send 4 or 6 digits")
    if data.amount_paise <= 0:
        raise MalformedError("amount_paise", f"{data.amount_paise!r} is not above 0")
    identity.checked_vpa(data.payer_vpa)
    magic_code(data.payer_vpa)
    if data.payee_vpa != qr.PAYEE:
        raise MalformedError("payee_vpa", f"{data.payee_vpa!r} is not an address of this biller")


def forget_oldest(kept: OrderedDict[Any, Any]) -> None:
    """Keep the latest; an ordered dict, for a plain one would search through its gaps."""
    if len(kept) > KEPT_MAX:
        kept.popitem(last=False)
