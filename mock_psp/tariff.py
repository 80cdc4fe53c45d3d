"""What is owed on a bill, by the day: less if paid early, more if paid late.

BEST grants a prompt-payment discount and charges for delay (Free Press Journal, 2020); the shares
and the days are the scenario's (``[billing]``). Without that table a bill is what is printed on it.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from fixtures.qr import DAYS_VALID_AFTER_DUE

if TYPE_CHECKING:
    from fewseconds.identity import Bill
    from fewseconds.scenario import Billing

LOOK_BACK_DAYS: Final = 2
"""A payment may be posted this long after it was made and still at the amount of its day: callbacks
are tried again for a day."""


class Payable(NamedTuple):
    """An amount, and the last day on which it is the right one."""

    amount_paise: int
    valid_until: dt.date
    terms: Literal["early", "due", "late"]


def payable(bill: Bill, day: dt.date, billing: Billing | None) -> Payable:
    """What is owed on a day. Discounts and charges are rounded to whole paise, half up."""
    last = bill.due_on + dt.timedelta(days=DAYS_VALID_AFTER_DUE)
    if billing is None:
        return Payable(bill.amount_paise, last, "due")
    early_until = bill.issued_on + dt.timedelta(days=billing.early_days)
    if billing.early_days > 0 and day <= early_until:
        return Payable(
            bill.amount_paise - _share(bill, billing.early_discount), early_until, "early"
        )
    if day <= bill.due_on:
        return Payable(bill.amount_paise, bill.due_on, "due")
    return Payable(bill.amount_paise + _share(bill, billing.late_charge), last, "late")


def payable_lately(bill: Bill, day: dt.date, billing: Billing | None) -> frozenset[int]:
    """Every amount that was right on that day or shortly before it."""
    days = (day - dt.timedelta(days=back) for back in range(LOOK_BACK_DAYS + 1))
    return frozenset(payable(bill, one, billing).amount_paise for one in days)


def amounts(bill: Bill, billing: Billing | None) -> frozenset[int]:
    """Every amount that is right on some day."""
    days = (bill.issued_on, bill.due_on, bill.due_on + dt.timedelta(days=1))
    return frozenset(payable(bill, one, billing).amount_paise for one in days)


def _share(bill: Bill, share: float) -> int:
    # In millionths, so that no amount is ever a float.
    return (bill.amount_paise * round(share * 1_000_000) + 500_000) // 1_000_000
