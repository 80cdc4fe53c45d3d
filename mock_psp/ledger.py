"""The biller's ledger on a database: one writer thread, and one transaction for all that waits.

Whatever callbacks are queued when the writer wakes are decided together (see ``posting``) and
written in one durable transaction by a handful of statements over sets of rows. A callback is
answered only after that commit. If the batch fails, it is rolled back and its callbacks are tried
one by one, so that one bad callback cannot harm its neighbours. While nothing can be written (see
``pen``), every order is refused at once.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import sqlalchemy as sa

from fewseconds.contracts import Receipt
from mock_psp import database, pen
from mock_psp import schema as t
from mock_psp.giving_back import Refunded, give_back
from mock_psp.pen import Pen
from mock_psp.posting import Decided, Known, Notice, decide, receipt_number
from mock_psp.statements import done, found

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fewseconds.contracts import Acknowledged
    from mock_psp.posting import Conflict, Row

BATCH_MAX: Final = 256
MESSAGES_MAX: Final = 1 << 40
"""More than any outbox holds."""
LINGER_S: Final = 0.1
FOLD_ORDERS, FEW = 100, 16
"""After so many, when fewer came together than that, the writer uses a moment in which nobody waits
to put the database in order: the less there is to do, the shorter does whoever comes then wait."""
_INSERT = {
    table: sa.insert(table).inline()
    for table in (
        t.callbacks, t.payments, t.bills, t.lines, t.receipts, t.outbox, t.refunds, t.alarms,
    )
}  # fmt: skip
_LATE = (
    sa.update(t.payments)
    .where(t.payments.c.transaction_id == sa.bindparam("name"))
    .values({name: sa.bindparam(name) for name in ("rrn", "status", "reason", "posted_us")})
)
_SENT = (
    sa.update(t.outbox)
    .where(t.outbox.c.sequence == sa.bindparam("message"), t.outbox.c.sent_us.is_(None))
    .values(sent_us=sa.bindparam("at_us"))
)
_UNSENT = (
    sa.select(
        t.outbox.c.sequence, t.outbox.c.reference, t.outbox.c.phone, t.outbox.c.template_id,
        t.outbox.c.text, t.outbox.c.trace,
    )
    .where(
        t.outbox.c.sent_us.is_(None), t.outbox.c.sequence > sa.bindparam("after"),
        t.outbox.c.sequence <= sa.bindparam("until"),
    )
    .order_by(t.outbox.c.sequence)
)  # fmt: skip
_PAID = sa.select(t.bills.c.transaction_id).where(t.bills.c.bill_number == sa.bindparam("number"))
_PAYMENT = sa.select(t.payments).where(
    t.payments.c.transaction_id == sa.bindparam("name"), t.payments.c.status != "FAILED"
)


_DUE = (
    sa.select(t.refunds)
    .where(t.refunds.c.processed_us.is_(None), t.refunds.c.sequence > sa.bindparam("after"))
    .order_by(t.refunds.c.sequence)
)

_LOOKED = sa.select(t.sweeps.c.until_s)


class Message(NamedTuple):
    """An SMS of the outbox that nobody has sent."""

    sequence: int
    reference: str
    phone: str
    template_id: str
    text: str
    trace: str


class Sent(NamedTuple):
    """The gateway has taken over message ``sequence`` of the outbox."""

    sequence: int
    at_us: int


class Looked(NamedTuple):
    """A sweep has looked at everything until then, by the payment service's clock."""

    until_s: int


Order = Notice | Sent | Refunded | Looked


class _Entry(NamedTuple):
    order: Order
    answered: asyncio.Future[Any]


class Ledger:
    """The ledger of one biller process, which is the only one that writes to it."""

    def __init__(self, url: sa.URL, run: str) -> None:
        """Open the ledger of a run, made if need be, and start the writer.

        Raises HarnessError as :func:`database.prepare` does.
        """
        self._engine = database.engine(url)
        database.prepare(self._engine, run)
        self._reader: sa.Connection | None = None
        self._pen = Pen(url)
        self._pen.look()
        self._loop = asyncio.get_running_loop()
        self._queue: queue.SimpleQueue[_Entry | None] = queue.SimpleQueue()
        self.batches = self.orders = 0
        self._writer = threading.Thread(target=self._write, name="ledger", daemon=True)
        self._writer.start()

    async def post(self, notice: Notice) -> Acknowledged | Conflict:
        """Post a callback exactly once; returns when the result is on durable storage.

        Raises SQLAlchemyError when the database cannot take it, or whatever went wrong with this
        one callback: nothing has been written then.
        """
        answer: Acknowledged | Conflict = await self._ordered(notice)
        return answer

    async def sent(self, sequence: int, at_us: int) -> None:
        """Note that a message of the outbox is the gateway's now."""
        await self._ordered(Sent(sequence, at_us))

    async def refunded(self, order: Refunded) -> bool | Conflict:
        """Post money that the PSP has given back; whether that was news. Raises as :meth:`post`."""
        answer: bool | Conflict = await self._ordered(order)
        return answer

    async def looked(self, until_s: int) -> None:
        """Note how far a sweep has looked, so that the next one goes on from there."""
        await self._ordered(Looked(until_s))

    def looked_until_s(self) -> int:
        """How far the last sweep has looked, by the payment service's clock; 0 before the first."""
        with self._reading() as reader:
            return int(reader.execute(_LOOKED).scalar_one_or_none() or 0)

    def due_refunds(self, after: int) -> Sequence[sa.Row[Any]]:
        """Refunds, later than number ``after``, that the PSP has not made yet."""
        with self._reading() as reader:
            return reader.execute(_DUE, {"after": after}).all()

    def rows(self, statement: sa.Select[Any]) -> Sequence[sa.Row[Any]]:
        """What a question finds that is seldom asked."""
        with self._reading() as reader:
            return reader.execute(statement).all()

    def unsent(self, after: int, until: int = MESSAGES_MAX) -> list[Message]:
        """Messages of the outbox that nobody has sent: above number ``after``, up to ``until``."""
        asked = {"after": after, "until": until}
        with self._reading() as reader:
            return [Message(*row) for row in found(reader, _UNSENT, asked)]

    def paid_by(self, bill_number: str) -> str | None:
        """The transaction that paid a bill, None while it is open."""
        with self._reading() as reader:
            rows = found(reader, _PAID, {"number": bill_number})
        return str(rows[0][0]) if rows else None

    def receipt(self, transaction_id: str) -> Receipt | None:
        """The receipt of a payment; None if no money has been posted under that name."""
        with self._reading() as reader:
            row = reader.execute(_PAYMENT, {"name": transaction_id}).one_or_none()
        if row is None:
            return None
        posting: Any = row.status.lower()
        return Receipt(
            receipt_number(row.rrn), transaction_id, row.rrn, row.bill_number, row.amount_paise,
            posting,
        )  # fmt: skip

    def close(self) -> None:
        """Write what is queued, fold the log into the database, and close it."""
        if self._reader is not None:
            self._reader.close()
        self._queue.put(None)
        self._writer.join()
        self._engine.dispose()

    def unable(self) -> str:
        """Why nothing can be written; empty as long as it can. Asks nobody."""
        return self._ended() or self._pen.unable()

    def _ended(self) -> str:
        return "" if self._writer.is_alive() else "the writer of the ledger has ended"

    @contextmanager
    def _reading(self) -> Iterator[sa.Connection]:
        """The connection that questions are asked on.

        Raises SQLAlchemyError while the database is away. What broke then is thrown away: the next
        question finds a database that has come back.
        """
        if self._reader is None:
            opened = self._engine.connect()
            self._reader = opened.execution_options(isolation_level="AUTOCOMMIT")
        try:
            yield self._reader
        except sa.exc.SQLAlchemyError:
            broken, self._reader = self._reader, None
            with suppress(sa.exc.SQLAlchemyError):
                broken.close()
            raise

    def _ordered(self, order: Order) -> asyncio.Future[Any]:
        answered = self._loop.create_future()
        why = self.unable()
        if not why:
            self._queue.put(_Entry(order, answered))
            # Then nobody will take it out of the queue.
            why = self._ended()
        if why:
            answered.set_exception(pen.refused(why))
        return answered

    def _write(self) -> None:
        going_on, unfolded = True, 0
        while going_on:
            batch, going_on = self._waiting()
            with self._pen.at_work():
                self._pen.look_when_due()
                if batch:
                    self._commit(batch)
                    unfolded += len(batch)
                due = unfolded >= (FOLD_ORDERS if batch else 1) and len(batch) < FEW
                if due and self._queue.empty():
                    self._pen.rest()
                    unfolded = 0
        self._pen.close()

    def _waiting(self) -> tuple[list[_Entry], bool]:
        """What is to be written now, and whether more may come after it; nothing for a second.

        Notes of sent SMS are in no hurry: alone they linger for a posting to join.
        """
        batch: list[_Entry] = []
        try:
            entry = self._queue.get(timeout=pen.LOOK_S)
        except queue.Empty:
            return batch, True
        urgent = False
        while entry is not None:
            batch.append(entry)
            urgent = urgent or not isinstance(entry.order, Sent)
            if len(batch) == BATCH_MAX or (urgent and self._queue.empty()):
                return batch, True
            try:
                entry = self._queue.get(timeout=None if urgent else LINGER_S)
            except queue.Empty:
                return batch, True
        return batch, False

    def _commit(self, batch: list[_Entry]) -> None:
        answers: list[Any] | None = None
        if not self._pen.away:
            try:
                answers = write(self._pen.connection, [entry.order for entry in batch])
            except Exception:  # noqa: BLE001 - the writer goes on, and each is tried alone
                self._pen.look()
        if answers is None:
            answers = [self._alone(entry.order) for entry in batch]
        results = [(entry.answered, answer) for entry, answer in zip(batch, answers, strict=True)]
        self.batches += 1
        self.orders += len(batch)
        self._loop.call_soon_threadsafe(_resolve, results)

    def _alone(self, order: Order) -> Any:  # noqa: ANN401 - any answer
        try:
            return write(self._pen.connection, [order])[0]
        except Exception as error:  # noqa: BLE001 - it is the answer to whoever gave the order
            return error


def write(connection: sa.Connection, orders: Sequence[Order]) -> list[Any]:
    """Carry out orders in one transaction; one answer each, None for a note.

    Raises SQLAlchemyError after rolling everything back.
    """
    notices = [order for order in orders if isinstance(order, Notice)]
    messages = [
        {"message": order.sequence, "at_us": order.at_us}
        for order in orders
        if isinstance(order, Sent)
    ]
    with connection.begin():
        decided = Decided()
        known = _known(connection, notices) if notices else Known()
        answers: list[Any] = [
            decide(known, order, decided) if isinstance(order, Notice) else None for order in orders
        ]
        for table, rows in (
            (t.callbacks, decided.callbacks), (t.payments, decided.payments),
            (t.bills, decided.bills), (t.lines, decided.lines), (t.receipts, decided.receipts),
            (t.outbox, decided.outbox), (t.refunds, decided.refunds), (t.alarms, decided.alarms),
        ):  # fmt: skip
            if table is t.bills and decided.late:
                late = [{**row, "name": row["transaction_id"]} for row in decided.late]
                connection.execute(_LATE, late)
            if rows:
                insert(connection, table, rows)
        if messages:
            done(connection, _SENT, messages)
        for place, order in enumerate(orders):
            if isinstance(order, Refunded):
                answers[place] = give_back(connection, order)
            elif isinstance(order, Looked):
                connection.execute(sa.delete(t.sweeps))
                connection.execute(sa.insert(t.sweeps), {"until_s": order.until_s})
    return answers


def insert(connection: sa.Connection, table: sa.Table, rows: Sequence[Row]) -> None:
    """Add rows to a table."""
    done(connection, _INSERT[table], rows)


def _known(connection: sa.Connection, notices: list[Notice]) -> Known:
    """What the ledger knows about the keys of these callbacks."""
    told = [notice.callback for notice in notices]
    # The last key stands in for those that are missing to a power of two, so that there are few
    # statements in all.
    size = 1 << (len(told) - 1).bit_length()
    names = _keys("n", [callback.transaction_id for callback in told], size)
    names |= _keys("r", [callback.rrn for callback in told], size)
    events = _keys("n", [callback.event_id for callback in told], size)
    numbers = _keys("n", [callback.bill_number for callback in told], size)
    payments, callbacks, bills = _questions(size)
    columns = t.payments.c.keys()
    rows = [dict(zip(columns, row, strict=True)) for row in found(connection, payments, names)]
    return Known(
        bodies={row[0]: row[1] for row in found(connection, callbacks, events)},
        payments={row["transaction_id"]: row for row in rows},
        references={row["rrn"]: row["transaction_id"] for row in rows if row["rrn"]},
        paid={row[0] for row in found(connection, bills, numbers)},
    )


def _keys(prefix: str, keys: list[str], size: int) -> dict[str, str]:
    """Values of the parameters of a question about ``size`` keys."""
    padded = keys + keys[-1:] * (size - len(keys))
    return {f"{prefix}{place}": key for place, key in enumerate(padded)}


@lru_cache
def _questions(size: int) -> tuple[sa.Select[Any], sa.Select[Any], sa.Select[Any]]:
    """The questions about payments, callbacks and bills, for so many keys at once."""
    names = [sa.bindparam(f"n{place}", type_=sa.Text) for place in range(size)]
    references = [sa.bindparam(f"r{place}", type_=sa.Text) for place in range(size)]
    payments = sa.select(t.payments).where(
        t.payments.c.transaction_id.in_(names) | t.payments.c.rrn.in_(references)
    )
    callbacks = sa.select(t.callbacks.c.event_id, t.callbacks.c.body_sha256)
    bills = sa.select(t.bills.c.bill_number)
    return (
        payments, callbacks.where(t.callbacks.c.event_id.in_(names)),
        bills.where(t.bills.c.bill_number.in_(names)),
    )  # fmt: skip


def _resolve(results: list[tuple[asyncio.Future[Any], Any]]) -> None:
    for answered, answer in results:
        if answered.done():
            continue
        if isinstance(answer, Exception):
            answered.set_exception(answer)
        else:
            answered.set_result(answer)
