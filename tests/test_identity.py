"""Who and what: money that survives being written down, masked names, unique transaction ids."""

from __future__ import annotations

import datetime as dt
import re
import string
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewseconds.errors import EXIT_USAGE, MalformedError
from fewseconds.identity import (
    ALPHABET,
    IST,
    TRANSACTION_ID_LENGTH,
    Bill,
    checked_vpa,
    masked,
    paise,
    rupees,
    rupees_grouped,
    transaction_id,
)

amounts = st.integers(0, 10**14 - 1)


@given(amounts)
def test_an_amount_survives_being_written_as_rupees(amount_paise: int) -> None:
    """Paise written as rupees are read back as the same paise, up to a thousand billion rupees."""
    assert paise(rupees(amount_paise)) == amount_paise


@given(st.integers(-(10**14), 10**14))
def test_rupees_are_a_hundredth_of_the_paise(amount_paise: int) -> None:
    """The written amount is the exact decimal hundredth, always with two places."""
    written = rupees(amount_paise)
    assert Decimal(written) * 100 == amount_paise
    assert written[-3] == "."


@given(st.integers(-(10**14), 10**14))
def test_grouping_changes_the_look_and_not_the_amount(amount_paise: int) -> None:
    """Rupees for people are the plain rupees with commas at a thousand and then each two digits."""
    written = rupees_grouped(amount_paise)
    assert re.fullmatch(
        r"-?₹[0-9]{1,2}(,[0-9]{2})*,[0-9]{3}\.[0-9]{2}|-?₹[0-9]{1,3}\.[0-9]{2}", written
    )
    assert written.replace("₹", "").replace(",", "") == rupees(amount_paise)


@pytest.mark.parametrize(
    ("amount_paise", "written"),
    [
        (0, "₹0.00"),
        (99_999, "₹999.99"),
        (100_000, "₹1,000.00"),
        (12_345_670, "₹1,23,456.70"),
        (-5, "-₹0.05"),
        (1_050_000_000_000, "₹10,50,00,00,000.00"),
    ],
)
def test_amounts_are_grouped_the_indian_way(amount_paise: int, written: str) -> None:
    """Lakhs and crores are set apart as an Indian reader expects."""
    assert rupees_grouped(amount_paise) == written


@pytest.mark.parametrize(
    ("written", "amount_paise"), [("0", 0), ("7", 700), ("3832.5", 383_250), ("3832.05", 383_205)]
)
def test_paise_may_be_left_out(written: str, amount_paise: int) -> None:
    """An amount may be written with no decimal place, with one or with two."""
    assert paise(written) == amount_paise


@pytest.mark.parametrize(
    "written",
    [
        *("", " 1", "1 ", "1\n", "-1", "+1", "01", ".5", "5.", "1.234", "1e3", "1,000", "0x1"),
        *("nan", "inf", "१२", "\uff11\uff12", "1_000", "1.2.3", "9" * 13),
    ],
)
def test_what_is_not_an_amount_is_refused(written: str) -> None:
    """Signs, exponents, separators, other scripts and third places are refused with the value."""
    with pytest.raises(MalformedError) as refusal:
        paise(written)
    assert str(refusal.value).startswith(f"am: {written!r} is not an amount; ")
    assert refusal.value.exit_code == EXIT_USAGE


@given(st.text())
def test_reading_an_amount_never_fails_in_another_way(written: str) -> None:
    """Any text is either an amount of whole paise or refused as malformed."""
    try:
        amount_paise = paise(written)
    except MalformedError:
        return
    assert Decimal(written) * 100 == amount_paise


@pytest.mark.parametrize("vpa", ["ravi@okbank", "a.b-c_9@upi", "98@psp", "x" * 256 + "@bank"])
def test_payment_addresses_pass_unchanged(vpa: str) -> None:
    """A name of letters, digits, dots, dashes and underscores at a handle is a payment address."""
    assert checked_vpa(vpa) == vpa


@pytest.mark.parametrize(
    "vpa",
    ["", "ravi", "@bank", "r@bank", "ravi@", "ravi@1bank", "ravi@ok@bank", "ra vi@b", "रवि@bank"],
)
def test_what_is_not_a_payment_address_is_refused(vpa: str) -> None:
    """Anything else is refused with the value and a form to follow."""
    with pytest.raises(MalformedError, match="is not a payment address; write 'name@handle'"):
        checked_vpa(vpa)


def test_the_alphabet_of_transaction_ids_is_base_62() -> None:
    """Ids are spelt with digits, capitals and small letters, each one once."""
    assert sorted(ALPHABET) == sorted(string.digits + string.ascii_letters)


@given(
    st.text(string.ascii_uppercase, max_size=8),
    st.integers(0, 2**63 - 1),
    st.integers(0, 2**40),
    st.integers(1, 50),
)
def test_transaction_ids_have_the_length_the_switch_wants(
    prefix: str, seed: int, journey_id: int, attempt: int
) -> None:
    """An id has 35 letters and digits and is led by the prefix of its PSP."""
    written = transaction_id(prefix, seed, journey_id, attempt)
    assert len(written) == TRANSACTION_ID_LENGTH == 35
    assert written.startswith(prefix)
    assert written.isascii()
    assert written.isalnum()


def test_transaction_ids_are_unique() -> None:
    """Journeys, attempts and seeds each give another id."""
    ids = [
        transaction_id("MUM", seed, journey, attempt)
        for seed in (1, 2)
        for journey in range(2_000)
        for attempt in (1, 2, 3)
    ]
    assert len(set(ids)) == len(ids)


def test_transaction_ids_are_those_of_the_first_release() -> None:
    """The id of a journey's attempt never changes, so stored outcomes keep their keys."""
    assert transaction_id("MUM", 7, 734_112, 1) == "MUM7GZfzTnlpKeP2StfJTqCovzT7VpGCbFu"
    assert transaction_id("MUM", 7, 734_112, 2) == "MUM7wrYGI6OJfQJ69oJo85Su4Z5Ee2kyvbz"


@given(st.lists(st.text(string.ascii_letters, min_size=1, max_size=12), min_size=1, max_size=4))
def test_a_masked_name_shows_two_letters_of_each_word(words: list[str]) -> None:
    """A payer sees the length of each word of a name, and its first two letters only."""
    shown = masked(" ".join(words)).split()
    assert [len(word) for word in shown] == [len(word) for word in words]
    for seen, word in zip(shown, words, strict=True):
        assert seen[:2] == word[:2]
        assert set(seen[2:]) <= {"•"}


def test_indian_time_is_five_and_a_half_hours_ahead() -> None:
    """Calendar times are told in India's one zone, which knows no summer time."""
    for month in (1, 7):
        assert dt.datetime(2025, month, 1, tzinfo=IST).utcoffset() == dt.timedelta(hours=5.5)


def test_a_bill_cannot_be_changed() -> None:
    """Records are frozen, so what was planned is what is reported."""
    bill = Bill(
        0, "12345678901234", "1234567890", 383_200, 400, dt.date(2025, 1, 1), dt.date(2025, 1, 21)
    )
    with pytest.raises(AttributeError, match="immutable"):
        bill.amount_paise = 1  # type: ignore[misc]
