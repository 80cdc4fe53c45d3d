"""Faults that are put in force befall what they name, for as long as they hold."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from scipy import stats

from fewseconds import contracts as c
from mock_psp import merchant_contract as m
from mock_psp.auditor import audit
from mock_psp.faults import DOUBLED, LOST, Faults
from mock_psp.serve import Options, Services
from tests.mock_psp.conftest import SEED, Reply, World
from tests.mock_psp.scenarios import quick_scenario

if TYPE_CHECKING:
    from collections.abc import Iterator

CONSUMERS_LOST, CONSUMERS_DOUBLED, COPIES = range(10, 14), range(20, 24), 8

GUESS = "not the token"


@pytest.fixture(scope="module")
def troubled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Services in which faults are allowed."""
    options = Options(faults_allowed=True)
    folder = tmp_path_factory.mktemp("faults")
    with Services(quick_scenario(), SEED, folder, options=options) as services:
        yield World(services)


@pytest.fixture
def town(troubled: World) -> Iterator[World]:
    """The same, with nothing out of order before and after."""
    yield troubled
    for service in ("psp", "biller"):
        told(troubled, "DELETE", service)


def told(town: World, method: str, service: str, *faults: dict[str, Any]) -> Reply:
    """Ask a service to put faults in force, or to heal them."""
    body = {"faults": faults} if method == "PUT" else None
    return town.ask(method, service, c.FAULTS, body, fewseconds_token=town.secrets.token)


def receipt(town: World, transaction_id: str) -> int:
    """Whether the biller has posted a payment, as a status."""
    return town.ask("GET", "biller", f"{c.BILLER_RECEIPTS}/{transaction_id}").status


def test_a_lost_callback_is_made_good_by_the_sweep(town: World) -> None:
    """The payer has paid, the biller knows nothing; then it asks, and every rule holds."""
    assert told(town, "PUT", "psp", {"kind": LOST, "share": 1.0}).status == 200
    paid = [town.pay(index).body for index in CONSUMERS_LOST]
    assert {one["status"] for one in paid} == {"SUCCESS"}
    town.until(lambda: told(town, "GET", "psp").body["befallen"].get(LOST, 0) >= len(paid))
    assert {receipt(town, one["transaction_id"]) for one in paid} == {404}
    swept = town.ask("POST", "biller", c.BILLER_SWEEP, fewseconds_token=town.secrets.token).body
    assert set(swept["posted"]) == {one["transaction_id"] for one in paid}
    assert {receipt(town, one["transaction_id"]) for one in paid} == {200}
    for index, one in zip(CONSUMERS_LOST, paid, strict=True):
        assert len(town.inbox(index, one["transaction_id"], 10_000)) == 1


def test_a_callback_in_eight_copies_at_once_is_posted_once(town: World) -> None:
    """Every copy is taken with a 2xx; there is one posting and one SMS."""
    fault = {"kind": DOUBLED, "share": 1.0, "copies": COPIES}
    assert told(town, "PUT", "psp", fault).status == 200
    before = ledger_orders(town)
    paid = [town.pay(index).body["transaction_id"] for index in CONSUMERS_DOUBLED]
    for index, one in zip(CONSUMERS_DOUBLED, paid, strict=True):
        assert len(town.inbox(index, one, 10_000)) == 1
    befallen = told(town, "GET", "psp").body["befallen"]
    assert befallen[DOUBLED] == len(paid)
    assert befallen["copy_refused"] == 0
    # All copies reached the ledger; the outbox's notes come on top.
    assert ledger_orders(town) - before >= len(paid) * COPIES
    assert [one for one in audit(town.services.folder.root).checks if one.violations] == []


def ledger_orders(town: World) -> float:
    """What the biller's ledger has been asked to write."""
    text = str(town.ask("GET", "biller", c.METRICS).body)
    name = "fewseconds_ledger_orders_total "
    return next(
        float(line.removeprefix(name)) for line in text.splitlines() if line.startswith(name)
    )


def test_an_outage_turns_away_until_it_is_healed(town: World) -> None:
    """A bank that is down refuses with its code, and pays again afterwards."""
    down = {"kind": "outage", "station": "remitter_bank", "code": "UT"}
    put = told(town, "PUT", "psp", down)
    assert put.body["faults"][0]["from"] is not None
    refused = town.pay(31)
    assert (refused.status, refused.body.get("code")) != (200, "00")
    assert "UT" in str(refused.body)
    assert told(town, "DELETE", "psp").body == {"faults": [], "befallen": put.body["befallen"]}
    assert town.pay(32).body["status"] == "SUCCESS"


def test_an_outage_of_one_bank_is_one_of_its_customers_only(town: World) -> None:
    """They fail with its code before anything is debited, nobody else does; healed, they pay."""
    down = {"kind": "outage", "station": "remitter_bank", "bank": "PNB", "code": "UT"}
    assert told(town, "PUT", "psp", down).body["faults"][0]["bank"] == "PNB"
    theirs, others = town.pay(33, bank="PNB").body, town.pay(34, bank="SBI").body
    assert (theirs["status"], theirs["code"]) == ("FAILURE", "UT")
    assert others["status"] == "SUCCESS"
    assert "debit" not in town.journal(theirs["transaction_id"])
    assert told(town, "DELETE", "psp").status == 200
    assert town.pay(33, bank="PNB", attempt=2).body["status"] == "SUCCESS"


def test_a_single_use_code_is_paid_once_however_many_pay_at_once(town: World) -> None:
    """All were allowed and debited before the first credit: the others get their money back."""
    number = town.code(usage="single_use", fixed_amount=True, payment_amount=12_300)
    hold = {"kind": "outage", "station": "beneficiary_bank", "visits": "hold"}
    assert told(town, "PUT", "psp", hold).status == 200
    waiting = 'fewseconds_station_waiting{station="beneficiary_bank"} 3.0'
    with ThreadPoolExecutor(3) as pool:
        payments = [
            pool.submit(town.pay, index, bill_number=number, amount_paise=12_300)
            for index in range(40, 43)
        ]
        town.until(lambda: waiting in town.ask("GET", "psp", c.METRICS).body)
        assert told(town, "DELETE", "psp").status == 200
        bodies = [one.result().body for one in payments]
    assert sorted((one["status"], one["code"]) for one in bodies) == [
        ("FAILURE", "YG"), ("FAILURE", "YG"), ("SUCCESS", "00"),
    ]  # fmt: skip
    for one in bodies:
        went = [entry for entry in town.journal(one["transaction_id"]) if entry != "shown"]
        kept = one["status"] == "SUCCESS"
        assert went == ["debit", "credit" if kept else "reversal"] or (kept and len(went) == 3)
    (code,) = (
        one
        for one in town.merchant("GET", f"{m.QR_CODES}?count=100").body["items"]
        if one["close_reason"] == "paid"
    )
    assert (code["payments_count_received"], code["payments_amount_received"]) == (1, 12_300)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (
            {"kind": "outage", "station": "remiter_bank"},
            "faults[0]: unknown station 'remiter_bank'",
        ),
        (
            {"kind": "outage", "station": "portal_page"},
            "faults[0].station: 'portal_page' is not here",
        ),
        (
            {"kind": "outage", "station": "remitter_bank", "bank": "PNX"},
            "faults[0].bank: unknown bank 'PNX'",
        ),
        ({"kind": LOST, "share": 1.5}, "faults[0].share: 1.5 is out of range"),
        ({"kind": LOST}, "faults[0].share: None is out of range"),
        ({"kind": LOST, "share": 0.5, "station": "biller"}, "faults[0].station: lost_callback has"),
        ({"kind": DOUBLED, "share": 0.5, "copies": 1}, "faults[0].copies: 1 is out of range"),
        ({"kind": "outage", "station": "switch", "share": 0.5}, "faults[0].share: belongs to"),
        ({"kind": "flood"}, "faults[0].kind"),
    ],
)
def test_a_fault_that_cannot_be_is_refused_with_its_place(
    town: World, fault: dict[str, Any], words: str
) -> None:
    """Nothing changes then."""
    before = told(town, "GET", "psp").body
    answer = told(town, "PUT", "psp", fault)
    assert answer.status == 400
    assert answer.body["detail"].startswith(words)
    assert told(town, "GET", "psp").body == before


def test_nobody_disturbs_without_the_token(town: World) -> None:
    """The doors are shut to strangers, and are not there at all unless they were asked for."""
    assert town.ask("PUT", "psp", c.FAULTS, {"faults": []}).status == 401
    assert town.ask("DELETE", "psp", c.FAULTS, fewseconds_token=GUESS).status == 401


def test_faults_are_not_allowed_by_default(world: World) -> None:
    """A service that was started without them has no such door."""
    token = world.secrets.token
    assert world.ask("GET", "psp", c.FAULTS, fewseconds_token=token).status == 404


@pytest.mark.parametrize("share", [0.01, 0.3])
def test_a_share_of_messages_is_befallen(share: float) -> None:
    """As many as the binomial law says, the same ones in every attempt, none outside its time."""
    clock = SimpleNamespace(now_us=lambda: 5_000_000)
    scenario = quick_scenario({"fault": [{"kind": "lost_callback", "share": share}]})
    stand_in: Any = SimpleNamespace(
        scenario=scenario, seed=SEED, clock=clock, counts=[], stations=[],
        spec=SimpleNamespace(faults_allowed=False),
    )  # fmt: skip
    faults = Faults(stand_in)
    names = [f"evt_{number}" for number in range(20_000)]
    befallen = [name for name in names if faults.befalling(LOST, name)]
    assert stats.binomtest(len(befallen), len(names), share).pvalue > 1e-4
    assert befallen == [name for name in names if faults.befalling(LOST, name)]
    assert not any(faults.befalling(DOUBLED, name) for name in names)
    assert faults.possible


def test_a_fault_holds_from_its_beginning_to_its_end() -> None:
    """The plan's clock decides."""
    begin, end = "2026-11-01T10:00:00+05:30", "2026-11-01T11:00:00+05:30"
    table = {"kind": "lost_callback", "share": 1.0, "from": begin, "until": end}
    scenario = quick_scenario({"fault": [table]})
    now = {"us": 0}
    stand_in: Any = SimpleNamespace(
        scenario=scenario, seed=SEED, clock=SimpleNamespace(now_us=lambda: now["us"]), counts=[],
        stations=[], spec=SimpleNamespace(faults_allowed=False),
    )  # fmt: skip
    faults, hour_us = Faults(stand_in), 3_600_000_000
    held = []
    for moment_us in (0, 10 * hour_us - 1, 10 * hour_us, 11 * hour_us - 1, 11 * hour_us):
        now["us"] = moment_us
        held.append(faults.befalling(LOST, "evt") is not None)
    assert held == [False, False, True, True, False]
