"""The biller's back office: codes that change, refunds, BBPS, the sweep and the settlement file."""

from __future__ import annotations

import datetime as dt
import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewseconds import contracts as c
from fewseconds.errors import MalformedError
from fewseconds.identity import IST, Bill, rupees
from fewseconds.scenario import Billing
from fixtures import bills, consumers, keys, qr, tariff
from mock_psp import auditor
from mock_psp import merchant_contract as m
from mock_psp.books_contract import CalendarMove, SettlementDay
from mock_psp.reconcile import broken
from mock_psp.serve import Options, Services
from tests.mock_psp.databases import BOTH, address

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from fewseconds.scenario import Scenario
    from tests.mock_psp.conftest import Reply, World

BILLING = Billing(source="test", early_days=7, early_discount=0.01, late_charge=0.0125)
DAY_US = 86_400_000_000


@given(st.integers(0, 50_000), st.integers(-3, 60))
def test_what_is_owed_only_grows_with_time(index: int, days: int) -> None:
    """Discount, printed amount and late charge follow each other, each until the day it says."""
    bill = bills.bill(7, index)
    day = bill.issued_on + dt.timedelta(days=days)
    owed, later = (tariff.payable(bill, one, BILLING) for one in (day, day + dt.timedelta(days=1)))
    assert owed.amount_paise <= later.amount_paise
    assert owed.terms == ("early" if days <= 7 else "due" if day <= bill.due_on else "late")
    if day <= owed.valid_until:
        last = tariff.payable(bill, owed.valid_until, BILLING)
        assert last.amount_paise == owed.amount_paise
    exact = {"early": 0.99, "due": 1.0, "late": 1.0125}[owed.terms] * bill.amount_paise
    assert abs(owed.amount_paise - exact) <= 0.5 + 1e-6
    assert owed.amount_paise in tariff.amounts(bill, BILLING)


def day_of(quick: Scenario, day: dt.date) -> int:
    """The plan's time at noon of a day."""
    return (day - quick.arrivals.first_day).days * DAY_US + DAY_US // 2


@pytest.mark.parametrize(("days", "terms"), [(3, "early"), (10, "due"), (20, "late")])
def test_a_code_is_issued_again_when_the_amount_has_changed(
    quick: Callable[..., Scenario],
    enter: Callable[[Services], World],
    tmp_path: Path,
    days: int,
    terms: str,
) -> None:
    """The code of the day asks for the amount of the day; that of another amount is refused."""
    scenario = quick({"billing": {"source": "test", "early_days": 7, "early_discount": 0.01,
                                  "late_charge": 0.0125}})  # fmt: skip
    bill = bills.bill(7, 3)
    origin_us = day_of(scenario, bill.issued_on + dt.timedelta(days=days))
    chosen = ("psp", "biller")
    with Services(scenario, 7, tmp_path, only=chosen, plan_origin_us=origin_us) as services:
        world = enter(services)
        query = c.BillQuery(bill_number=bill.number)
        code = world.ask("POST", "biller", c.BILLER_CODES, query).body
        assert code["terms"] == terms
        payload = qr.verify(code["link"], keys.registry(7))
        assert payload.amount_paise == code["amount_paise"]
        shown = _scanned(world, code["link"])
        assert (shown.status, shown.body.get("amount_paise")) == (200, code["amount_paise"])
        printed = _scanned(world, qr.bill_uri(7, bill))
        assert (printed.status, printed.body.get("code", "")) == (
            (200, "") if terms == "due" else (409, "B6")
        )
        wrong = world.pay(3, attempt=1, amount_paise=code["amount_paise"] + 1)
        assert (wrong.body["status"], wrong.body["code"]) == ("FAILURE", "B6")
        paid = world.pay(3, attempt=2, amount_paise=code["amount_paise"]).body
        assert paid["status"] == "SUCCESS"
        _until_posted(world, paid["transaction_id"])
    assert [one.first for one in auditor.audit(tmp_path).checks if not one.passed] == []


def _scanned(world: World, link: str) -> Reply:
    return world.ask("POST", "psp", c.RESOLVE, c.ResolveRequest("phonepe", link))


def _until_posted(world: World, name: str) -> Reply:
    while (found := world.ask("GET", "biller", f"{c.BILLER_RECEIPTS}/{name}")).status != 200:
        time.sleep(0.02)
    return found


# --- one world whose callbacks never arrive ------------------------------------------------------


@pytest.fixture(scope="module", params=BOTH)
def deaf(
    request: pytest.FixtureRequest,
    quick: Callable[..., Scenario],
    enter: Callable[[Services], World],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[World]:
    """Services between which callbacks about customers of KOTAK get lost, on either database."""
    lost = {"failures": [{"outcome": "error", "code": "lost", "share": 1.0, "source": "test"}]}
    network = {"by": ["bank"], "variants": {"KOTAK": lost}}
    folder = tmp_path_factory.mktemp("deaf")
    scenario = quick({"stations": {"callback_network": network}})
    options = Options(database=address(request, "deaf"))
    with Services(scenario, 7, folder, options=options) as services:
        yield enter(services)
        assert services.folder.ledger.exists() == (not options.database)
    # Whatever the tests below did, the books agree with the banks in the end.
    found = auditor.audit(folder)
    assert [one.first for one in found.checks if not one.passed] == []


def test_the_sweep_finds_a_payment_whose_callback_never_came(deaf: World) -> None:
    """Lost five times, it is posted by the sweep, once, with its SMS."""
    paid = deaf.pay(10, bank="KOTAK").body
    assert paid["status"] == "SUCCESS"
    name = paid["transaction_id"]
    assert deaf.ask("GET", "biller", f"{c.BILLER_RECEIPTS}/{name}").status == 404
    token = {"fewseconds_token": deaf.secrets.token}
    assert name in deaf.ask("POST", "biller", c.BILLER_SWEEP, **token).body["posted"]
    assert deaf.ask("GET", "biller", f"{c.BILLER_RECEIPTS}/{name}").body["posting"] == "credited"
    assert deaf.ask("POST", "biller", c.BILLER_SWEEP, **token).body["posted"] == []
    assert len(deaf.inbox(10, name)) == 1
    assert deaf.ask("POST", "biller", c.BILLER_SWEEP).status == 401


def test_money_for_a_bill_that_is_paid_goes_back(deaf: World) -> None:
    """Two phones, both authorised before either callback: one credit, one refund with a reason."""
    first = deaf.pay(11, bank="KOTAK").body
    second = deaf.pay(11, journey=12, bank="KOTAK").body
    assert (first["status"], second["status"]) == ("SUCCESS", "SUCCESS")
    token = {"fewseconds_token": deaf.secrets.token}
    names = [first["transaction_id"], second["transaction_id"]]
    assert {*names} <= {*deaf.ask("POST", "biller", c.BILLER_SWEEP, **token).body["posted"]}

    def postings() -> set[str]:
        receipts = (deaf.ask("GET", "biller", f"{c.BILLER_RECEIPTS}/{name}") for name in names)
        return {receipt.body["posting"] for receipt in receipts}

    while postings() != {"credited", "refunded"}:
        time.sleep(0.02)
    refunds = deaf.rows(
        "SELECT reason, amount_paise FROM refunds WHERE transaction_id IN (:a, :b)",
        a=names[0], b=names[1],
    )  # fmt: skip
    assert refunds == [("already_paid", deaf.bill(11).amount_paise)]
    left = "SELECT coalesce(sum(amount_paise), 0) FROM lines WHERE account = 'refunds_payable'"
    assert deaf.rows(left) == [(0,)]


def test_a_merchants_refund_opens_the_bill_again(deaf: World) -> None:
    """Given back over the API, a credited payment is undone in the ledger, and can be made anew."""
    paid = deaf.pay(13).body
    _until_posted(deaf, paid["transaction_id"])
    payment = next(
        one
        for one in deaf.merchant("GET", "/v1/payments?count=100").body["items"]
        if one["acquirer_data"]["upi_transaction_id"] == paid["transaction_id"]
    )
    assert deaf.merchant("POST", f"/v1/payments/{payment['id']}/refund", b"{}").status == 200
    path = f"{c.BILLER_RECEIPTS}/{paid['transaction_id']}"
    while deaf.ask("GET", "biller", path).body["posting"] != "refunded":
        time.sleep(0.02)
    again = deaf.pay(13, journey=113).body
    assert again["status"] == "SUCCESS"
    assert _until_posted(deaf, again["transaction_id"]).body["posting"] == "credited"


def test_magic_amounts_force_an_outcome_on_codes_made_over_the_api(deaf: World) -> None:
    """The amounts of Razorpay's test mode, one response code each; any other amount is paid."""
    number = deaf.code(usage="multiple_use")
    said = {
        rupees: deaf.pay(30, journey=140 + place, bill_number=number, amount_paise=rupees * 100)
        for place, rupees in enumerate((201, 204, 302, 402, 203))
    }
    codes = {rupees: reply.body["code"] for rupees, reply in said.items()}
    assert codes == {201: "Z9", 204: "ZM", 302: "ZA", 402: "YC", 203: "00"}


def edited(line: str, **changes: object) -> str:
    """A line of the journal that says something else."""
    return json.dumps(json.loads(line) | changes, separators=(",", ":")) + "\n"


def test_the_settlement_file_agrees_and_every_break_is_listed(deaf: World) -> None:
    """Nothing is reported of books that agree; a planted difference of each kind is, by name."""
    paid = [deaf.pay(index).body for index in (14, 15, 16, 17)]
    names = [one["transaction_id"] for one in paid]
    for name in names:
        _until_posted(deaf, name)
    token = {"fewseconds_token": deaf.secrets.token}
    _give_back(deaf, names[3])
    deaf.ask("POST", "biller", c.BILLER_SWEEP, **token)
    moved = deaf.ask("POST", "psp", c.CALENDAR, CalendarMove(86_400), **token)
    settled = dt.datetime.fromtimestamp(moved.body["now_s"], IST).date()
    day = SettlementDay(settled.year, settled.month, settled.day)

    def breaks() -> set[tuple[str, str]]:
        told = deaf.ask("POST", "biller", c.BILLER_RECONCILE, day, **token).body
        assert told["matched"] + len(told["breaks"]) >= 4
        return {(one["kind"], one["transaction_id"]) for one in told["breaks"]}

    journal = deaf.services.folder.journal
    whole = journal.read_text("utf-8")
    lines = whole.splitlines(keepends=True)

    def planted(entry: str, name: str, *instead: Callable[[str], str]) -> set[tuple[str, str]]:
        """The breaks once these lines stand where the one about a payment stood."""
        mark = f'"entry":"{entry}"'
        (place,) = (n for n, line in enumerate(lines) if mark in line and name in line)
        changed = [*lines[:place], *(make(lines[place]) for make in instead), *lines[place + 1 :]]
        journal.write_text("".join(changed), "utf-8")
        found = breaks()
        journal.write_text(whole, "utf-8")
        return found

    assert breaks() == set()
    same, another = str, "X" * 35
    dearer = paid[1]["amount_paise"] + 1
    # Missing in theirs, missing in ours, another amount, twice, the refund missing or another one.
    assert planted("credit", names[0]) == {("not_in_file", names[0])}
    stranger = planted("credit", names[0], same, lambda line: edited(line, transaction_id=another))
    assert stranger == {("not_in_ledger", another)}
    changed = planted("credit", names[1], lambda line: edited(line, amount_paise=dearer))
    assert changed == {("amount_differs", names[1])}
    assert planted("credit", names[2], same, same) == {("twice_in_file", names[2])}
    assert planted("refund", names[3]) == {("refund_not_in_file", names[3])}
    unknown = planted("refund", names[3], same, lambda line: edited(line, reference="rfnd_x"))
    assert unknown == {("refund_not_in_ledger", names[3])}
    less = planted("refund", names[3], lambda line: edited(line, amount_paise=1))
    assert less == {("refund_amount_differs", names[3])}
    assert breaks() == set()


def test_money_that_is_settled_on_a_wrong_day_is_a_break() -> None:
    """A line whose settlement is not the midnight after the payment is named."""
    # Written down by hand: paid on 20 November 2026 at 10:00 in India, settled at its midnight.
    made_s = int(dt.datetime(2026, 11, 20, 10, tzinfo=IST).timestamp())
    right_s = int(dt.datetime(2026, 11, 21, tzinfo=IST).timestamp())
    for settled_s, kinds in ((right_s, []), (right_s + 86_400, ["wrong_day"])):
        line = m.ReconItem(
            entity_id="pay_1", type="payment", debit=0, credit=100, amount=100, created_at=made_s,
            settled_at=settled_s, settlement_id="setl_1", settlement_utr="1", payment_id=None,
            description="", rrn="1", upi_transaction_id="T", reference="1",
        )  # fmt: skip
        assert [one.kind for one in broken(line, 100)] == kinds


def _give_back(world: World, name: str) -> str:
    """Refund a payment over the merchant's API and wait until it is posted; the refund's id."""
    path = f"/v1/payments/{m.payment_id(name)}/refund"
    refund = world.merchant("POST", path, b"{}").body["id"]
    receipt = f"{c.BILLER_RECEIPTS}/{name}"
    world.until(lambda: world.ask("GET", "biller", receipt).body["posting"] == "refunded")
    return str(refund)


def test_refunds_are_told_by_sms(deaf: World) -> None:
    """The payer hears once of money that could not be credited, and once when it has gone back."""
    paid = deaf.pay(18).body
    _until_posted(deaf, paid["transaction_id"])
    refund = _give_back(deaf, paid["transaction_id"])
    (message,) = deaf.inbox(18, refund)
    bill = deaf.bill(18)
    assert message["text"] == (
        f"BEST: Rs.{rupees(bill.amount_paise)} paid by UPI ref {paid['rrn']} for bill "
        f"{bill.number} has been refunded. Refund ref {refund}."
    )
    assert len(message["text"]) <= 160
    # Of the payment itself there is one, as before.
    assert len(deaf.inbox(18, paid["transaction_id"])) == 1


def test_a_second_payment_of_the_same_journey_is_called_back_and_refunded(world: World) -> None:
    """Paid again while the first callback is on its way: no sweep is needed to find the second."""
    first, second = (world.pay(170, bank="KOTAK", attempt=attempt).body for attempt in (1, 2))
    names = [first["transaction_id"], second["transaction_id"]]
    assert (first["status"], second["status"], len({*names})) == ("SUCCESS", "SUCCESS", 2)
    paths = [f"{c.BILLER_RECEIPTS}/{name}" for name in names]

    def postings() -> list[str]:
        return [world.ask("GET", "biller", path).body.get("posting", "") for path in paths]

    world.until(lambda: sorted(postings()) == ["credited", "refunded"])
    query = "SELECT reason, transaction_id, event_id FROM refunds JOIN callbacks USING "
    rows = world.rows(
        query + "(transaction_id) WHERE transaction_id IN (:a, :b) AND status = 'SUCCESS'",
        a=names[0], b=names[1],
    )  # fmt: skip
    refunded = names[postings().index("refunded")]
    # The event is a callback's, not the sweep's.
    assert rows == [("already_paid", refunded, f"evt_{refunded}")]


# --- BBPS ----------------------------------------------------------------------------------------


def _bbps(world: World, path: str, body: object, token: str | None = None) -> Reply:
    shown = world.secrets.bbps_token if token is None else token
    encoded = json.dumps(body).encode()
    return world.ask("POST", "biller", path, encoded, authorization=f"Bearer {shown}")


def _owed(world: World, index: int) -> Reply:
    number = consumers.consumer_number(index)
    named = [{"attributeName": "consumerNumber", "attributeValue": number}]
    return _bbps(world, "/bills/fetch", {"customerIdentifiers": named})


def _payment(bill: Bill, reference: str, **changes: object) -> dict[str, Any]:
    money = {"value": bill.amount_paise, "currencyCode": "INR"}
    return {
        "platformBillID": "PLAT0001",
        "billerBillID": bill.number,
        "paymentDetails": {
            "amountPaid": money,
            "billAmount": money,
            "platformTransactionRefID": f"TXN{reference}",
            "uniquePaymentRefID": reference,
            "instrument": "UPI",
            "transactionTimestamp": "2026-11-20T10:00:00+05:30",
            **changes,
        },
    }


def test_a_bill_is_fetched_and_paid_over_bbps_once(deaf: World) -> None:
    """Eight equal requests at once are 200 with the same receipt; afterwards nothing is owed."""
    bill = deaf.bill(20)
    owed = _owed(deaf, 20).body["data"]["billDetails"]
    assert owed["billFetchStatus"] == "AVAILABLE"
    assert owed["bills"][0]["aggregates"]["total"]["amount"]["value"] == bill.amount_paise
    assert owed["bills"][0]["billerBillID"] == bill.number
    body = _payment(bill, "UPR0000000020")
    with ThreadPoolExecutor(8) as pool:
        told = list(pool.map(lambda _: _bbps(deaf, "/bills/fetchReceipt", body), range(8)))
    assert {one.status for one in told} == {200}
    assert len({one.body["data"]["receipt"]["id"] for one in told}) == 1
    posted = "SELECT count(*) FROM payments WHERE bill_number = :number"
    assert deaf.rows(posted, number=bill.number) == [(1,)]
    after = _owed(deaf, 20).body["data"]["billDetails"]
    assert after["billFetchStatus"] == "NO_OUTSTANDING"
    late = deaf.pay(20).body
    assert (late["status"], late["code"]) == ("FAILURE", "YG")
    assert len(deaf.inbox(20, "UPR0000000020")) == 1


def test_bbps_refuses_by_the_published_codes(deaf: World) -> None:
    """Paid already, another amount, another body under a known reference, nobody of that name."""
    bill = deaf.bill(21)
    assert _bbps(deaf, "/bills/fetchReceipt", _payment(bill, "UPR0000000021")).status == 200
    other = deaf.bill(22)
    wrong = {"value": other.amount_paise - 1, "currencyCode": "INR"}
    unknown = json.loads(json.dumps(_payment(other, "UPR0000000024")))
    unknown["billerBillID"] = "00000000000000"
    for body, status, code in (
        (_payment(bill, "UPR0000000022"), 400, "bill-already-fulfilled"),
        (_payment(other, "UPR0000000023", amountPaid=wrong), 400, "incorrect-amount"),
        (_payment(other, "UPR0000000021"), 425, "duplicate-request"),
        (unknown, 400, "customer-not-found"),
        (_payment(other, "no spaces"), 400, "invalid-request"),
        ({"billerBillID": 5}, 400, "invalid-request"),
    ):
        refused = _bbps(deaf, "/bills/fetchReceipt", body)
        assert (refused.status, refused.body["error"]["code"]) == (status, code)
    assert _bbps(deaf, "/bills/fetchReceipt", _payment(other, "UPR25"), "x").status == 401
    assert _owed(deaf, 22).body["data"]["billDetails"]["billFetchStatus"] == "AVAILABLE"
    missing = {"customerIdentifiers": [{"attributeName": "a", "attributeValue": "1"}]}
    assert _bbps(deaf, "/bills/fetch", missing).body["error"]["code"] == "customer-not-found"


def test_a_code_of_no_bill_is_not_issued(deaf: World) -> None:
    """An unknown number is a problem, not a code."""
    with pytest.raises(MalformedError):
        bills.Issue(7).numbered("12345678901234")
    query = c.BillQuery(bill_number="12345678901234")
    assert deaf.ask("POST", "biller", c.BILLER_CODES, query).status == 404
