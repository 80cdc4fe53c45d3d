"""Services remember a whole run and do not grow with it: compact books against plain ones."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewseconds import journey as j
from fewseconds.contracts import PayRequest, Trace
from fewseconds.identity import IST
from fewseconds.plan import Traits
from mock_psp import compact, kept_payments
from mock_psp.alarms import Alarms
from mock_psp.calendar import Calendar
from mock_psp.compact import Index
from mock_psp.kept_payments import KeptPayments
from mock_psp.message_log import Messages
from mock_psp.messages import Passed, messages
from mock_psp.payments import REVERSED_AFTER_S, Banks, Transaction
from mock_psp.station import Answer
from mock_psp.walk import Journey, Walk

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fewseconds.scenario import Scenario

LATEST = 4


@given(st.lists(st.tuples(st.text(max_size=6), st.integers(0, 2**63 - 1))))
def test_an_index_knows_what_a_dict_knows(told: list[tuple[str, int]]) -> None:
    """A number per key comes back, and no number for any other key, as from a dict."""
    index, plain = Index(), dict[str, int]()
    for key, number in told:
        assert index.get(key) == plain.get(key)
        if key not in plain:
            plain[key] = number
            index.add(key, number)
    assert len(index) == len(plain)
    assert all(index.get(key) == number for key, number in plain.items())


@given(st.lists(st.sampled_from("abcdefg"), max_size=30))
def test_a_reference_names_one_message_for_ever(references: list[str]) -> None:
    """Messages are numbered from 1 in order; the same reference is always the same message."""
    messages, plain = Messages(), dict[str, str]()
    for reference in references:
        known = messages.known(reference)
        assert known == plain.get(reference)
        if known is None:
            plain[reference] = f"SMS{len(plain) + 1:09d}"
            assert messages.accept(reference, "ab") == plain[reference]
        else:
            messages.note(known, "delivered")
    for reference, name in plain.items():
        came_again = references.count(reference) > 1
        assert messages.latest(name) == ("delivered" if came_again else "accepted")
    assert messages.latest(f"SMS{len(plain) + 1:09d}") is None
    assert messages.latest("SMS000000000") is messages.latest("nonsense") is None


@pytest.fixture
def kept(
    quick: Callable[..., Scenario], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[KeptPayments, Any]:
    """A book that holds four payments in memory, and the world it is in."""
    monkeypatch.setattr(kept_payments, "LATEST_MAX", LATEST)
    world: Any = SimpleNamespace(
        folder=SimpleNamespace(root=tmp_path),
        route=quick().route,
        traits=lambda told: Traits(told.app, told.bank, told.medium, told.scanner, told.operator),
    )
    return KeptPayments(world), world


def _payment(world: Any, index: int, outcome: int | None) -> Transaction:  # noqa: ANN401 - a stub
    traits = world.traits(Trace("", 0, "", 0, 1, "phonepe", "SBI", "placard", "opencv", "jio"))
    journey = Journey(world.route("qr_ebill"), index, traits)
    journey.events.update((("pay.credited", f"T{index}"), ("resolve.ok", "")))
    request = PayRequest(
        "phonepe", f"p{index}@bank", "SBI", "b@bank", f"{index}", index + 1, "9876"
    )
    made = Transaction(f"T{index}", request, journey, 1 + index % 3)
    made.rrn = f"{index:012d}"
    places = ("mobile_network", "switch", "biller", "remitter_bank", "beneficiary_bank")
    made.passed = [Passed("pay", place, 1, n, n + 1, j.OK, "") for n, place in enumerate(places)]
    # The longest line: a callback that was tried as often as a scenario may have it tried.
    tries = 2000 if index == 7 else 1
    made.passed += [Passed("callback", "biller", n, n, n, j.ERROR, "503") for n in range(tries)]
    made.showed(20, "ok", "00")
    if outcome is not None:
        made.end(Answer(outcome, "" if outcome == j.OK else "ZM"))
    return made


def moment(at_us: int) -> dt.datetime:
    """A date for a moment of the plan."""
    return dt.datetime(2026, 11, 1, tzinfo=IST) + dt.timedelta(microseconds=at_us)


def test_an_old_payment_answers_as_it_did(kept: tuple[KeptPayments, Any]) -> None:
    """Laid aside, a payment is shown, asked again, contradicted and traced as when it was new."""
    book, world = kept
    ends = (j.OK, j.DECLINED, j.ERROR, j.TIMED_OUT)
    payments = [_payment(world, index, ends[index % 4]) for index in range(60)]
    for payment in payments:
        book.add(payment)
    for index, payment in enumerate(payments):
        found = book.get(payment.transaction_id)
        assert found is not None
        assert (found is payment) == (index >= 60 - LATEST)
        assert found.payment() == payment.payment()
        assert found.asks(payment.request)
        for other in ({"amount_paise": 7_000}, {"payer_vpa": "x@y"}, {"bill_number": "no"}):
            assert not found.asks(msgspec.structs.replace(payment.request, **other))
        assert found.journey.events == payment.journey.events
        assert found.journey.trace("pay", 1) == payment.journey.trace("pay", 1)
        assert found.attempt == payment.attempt
        assert messages(found, moment) == messages(payment, moment)
        assert len(messages(found, moment).messages) >= 8
    assert book.get("T60") is None
    book.close()


def test_payments_that_share_a_hash_are_told_apart(
    kept: tuple[KeptPayments, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody gets another's payment, nor is told of one that was never made."""
    monkeypatch.setattr(compact, "hash", len, raising=False)
    book, world = kept
    payments = [_payment(world, index, j.OK) for index in range(10, 60)]
    for payment in payments:
        book.add(payment)
    for payment in payments:
        found = book.get(payment.transaction_id)
        assert found is not None
        assert found.payment() == payment.payment()
    assert book.get("T60") is None
    book.close()


def test_an_open_payment_stays_in_memory(kept: tuple[KeptPayments, Any]) -> None:
    """A pending payment is the very object its legs write to; the book shrinks when it may."""
    book, world = kept
    pending = [_payment(world, index, None) for index in range(9)]
    for payment in (*pending, *(_payment(world, index, j.OK) for index in range(9, 40))):
        book.add(payment)
    assert all(book.get(one.transaction_id) is one for one in pending)
    for payment in pending:
        payment.end(Answer(j.OK))
    for index in range(40, 80):
        book.add(_payment(world, index, j.OK))
    assert sum(book.get(one.transaction_id) is one for one in pending) == 0
    assert all(book.get(f"T{index}") is not None for index in range(80))
    book.close()


def test_what_is_laid_aside_holds_no_pin_and_no_name(
    kept: tuple[KeptPayments, Any], tmp_path: Path
) -> None:
    """The file cannot be found in the folder of the run, and PINs are not even in it."""
    book, world = kept
    for index in range(20):
        book.add(_payment(world, index, j.OK))
    assert list(tmp_path.iterdir()) == []
    held = os.pread(book._file.fileno(), 1 << 20, 0)
    assert b"p3@bank" in held
    assert b"9876" not in held
    book.close()


def test_a_payment_interrupted_before_its_credit_is_the_payers_who_asks_again(
    kept: tuple[KeptPayments, Any],
) -> None:
    """Neither PIN nor address is known after a restart; bill and amount have to be the same."""
    asked = _payment(kept[1], 3, None).request
    recovered = _payment(kept[1], 3, None)
    recovered.request = msgspec.structs.replace(asked, pin="", payer_vpa="")
    assert recovered.asks(asked)
    for other in ({"amount_paise": 7_000}, {"bill_number": "no"}):
        assert not recovered.asks(msgspec.structs.replace(asked, **other))
    kept[0].close()


def test_nobody_waits_five_days_for_a_deemed_payment_whose_end_is_known() -> None:
    """Of fifty, only the one that nobody has asked about is held, and goes back on its day."""
    told: list[tuple[str, str]] = []
    moment = dt.datetime(2026, 6, 1, tzinfo=IST)
    clock: Any = SimpleNamespace(now_us=lambda: 0, moment=lambda: moment)
    world: Any = SimpleNamespace(
        clock=clock, alarms=Alarms(clock), spec=SimpleNamespace(run_name="r"), counts=[]
    )
    journal: Any = SimpleNamespace(
        write=lambda entry: told.append((entry.entry, entry.transaction_id))
    )
    merchant: Any = SimpleNamespace(failed=lambda _: None)

    async def live() -> tuple[int, Transaction]:
        calendar, walk = Calendar(), Walk(world, {}, {}, {})
        banks = Banks(world, journal, calendar, "")
        banks.merchant = merchant
        asked = PayRequest("bhim", "payer1@sbi", "SBI", "b@bank", "B1", 100, "")
        journey: Any = SimpleNamespace(journey_id=1)
        paid = [Transaction(f"T{number}", asked, journey, 1) for number in range(50)]
        for one in paid:
            one.debited, one.paid_s = True, calendar.now_s()
            banks.owe(walk, one)
        for one in paid[1:]:
            one.end(Answer(j.OK))
            banks.show(one)
        for _ in range(3):
            await asyncio.sleep(0)
        held = len(walk._tasks)
        calendar.advance(REVERSED_AFTER_S + 1)
        for _ in range(3):
            await asyncio.sleep(0)
        return held + len(walk._tasks), paid[0]

    held, left = asyncio.run(live())
    assert held == 1
    assert (left.status, left.reversed) == ("FAILURE", True)
    assert told[-2:] == [("reversal", "T0"), ("shown", "T0")]
