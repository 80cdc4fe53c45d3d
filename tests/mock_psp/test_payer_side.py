"""The payer side over real sockets: what the app sends and what it is shown."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from fewseconds import contracts as c
from fewseconds.identity import masked
from fixtures import bills, consumers, keys, qr
from mock_psp.journal import entries
from mock_psp.serve import Services

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fewseconds.scenario import Scenario
    from tests.mock_psp.conftest import Eventually, Reply, World


def test_a_scanned_bill_is_shown_before_it_is_paid(world: World) -> None:
    """The screen shows the bill's number, amount, due date, payee and the masked name."""
    reply, bill = world.resolve(100), world.bill(100)
    assert reply.status == 200
    assert reply.body == {
        "bill_number": bill.number,
        "consumer_number": bill.consumer,
        "customer_name": masked(consumers.consumer(world.seed, 100).name),
        "amount_paise": bill.amount_paise,
        "due_on": bill.due_on.isoformat(),
        "payee_vpa": qr.PAYEE,
        "payee_name": qr.PAYEE_NAME,
        "verified": True,
    }


def test_a_typed_consumer_number_finds_the_same_bill_unverified(world: World) -> None:
    """Typing leads to the bill as scanning does, but nothing vouches for it."""
    typed = c.ResolveRequest("phonepe", consumer_number=world.bill(101).consumer)
    reply = world.ask("POST", "psp", c.RESOLVE, typed)
    assert reply.status == 200
    assert (reply.body["bill_number"], reply.body["verified"]) == (world.bill(101).number, False)


def test_whoever_has_no_trace_can_pay_with_curl(world: World) -> None:
    """A payment without a trace works, and the same body twice is one payment."""
    bill = world.bill(102)
    asked = c.PayRequest(
        "curl", "me@bank", "SBI", qr.PAYEE, bill.number, bill.amount_paise, "123456"
    )
    first = world.ask("POST", "psp", c.PAY, asked)
    again = world.ask("POST", "psp", c.PAY, asked)
    assert first.body["status"] == "SUCCESS"
    assert again.body == first.body
    assert world.journal(first.body["transaction_id"]).count("debit") == 1
    told = world.ask("GET", "psp", f"{c.PAYMENTS}/{first.body['transaction_id']}")
    assert told.body["status"] == "SUCCESS"


def test_a_payment_ends_in_receipt_and_sms(world: World) -> None:
    """The payment has an id of 35 characters, an RRN of 12 digits, one receipt and one SMS."""
    paid = world.pay(103).body
    name, rrn = paid["transaction_id"], paid["rrn"]
    assert (paid["status"], paid["code"], paid["outcome"]) == ("SUCCESS", "00", "ok")
    assert len(name) == 35
    assert len(rrn) == 12
    assert rrn.isdigit()
    (message,) = world.inbox(103, name)
    assert rrn in message["text"]
    assert world.bill(103).consumer in message["text"]
    receipt = world.ask("GET", "biller", f"{c.BILLER_RECEIPTS}/{name}").body
    assert (receipt["rrn"], receipt["posting"]) == (rrn, "credited")
    assert receipt["amount_paise"] == world.bill(103).amount_paise


def test_an_attempt_with_another_body_is_a_conflict(world: World) -> None:
    """An attempt is paid once; its repetition with another amount is refused."""
    assert world.pay(104).status == 200
    assert world.pay(104, amount_paise=1).status == 409


TAMPERED: list[tuple[str, Callable[[str], str]]] = [
    ("sign", lambda uri: uri.replace("am=", "am=1")),
    ("sign", lambda uri: uri.replace("pa=best.", "pa=beast.")),
    ("sign", lambda uri: re.sub("tr=[0-9]+", f"tr={bills.bill(7, 106).number}", uri)),
    ("am", lambda uri: re.sub("&am=[0-9.]+", "", uri)),
    ("am", lambda uri: uri.replace("am=", "am=-")),
    ("am", lambda uri: re.sub("am=[0-9.]+", "am=1e3", uri)),
    ("am", lambda uri: re.sub("am=[0-9.]+", "am=%E0%A5%A7%E0%A5%A6", uri)),
    ("sign", lambda uri: uri.split("&sign=", maxsplit=1)[0]),
    ("sign", lambda uri: uri[:-3] + ("A==" if uri.endswith("B==") else "B==")),
    ("orgid", lambda uri: uri.replace("orgid=990001", "orgid=990002")),
    ("am", lambda uri: uri.replace("&cu=", "&am=1.00&cu=")),
    ("link", lambda _: "https://example.org/win"),
    ("link", lambda _: "৯৯"),
]


@pytest.mark.parametrize(("place", "tamper"), TAMPERED)
def test_a_tampered_code_is_refused_and_the_parameter_named(
    world: World, place: str, tamper: Callable[[str], str]
) -> None:
    """Nothing is shown for a code that its signer has not signed like this."""
    scanned = tamper(qr.bill_uri(world.seed, world.bill(105)))
    reply = world.ask("POST", "psp", c.RESOLVE, c.ResolveRequest("phonepe", scanned))
    assert (reply.status, reply.content_type) == (400, "application/problem+json")
    assert reply.body["detail"].startswith(f"{place}: ")
    assert reply.body["outcome"] == "declined"


def test_an_expired_code_is_refused(world: World) -> None:
    """A genuine signature does not help a code whose time is over."""
    uri = qr.bill_uri(world.seed, world.bill(106)).split("&sign=")[0]
    before, expiry = uri.split("&QRexpire=")
    old = qr.signed(
        f"{before}&QRexpire=2020{expiry[4:]}", keys.private_key(world.seed, keys.BILLER_ORGID)
    )
    reply = world.ask("POST", "psp", c.RESOLVE, c.ResolveRequest("phonepe", old))
    assert (reply.status, reply.body["detail"][:9]) == (400, "QRexpire:")


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"pin": "12a4"}, "pin"),
        ({"pin": "١٢٣٤"}, "pin"),
        ({"pin": "12345"}, "pin"),
        ({"amount_paise": 0}, "amount_paise"),
        ({"amount_paise": -100}, "amount_paise"),
        ({"amount_paise": 10.5}, "amount_paise"),
        ({"amount_paise": "100"}, "amount_paise"),
        ({"payer_vpa": "nobody"}, "pa"),
        ({"payee_vpa": "thief@bank"}, "payee_vpa"),
    ],
)
def test_a_malformed_payment_is_refused_and_the_field_named(
    world: World, changes: dict[str, Any], place: str
) -> None:
    """Nothing is debited for a request that is no payment."""
    reply = world.pay(107, **changes)
    assert (reply.status, reply.content_type) == (400, "application/problem+json")
    assert reply.body["detail"].startswith(f"{place}: ")


@pytest.mark.parametrize(
    ("bank", "code", "outcome"), [("ICICI", "Z9", "declined"), ("PNB", "XY", "error")]
)
def test_a_bank_that_says_no_leaves_everything_as_it_was(
    world: World, eventually: Eventually, bank: str, code: str, outcome: str
) -> None:
    """A declined or failed debit is a FAILURE with the bank's code, and no money moves."""
    index = 110 if bank == "ICICI" else 111
    paid = world.pay(index, bank=bank).body
    assert (paid["status"], paid["code"], paid["outcome"]) == ("FAILURE", code, outcome)
    eventually(lambda: "shown" in world.journal(paid["transaction_id"]))
    assert world.journal(paid["transaction_id"]) == ["shown"]


def test_a_wrong_amount_is_declined_before_the_debit(world: World, eventually: Eventually) -> None:
    """The biller refuses one paisa too much when it is asked for authorisation."""
    paid = world.pay(112, amount_paise=world.bill(112).amount_paise + 1).body
    assert (paid["status"], paid["code"]) == ("FAILURE", "B6")
    eventually(lambda: "shown" in world.journal(paid["transaction_id"]))
    assert world.journal(paid["transaction_id"]) == ["shown"]


def test_an_unknown_bill_is_declined(world: World) -> None:
    """A bill beyond the city's consumers is unknown to the biller."""
    beyond = world.bill(world.services.scenario.consumers)
    assert world.pay(113, bill_number=beyond.number).body["code"] == "ZD"
    typed = c.ResolveRequest("phonepe", consumer_number=beyond.consumer)
    assert world.ask("POST", "psp", c.RESOLVE, typed).status == 404


def test_a_debit_that_nobody_answers_is_reversed(world: World, eventually: Eventually) -> None:
    """The payer sees a failure, and the money that had been debited after all comes back."""
    paid = world.pay(114, bank="HDFC").body
    assert (paid["status"], paid["code"], paid["outcome"]) == ("FAILURE", "U67", "timed_out")
    name = paid["transaction_id"]
    eventually(lambda: "reversal" in world.journal(name))
    eventually(lambda: "shown" in world.journal(name))
    assert sorted(world.journal(name)) == ["debit", "reversal", "shown"]


def test_a_credit_that_nobody_answers_is_deemed_and_then_known(
    world: World, eventually: Eventually
) -> None:
    """PENDING on the screen until the PSP has asked the switch; posted and told by SMS once."""
    paid = world.pay(115, bank="AXIS").body
    assert (paid["status"], paid["code"], paid["outcome"]) == ("PENDING", "RB", "unfinished")
    name, attempts = paid["transaction_id"], iter(range(1, 1000))

    def known() -> bool:
        told = world.status(name, 115, next(attempts)).body
        # While it is under way a check says so (01); deemed (RB) was the end of the attempt to pay.
        assert (told["status"], told["code"]) in (("PENDING", "01"), ("SUCCESS", "00"))
        return bool(told["status"] == "SUCCESS")

    eventually(known)
    assert len(world.inbox(115, name)) == 1
    assert world.journal(name).count("credit") == 1


def test_two_payers_of_one_bill_are_credited_once(world: World, eventually: Eventually) -> None:
    """Whose callback comes second gets a refund, and an SMS that says so."""
    first = world.pay(116, journey=116, bank="KOTAK").body
    second = world.pay(116, journey=117, bank="KOTAK").body
    assert (first["status"], second["status"]) == ("SUCCESS", "SUCCESS")
    names = [first["transaction_id"], second["transaction_id"]]

    def receipts() -> list[Reply]:
        return [world.ask("GET", "biller", f"{c.BILLER_RECEIPTS}/{name}") for name in names]

    def postings() -> list[str]:
        return [reply.body.get("posting", "") for reply in receipts()]

    eventually(lambda: sorted(postings()) == ["credited", "refunded"])
    late = names[postings().index("refunded")]
    assert "will be refunded" in world.inbox(116, late)[0]["text"]
    third = world.pay(116, journey=118).body
    assert (third["status"], third["code"]) == ("FAILURE", "YG")


def test_an_unknown_payment_is_not_found(world: World) -> None:
    """Nobody learns anything about a payment that was never made."""
    assert world.status("FWS" + "0" * 32, 119).status == 404


def test_three_wrong_pins_lock_the_payer(world: World) -> None:
    """ZM, ZM, Z6, and Z6 for the right PIN as well; another payer is not concerned."""
    said = []
    for attempt, pin in enumerate(["0000", "0000", "0000", "1234"], 1):
        payer = "forgetful@examplebank"
        said.append(world.pay(130, attempt=attempt, pin=pin, payer_vpa=payer).body["code"])
    assert said == ["ZM", "ZM", "Z6", "Z6"]
    assert world.pay(130, attempt=5).body["code"] == "00"


@pytest.mark.parametrize(("code", "outcome"), [("Z9", "declined"), ("XY", "error")])
def test_a_test_may_force_an_outcome_with_the_token_only(
    world: World, code: str, outcome: str
) -> None:
    """The bank says what the header asks for; without the token nobody may ask."""
    bill = world.bill(131)
    body = c.PayRequest(
        "phonepe", f"{code}@examplebank", "SBI", qr.PAYEE, bill.number, bill.amount_paise, "1234"
    )
    force = {"fewseconds_force": code}
    assert world.ask("POST", "psp", c.PAY, body, **force).status == 401
    token = {"fewseconds_token": world.secrets.token}
    paid = world.ask("POST", "psp", c.PAY, body, **force, **token).body
    assert (paid["status"], paid["code"], paid["outcome"]) == ("FAILURE", code, outcome)


def paid_by_hand(world: World, index: int, key: str = "", **changes: object) -> Reply:
    """A payment as a person sends it, without the header that only our own phones know."""
    bill = world.bill(index)
    body = {
        "app": "bhim", "payer_vpa": f"hand{index}@examplebank", "payer_bank": "SBI",
        "payee_vpa": qr.PAYEE, "bill_number": bill.number, "amount_paise": bill.amount_paise,
        "pin": "1234", **changes,
    }  # fmt: skip
    headers = {"idempotency_key": key} if key else {}
    return world.ask("POST", "psp", c.PAY, msgspec.json.encode(body), **headers)


def test_who_pays_by_hand_may_try_again(world: World) -> None:
    """The same body after a failure is another attempt; after a success it is the same payment."""
    said = [paid_by_hand(world, 960, pin="0000").body for _ in range(4)]
    assert [one["code"] for one in said] == ["ZM", "ZM", "Z6", "Z6"]
    assert len({one["transaction_id"] for one in said}) == 4
    good = [paid_by_hand(world, 961).body for _ in range(3)]
    assert [one["code"] for one in good] == ["00"] * 3
    assert len({one["transaction_id"] for one in good}) == 1


def test_eight_requests_at_once_are_one_payment(world: World, eventually: Eventually) -> None:
    """An app that asks again while it waits gets the same answer: one debit and one credit."""
    index = 137
    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda _: world.pay(index), range(8)))
    assert {reply.status for reply in replies} == {200}
    assert len({str(reply.body) for reply in replies}) == 1
    paid = replies[0].body
    assert paid["status"] == "SUCCESS"
    eventually(lambda: "acknowledged" in world.journal(paid["transaction_id"]))
    went = sorted(world.journal(paid["transaction_id"]))
    assert went == ["acknowledged", "credit", "debit", "shown"]
    path = world.services.folder.journal
    bill = world.bill(index).number
    assert sum(one.entry == "debit" and one.bill_number == bill for one in entries(path)) == 1


def test_a_code_out_of_the_gallery_is_worth_two_thousand_rupees(
    quick: Callable[..., Scenario], enter: Callable[[Services], World], tmp_path: Path
) -> None:
    """To a payee who is not verified: a paisa more is U02 before anything is debited."""
    unverified = quick({"payee": {"verified": False, "source": "test"}})
    with Services(unverified, 7, tmp_path, only=("psp",)) as services:
        world = enter(services)
        number = world.code(usage="multiple_use")

        def paid(journey: int, amount_paise: int, *, from_gallery: bool) -> Any:  # noqa: ANN401
            whole: dict[str, Any] = {"bill_number": number, "amount_paise": amount_paise}
            return world.pay(journey, from_gallery=from_gallery, **whole).body

        # NPCI's circular of 8 April 2025: Rs 2,000.
        assert paid(1, 200_000, from_gallery=True)["status"] == "SUCCESS"
        over = paid(2, 200_001, from_gallery=True)
        assert (over["status"], over["code"], over["outcome"]) == ("FAILURE", "U02", "declined")
        assert "debit" not in world.journal(over["transaction_id"])
        assert paid(3, 200_001, from_gallery=False)["status"] == "SUCCESS"


def test_a_verified_payee_takes_any_amount_out_of_the_gallery(world: World) -> None:
    """The cap is for payees whom nobody has verified."""
    dear = next(index for index in range(600, 700) if world.bill(index).amount_paise > 200_000)
    assert world.pay(dear, from_gallery=True).body["status"] == "SUCCESS"


def test_an_idempotency_key_is_one_payment(world: World) -> None:
    """For the same key there is one payment, failed or not; another body under it is refused."""
    said = [paid_by_hand(world, 962, "k1", pin="0000").body for _ in range(3)]
    assert [one["code"] for one in said] == ["ZM"] * 3
    assert len({one["transaction_id"] for one in said}) == 1
    assert paid_by_hand(world, 962, "k1").status == 409
    assert paid_by_hand(world, 962, "k2").body["code"] == "00"


def test_a_locked_payer_stays_locked_over_a_kill(
    quick: Callable[..., Scenario], enter: Callable[[Services], World], tmp_path: Path
) -> None:
    """Killing the payment service opens no account; a right PIN in between counts anew."""
    with Services(quick(), 7, tmp_path, only=("psp", "biller")) as services:
        world = enter(services)
        for pins in (("0000", "0000", "1234", "0000"), ("0000", "0000", "0000")):
            payer = f"locked{len(pins)}@examplebank"
            for attempt, pin in enumerate(pins, 1):
                # A bill each: one that is paid is refused before anybody looks at the PIN.
                world.pay(20 * len(pins) + attempt, pin=pin, payer_vpa=payer)
        # A declined payment is on its way to the disk for an instant.
        world.until(lambda: services.folder.journal.read_text("utf-8").count('"code":"Z') >= 6)
        services.kill("psp")
        services.restart("psp")
        codes = [
            world.pay(10 + count, payer_vpa=f"locked{count}@examplebank").body["code"]
            for count in (4, 3)
        ]
        assert codes == ["00", "Z6"]
