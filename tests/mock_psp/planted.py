"""A service with a planted bug: ``python planted.py BUG …``, the rest as for a healthy one.

Each function plants one bug of the kind that costs real billers real money, by replacing the part
that is right. What has to notice them is in ``test_planted_bugs.py``.
"""

# ruff: noqa: ANN401 - what is replaced here is called with whatever the right part was
from __future__ import annotations

import contextlib
import json
import queue
import sys
import time
from typing import TYPE_CHECKING, Any, Final

import msgspec
import sqlalchemy as sa

from mock_psp import biller, ledger, posting, process, schema, webhook

if TYPE_CHECKING:
    from collections.abc import Callable

PAUSE_S: Final = 0.5
"""Long enough for a kill to fall between two things that ought to be one."""


def put(place: object, name: str, part: object) -> None:
    """Replace a part that is right by one that is wrong."""
    setattr(place, name, part)


def acknowledged_before_commit() -> None:
    """B2: callers are answered first, and the batch is written a little later."""

    def commit(self: Any, batch: list[Any]) -> None:
        connection = self._pen.connection

        def answers(_: sa.Connection, orders: list[Any]) -> list[Any]:
            known = ledger._known(connection, [o for o in orders if isinstance(o, posting.Notice)])
            connection.rollback()
            decided = posting.Decided()
            return [
                posting.decide(known, order, decided) if isinstance(order, posting.Notice) else None
                for order in orders
            ]

        said = answers(connection, [entry.order for entry in batch])
        results = [(entry.answered, answer) for entry, answer in zip(batch, said, strict=True)]
        self._loop.call_soon_threadsafe(ledger._resolve, results)
        time.sleep(PAUSE_S)
        with contextlib.suppress(sa.exc.SQLAlchemyError):
            ledger.write(connection, [entry.order for entry in batch])

    put(ledger.Ledger, "_commit", commit)


def reference_not_unique() -> None:
    """B3: neither the index on the RRN nor the rule that stands before it is there."""
    for constraint in list(schema.payments.constraints):
        if isinstance(constraint, sa.UniqueConstraint) and "rrn" in constraint.columns:
            schema.payments.constraints.remove(constraint)
    right, numbers = ledger._known, posting.receipt_number

    def known(*given: Any) -> posting.Known:
        found = right(*given)
        found.references = _Forgetful()
        return found

    put(ledger, "_known", known)
    taken: dict[str, int] = {}

    def number(rrn: str) -> str:
        taken[rrn] = taken.get(rrn, 0) + 1
        return f"{numbers(rrn)}-{taken[rrn]}"

    put(posting, "receipt_number", number)


class _Forgetful(dict[str, str]):
    """What is put in is not there."""

    def get(self, _key: str, default: Any = None) -> Any:
        return default


def failure_takes_back() -> None:
    """B5: a failure that comes after the success un-pays the bill."""
    right = posting._effect

    def effect(known: Any, notice: Any, payment: Any) -> tuple[str, str]:
        if payment is not None and notice.callback.status == "FAILURE":
            return "failed", notice.callback.code
        return right(known, notice, payment)

    put(posting, "_effect", effect)
    applied = posting._apply

    def apply(known: Any, notice: Any, decided: Any, effect: tuple[str, str]) -> None:
        row = known.payments.get(notice.callback.transaction_id)
        if effect[0] == "failed" and row is not None:
            late = {**row, "status": "FAILED", "reason": effect[1]}
            known.payments[row["transaction_id"]] = late
            decided.late.append({name: late[name] for name in late})
        else:
            applied(known, notice, decided, effect)

    put(posting, "_apply", apply)


def signature_of_parsed_body() -> None:
    """B6: the signature is checked over the JSON written anew, not over the bytes that came."""
    right = webhook.checked_id

    def checked_id(headers: Any, body: bytes, *rest: Any) -> str:
        with contextlib.suppress(ValueError):
            body = msgspec.json.encode(json.loads(body))
        return right(headers, body, *rest)

    put(biller, "checked_id", checked_id)


def outbox_after_commit() -> None:
    """B7: the SMS is written down in a second transaction, a little after the payment's."""
    write, insert = ledger.write, ledger.insert
    kept: list[Any] = []

    def without_outbox(connection: sa.Connection, table: sa.Table, rows: Any) -> None:
        if table is schema.outbox:
            kept.extend(rows)
        else:
            insert(connection, table, rows)

    def late(connection: sa.Connection, orders: Any) -> list[Any]:
        kept.clear()
        answers = write(connection, orders)
        if kept:
            time.sleep(PAUSE_S)
            with connection.begin():
                insert(connection, schema.outbox, kept)
        return answers

    put(ledger, "insert", without_outbox)
    put(ledger, "write", late)


def amount_in_float_rupees() -> None:
    """B8: amounts are compared as rupees in floating point, with a tolerance of a paisa."""

    class Fuzzy(int):
        def __eq__(self, other: object) -> bool:
            return isinstance(other, int) and abs(int(self) / 100 - int(other) / 100) < 0.0101

        def __ne__(self, other: object) -> bool:
            return not self == other

        __hash__ = int.__hash__

    right = biller.Biller._bill

    def bill(self: Any, number: str) -> Any:
        found = right(self, number)
        if found is None:
            return None
        return msgspec.structs.replace(found, amount_paise=Fuzzy(found.amount_paise))

    put(biller.Biller, "_bill", bill)


def copies_in_a_batch_are_new() -> None:
    """B9: copies of a callback inside one group commit are all reported as new."""
    right = posting.decide

    def decide(known: Any, notice: Any, decided: Any) -> Any:
        here = any(row["event_id"] == notice.callback.event_id for row in decided.callbacks)
        answer = right(known, notice, decided)
        return msgspec.structs.replace(answer, duplicate=False) if here else answer

    put(ledger, "decide", decide)
    waiting = ledger.Ledger._waiting

    def patient(self: Any) -> Any:
        # The copies are given the time to come into one batch.
        batch, going_on = waiting(self)
        time.sleep(0.1)
        with contextlib.suppress(queue.Empty):
            while (entry := self._queue.get_nowait()) is not None:
                batch.append(entry)
            going_on = False
        return batch, going_on

    put(ledger.Ledger, "_waiting", patient)


def known_key_with_another_body() -> None:
    """B10: a known transaction with other facts is taken for a copy, or for news."""
    right = posting.decide

    def decide(known: Any, notice: Any, decided: Any) -> Any:
        if notice.callback.transaction_id in known.payments:
            return posting._acknowledged(known, notice.callback, duplicate=True)
        return right(known, notice, decided)

    put(ledger, "decide", decide)


BUGS: Final[dict[str, Callable[[], None]]] = {
    "B2": acknowledged_before_commit,
    "B3": reference_not_unique,
    "B5": failure_takes_back,
    "B6": signature_of_parsed_body,
    "B7": outbox_after_commit,
    "B8": amount_in_float_rupees,
    "B9": copies_in_a_batch_are_new,
    "B10": known_key_with_another_body,
}

if __name__ == "__main__":
    BUGS[sys.argv[1]]()
    process.main(sys.argv[2:])
