"""The ledger: one writer, many at once, nothing lost and nothing twice."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from fewseconds.contracts import Callback
from fewseconds.errors import HarnessError
from fixtures import bills
from mock_psp import database, posting
from mock_psp import ledger as ledger_module
from mock_psp.ledger import Ledger
from mock_psp.posting import Notice
from mock_psp.spec import Folder

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from mock_psp.posting import Decided, Known

T = TypeVar("T")
SEED = 5


def notice(index: int) -> Notice:
    """The callback that pays the bill of consumer ``index``."""
    bill = bills.bill(SEED, index)
    callback = Callback(
        f"evt{index}", f"{index:035d}", f"{index:012d}", "SUCCESS", "00", bill.number,
        bill.amount_paise, "a@bank",
    )  # fmt: skip
    digest = hashlib.sha256(msgspec.json.encode(callback)).hexdigest()
    return Notice(callback, digest, bill, "+910500000000", "", 1)


@pytest.fixture
def with_ledger(ledger_url: sa.URL) -> Callable[..., Any]:
    """Run something with a ledger on either database, then close it."""

    def run(work: Callable[[Ledger], Awaitable[T]]) -> T:
        async def whole() -> T:
            ledger = Ledger(ledger_url, "test")
            try:
                return await work(ledger)
            finally:
                ledger.close()

        return asyncio.run(whole())

    return run


def test_callbacks_that_come_together_are_each_answered(with_ledger: Callable[..., Any]) -> None:
    """Of 200 payments that come four times each, all at once, every one is new exactly once."""

    async def work(ledger: Ledger) -> list[Any]:
        orders = [notice(index) for index in range(200)] * 4
        return await asyncio.gather(*(ledger.post(order) for order in orders))

    answers = with_ledger(work)
    fresh = [answer.transaction_id for answer in answers if not answer.duplicate]
    assert sorted(fresh) == [f"{index:035d}" for index in range(200)]
    assert len({answer.receipt_number for answer in answers}) == 200


def test_what_was_answered_is_on_the_disk(
    with_ledger: Callable[..., Any], ledger_url: sa.URL
) -> None:
    """A second connection sees a posting as soon as it has been answered."""

    async def work(ledger: Ledger) -> int:
        await ledger.post(notice(1))
        return len(rows(ledger_url, "SELECT * FROM payments"))

    assert with_ledger(work) == 1


def test_a_bad_order_does_not_harm_its_batch(with_ledger: Callable[..., Any]) -> None:
    """When the database refuses one posting, the others of its batch are still written."""

    async def work(ledger: Ledger) -> tuple[list[Any], int]:
        # A receipt that is already there makes the posting of consumer 3 break a unique key.
        await ledger.post(notice(0))
        with ledger._engine.begin() as connection:
            connection.exec_driver_sql(f"UPDATE receipts SET receipt_number = 'R{3:012d}'")
        posts = [ledger.post(notice(index)) for index in range(1, 6)]
        answers = await asyncio.gather(*posts, return_exceptions=True)
        paid = [ledger.paid_by(bills.bill(SEED, index).number) for index in range(1, 6)]
        return answers, sum(name is not None for name in paid)

    answers, paid = with_ledger(work)
    assert [isinstance(answer, SQLAlchemyError) for answer in answers] == [
        False, False, True, False, False,
    ]  # fmt: skip
    assert paid == 4


def test_unsent_messages_are_there_after_a_restart(with_ledger: Callable[..., Any]) -> None:
    """A ledger that is opened again knows which messages nobody has sent."""

    async def first(ledger: Ledger) -> None:
        for index in range(3):
            await ledger.post(notice(index))
        messages = ledger.unsent(0)
        await ledger.sent(messages[1].sequence, 5)

    async def second(ledger: Ledger) -> list[str]:
        return [message.reference for message in ledger.unsent(0)]

    with_ledger(first)
    assert with_ledger(second) == [f"{0:035d}", f"{2:035d}"]


def test_the_database_itself_refuses_doubles(
    with_ledger: Callable[..., Any], ledger_url: sa.URL
) -> None:
    """Unique keys stand behind the rules: reference, event, receipt, bill and SMS."""

    async def work(ledger: Ledger) -> None:
        await ledger.post(notice(1))

    with_ledger(work)
    for table, columns in (
        ("payments", "'x', rrn, bill_number, 1, payer_vpa, channel, status, reason, 1"),
        ("callbacks", "99, event_id, body_sha256, transaction_id, status, effect, 1"),
        ("receipts", "'x', transaction_id"),
        ("bills", "bill_number, consumer_number, amount_paise, 1, 'x'"),
        ("outbox", "99, transaction_id, reference, phone, template_id, text, '', 1, NULL"),
    ):
        with pytest.raises(IntegrityError, match=r"(?i)unique"):
            rows(ledger_url, f"INSERT INTO {table} SELECT {columns} FROM {table}")
        assert len(rows(ledger_url, f"SELECT * FROM {table}")) == 1


@pytest.mark.parametrize("change", ["amount_paise = 0", "amount_paise = -1", "status = 'PAID'"])
def test_the_database_itself_refuses_nonsense(
    with_ledger: Callable[..., Any], ledger_url: sa.URL, change: str
) -> None:
    """No payment of nothing, and no state that does not exist."""

    async def work(ledger: Ledger) -> None:
        await ledger.post(notice(1))

    with_ledger(work)
    with pytest.raises(IntegrityError, match=r"(?i)check"):
        rows(ledger_url, f"UPDATE payments SET {change}")


def test_a_database_holds_one_run(with_ledger: Callable[..., Any], ledger_url: sa.URL) -> None:
    """The same run finds its ledger again; another run is told to take an empty database."""

    async def work(ledger: Ledger) -> None:
        await ledger.post(notice(1))

    with_ledger(work)
    with_ledger(work)

    async def other() -> None:
        Ledger(ledger_url, "another test")

    with pytest.raises(HarnessError, match="another run"):
        asyncio.run(other())


def test_a_database_that_is_not_there_is_an_error_without_its_password() -> None:
    """Whoever reads the message does not learn the password."""

    async def work() -> None:
        Ledger(database.url_of("postgresql://me:hushhush@127.0.0.1:1/none", Folder("x")), "test")

    with pytest.raises(HarnessError, match="cannot be opened") as caught:
        asyncio.run(work())
    assert "hushhush" not in str(caught.value)
    with pytest.raises(HarnessError, match="postgresql://"):
        database.url_of("mysql://127.0.0.1/x", Folder("x"))


def rows(url: sa.URL, statement: str) -> list[Any]:
    """What another connection makes of a statement."""
    engine = sa.create_engine(url, poolclass=sa.pool.NullPool)
    try:
        with engine.begin() as connection:
            result = connection.exec_driver_sql(statement)
            return list(result) if result.returns_rows else []
    finally:
        engine.dispose()


def test_a_fault_of_our_own_ends_neither_the_writer_nor_its_neighbours(
    with_ledger: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever goes wrong with one order is its own answer; the others are posted."""
    honest = posting.decide

    def strange(known: Known, order: Notice, decided: Decided) -> object:
        if order.callback.event_id == "evt3":
            raise OverflowError("a fault that no database reports")
        return honest(known, order, decided)

    monkeypatch.setattr(ledger_module, "decide", strange)

    async def work(ledger: Ledger) -> list[Any]:
        posts = [ledger.post(notice(index)) for index in range(1, 6)]
        answers = await asyncio.gather(*posts, return_exceptions=True)
        assert ledger.unable() == ""
        return [*answers, await ledger.post(notice(7))]

    answers = with_ledger(work)
    assert [isinstance(answer, OverflowError) for answer in answers] == [
        False, False, True, False, False, False,
    ]  # fmt: skip


def test_a_ledger_whose_writer_has_ended_says_so(with_ledger: Callable[..., Any]) -> None:
    """Orders are refused then instead of waiting for ever, and the service is not ready."""

    async def work(ledger: Ledger) -> str:
        ledger._queue.put(None)
        await asyncio.to_thread(ledger._writer.join)
        with pytest.raises(SQLAlchemyError, match="has ended"):
            await ledger.post(notice(1))
        return ledger.unable()

    assert with_ledger(work)
