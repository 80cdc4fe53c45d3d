"""Payer apps: what differs between them, and what that makes of the steps of a journey.

An app decides how often its scanner looks, whether it checks who signed a code, what it lets
people do with a code out of their gallery, how often it asks what became of a pending payment, and
whether money may come from a wallet instead of a bank account.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import msgspec

from fewseconds.journey import TRIES_MAX
from fewseconds.law import LONGEST_MS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fewseconds.journey import Step

WALLET: Final = "wallet"
"""The account that a payment out of a wallet is made from (trait ``account``; else the bank)."""
CAPPED: Final = "capped"
"""Too dear for a code out of the gallery (trait ``gallery``)."""
OVER_GALLERY_CAP: Final = "U02"
"""UPI response code *amount cap exceeded*, with which such a payment is declined."""


CADENCE_RANGE_MS: Final = (10, 10_000)


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table of the file; unknown keys are refused."""


class Polls(_Table, frozen=True, kw_only=True):
    """When the app asks its payment service what became of a pending payment."""

    first_ms: int
    """After the screen said that the payment is pending."""
    waits_ms: tuple[int, ...]
    """Waits before the second, third, … question; the last one repeats."""
    asks_max: int
    source: str


class Wallet(_Table, frozen=True, kw_only=True):
    """Money kept in the app: no PIN, no bank's core system, but a limit."""

    share: float
    """Share of the app's payers who pay out of it whenever they can."""
    payment_max_paise: int
    """Dearer payments come from the bank account."""
    short_of_money: float
    """Share of the others that find too little in it and come from the bank account too."""
    source: str


class App(_Table, frozen=True, kw_only=True):
    """A payer app: its share of payments, and how it differs from the others."""

    share: float
    scanner: str
    """The decoder that stands for its scanner."""
    cadence_ms: int = 0
    """Time between two camera frames it looks at; 0: that of the step."""
    signature: Literal["verifies", "ignores"] = "verifies"
    """``verifies``: a code whose secure mode promises a signature is refused without a right one;
    other codes are shown as unverified. ``ignores``: every code is shown as unverified."""
    gallery_max_paise: int | None = None
    """Most that may be paid by a code out of the gallery to a payee who is not verified."""
    polls: Polls | None = None
    """Missing: the waits of the step."""
    wallet: Wallet | None = None


class Payee(_Table, frozen=True, kw_only=True):
    """Who gets the money, as the payer apps know it."""

    verified: bool = True
    """Verified merchants are spared the limit for codes out of the gallery."""
    source: str


def in_app(step: Step, app: App) -> Step:
    """``step`` as it is in ``app``: its camera's cadence, its questions after a pending payment.

    A person gives up aiming after the same time in every app, so a quicker scanner has more frames
    (as many as a step may have attempts, at most).
    """
    if app.cadence_ms and step.cadence_ms:
        frames = round(step.attempts_max * step.cadence_ms / app.cadence_ms)
        step = msgspec.structs.replace(
            step, cadence_ms=app.cadence_ms, attempts_max=min(max(frames, 1), TRIES_MAX)
        )
    if app.polls is not None and step.marks == "pending":
        step = msgspec.structs.replace(
            step,
            delay_ms=app.polls.first_ms,
            backoff_ms=app.polls.waits_ms,
            attempts_max=app.polls.asks_max,
        )
    return step


def memory(persistence: float, step: Step, app: App | None) -> float:
    """The chance that a frame shares the luck of the one before it, at the app's own cadence.

    A hand moves in its own time: what lasts from frame to frame with chance p at one cadence lasts
    with p^(t/T) when t instead of T passes between two frames (a first-order chain).
    """
    if app is None or not app.cadence_ms or not step.cadence_ms:
        return persistence
    return float(persistence ** (app.cadence_ms / step.cadence_ms))


def app_problems(place: str, app: App) -> Iterator[str]:
    """What is wrong with the profile of an app, as ``place: …`` lines."""
    low, high = CADENCE_RANGE_MS
    if app.cadence_ms and not low <= app.cadence_ms <= high:
        yield f"{place}.cadence_ms: {app.cadence_ms!r} is out of range; write {low} to {high}"
    if app.gallery_max_paise is not None and app.gallery_max_paise < 0:
        yield f"{place}.gallery_max_paise: {app.gallery_max_paise!r} is negative; write 0 or more"
    if app.polls is not None:
        polls, waits_ms = app.polls, (app.polls.first_ms, *app.polls.waits_ms)
        if not 1 <= polls.asks_max <= TRIES_MAX:
            what = f"{polls.asks_max!r} is out of range; write 1 to {TRIES_MAX}"
            yield f"{place}.polls.asks_max: {what}"
        if min(waits_ms) < 0:
            yield f"{place}.polls: a wait is negative; write 0 ms or more"
        if max(waits_ms) > LONGEST_MS:
            yield f"{place}.polls: a wait is longer than 12 days; write less"
    if app.wallet is not None:
        for key, share in (
            ("share", app.wallet.share), ("short_of_money", app.wallet.short_of_money),
        ):  # fmt: skip
            if not 0 <= share <= 1:
                yield f"{place}.wallet.{key}: {share!r} is not between 0 and 1"
        if (limit := app.wallet.payment_max_paise) <= 0:
            yield f"{place}.wallet.payment_max_paise: {limit!r} is not above 0"
