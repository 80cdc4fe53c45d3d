"""Memory over time: what the kernel says, and growth worked out by hand."""

from __future__ import annotations

import os
import resource

import pytest

from fewseconds.resident import LOOK_S, POINTS_MAX, Look, Resident, grown, resident_mb


def test_the_memory_of_a_process_is_the_kernels() -> None:
    """Of this process it is at most its peak as getrusage has it, and of nobody nothing."""
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    assert 0.3 * peak_mb < resident_mb(os.getpid()) <= peak_mb * 1.05
    assert resident_mb(2**22 + 1) == 0


def test_growth_is_that_between_quarters() -> None:
    """A process that gains a megabyte every ten seconds grows 360 MB an hour; another none."""
    looks = [Look(10 * n, {"leaks": 50.0 + n, "flat": 80.0}) for n in range(40)]
    found = grown(looks)
    assert found["leaks"].mb_per_hour == pytest.approx(360)
    assert found["leaks"].max_mb == 89
    assert (found["flat"].mb_per_hour, found["flat"].last_quarter_mb) == (0, 80)


def test_too_few_looks_say_nothing() -> None:
    """A run of half a minute has no quarters."""
    assert grown([Look(n, {"load": 1.0}) for n in range(7)]) == {}


def test_hours_take_a_bounded_number_of_looks() -> None:
    """A day of looks keeps at most so many, evenly over the day."""
    now_s = 0.0
    watch = Resident(lambda: now_s)
    mine = {"me": os.getpid()}
    for _ in range(24 * 720):
        watch.look(mine)
        now_s += LOOK_S
    assert len(watch.looks) <= POINTS_MAX
    seconds = [look.second for look in watch.looks]
    assert seconds[0] == 0
    assert seconds[-1] > 23 * 3600
    gaps = {after - before for before, after in zip(seconds[-50:], seconds[-49:], strict=False)}
    assert max(gaps) <= 2 * min(gaps)
