"""Locust's own statistics stay as large as a minute is long, and its rates stay what they were."""

from __future__ import annotations

import subprocess
import sys

HOURS = """
import time
from locust.stats import RequestStats
from loadtests.stock_statistics import KEPT_S, forget

moment = [1_000_000.0]
time.time = lambda: moment[0]
kept, whole = RequestStats(), RequestStats()
for second in range(2 * 3600):
    for number in range(1 + second % 3):
        for one in (kept, whole):
            one.log_request("GET", "pay", 12, 100)
            if number:
                one.log_error("GET", "pay", "500")
    moment[0] += 1
    forget(kept)
    if second % 600 == 599:
        ours, theirs = kept.total, whole.total
        assert ours.current_rps == theirs.current_rps > 0
        assert ours.current_fail_per_sec == theirs.current_fail_per_sec > 0
        assert ours.total_rps == theirs.total_rps
entries = [kept.total, *kept.entries.values()]
print(max(len(e.num_reqs_per_sec) + len(e.num_fail_per_sec) for e in entries) <= 4 * KEPT_S + 2)
print(len(whole.total.num_reqs_per_sec))
"""


def test_two_hours_take_no_more_room_than_two_minutes() -> None:
    """Every rate that Locust shows is that of statistics which have forgotten nothing."""
    # A process of its own: Locust patches the standard library when it is imported.
    ended = subprocess.run(
        [sys.executable, "-c", HOURS], capture_output=True, text=True, check=True
    )
    assert ended.stdout.split() == ["True", "7200"]
