"""The QR code that a journey points its camera at: that of the day on which it pays.

Codes are dynamic: the e-bill that is opened (on a screen, in the phone, or printed then) and the
display of the counter show the code as the biller has issued it for that day. A paper bill that has
lain in a drawer while its amount changed is not played; its code would be refused with B6.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from fewseconds.identity import IST
from fixtures import bills, tariff

if TYPE_CHECKING:
    from fewseconds.identity import Bill
    from fewseconds.plan import Plan, Row


def code(plan: Plan, row: Row, own: tuple[Bill, ...] = ()) -> tuple[str, tariff.Payable]:
    """The link that a journey scans, and what it asks for.

    ``own`` are bills that are not made from the seed; they are paid on the real day of today, as
    services take them.
    """
    scenario = plan.scenario
    if own:
        bill, day = own[row.bill], dt.datetime.now(IST).date()
    else:
        bill = bills.Issue.of(scenario, plan.seed).bill(row.bill)
        day = scenario.first_day + dt.timedelta(microseconds=row.intended_start_us)
    counter = row.kind == "qr_counter"
    return tariff.code(plan.seed, bill, day, scenario.billing, counter=counter)
