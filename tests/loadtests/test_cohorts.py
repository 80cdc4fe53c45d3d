"""Limits that are being broken just now, on servers written down second by second."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.recorder import Limit, Recorder

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

S = 1_000_000
P95 = Limit("p95", 0.95, 100_000)


def watched(
    latency_us: Sequence[int | None], limits: list[Limit], rate: int, seconds: int
) -> Iterator[bool]:
    """Whether limits were seen as broken at the end of each second.

    Request n is due at n / rate and is answered after ``latency_us[n]``; None is never, a negative
    number an error after so long.
    """
    recorder = Recorder(0, limits)
    asked = [(n * S // rate, latency) for n, latency in enumerate(latency_us)]
    ends = sorted((due + abs(took), due, took) for due, took in asked if took is not None)
    for second in range(1, seconds + 1):
        for due, _ in asked:
            if (second - 1) * S <= due < second * S:
                recorder.intend(due)
        for end, due, took in ends:
            if (second - 1) * S <= end < second * S:
                recorder.ended(due, due, end, "ok" if took > 0 else "error")
        yield recorder.broken(second * S)


def test_a_server_that_hangs_breaks_its_limit() -> None:
    """After three good seconds nobody is answered: broken from a second later on."""
    seen = list(watched([5_000] * 300 + [None] * 300, [P95], 100, 6))
    assert seen == [False, False, False, False, True, True]


def test_a_server_that_hangs_goes_on_breaking_its_limit_when_nothing_more_is_due() -> None:
    """The latest second that had requests counts for as long as none comes after it."""
    seen = list(watched([5_000] * 100 + [None] * 100, [P95], 100, 10))
    assert seen == [False, False] + [True] * 8


def test_errors_are_seen_before_the_limit_has_passed() -> None:
    """Of a limit of half a minute nobody waits half a minute to see that everything fails."""
    slow = Limit("p95", 0.95, 30 * S)
    assert list(watched([-1_000] * 300, [slow], 100, 3)) == [True] * 3
    # A server that may take so long and is silent is not broken before it has.
    assert not any(watched([None] * 300, [slow], 100, 30))


def test_slow_requests_that_pile_up_within_the_limit_are_no_breach() -> None:
    """Three in a hundred may take ten seconds: that 30 of them are under way breaks no p95."""
    luck = [10 * S if n % 100 < 3 else 5_000 for n in range(1500)]
    assert not any(watched(luck, [P95], 100, 15))
    luck = [10 * S if n % 100 < 6 else 5_000 for n in range(1500)]
    assert all(list(watched(luck, [P95], 100, 15))[1:])


def test_a_server_that_recovers_is_no_longer_broken() -> None:
    """Two bad seconds are seen for two seconds."""
    seen = list(watched([5_000] * 200 + [-5_000] * 200 + [5_000] * 300, [P95], 100, 7))
    assert seen == [False, False, True, True, True, False, False]


@given(st.data())
def test_a_second_is_broken_if_its_own_requests_broke_the_limit(data: st.DataObject) -> None:
    """Once all is over, the last second's requests decide, as counted one by one."""
    took = data.draw(
        st.lists(
            st.one_of(st.none(), st.integers(-300_000, 300_000).filter(bool)),
            min_size=20, max_size=60,
        )
    )  # fmt: skip
    limits = [P95, Limit("p50", 0.5, 50_000)]
    last = [one for n, one in enumerate(took) if n // 10 == (len(took) - 1) // 10]
    broken = any(
        sum(one is None or one < 0 or one > limit.limit_us for one in last)
        > (1 - limit.share) * len(last) + 1e-9
        for limit in limits
    )
    assert list(watched(took, limits, 10, 10))[-1] == broken


@pytest.mark.parametrize("settle_us", [0, 2 * S])
def test_what_was_only_for_settling_breaks_nothing(settle_us: int) -> None:
    """Errors before the end of settling are not looked at."""
    recorder = Recorder(settle_us, [P95])
    for n in range(100):
        recorder.intend(n * 10_000)
        recorder.ended(n * 10_000, n * 10_000, n * 10_000 + 5, "error")
    assert recorder.broken(5 * S) == (settle_us == 0)
