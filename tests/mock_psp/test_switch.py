"""App profiles, the messages behind a payment, and what is never credited, over real sockets."""

from __future__ import annotations

import base64
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewseconds import contracts as c
from fewseconds import scenario_file
from fixtures import qr
from mock_psp.auditor import audit
from mock_psp.serve import Services
from mock_psp.switch_checks import SwitchChecks
from tests.mock_psp.scenarios import constant, moody_scenario

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fewseconds.scenario import Scenario
    from tests.mock_psp.conftest import Eventually, World

UNSIGNED = [
    ("phonepe", "23", 400), ("phonepe", "22", 200), ("amazon_pay", "23", 200),
    ("amazon_pay", "22", 200),
]  # fmt: skip


@pytest.mark.parametrize(("app", "mode", "status"), UNSIGNED)
def test_apps_differ_in_what_they_make_of_a_missing_signature(
    world: World, app: str, mode: str, status: int
) -> None:
    """A secure mode without a signature is refused by apps that verify; all others only warn."""
    uri = qr.bill_uri(world.seed, world.bill(132)).split("&sign=", maxsplit=1)[0]
    scanned = uri.replace("mode=23", f"mode={mode}")
    reply = world.ask("POST", "psp", c.RESOLVE, c.ResolveRequest(app, scanned))
    assert reply.status == status
    assert not reply.body.get("verified", False)


def test_an_app_that_ignores_signatures_still_pays_nobody_else(world: World) -> None:
    """Another payee is refused, and another amount by the biller."""
    uri = qr.bill_uri(world.seed, world.bill(133))
    thief = uri.replace(f"pa={qr.PAYEE}", "pa=thief@bank")
    reply = world.ask("POST", "psp", c.RESOLVE, c.ResolveRequest("amazon_pay", thief))
    assert (reply.status, reply.body["detail"][:3]) == (400, "pa:")
    dearer = world.ask(
        "POST", "psp", c.RESOLVE, c.ResolveRequest("amazon_pay", uri.replace("am=", "am=9"))
    )
    assert (dearer.status, dearer.body["code"]) == (409, "B6")
    assert world.pay(133, amount_paise=world.bill(133).amount_paise + 1).body["code"] == "B6"


def test_a_wallet_asks_for_no_pin_and_has_a_limit(world: World) -> None:
    """Cheap bills are paid without a PIN, dear ones declined; some apps have no wallet."""
    cheap = next(n for n in range(140, 400) if world.bill(n).amount_paise <= 100_000)
    dear = next(n for n in range(140, 400) if world.bill(n).amount_paise > 100_000)
    whole: dict[str, Any] = {"app": "paytm", "funding": "wallet", "pin": ""}
    assert world.pay(cheap, **whole).body["code"] == "00"
    assert world.pay(dear, **whole).body["code"] == "Z8"
    assert world.pay(dear, attempt=2, **{**whole, "app": "navi"}).status == 400
    assert world.pay(dear, attempt=3, app="paytm", pin="").status == 400


def test_a_payer_with_a_magic_address_gets_the_outcome_it_names(world: World) -> None:
    """The handle says it, for bills of any amount; nobody else's bank is concerned."""
    said = [
        world.pay(410, attempt=n, payer_vpa=f"{code}@forced").body
        for n, code in enumerate(("z9", "xy", "u16"), 1)
    ]
    assert [one["code"] for one in said] == ["Z9", "XY", "U16"]
    assert [one["outcome"] for one in said] == ["declined", "error", "declined"]
    assert world.pay(410, attempt=4).body["code"] == "00"


def names(log: dict[str, Any]) -> list[str]:
    """What was sent, with what the switch asked the banks for."""
    return [
        f"{one['name']} {one['txn']['type']}" if one["name"] == "ReqPay" else one["name"]
        for one in log["messages"]
    ]


def test_the_messages_of_a_payment_are_told(world: World, eventually: Eventually) -> None:
    """A direct payment sends NPCI's sequence, with ids of the right form and answers to each."""
    name = world.pay(420).body["transaction_id"]
    path = f"{c.PAYMENTS}/{name}/messages"
    eventually(lambda: "RespTxnConfirmation" in names(world.ask("GET", "psp", path).body))
    log = world.ask("GET", "psp", path).body
    told = names(log)
    assert sorted(told) == sorted([
        "ReqPay PAY", "ReqAuthDetails", "RespAuthDetails", "ReqPay DEBIT", "RespPay",
        "ReqPay CREDIT", "RespPay", "RespPay", "ReqTxnConfirmation", "RespTxnConfirmation",
    ])  # fmt: skip
    assert told[:6] == [
        "ReqPay PAY", "ReqAuthDetails", "RespAuthDetails", "ReqPay DEBIT", "RespPay",
        "ReqPay CREDIT",
    ]  # fmt: skip
    asked = {one["head"]["msgId"]: one for one in log["messages"]}
    assert len(asked) == len(told)
    assert {len(one) for one in asked} == {35}
    assert {one["txn"]["id"] for one in asked.values()} == {name}
    limits = {
        one["txn"]["type"]: one.get("limitMs")
        for one in log["messages"] if one["name"] == "ReqPay"
    }  # fmt: skip
    assert limits == {"PAY": 15_000, "DEBIT": 800, "CREDIT": 800}
    for one in log["messages"]:
        if "resp" in one:
            question = asked[one["resp"]["reqMsgId"]]
            assert (one["sender"], one["receiver"]) == (question["receiver"], question["sender"])
            assert (one["resp"]["result"], one["resp"]["errCode"]) == ("SUCCESS", "00")
            assert one["head"]["ts"] >= question["head"]["ts"]
    debit = next(one for one in log["messages"] if one["txn"]["type"] == "CREDIT")
    assert len(debit["txn"]["custRef"]) == 12
    assert world.ask("GET", "psp", f"{c.PAYMENTS}/FWS{'0' * 32}/messages").status == 404


def test_a_declined_debit_ends_the_sequence(world: World) -> None:
    """After a bank's Z9 nobody is credited, and the payer's service hears the same code."""
    name = world.pay(421, bank="ICICI").body["transaction_id"]
    log = world.ask("GET", "psp", f"{c.PAYMENTS}/{name}/messages").body
    assert names(log) == [
        "ReqPay PAY", "ReqAuthDetails", "RespAuthDetails", "ReqPay DEBIT", "RespPay", "RespPay",
    ]  # fmt: skip
    ends = [(one["resp"]["result"], one["resp"]["errCode"]) for one in log["messages"][-2:]]
    assert ends == [("FAILURE", "Z9")] * 2


def test_messages_and_answers_outlive_a_kill(
    tmp_path: Path, enter: Callable[..., World], eventually: Eventually
) -> None:
    """What a payment sent and what its payer was told are the same before and after a restart."""
    ends = {"SBI": "acknowledged", "ICICI": "shown", "HDFC": "reversal", "AXIS": "checked"}
    with Services(moody_scenario(), 7, tmp_path) as services:
        world = enter(services)

        def log(name: str) -> list[dict[str, Any]]:
            told = world.ask("GET", "psp", f"{c.PAYMENTS}/{name}/messages").body["messages"]
            for one in told:
                if "TxnConfirmation" in one["name"] or one["txn"]["type"] == "REVERSAL":
                    # The journal has their times a few microseconds earlier.
                    del one["head"]["ts"]
            # HDFC answers no reversal in time, which the journal does not know.
            late = {("RespPay", "REVERSAL"), ("ReqChkTxn", "ChkTxn"), ("RespChkTxn", "ChkTxn")}
            return [one for one in told if (one["name"], one["txn"]["type"]) not in late]

        def pay(n: int, bank: str) -> dict[str, Any]:
            scanned = qr.bill_uri(7, world.bill(430 + n))
            told: dict[str, Any] = world.pay(430 + n, bank=bank, scanned=scanned).body
            return told

        paid = {bank: pay(n, bank) for n, bank in enumerate(ends)}
        for bank, end in ends.items():
            eventually(lambda: end in world.journal(paid[bank]["transaction_id"]))  # noqa: B023
        eventually(lambda: "acknowledged" in world.journal(paid["AXIS"]["transaction_id"]))
        logs = {one["transaction_id"]: log(one["transaction_id"]) for one in paid.values()}
        services.kill("psp")
        services.restart("psp")
        for name, told in logs.items():
            assert log(name) == told
        assert {name: len(told) for name, told in logs.items()} == {
            paid["SBI"]["transaction_id"]: 10, paid["ICICI"]["transaction_id"]: 6,
            paid["HDFC"]["transaction_id"]: 6, paid["AXIS"]["transaction_id"]: 9,
        }  # fmt: skip
        modes = {one["txn"]["initiationMode"] for told in logs.values() for one in told}
        assert modes == {"23"}
        for n, bank in enumerate(ends):
            assert pay(n, bank) == paid[bank]
        # AXIS has credited what its payer was told to wait for; the switch is asked again.
        assert paid["AXIS"]["status"] == "PENDING"
        waiting = paid["AXIS"]["transaction_id"]
        eventually(lambda: world.status(waiting, 433).body["status"] == "SUCCESS")


@given(st.lists(st.tuples(st.integers(0, 4000), st.booleans()), max_size=40))
def test_the_switch_is_never_asked_more_often_than_npci_allows(
    quick: Callable[..., Scenario], tried: list[tuple[int, bool]]
) -> None:
    """Not before 45 s, not four times in any two hours; whatever keeps to both is allowed."""
    route, asked_s = quick().route("qr_ebill"), list[int]()
    clock: Any = SimpleNamespace(now=0, now_s=lambda: clock.now)
    checks = SwitchChecks(clock)
    for wait_s, of_another in tried:
        clock.now += wait_s
        name = "another" if of_another else "this"
        allowed = not checks.refusal(name, 0, route)
        if allowed:
            checks.note(name, clock.now)
        if not of_another:
            recent = [one for one in asked_s if clock.now - one < 7200]
            assert allowed == (clock.now >= 45 and len(recent) < 3)
            asked_s += [clock.now] if allowed else []


def later(world: World, seconds: int) -> int:
    """Move the calendar ahead; what it shows then."""
    move = msgspec.json.encode({"advance_s": seconds})
    reply = world.ask("POST", "psp", c.CALENDAR, move, fewseconds_token=world.secrets.token)
    return int(reply.body["now_s"])


def _own_code(world: World) -> str:
    """The reference of a code that a merchant has made over the API."""
    keys = f"{world.secrets.merchant_key_id}:{world.secrets.merchant_key_secret}"
    basic = "Basic " + base64.b64encode(keys.encode()).decode()
    wish = b'{"type": "upi_qr", "usage": "multiple_use"}'
    made = world.ask("POST", "psp", "/v1/payments/qr_codes", wish, authorization=basic)
    return str(qr.parse(made.body["image_content"]).reference)


def test_what_is_never_credited_goes_back(
    tmp_path: Path, enter: Callable[..., World], eventually: Eventually
) -> None:
    """A failed credit is reversed at once, a deemed one at T+5; the switch is asked three times."""
    offline = [{"outcome": "error", "code": "Y1", "share": 1.0, "source": "test"}]
    variants = {
        "PNB": {"failures": offline},
        "AXIS": {"failures": offline, "service_time": constant(1000)},
    }
    kind = {
        "beneficiary_bank": {"by": ["bank"], "variants": variants},
        "remitter_bank": {"by": ["account"], "variants": {"PNB": {"failures": []}}},
    }
    npci = {"delay_ms": 45_000}
    with Services(moody_scenario(kind, npci), 7, tmp_path) as services:
        world = enter(services)
        failed = world.pay(1, bank="PNB").body
        assert (failed["status"], failed["code"]) == ("FAILURE", "Y1")
        eventually(lambda: "reversal" in world.journal(failed["transaction_id"]))

        name = world.pay(2, bank="AXIS").body["transaction_id"]
        checks = f"{c.PAYMENTS}/{name}/checks"

        forced = [
            world.pay(5, payer_vpa="rb@forced").body, world.pay(6, payer_vpa="u68@forced").body,
            *(
                world.pay(7, attempt=n, bill_number=_own_code(world), amount_paise=paise).body
                for n, paise in enumerate((50_200, 50_400), 1)
            ),
        ]  # fmt: skip
        assert {(one["status"], one["code"]) for one in forced} == {("PENDING", "RB")}
        never, lost, dear, dearer = (one["transaction_id"] for one in forced)
        early = world.ask("POST", "psp", checks, b"")
        assert (early.status, early.body["code"]) == (429, "U86")
        later(world, 60)
        asked = [world.ask("POST", "psp", checks, b"") for _ in range(4)]
        assert [one.status for one in asked] == [200, 200, 200, 429]
        assert {one.body["status"] for one in asked[:3]} == {"PENDING"}
        known = world.ask("POST", "psp", f"{c.PAYMENTS}/{lost}/checks", b"").body
        assert (known["status"], known["code"]) == ("SUCCESS", "00")
        later(world, 7200)
        assert world.ask("POST", "psp", checks, b"").status == 200
        assert "reversal" not in world.journal(name)
        later(world, 5 * 86_400)
        eventually(lambda: "reversal" in world.journal(name))
        eventually(lambda: "reversal" in world.journal(never))
        eventually(lambda: "acknowledged" in world.journal(lost))
        moved = [world.journal(one).count("credit") for one in (never, lost, dear, dearer)]
        assert moved == [0, 1, 0, 1]
        assert "reversal" not in world.journal(lost)
        ended = world.status(name, 2).body
        assert (ended["status"], ended["code"]) == ("FAILURE", "U31")
    assert [check.first for check in audit(tmp_path).checks if not check.passed] == []


def _forced(world: World, index: int, code: str) -> dict[str, Any]:
    """A payment whose bank says what a test's header asks for."""
    bill, payer = world.bill(index), f"payer{index}@examplebank"
    body = c.PayRequest(
        "phonepe", payer, "SBI", qr.PAYEE, bill.number, bill.amount_paise, "1234"
    )  # fmt: skip
    header = {"fewseconds_force": code, "fewseconds_token": world.secrets.token}
    told: dict[str, Any] = world.ask("POST", "psp", c.PAY, body, **header).body
    return told


def test_a_deemed_payment_keeps_its_day_over_a_kill(
    tmp_path: Path, enter: Callable[..., World], eventually: Eventually
) -> None:
    """Nothing that waits is forgotten, nor who was asked; a slow bank credits what it can."""
    offline = [{"outcome": "error", "code": "Y1", "share": 1.0, "source": "test"}]
    variants = {
        "AXIS": {"failures": offline, "service_time": constant(1000)},
        "KOTAK": {"service_time": constant(3000)},
    }
    kind = {"beneficiary_bank": {"by": ["bank"], "variants": variants}}
    once = {"delay_ms": 300, "attempts_max": 1}
    with Services(moody_scenario(kind, once), 7, tmp_path) as services:
        world = enter(services)

        def answers(name: str, sender: str) -> list[tuple[str, str]]:
            path = f"{c.PAYMENTS}/{name}/messages"
            log = world.ask("GET", "psp", path).body["messages"]
            told = [one["resp"] for one in log if one["sender"] == sender and "resp" in one]
            return [(one["result"], one["errCode"]) for one in told]

        begun_s = later(world, 3 * 86_400)
        never, late = world.pay(1, bank="AXIS").body, world.pay(2, bank="KOTAK").body
        forced = _forced(world, 4, "RB")
        assert {one["code"] for one in (never, late, forced)} == {"RB"}
        eventually(lambda: "checked" in world.journal(never["transaction_id"]))
        # RB is DEEMED in the public status tables; NPCI's RespPay has that as a result of its own.
        assert ("DEEMED", "RB") in answers(never["transaction_id"], "NPCI")
        services.kill("psp")
        services.restart("psp")
        assert later(world, 0) >= begun_s
        assert world.pay(1, bank="AXIS").body == never
        # The scenario allows one question, which was put before the kill.
        eventually(lambda: ("FAILURE", "U86") in answers(never["transaction_id"], "NPCI"))
        assert ("DEEMED", "RB") in answers(never["transaction_id"], "NPCI")
        by_hand = f"{c.PAYMENTS}/{never['transaction_id']}/checks"
        assert world.ask("POST", "psp", by_hand, b"").status == 429
        eventually(lambda: "credit" in world.journal(late["transaction_id"]))
        fifth_day_s = begun_s + 5 * 86_400
        later(world, fifth_day_s - 60 - later(world, 0))
        # The calendar has woken whom it would before it answers somebody else.
        assert world.status(never["transaction_id"], 1).body["status"] == "PENDING"
        assert "reversal" not in world.journal(never["transaction_id"])

        overtaken = world.pay(3, bank="KOTAK").body["transaction_id"]
        later(world, 120)
        eventually(lambda: "reversal" in world.journal(never["transaction_id"]))
        later(world, 5 * 86_400)
        ended = world.status(never["transaction_id"], 1, 2).body
        assert (ended["status"], ended["code"]) == ("FAILURE", "U31")
        assert world.status(late["transaction_id"], 2).body["status"] == "SUCCESS"
        eventually(lambda: ("FAILURE", "U31") in answers(overtaken, "beneficiary bank"))
        eventually(lambda: "reversal" in world.journal(forced["transaction_id"]))
        for name in (never["transaction_id"], overtaken, forced["transaction_id"]):
            log = world.ask("GET", "psp", f"{c.PAYMENTS}/{name}/messages").body
            assert names(log).count("ReqPay REVERSAL") == 1
            moved = [one for one in world.journal(name) if one != "checked"]
            assert moved == ["debit", "shown", "reversal", "shown"]
        receipt = f"{c.BILLER_RECEIPTS}/{late['transaction_id']}"
        eventually(lambda: world.ask("GET", "biller", receipt).status == 200)
    assert [check.first for check in audit(tmp_path).checks if not check.passed] == []


def test_the_shipped_limits_are_those_of_npci() -> None:
    """15 s for debit and credit, 10 s for address validation, checks and reversals."""
    # NPCI's circular of 26 April 2025, in force since 16 June 2025.
    steps = scenario_file.load("mumbai").steps
    limits = {
        (step, leg.station): leg.timeout_ms
        for step in ("resolve", "pay", "pay_bill", "ask_switch", "reversal")
        for leg in steps[step].legs
        if leg.station not in ("mobile_network", "payer_psp")
    }
    switched = {"switch": 15_000, "remitter_bank": 15_000, "beneficiary_bank": 15_000}
    assert limits == {
        ("resolve", "switch"): 10_000, ("resolve", "payee_psp"): 10_000,
        ("resolve", "biller"): 10_000, ("pay", "biller"): 10_000,
        ("ask_switch", "switch"): 10_000, ("reversal", "remitter_bank"): 10_000,
        **{(step, name): ms for step in ("pay", "pay_bill") for name, ms in switched.items()},
    }  # fmt: skip
