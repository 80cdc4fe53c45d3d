"""What a payer's app allows: whose codes it trusts, codes out of the gallery, money in a wallet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fewseconds.errors import MalformedError
from fewseconds.payer_app import OVER_GALLERY_CAP, App
from fixtures import qr

if TYPE_CHECKING:
    from fewseconds.contracts import PayRequest
    from fewseconds.scenario import Scenario
    from fixtures.keys import KeyRegistry

STRICT: Final = App(share=0.0, scanner="")
"""An app that the scenario does not know."""
SECURE_MODES: Final = frozenset({"02", "05", "13", "16", "17", "20", "23", "24"})
"""Initiation modes that promise a signature (Juspay, *UPI merchant stack: initiation mode*)."""
OVER_WALLET_LIMIT: Final = "Z8"
"""UPI response code *per-transaction limit exceeded*."""


def read(
    scenario: Scenario, name: str, text: str, registry: KeyRegistry
) -> tuple[qr.Payload, bool]:
    """A scanned link as the app called ``name`` reads it, and whether its screen says *verified*.

    Raises MalformedError for a link that the app refuses. One that verifies refuses a missing or
    wrong signature only where the mode promises one; it warns elsewhere. One that ignores
    signatures refuses nothing but a payee that nobody here knows.
    """
    app = scenario.apps.get(name, STRICT)
    try:
        if app.signature == "verifies":
            return qr.verify(text, registry), True
    except MalformedError as error:
        if error.place not in ("sign", "orgid"):
            raise
        payload = qr.parse(text)
        if payload.mode in SECURE_MODES:
            raise
    else:
        payload = qr.parse(text)
    if payload.payee != qr.PAYEE:
        raise MalformedError("pa", f"{payload.payee!r} is not an address of this biller")
    return payload, False


def check_funding(scenario: Scenario, request: PayRequest) -> None:
    """Raise MalformedError for a payment out of a wallet that the app does not have."""
    if request.funding == "wallet" and scenario.apps.get(request.app, STRICT).wallet is None:
        what = f"{request.app!r} has no wallet; pay from the bank account"
        raise MalformedError("funding", what)


def refusal(scenario: Scenario, request: PayRequest) -> str:
    """Response code with which the app's payment service declines a payment; empty if it does not.

    The limits are those of the app's profile in the scenario.
    """
    app = scenario.apps.get(request.app, STRICT)
    wallet, cap_paise = app.wallet, app.gallery_max_paise
    if request.funding == "wallet" and wallet and request.amount_paise > wallet.payment_max_paise:
        return OVER_WALLET_LIMIT
    if request.from_gallery and scenario.gallery_capped(app):
        return OVER_GALLERY_CAP if request.amount_paise > (cap_paise or 0) else ""
    return ""
