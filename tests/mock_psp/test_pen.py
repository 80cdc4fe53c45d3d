"""One process writes a ledger, whoever comes and goes; and it says when it cannot."""

from __future__ import annotations

import asyncio
import threading
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from mock_psp import database, pen
from mock_psp.ledger import Ledger
from tests.mock_psp.test_ledger import notice, rows

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.mock_psp.conftest import Eventually

T = TypeVar("T")
TAKING = f"SELECT pg_advisory_lock({pen.WRITER_LOCK})"
HOLDERS = """
    SELECT {what} FROM pg_locks JOIN pg_database ON pg_database.oid = pg_locks.database
    WHERE locktype = 'advisory' AND datname = current_database() AND {granted}"""
WATCH = (
    """
    CREATE FUNCTION watched() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
      IF NOT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted
                     AND pid = pg_backend_pid()) THEN
        RAISE EXCEPTION 'somebody writes who does not hold the lock';
      END IF;
      RETURN NULL;
    END $$""",
    "CREATE TRIGGER watch BEFORE INSERT OR UPDATE ON payments EXECUTE FUNCTION watched()",
)
"""PostgreSQL itself says who holds the lock."""
sqlite = pytest.mark.parametrize("ledger_url", ["sqlite"], indirect=True)
postgresql = pytest.mark.parametrize("ledger_url", ["postgresql"], indirect=True)


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look often, and do not wait long for SQLite's locks."""
    monkeypatch.setattr(pen, "LOOK_S", 0.02)
    quick = [one for one in database.PRAGMAS if not one.startswith("busy_timeout")]
    monkeypatch.setattr(database, "PRAGMAS", (*quick, "busy_timeout=20"))


def with_ledgers(url: sa.URL, work: Callable[..., Awaitable[T]], count: int = 1) -> T:
    """Run something with so many ledgers on one database, then close them."""

    async def whole() -> T:
        ledgers = [Ledger(url, "test") for _ in range(count)]
        try:
            return await work(*ledgers)
        finally:
            for ledger in ledgers:
                ledger.close()

    return asyncio.run(whole())


async def posted(ledger: Ledger, index: int) -> str:
    """What becomes of a payment: its bill is credited, or why it is not."""
    try:
        answer: Any = await ledger.post(notice(index))
    except SQLAlchemyError as error:
        return str(error)
    return str(answer.posting)


def watch(url: sa.URL) -> None:
    """From now on, nobody can write without the lock."""
    for statement in WATCH:
        rows(url, statement)


def throw_out(url: sa.URL) -> None:
    """End the connection that holds the lock, and wait until it is gone."""
    assert rows(url, HOLDERS.format(what="pg_terminate_backend(pid, 5000)", granted="granted"))


def counted(url: sa.URL, granted: str) -> int:
    """How many hold the lock, or wait for it."""
    ((found,),) = rows(url, HOLDERS.format(what="count(*)", granted=granted))
    return int(found)


@postgresql
def test_who_was_thrown_out_does_not_write_beside_who_took_over(
    ledger_url: sa.URL, eventually: Eventually
) -> None:
    """Of two writers one can write; thrown out, it cannot until the lock is free again."""

    async def work(first: Ledger, second: Ledger) -> list[int]:
        watch(ledger_url)
        assert await posted(first, 1) == "credited"
        assert pen.TAKEN in await posted(second, 2)
        assert pen.TAKEN in second.unable()
        engine = sa.create_engine(ledger_url, poolclass=sa.pool.NullPool)
        with engine.connect() as other:
            taking = threading.Thread(target=other.exec_driver_sql, args=[TAKING])
            taking.start()
            eventually(lambda: counted(ledger_url, "NOT granted") == 1)
            throw_out(ledger_url)
            taking.join()
            for ledger in (first, second):
                assert pen.TAKEN in await posted(ledger, 3)
                assert pen.TAKEN in ledger.unable()
        engine.dispose()
        eventually(lambda: not first.unable() or not second.unable())
        assert counted(ledger_url, "granted") == 1
        told = {number: [await posted(one, number) for one in (first, second)] for number in (4, 5)}
        assert all(max(answers) == "credited" for answers in told.values())
        assert all(pen.TAKEN in min(answers) for answers in told.values())
        return [1, *told]

    paid = with_ledgers(ledger_url, work, 2)
    found = rows(ledger_url, "SELECT transaction_id FROM payments ORDER BY 1")
    assert [int(name) for (name,) in found] == paid


@postgresql
def test_a_writer_who_was_thrown_out_alone_takes_the_lock_again(ledger_url: sa.URL) -> None:
    """Payments that come after each throw are all taken, and every one under the lock."""

    async def work(ledger: Ledger) -> set[str]:
        watch(ledger_url)
        told = set()
        for turn in range(3):
            throw_out(ledger_url)
            told |= {await posted(ledger, 10 * turn + index) for index in range(3)}
        return told

    assert with_ledgers(ledger_url, work) == {"credited"}
    assert rows(ledger_url, "SELECT count(*) FROM payments") == [(9,)]


@postgresql
def test_a_database_that_does_not_answer_is_away(
    ledger_url: sa.URL, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who asks is told at once, though the writer waits; what it was at is done in the end."""
    monkeypatch.setattr(pen, "PATIENCE_S", 0.05)

    async def work(ledger: Ledger) -> str:
        engine = sa.create_engine(ledger_url, poolclass=sa.pool.NullPool)
        with engine.begin() as other:
            other.exec_driver_sql("LOCK TABLE payments")
            waiting = asyncio.create_task(posted(ledger, 1))
            await asyncio.sleep(0)
            eventually(lambda: "has not answered for" in ledger.unable())
            assert "has not answered for" in await posted(ledger, 2)
        engine.dispose()
        answer = await waiting
        eventually(lambda: not ledger.unable())
        return answer

    assert with_ledgers(ledger_url, work) == "credited"


@sqlite
def test_nothing_is_written_to_a_file_that_is_gone(
    ledger_url: sa.URL, eventually: Eventually, tmp_path: Path
) -> None:
    """SQLite would go on with it, and lose what was acknowledged; back in its place it serves."""
    file, moved = Path(str(ledger_url.database)), tmp_path / "moved"
    # The loop may wait here: nobody else runs on it.
    away, another, back = (
        partial(file.rename, moved), partial(file.write_bytes, b""), partial(moved.rename, file),
    )  # fmt: skip

    async def work(ledger: Ledger) -> None:
        assert await posted(ledger, 1) == "credited"
        away()
        eventually(lambda: "No such file" in ledger.unable())
        assert str(file) in ledger.unable()
        assert "No such file" in await posted(ledger, 2)
        another()
        eventually(lambda: "another file" in ledger.unable())
        back()
        eventually(lambda: not ledger.unable())
        assert await posted(ledger, 3) == "credited"

    with_ledgers(ledger_url, work)
    found = rows(ledger_url, "SELECT transaction_id FROM payments ORDER BY 1")
    assert [int(name) for (name,) in found] == [1, 3]


@sqlite
def test_a_file_that_somebody_else_keeps_locked_is_away(
    ledger_url: sa.URL, eventually: Eventually
) -> None:
    """Orders are refused, not kept waiting one after the other, until the lock is gone."""

    async def work(ledger: Ledger) -> None:
        engine = sa.create_engine(ledger_url, poolclass=sa.pool.NullPool)
        with engine.connect() as other:
            other.exec_driver_sql("BEGIN IMMEDIATE")
            eventually(lambda: "locked" in ledger.unable())
            assert "locked" in await posted(ledger, 1)
            other.rollback()
        engine.dispose()
        eventually(lambda: not ledger.unable())
        assert await posted(ledger, 2) == "credited"

    with_ledgers(ledger_url, work)
