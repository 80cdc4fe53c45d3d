"""All payments of a run can be paged through, however many there were, and the sweep does so."""

from __future__ import annotations

from bisect import insort
from typing import TYPE_CHECKING

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from fewseconds import contracts as c
from fixtures import bills
from mock_psp import merchant_contract as m
from mock_psp.clock import wall_s
from mock_psp.journal import Entry
from mock_psp.merchant_book import PAYMENTS_MAX
from mock_psp.payment_list import PaymentList
from mock_psp.serve import Services
from tests.mock_psp.scenarios import quick_scenario

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.mock_psp.conftest import World

SEED, FIRST, MISSED = 7, 100, 30
SOME_S = st.none() | st.integers(0, 60)


@given(
    created_s=st.lists(st.integers(0, 50), max_size=40),
    chosen=st.sets(st.integers(0, 39)),
    count=st.integers(1, 9),
    skip=st.integers(0, 50),
    since_s=SOME_S,
    until_s=SOME_S,
)
def test_a_page_is_what_a_plain_list_would_give(
    created_s: list[int],
    chosen: set[int],
    count: int,
    skip: int,
    since_s: int | None,
    until_s: int | None,
) -> None:
    """Of all, or of some: those from the one second to the other, newest first, the rest cut."""
    listed, ascending = PaymentList(), list[int]()
    for second in sorted(created_s):
        insort(ascending, second)
        listed.add(10 * second, second)
    every = range(len(listed))
    for numbers in (every, sorted(chosen & set(every))):
        fits = [
            number
            for number in reversed(numbers)
            if (since_s is None or ascending[number] >= since_s)
            and (until_s is None or ascending[number] <= until_s)
        ]
        page = listed.page(numbers, count, skip, since_s, until_s)
        assert list(page) == fits[skip : skip + count]
        assert [listed.place(number) for number in page] == [10 * ascending[n] for n in page]


def test_a_clock_that_is_set_back_hides_no_payment() -> None:
    """A payment that seems to be older than those before it is found with them."""
    listed = PaymentList()
    for place, second in enumerate((10, 20, 15, 30)):
        listed.add(place, second)
    assert list(listed.page(range(4), 10, 0, 20, None)) == [3, 2, 1]


def _missed(now_s: int) -> list[tuple[str, str, list[Entry]]]:
    """Transaction, payer and entries of payments that a biller forgot that had acknowledged them.

    Else the payment service would call back again by itself.
    """
    found = []
    for index in range(FIRST, FIRST + MISSED):
        bill, name, rrn = bills.bill(SEED, index), f"FWS{index:032d}", f"630500{index:06d}"
        marks = ("phonepe", "SBI", "placard", "zxing-cpp", "jio")
        trace = c.Trace("qr_ebill", index, "callback", 0, 1, *marks).header()
        whole = (name, index, 1, bill.amount_paise, bill.number, rrn)
        at_s = now_s - 50_000 + index
        entries = [
            Entry(1, "debit", *whole, created_s=at_s, trace=trace),
            Entry(2, "credit", *whole, created_s=at_s),
            Entry(3, "acknowledged", *whole, "posted"),
        ]
        found.append((name, f"payer{index}@examplebank", entries))
    return found


def test_a_biller_that_was_away_for_long_finds_every_payment(
    enter: Callable[[Services], World], tmp_path: Path
) -> None:
    """Older than all that the payment service has at hand, they are listed, refunded and posted."""
    now_s = wall_s()
    missed = _missed(now_s)
    later = [
        Entry(
            4, "shown", f"FWX{index:032d}", 10**6 + index, 1, 100, "none", status="FAILURE",
            code="Z9", outcome="declined", created_s=now_s - 40_000 + index,
        )
        for index in range(PAYMENTS_MAX)
    ]  # fmt: skip
    journal = [entry for *_, entries in missed for entry in entries] + later
    lines = b"".join(msgspec.json.encode(entry) + b"\n" for entry in journal)
    (tmp_path / "journal.jsonl").write_bytes(lines)
    payers = "".join(f"{name} {payer}\n" for name, payer, _ in missed)
    (tmp_path / "payers.private").write_text(payers, "ascii")
    names = [name for name, *_ in missed]
    with Services(quick_scenario(), SEED, tmp_path, only=("psp", "biller")) as services:
        world = enter(services)
        token = {"fewseconds_token": world.secrets.token}
        told = world.ask("POST", "biller", c.BILLER_SWEEP, **token).body
        assert (told["looked_at"], sorted(told["posted"])) == (MISSED, names)
        receipts = [world.ask("GET", "biller", f"{c.BILLER_RECEIPTS}/{name}") for name in names]
        assert {one.status for one in receipts} == {200}
        assert world.ask("POST", "biller", c.BILLER_SWEEP, **token).body["posted"] == []
        metrics = str(world.ask("GET", "biller", c.METRICS).body)
        assert f"fewseconds_sweeps_posted_total {MISSED}.0" in metrics

        def listed(query: str) -> list[tuple[str, str, int]]:
            page = world.merchant("GET", f"{m.PAYMENTS}?{query}").body["items"]
            return [(one["id"], one["vpa"], one["amount_refunded"]) for one in page]

        oldest = [(m.payment_id(name), payer, 0) for name, payer, _ in reversed(missed)]
        assert listed(f"count=100&skip={PAYMENTS_MAX}") == oldest
        assert listed(f"count=100&skip={PAYMENTS_MAX + MISSED}") == []
        assert listed(f"count=2&skip={PAYMENTS_MAX + 5}") == oldest[5:7]
        begin_s = now_s - 50_000 + FIRST
        assert listed(f"from={begin_s + 10}&to={begin_s + 14}") == oldest[-15:-10]
        # A refund of such a one is shown too, whoever remembers it.
        name, payer, _ = missed[3]
        path = f"{m.PAYMENTS}/{m.payment_id(name)}/refund"
        assert world.merchant("POST", path, {"amount": 100}).status == 200
        assert listed(f"to={begin_s + 3}&count=1") == [(m.payment_id(name), payer, 100)]
        # Nor does a restart forget what has been given back.
        services.kill("psp")
        services.restart("psp")
        told = world.merchant("GET", f"{m.PAYMENTS}/{m.payment_id(name)}").body
        assert (told["vpa"], told["amount_refunded"]) == (payer, 100)
        assert world.merchant("POST", path, {}).body["amount"] == told["amount"] - 100
        assert world.merchant("POST", path, {}).status == 400
        assert listed(f"to={begin_s + 3}&count=1") == [(told["id"], payer, told["amount"])]
