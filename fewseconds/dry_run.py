"""What a run would send, to whom and how often, without sending it.

The first journey of the window stands for all: its requests are written as its phone would write
them, with everything that could be secret or personal left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from fewseconds import contracts as c
from fewseconds import credentials
from fewseconds.journey import STEP_ROW
from fewseconds.plan import traits
from fixtures import bills, qr
from loadtests import codes
from mock_psp.adapter import with_rupees

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fewseconds.plan import Plan, Row
    from fewseconds.real_target import RealTarget

LATER = "known-later"
OUR_PSP = "(our payment service)"
OUR_SMS = "(our SMS gateway)"


class Planned(msgspec.Struct, frozen=True):
    """One kind of request."""

    sender: str
    method: str
    url: str
    headers: dict[str, str]
    body: Any
    times: str
    """How often, in words."""


class DryRun(msgspec.Struct, frozen=True):
    """Everything that a run would send."""

    journeys: int
    journeys_per_s: float
    duration_s: float
    plan_hash: str
    reset: str
    requests: tuple[Planned, ...]
    notes: tuple[str, ...]


def dry_run(window: Plan, window_us: tuple[int, int], real: RealTarget, plan_hash: str) -> DryRun:
    """What the journeys of a window would send."""
    length_s = (window_us[1] - window_us[0]) / 1e6
    row = next(iter(window.rows()))
    return DryRun(
        journeys=len(window),
        journeys_per_s=rate(window, length_s),
        duration_s=length_s,
        plan_hash=plan_hash,
        reset="" if real.hook is None else real.hook.says(),
        requests=tuple(_requests(window, row, real)),
        notes=real.notes(),
    )


def rate(window: Plan, length_s: float) -> float:
    """Journeys a second while they begin: a window may be longer than its journeys take."""
    starts_us = window.starts_us
    spread_s = float(starts_us[-1] - starts_us[0]) / 1e6
    return (len(window) - 1) / spread_s if spread_s > 0 else len(window) / length_s


def _requests(window: Plan, row: Row, real: RealTarget) -> Iterator[Planned]:
    own = real.bills.bills if real.bills else ()
    bill = own[row.bill] if own else bills.Issue.of(window.scenario, window.seed).bill(row.bill)
    who = traits(window.scenario, window.seed, row)
    psp = real.psp_url or OUR_PSP

    def headers(party: str, step: str) -> dict[str, str]:
        journey = row.journey_id + real.journey_offset
        trace = c.Trace(
            row.kind, journey, step, STEP_ROW, 1, who.app, who.bank, who.medium, who.scanner,
            who.operator,
        )  # fmt: skip
        sent = {"accept": "application/json", "content-type": "application/json"}
        shown = credentials.masked(sent | real.headers.get(party, {}))
        return shown | {c.TRACE_HEADER: trace.header()}

    scanned, owed = codes.code(window, row, own)
    resolve = c.ResolveRequest(row.app, scanned, "")
    yield Planned(
        "phone", "POST", psp + c.RESOLVE, headers("psp", "resolve"), msgspec.to_builtins(resolve),
        "once a journey, again after a time-out",
    )  # fmt: skip
    pay = c.PayRequest(
        app=row.app, payer_vpa=f"payer{row.consumer}@{row.bank.lower()}", payer_bank=row.bank,
        payee_vpa=qr.PAYEE, bill_number=bill.number, amount_paise=owed.amount_paise, pin="****",
        scanned=scanned,
    )  # fmt: skip
    yield Planned(
        "phone", "POST", psp + c.PAY, headers("psp", "pay"), msgspec.to_builtins(pay),
        "once a journey, again as the scenario says",
    )  # fmt: skip
    yield Planned(
        "phone", "GET", f"{psp}{c.PAYMENTS}/{{transaction_id}}", headers("psp", "check_status"),
        None, "while a payment is pending, on the app's schedule",
    )  # fmt: skip
    if real.has_sms:
        sms = real.sms_url or OUR_SMS
        path = f"{c.INBOX}/{{phone}}?reference={{transaction_id}}&wait_ms=20000"
        yield Planned(
            "phone", "GET", sms + path, headers("sms", "sms"), None, "a long poll a paid journey"
        )
    if real.biller is not None and real.adapter is not None:
        yield from _to_biller(real, bill.number, bill.consumer, owed.amount_paise)


def _to_biller(
    real: RealTarget, number: str, consumer: str, amount_paise: int
) -> Iterator[Planned]:
    fields = with_rupees(
        {
            "bill_number": number, "consumer_number": consumer, "amount_paise": amount_paise,
            "transaction_id": LATER, "rrn": LATER, "event_id": LATER, "status": "SUCCESS",
            "code": "00", "payer_vpa": LATER,
        }
    )  # fmt: skip
    paying = ("resolve", "authorise", "callback")
    told = {
        "resolve": "once a journey",
        "authorise": "once a payment, before the debit",
        "callback": "once a payment, signed; again until it is acknowledged",
        "receipt": "once a payment, after the run",
    }
    for operation in ("receipt",) if real.psp_url else (*paying, "receipt"):
        if real.adapter is None or real.biller is None or not real.adapter.speaks(operation):
            continue
        request = real.adapter.request(operation, fields)
        body = msgspec.json.decode(request.body) if request.body.startswith(b"{") else None
        sender = "our payment service" if operation in paying else "the audit"
        headers = credentials.masked(request.headers)
        if operation == "callback":
            headers["(signature)"] = f"{real.adapter.signature}, over the body"
        yield Planned(
            sender, request.method, real.biller.url + request.path, headers, body, told[operation]
        )
