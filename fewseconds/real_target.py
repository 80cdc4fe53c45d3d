"""A run against parties that are not ours: which, how they are spoken to, and what is missing.

Everything that a person writes is checked here before anything is started or sent: addresses and
the machines they name, the adapter, the credentials, the bills.
"""

from __future__ import annotations

import datetime as dt
import secrets
from typing import TYPE_CHECKING, Final

import msgspec

from fewseconds import address, credentials, reset
from fewseconds.errors import MalformedError, UsageError
from fewseconds.identity import IST
from fewseconds.own_bills import OwnBills
from fewseconds.plan import plan
from fewseconds.shapes import Shape
from fixtures import bill_file, consumers, qr
from loadtests.spec import OFFSET_UNIT, OFFSETS, Outside, Targets
from mock_psp import adapter, bbps_client
from mock_psp.adapter import Adapter
from mock_psp.secret_file import secret
from mock_psp.serve import Options
from mock_psp.spec import SERVICES, Foreign

if TYPE_CHECKING:
    import ssl

    from fewseconds.identity import Bill
    from fewseconds.parties import Parties
    from fewseconds.plan import Plan
    from fewseconds.scenario import Scenario

PORTAL_STEPS: Final = frozenset({"register", "log_in", "find_bill"})


class RealTarget(msgspec.Struct, frozen=True, kw_only=True):
    """The parties of a run that are not ours, ready to be spoken to."""

    psp_url: str = ""
    sms_url: str = ""
    biller: Foreign | None = None
    adapter: Adapter | None = None
    biller_secret: str = ""
    headers: credentials.Headers = {}
    bills: OwnBills | None = None
    hook: reset.Reset | None = None
    journey_offset: int = 0

    @property
    def ours(self) -> tuple[str, ...]:
        """The services of ours that run."""
        if self.psp_url:
            return ()
        return ("psp",) if self.biller is not None else SERVICES

    @property
    def has_sms(self) -> bool:
        """Whether anybody can say that an SMS arrived."""
        return bool(self.sms_url) or "sms" in self.ours

    def window(self, whole: Plan, shape: Shape) -> tuple[Plan, tuple[int, int]]:
        """The journeys to play, each with its bill, and the window that they are in.

        Raises UsageError if there are none, or fewer bills than journeys.
        """
        if "portal" not in self.ours or self.bills is not None:
            whole = with_qr(whole)
        rows, window_us = shape.window(whole)
        if not len(rows):
            message = (
                f"{whole.scenario.name}: no journey falls into the load window; lengthen "
                "load.duration_s, or raise the rate"
            )
            raise UsageError(message)
        return rows if self.bills is None else self.bills.assigned(rows), window_us

    def plan_hash(self, whole: Plan) -> str:
        """What tells a plan from every other, with the bills that it pays."""
        return whole.digest if self.bills is None else self.bills.plan_hash(whole)

    def options(self) -> Options:
        """What our own services are told."""
        bills = self.bills.bills if self.bills and self.biller is None else ()
        return Options(
            biller=self.biller, biller_secret=self.biller_secret, bills=bills, awaits_start=True
        )

    def targets(self, urls: dict[str, str]) -> Targets:
        """Where phones send their requests; ``urls`` are those of our own services."""
        sms = self.sms_url or (urls.get("sms", "") if self.has_sms else "")
        return Targets(self.psp_url or urls["psp"], sms, urls.get("portal", ""))

    def outside(self) -> Outside:
        """What phones bring along."""
        return Outside(
            bills=self.bills.bills if self.bills else (),
            headers={
                party: told for party, told in self.headers.items() if party in ("psp", "sms")
            },
            journey_offset=self.journey_offset,
        )

    def tls(self) -> ssl.SSLContext | None:
        """The certificates that the biller wants to see."""
        return None if self.adapter is None else adapter.tls_context(self.adapter.tls)

    def unmeasured(self) -> tuple[str, ...]:
        """Measures that nothing in this run can say anything about."""
        unheard = () if self.has_sms else ("sms_time",)
        return (*unheard, "biller_time") if self.psp_url else unheard

    def notes(self) -> tuple[str, ...]:
        """What a reader must know, one sentence each."""
        told = []
        if self.psp_url:
            told.append(f"Payments go to {self.psp_url}, which is not ours.")
            told.append("What happens behind that address is not seen: only phones are measured.")
        if self.biller is not None:
            told.append(f"The biller is the one at {self.biller.url}, which is not ours.")
        if not self.has_sms:
            told.append(
                "No SMS gateway is given, so a journey ends with the confirmation on the screen: "
                "the time of the SMS, and whether it came, are not measured."
            )
        if self.bills is not None:
            told.append(f"The bills are those of {self.bills.source}, each used once.")
        if self.hook is None and (self.psp_url or self.biller):
            told.append("No reset hook is given, so bills that are paid stay paid after this run.")
        return tuple(told)


def with_qr(whole: Plan) -> Plan:
    """The journeys that need no portal; raises UsageError if there are none."""
    scenario = whole.scenario
    kinds = frozenset(
        kind
        for kind in scenario.channels
        if not PORTAL_STEPS & {step.name for step in scenario.route(kind).steps}
    )
    left = whole.of_kinds(kinds)
    if len(left) == 0:
        raise UsageError(f"{scenario.name}: has no journey with a QR; choose another scenario")
    return left


def checked(
    parties: Parties, scenario: Scenario, seed: int, shape: Shape | None = None
) -> RealTarget | None:
    """What is to be spoken to; None if everything is ours and made from the seed.

    ``shape`` tells how many bills are fetched. Raises UsageError for whatever is wrong or does not
    go together, and sends nothing but the fetch of bills.
    """
    if not parties.named:
        return None
    for option, url, belong in (
        ("--psp-url", parties.psp_url, address.IN_FILE),
        ("--biller-url", parties.biller_url, address.IN_ADAPTER),
        ("--sms-url", parties.sms_url, address.IN_FILE),
        ("--bbps-url", parties.bbps_url, address.IN_FILE),
    ):
        if url:
            address.check(url, parties.allow_host, option, belong)
    if parties.sms_url and not (parties.psp_url or parties.biller_url):
        raise UsageError("--sms-url: our own biller sends to our own gateway; give --biller-url")
    told = credentials.read(parties.credentials) if parties.credentials else {}
    spoken, foreign, signs = _biller(parties)
    return RealTarget(
        psp_url=parties.psp_url.rstrip("/"),
        sms_url=parties.sms_url.rstrip("/"),
        biller=foreign,
        adapter=spoken,
        biller_secret=signs,
        headers=told,
        hook=_hook(parties, spoken, told.get("reset", {})),
        bills=_bills(parties, scenario, seed, told.get("bbps", {}), shape or Shape()),
        journey_offset=OFFSET_UNIT * (1 + secrets.randbelow(OFFSETS)) if parties.psp_url else 0,
    )


def _biller(parties: Parties) -> tuple[Adapter | None, Foreign | None, str]:
    if not parties.biller_url:
        if parties.adapter is not None:
            raise UsageError("--adapter: says how the biller of --biller-url is spoken to")
        return None, None, ""
    spoken = adapter.load(parties.adapter or adapter.OWN)
    if parties.biller_url.startswith("https:"):
        adapter.tls_context(spoken.tls)
    path = "" if parties.adapter is None else str(parties.adapter.resolve())
    foreign = Foreign(parties.biller_url.rstrip("/"), path)
    if parties.psp_url:
        # Then that payment service signs, and we only read receipts.
        return spoken, foreign, ""
    if parties.secret_file is None:
        raise UsageError("--biller-url: needs --secret-file, with what signs the callbacks")
    if not spoken.speaks("resolve"):
        raise UsageError(f"{path}: has no [resolve]; without it no bill can be shown")
    return spoken, foreign, secret(parties.secret_file)


def _hook(parties: Parties, spoken: Adapter | None, headers: dict[str, str]) -> reset.Reset | None:
    """The reset hook of the command line, or else the adapter's."""
    if parties.reset:
        hook = reset.written(parties.reset)
        if hook.url:
            address.check(hook.url, parties.allow_host, "--reset", address.IN_FILE)
        return msgspec.structs.replace(hook, headers=headers)
    if spoken is None or not spoken.speaks("reset"):
        return None
    asked = spoken.request("reset", {})
    return reset.Reset(
        method=asked.method, url=parties.biller_url.rstrip("/") + asked.path, body=asked.body,
        headers=asked.headers | headers,
    )  # fmt: skip


def _bills(
    parties: Parties, scenario: Scenario, seed: int, headers: dict[str, str], shape: Shape
) -> OwnBills | None:
    if parties.bbps_url:
        numbers = (
            bill_file.consumers(parties.bills)
            if parties.bills is not None
            else (consumers.consumer_number(index) for index in range(scenario.consumers))
        )
        wanted = len(shape.window(with_qr(plan(scenario, seed)))[0])
        found = bbps_client.fetched(parties.bbps_url.rstrip("/"), numbers, headers, wanted)
        return OwnBills(_payable(found, parties.bbps_url, seed), parties.bbps_url)
    if parties.bills is None:
        return None
    source = str(parties.bills)
    return OwnBills(_payable(tuple(bill_file.read(parties.bills)), source, seed), source)


def _payable(bills: tuple[Bill, ...], source: str, seed: int) -> tuple[Bill, ...]:
    """The bills, if each can be printed as a code that a payer app takes; raises UsageError."""
    problems = []
    today = dt.datetime.now(IST).date()
    for bill in bills:
        over = (today - bill.due_on).days - qr.DAYS_VALID_AFTER_DUE
        if over > 0:
            what = f"was due on {bill.due_on}; its code is over since {over} days, leave it out"
            problems.append(f"{source}: bill {bill.number!r} {what}")
        try:
            qr.parse(qr.bill_uri(seed, bill))
        except MalformedError as error:
            problems.append(f"{source}: bill {bill.number!r} cannot be a QR code: {error}")
    if problems:
        raise UsageError("\n".join(problems[: bill_file.PROBLEMS_MAX]))
    return bills
