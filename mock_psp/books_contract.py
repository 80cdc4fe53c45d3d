"""What the biller's back office and the calendar are asked over HTTP, and what they answer."""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec

CALENDAR_STEP_S_MAX: Final = 366 * 86_400
"""A year at a time is enough for every reversal and settlement."""


class SettlementDay(msgspec.Struct, frozen=True):
    """Whose settlement file is to be compared: of a month, or of one day in it."""

    year: Annotated[int, msgspec.Meta(ge=2000, le=2999)]
    month: Annotated[int, msgspec.Meta(ge=1, le=12)]
    day: Annotated[int, msgspec.Meta(ge=1, le=31)] | None = None


class Break(msgspec.Struct, frozen=True):
    """Something that the settlement file and the ledger do not agree on."""

    kind: Literal[
        "not_in_ledger", "not_in_file", "amount_differs", "refund_not_in_ledger",
        "refund_not_in_file", "refund_amount_differs", "twice_in_file",
        "wrong_day",
    ]  # fmt: skip
    transaction_id: str
    file_paise: int
    ledger_paise: int


class Reconciled(msgspec.Struct, frozen=True):
    """What a comparison with the settlement file found; nothing has been changed."""

    lines: int
    matched: int
    unsettled: int
    """Payments that the PSP knows and has not settled yet."""
    breaks: tuple[Break, ...]


class Swept(msgspec.Struct, frozen=True):
    """What a look at the PSP's payments and refunds found."""

    looked_at: int
    posted: tuple[str, ...]
    """Transactions whose callback had never come."""
    refunded: tuple[str, ...] = ()
    """Refunds whose webhook had never come."""


class CalendarMove(msgspec.Struct, frozen=True):
    """How far the calendar is to go on; 0 only asks for the time."""

    advance_s: Annotated[float, msgspec.Meta(ge=0, le=CALENDAR_STEP_S_MAX)] = 0.0


class CalendarTime(msgspec.Struct, frozen=True):
    """What the calendar shows: seconds since 1970."""

    now_s: int
