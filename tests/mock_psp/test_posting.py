"""Posting: whatever callbacks come, the ledger holds what a dictionary would."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from fewseconds.contracts import Acknowledged, Callback
from fixtures import bills
from mock_psp import database, dlt
from mock_psp import schema as t
from mock_psp.ledger import write
from mock_psp.posting import Conflict, Notice, message

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

SEED = 5
BILLS = [bills.bill(SEED, index) for index in range(2)]
GSM_7 = set(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡"
    "ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
"""The basic character set of 3GPP TS 23.038, 6.2.1."""


def notice(callback: Callback) -> Notice:
    """The callback as the biller hands it to the ledger."""
    body = msgspec.json.encode(callback)
    known = {bill.number: bill for bill in BILLS}
    bill = known.get(callback.bill_number)
    phone = "+910500000000" if bill else ""
    return Notice(callback, hashlib.sha256(body).hexdigest(), bill, phone, "", 1)


def callback(transaction: int, **changes: object) -> Callback:
    """The successful callback of a transaction on the first bill."""
    name = f"{transaction:035d}"
    whole = {
        "event_id": f"evt{transaction}", "transaction_id": name, "rrn": f"{transaction:012d}",
        "status": "SUCCESS", "code": "00", "bill_number": BILLS[0].number,
        "amount_paise": BILLS[0].amount_paise, "payer_vpa": "a@bank", **changes,
    }  # fmt: skip
    return msgspec.convert(whole, Callback)


class Model:
    """The ledger as dictionaries, one callback after the other."""

    def __init__(self) -> None:
        """Empty."""
        self.bodies: dict[str, Callback] = {}
        self.payments: dict[str, tuple[str, Callback]] = {}
        self.paid_by: dict[str, str] = {}

    def take(self, new: Callback) -> str:
        """What has to be answered: ``conflict`` or the state of the payment afterwards."""
        if new.event_id in self.bodies:
            same = self.bodies[new.event_id] == new
            return self.payments[new.transaction_id][0] if same else "conflict"
        state, old = self.payments.get(new.transaction_id, ("", None))
        if old is not None:
            facts = (old.bill_number, old.amount_paise)
            if facts != (new.bill_number, new.amount_paise):
                return "conflict"
            if old.rrn and new.rrn and old.rrn != new.rrn:
                return "conflict"
        for name, (_, other) in self.payments.items():
            if other.rrn and other.rrn == new.rrn and name != new.transaction_id:
                return "conflict"
        self.bodies[new.event_id] = new
        if new.status == "FAILURE":
            if not state:
                self.payments[new.transaction_id] = ("failed", new)
        elif state in ("", "failed"):
            self.payments[new.transaction_id] = (self._money(new), new)
        return self.payments[new.transaction_id][0]

    def _money(self, new: Callback) -> str:
        due = {bill.number: bill.amount_paise for bill in BILLS}.get(new.bill_number)
        if due == new.amount_paise and new.bill_number not in self.paid_by:
            self.paid_by[new.bill_number] = new.transaction_id
            return "credited"
        return "refund_due"


@st.composite
def callbacks(draw: st.DrawFn) -> Callback:
    """Callbacks of few transactions, so that they meet."""
    transaction = draw(st.integers(1, 3))
    status = draw(st.sampled_from(["SUCCESS", "SUCCESS", "FAILURE"]))
    bill = draw(st.sampled_from([BILLS[0], BILLS[0], BILLS[1]]))
    rrns = [f"{transaction:012d}", f"{draw(st.integers(1, 3)):012d}"]
    return callback(
        transaction,
        event_id=f"evt{transaction}{draw(st.sampled_from('aab'))}",
        status=status,
        rrn=draw(st.sampled_from(rrns + ([""] if status == "FAILURE" else rrns[:1]))),
        bill_number=draw(st.sampled_from([bill.number, bill.number, "99999999999999"])),
        amount_paise=draw(st.sampled_from([bill.amount_paise] * 4 + [bill.amount_paise + 1])),
    )


@pytest.fixture
def connection(ledger_url: sa.URL) -> Iterator[sa.Connection]:
    """An empty ledger on either database."""
    engine = database.engine(ledger_url)
    t.LEDGER.create_all(engine)
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def answered(answer: Acknowledged | Conflict) -> str:
    """The answer in the words of the model."""
    if isinstance(answer, Conflict):
        return "conflict"
    return "failed" if answer.posting == "none" else answer.posting


def held(connection: sa.Connection, table: sa.Table) -> Sequence[Any]:
    """All rows of a table."""
    with connection.begin():
        return connection.execute(sa.select(table)).all()


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def emptied(request: pytest.FixtureRequest) -> Iterator[Callable[[], sa.Connection]]:
    """Empties a ledger, on either database, as often as it is called."""
    url = sa.make_url("sqlite://")
    if request.param == "postgresql":
        url = request.getfixturevalue("postgresql")
    engine = sa.create_engine(url)
    t.LEDGER.create_all(engine)
    with engine.connect() as connection:

        def empty() -> sa.Connection:
            with connection.begin():
                for table in reversed(t.LEDGER.sorted_tables):
                    connection.execute(sa.delete(table))
            return connection

        yield empty
    t.LEDGER.drop_all(engine)
    engine.dispose()


@settings(max_examples=150)
@given(batches=st.lists(st.lists(callbacks(), min_size=1, max_size=6), max_size=5))
def test_any_callbacks_in_any_batches_leave_what_the_model_says(
    emptied: Callable[[], sa.Connection], batches: list[list[Callback]]
) -> None:
    """Answers, payments, lines, receipts, bills and SMS are those of the dictionaries."""
    model, connection = Model(), emptied()
    for batch in batches:
        answers = write(connection, [notice(one) for one in batch])
        assert [answered(answer) for answer in answers] == [model.take(one) for one in batch]
    states = {name: state for name, (state, _) in model.payments.items()}
    posted = {name for name, state in states.items() if state != "failed"}
    rows = held(connection, t.payments)
    assert {row.transaction_id: row.status.lower() for row in rows} == states
    sums = {name: [0, 0] for name in posted}
    for line in held(connection, t.lines):
        sums[line.transaction_id][0] += 1
        sums[line.transaction_id][1] += line.amount_paise
    assert sums == {name: [2, 0] for name in posted}
    assert sorted(row.transaction_id for row in held(connection, t.receipts)) == sorted(posted)
    paid = {row.bill_number: row.transaction_id for row in held(connection, t.bills)}
    assert paid == model.paid_by
    owed = [name for name in posted if model.payments[name][1].bill_number[0] == "2"]
    assert sorted(row.transaction_id for row in held(connection, t.outbox)) == sorted(owed)
    assert len(held(connection, t.callbacks)) == len(model.bodies)


def test_equal_keys_inside_one_batch_are_new_once(connection: sa.Connection) -> None:
    """Of four equal callbacks in one batch, one is new and three are duplicates of it."""
    answers = write(connection, [notice(callback(1))] * 4)
    assert [answer.duplicate for answer in answers] == [False, True, True, True]
    assert len({answer.receipt_number for answer in answers}) == 1
    assert len(held(connection, t.lines)) == 2


def test_a_failure_after_a_success_changes_nothing(connection: sa.Connection) -> None:
    """A stale failure is taken note of, and the bill stays paid."""
    write(connection, [notice(callback(1))])
    late = callback(1, event_id="evt1late", status="FAILURE", code="U30")
    (answer,) = write(connection, [notice(late)])
    assert answer.posting == "credited"
    assert [row.status for row in held(connection, t.payments)] == ["CREDITED"]
    assert [row.effect for row in held(connection, t.callbacks)] == ["credited", "none"]


def test_one_paisa_too_little_is_not_credited(connection: sa.Connection) -> None:
    """Money of the wrong amount is booked to be refunded, exactly as it came."""
    short = callback(1, amount_paise=BILLS[0].amount_paise - 1)
    (answer,) = write(connection, [notice(short)])
    assert answer.posting == "refund_due"
    assert held(connection, t.bills) == []
    amounts = {line.account: line.amount_paise for line in held(connection, t.lines)}
    assert amounts == {t.RECEIVABLE: short.amount_paise, t.REFUNDS: -short.amount_paise}


def test_another_body_under_a_known_event_raises_an_alarm(connection: sa.Connection) -> None:
    """The same event id with another body is refused, and only the alarm is written."""
    write(connection, [notice(callback(1))])
    (answer,) = write(connection, [notice(callback(1, payer_vpa="b@bank"))])
    assert isinstance(answer, Conflict)
    assert [row.kind for row in held(connection, t.alarms)] == ["event_with_another_body"]
    assert len(held(connection, t.callbacks)) == 1


def test_a_message_is_one_sms() -> None:
    """Both messages fit 160 characters of the GSM alphabet, at the largest amount of a bill."""
    largest = callback(1, amount_paise=99_999_999_99)
    for credited in (True, False):
        template, text = message(largest, BILLS[0], "R000000000001", credited=credited)
        (registered,) = (one for one in dlt.OWN.templates if one.id == template)
        assert registered.fits(text)
        assert len(text) <= 160
        assert set(text) <= GSM_7
