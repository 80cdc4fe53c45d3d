"""Alarms in virtual time, and on a loop whose timers go off early."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st

from mock_psp.alarms import CROWD, EARLY_US, Alarms
from tests.mock_psp.conftest import SkippingLoop

if TYPE_CHECKING:
    from collections.abc import Callable

HOUR_US = 3_600_000_000
LIMITS = st.lists(
    st.tuples(st.integers(0, HOUR_US), st.sampled_from([1000, 5_000_000]), st.booleans()),
    max_size=30,
)
"""Of everybody: when it comes, its limit, whether it is answered before that is over."""
WAITS = st.lists(
    st.tuples(st.integers(0, HOUR_US), st.integers(-HOUR_US, HOUR_US), st.booleans()), max_size=30
)
"""Of everybody: when it comes, how long it has to wait, whether it goes away before."""


@given(WAITS)
def test_everybody_is_woken_at_the_moment_that_was_asked_for(
    waits: list[tuple[int, int, bool]],
) -> None:
    """Each is woken at its moment to the microsecond, or at once, whoever else comes and goes."""
    loop = SkippingLoop()
    clock: Any = loop
    alarms = Alarms(clock)
    woken: dict[int, int] = {}

    async def one(place: int, comes_us: int, wait_us: int) -> None:
        await asyncio.sleep(comes_us / 1e6)
        await alarms.at(loop.now_us() + wait_us)
        woken[place] = loop.now_us()

    async def everybody() -> None:
        tasks = [
            asyncio.create_task(one(place, comes_us, wait_us))
            for place, (comes_us, wait_us, _) in enumerate(waits)
        ]
        for task, (comes_us, wait_us, leaves) in zip(tasks, waits, strict=True):
            if leaves and wait_us > 1:
                loop.call_later((comes_us + wait_us // 2) / 1e6, task.cancel)
        await asyncio.gather(*tasks, return_exceptions=True)

    loop.run_until_complete(everybody())
    loop.close()
    assert woken == {
        place: comes_us + max(wait_us, 0)
        for place, (comes_us, wait_us, leaves) in enumerate(waits)
        if not (leaves and wait_us > 1)
    }


@given(LIMITS)
def test_a_limit_is_over_when_it_is_over(waits: list[tuple[int, int, bool]]) -> None:
    """Who is answered goes on at once, everybody else when the own limit has passed."""
    loop = SkippingLoop()
    clock: Any = loop
    alarms = Alarms(clock)
    ended: dict[int, int] = {}

    async def one(place: int, comes_us: int, limit_us: int, *, answered: bool) -> None:
        await asyncio.sleep(comes_us / 1e6)
        over = alarms.within(limit_us)
        if answered:
            loop.call_later(limit_us / 2e6, over.set_result, None)
        await over
        ended[place] = loop.now_us()

    async def everybody() -> None:
        await asyncio.gather(
            *(
                one(place, comes_us, limit_us, answered=answered)
                for place, (comes_us, limit_us, answered) in enumerate(waits)
            )
        )

    loop.run_until_complete(everybody())
    loop.close()
    for place, (comes_us, limit_us, answered) in enumerate(waits):
        due_us = comes_us + limit_us // (2 if answered else 1)
        assert due_us - EARLY_US <= ended[place] <= due_us


def test_answers_that_came_in_time_are_not_kept(virtual_loop: SkippingLoop) -> None:
    """However many have been asked for, only those that are waited for are in line."""
    clock: Any = virtual_loop
    alarms = Alarms(clock)

    async def all_of_them() -> int:
        for _ in range(1000):
            alarms.within(15_000_000).set_result(None)
            await asyncio.sleep(0.001)
        return len(alarms._limits[15_000_000])

    assert virtual_loop.run_until_complete(all_of_them()) == 1


def test_nobody_is_kept_behind_one_who_waits(virtual_loop: SkippingLoop) -> None:
    """One question that hangs does not hold the answers of all that follow; it is still woken."""
    clock: Any = virtual_loop
    alarms = Alarms(clock)

    async def all_of_them() -> list[int]:
        hanging, lengths = alarms.within(120_000_000), []
        for _ in range(10 * CROWD):
            alarms.within(120_000_000).set_result("answer")
            lengths.append(len(alarms._limits[120_000_000]))
        await hanging
        return lengths

    assert max(virtual_loop.run_until_complete(all_of_them())) == CROWD
    assert virtual_loop.now_us() == 120_000_000


def test_those_who_are_due_together_are_woken_as_they_came(virtual_loop: SkippingLoop) -> None:
    """First come, first served, whoever was in line before them."""
    clock: Any = virtual_loop
    alarms, order = Alarms(clock), list[str]()

    async def one(name: str, due_us: int) -> None:
        await alarms.at(due_us)
        order.append(name)

    async def everybody() -> None:
        await asyncio.gather(one("c", 900), one("a", 500), one("d", 900), one("b", 500))

    virtual_loop.run_until_complete(everybody())
    assert order == ["a", "b", "c", "d"]


def test_a_timer_that_goes_off_too_early_is_set_again(virtual_loop: SkippingLoop) -> None:
    """Half a millisecond early is punctual, for timers count whole ones; more is not."""
    real: Callable[..., asyncio.TimerHandle] = virtual_loop.call_later
    early_us = [3 * EARLY_US, EARLY_US]

    def hasty(delay_s: float, *told: Any) -> asyncio.TimerHandle:  # noqa: ANN401 - as call_later
        return real(delay_s - (early_us.pop(0) if early_us else 0) / 1e6, *told)

    clock: Any = virtual_loop
    clock.call_later = hasty
    alarms = Alarms(clock)

    async def one() -> int:
        await alarms.at(10 * EARLY_US)
        return virtual_loop.now_us()

    assert virtual_loop.run_until_complete(one()) == 9 * EARLY_US
    assert not early_us
