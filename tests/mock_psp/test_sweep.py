"""The sweep: how far it looks back, and that it comes by again."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from fixtures import bills
from mock_psp import merchant_contract as m
from mock_psp import reconcile
from mock_psp.books_contract import SettlementDay
from mock_psp.ledger import Ledger
from mock_psp.posting import Conflict, Notice

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    import sqlalchemy as sa

    from fewseconds.contracts import Callback
    from mock_psp.merchant_client import Made

BEGAN_S = 1_790_000_000
"""When the run began, by the wall clock."""


class Bank:
    """A payment service that has these payments, newest first, and is asked as ours is."""

    def __init__(self, *created_s: int) -> None:
        """One payment each, numbered from the oldest."""
        self.made = [_payment(index, at_s) for index, at_s in enumerate(sorted(created_s))]
        self.errors: list[Exception] = []

    async def payments(self, since_s: int) -> AsyncIterator[m.MerchantPayment]:
        """Those since then; raises what is planted."""
        if self.errors:
            raise self.errors.pop()
        for one in reversed(self.made):
            if one.created_at >= since_s:
                yield one

    async def refunds(self, _since_s: int) -> AsyncIterator[Made]:
        """None were made."""
        none: list[Made] = []
        for one in none:
            yield one


def _payment(index: int, created_s: int) -> m.MerchantPayment:
    bill, name = bills.bill(7, index), f"FWS{index:032d}"
    return m.MerchantPayment(
        id=m.payment_id(name), amount=bill.amount_paise, status="captured", captured=True,
        amount_refunded=0, refund_status=None, description="", vpa="payer@examplebank",
        error_code=None, error_description=None, error_source=None, error_step=None,
        error_reason=None, created_at=created_s, upi={}, qr_code_id=None, reference=bill.number,
        acquirer_data={"rrn": f"{index:012d}", "upi_transaction_id": name},
    )  # fmt: skip


async def _nothing_back(made: Made, transaction_id: str) -> bool:
    """There is no refund."""
    raise AssertionError((made, transaction_id))


def _posting(ledger: Ledger) -> Callable[[Callback], Awaitable[bool]]:
    """Posts what the sweep finds, as the biller does."""

    async def post(callback: Callback) -> bool:
        bill = bills.Issue(7).numbered(callback.bill_number)
        answer = await ledger.post(Notice(callback, "0" * 64, bill, "", "", 1))
        return not isinstance(answer, Conflict) and not answer.duplicate

    return post


def test_the_sweep_goes_on_where_the_last_one_ended(
    ledger_url: sa.URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long a biller was away, it finds what was paid meanwhile, and once each."""
    now_s = BEGAN_S + 3600
    monkeypatch.setattr(reconcile, "wall_s", lambda: now_s)
    # Two payments are then already more than it holds at once.
    monkeypatch.setattr(reconcile, "CHUNK", 1)

    async def swept(bank: Any) -> list[str]:  # noqa: ANN401 - asked as ours is
        """What a biller posts that has just been started."""
        ledger = Ledger(ledger_url, "run")
        sweeper = reconcile.Sweeper(bank, ledger, _posting(ledger), _nothing_back)
        try:
            return list((await sweeper.sweep(settling_s=0)).posted)
        finally:
            await sweeper.close()
            ledger.close()

    bank = Bank(BEGAN_S, now_s - 5)
    names = [one.acquirer_data["upi_transaction_id"] for one in bank.made]
    # The first sweep of a run looks back to its beginning, not ten minutes.
    assert sorted(asyncio.run(swept(bank))) == names
    # Two days later another process looks back to where that one was.
    paid_s, now_s = now_s + 60, now_s + 2 * 86_400
    bank = Bank(BEGAN_S, BEGAN_S + 3595, paid_s)
    assert asyncio.run(swept(bank)) == [bank.made[-1].acquirer_data["upi_transaction_id"]]
    # What it has seen it does not read again for ever.
    bank.made = [one for one in bank.made if one.created_at == BEGAN_S]
    bank.made[0] = _payment(9, BEGAN_S)
    assert asyncio.run(swept(bank)) == []


@pytest.mark.parametrize("ahead_s", [-3600, 0, 3600])
def test_nothing_is_missed_or_read_for_ever_however_far_the_clocks_are_apart(
    ledger_url: sa.URL, monkeypatch: pytest.MonkeyPatch, ahead_s: int
) -> None:
    """What was too young is found the next time, and what has been seen is not asked for again."""
    now_s = BEGAN_S
    monkeypatch.setattr(reconcile, "wall_s", lambda: now_s)
    bank = Bank()
    asked_s: list[int] = []
    whole = bank.payments

    def payments(since_s: int) -> AsyncIterator[m.MerchantPayment]:
        asked_s.append(since_s)
        return whole(since_s)

    async def sweeps() -> list[str]:
        nonlocal now_s
        ledger, posted = Ledger(ledger_url, "run"), list[str]()
        made: Any = bank
        made.payments = payments
        sweeper = reconcile.Sweeper(made, ledger, _posting(ledger), _nothing_back)
        for _ in range(4):
            now_s += 60
            # One is old enough to be posted, one has just been made.
            for age_s in (45, 10):
                bank.made.append(_payment(len(bank.made), now_s + ahead_s - age_s))
            posted += (await sweeper.sweep()).posted
        await sweeper.close()
        ledger.close()
        return posted

    posted = asyncio.run(sweeps())
    names = [one.acquirer_data["upi_transaction_id"] for one in bank.made]
    # By a clock that is behind ours even the last one looks old.
    assert sorted(posted) == sorted(names if ahead_s < 0 else names[:-1])
    latest_s = [one.created_at for one in bank.made[1::2]]
    assert asked_s == [0, *(at_s - reconcile.SETTLING_S for at_s in latest_s[:-1])]


def test_the_sweep_comes_by_again_whatever_went_wrong(
    ledger_url: sa.URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error that nobody foresaw costs one round, and what that one had missed is found."""
    monkeypatch.setattr(reconcile, "EVERY_S", 0)
    monkeypatch.setattr(reconcile, "wall_s", lambda: BEGAN_S + 3600)
    bank: Any = Bank(BEGAN_S)
    bank.errors = [ZeroDivisionError(), KeyError("rrn")]

    async def rounds() -> None:
        ledger = Ledger(ledger_url, "run")
        posted = asyncio.Event()

        async def post(callback: Callback) -> bool:
            news = await _posting(ledger)(callback)
            posted.set()
            return news

        sweeper = reconcile.Sweeper(bank, ledger, post, _nothing_back)
        await posted.wait()
        assert ledger.receipt(bank.made[0].acquirer_data["upi_transaction_id"]) is not None
        await sweeper.close()
        ledger.close()
        # Whoever watches is told that these two have not seen everything.
        assert sweeper.counts["sweeps_broken_off"] == 2

    asyncio.run(asyncio.wait_for(rounds(), 20))
    assert bank.errors == []


def test_only_codes_that_the_merchant_has_made_have_books_of_their_own(
    ledger_url: sa.URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bill whose number begins as the references of codes do is swept and compared like any."""
    monkeypatch.setattr(reconcile, "wall_s", lambda: BEGAN_S + 3600)
    bank: Any = Bank(BEGAN_S, BEGAN_S)
    number = "QR2026ABCDEFGHIJ"
    bank.made = [
        msgspec.structs.replace(one, reference=number, qr_code_id=code)
        for one, code in zip(bank.made, (None, "qr_2026ABCDEFGHIJ"), strict=True)
    ]
    lines = [
        m.ReconItem(
            entity_id=one.id, type="payment", debit=0, credit=one.amount, amount=one.amount,
            created_at=BEGAN_S, settled_at=BEGAN_S, settlement_id="setl_1", settlement_utr="1",
            payment_id=None, description="", rrn=one.acquirer_data["rrn"],
            upi_transaction_id=one.acquirer_data["upi_transaction_id"], qr_code_id=one.qr_code_id,
            reference=one.reference,
        )
        for one in bank.made
    ]  # fmt: skip
    told: list[str] = []

    async def post(callback: Callback) -> bool:
        assert callback.bill_number == number
        told.append(callback.transaction_id)
        return True

    async def get(_path: str, _type: object, _query: object) -> m.Recon:
        return m.Recon(lines, len(lines))

    async def both() -> list[tuple[str, str]]:
        ledger = Ledger(ledger_url, "run")
        sweeper = reconcile.Sweeper(bank, ledger, post, _nothing_back)
        await sweeper.sweep(settling_s=0)
        bank.get = get
        compared = await reconcile.reconciled(bank, ledger, SettlementDay(2026, 9, 22))
        await sweeper.close()
        ledger.close()
        return [(one.kind, one.transaction_id) for one in compared.breaks]

    ours = bank.made[0].acquirer_data["upi_transaction_id"]
    assert asyncio.run(both()) == [("not_in_ledger", ours)]
    assert told == [ours]
