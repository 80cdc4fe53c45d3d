"""No two payments of a run have the same reference number, however many there are in an hour."""

from __future__ import annotations

import datetime as dt
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fewseconds.identity import IST
from mock_psp import references
from mock_psp.references import References

SMALL = 5
"""Numbers that an hour has room for in these tests."""
NEW_YEAR = dt.datetime(2029, 12, 31, 22, 30, tzinfo=IST)


@pytest.fixture(autouse=True, scope="module")
def small_hours() -> object:
    """Hours that are used up at once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(references, "SIZE", SMALL)
        yield


def layout(moment: dt.datetime) -> str:
    """The first six digits, as the C library writes the date."""
    return moment.strftime("%Y%j%H")[3:]


def place(number: str) -> int:
    """Where a number's hour stands among those of 2029 and 2030."""
    return int(number[:6]) + 10**6 * (number[0] == "0")


@given(
    st.integers(0, SMALL - 1),
    st.lists(st.tuples(st.integers(0, 40), st.booleans()), max_size=60),
)
@example(SMALL - 1, [(0, False)] * 3 * SMALL)
@example(2, [(0, True)] * 3 * SMALL)
@example(0, [(0, False)] * SMALL + [(90, True)] + [(0, False)] * SMALL)
def test_a_number_is_never_given_twice(first: int, debits: list[tuple[int, bool]]) -> None:
    """Debits have numbers of their own over full hours, kills and the end of a decade."""
    moment, last, said = NEW_YEAR, "", list[str]()
    known = References(first, last, moment)
    for minutes, killed in debits:
        moment += dt.timedelta(minutes=minutes)
        if killed:
            known = References(first, last, moment)
        last = known.next(moment)
        said.append(last)
        assert re.fullmatch("[0-9]{12}", last)
        now, before = layout(moment), [place(one) for one in said[:-1]]
        assert place(last) >= max([place(now), *before])
        # An hour that no earlier payment has borrowed from begins with its own numbers.
        if place(now) > max(before, default=0):
            assert last[:6] == now
    assert len({*said}) == len(said)


def test_two_runs_begin_at_numbers_of_their_own() -> None:
    """The first number of an hour is the run's, as a biller may outlive it."""
    known = References(3, "", NEW_YEAR)
    said = [known.next(NEW_YEAR + dt.timedelta(minutes=40 * turn)) for turn in range(3)]
    assert said == ["936522000003", "936523000003", "936523000004"]
