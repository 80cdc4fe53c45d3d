"""Messages that the gateway refuses: when they come again, and when they get through."""

from __future__ import annotations

import heapq
from collections import Counter
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from fewseconds import scenario_file
from fewseconds.measures import frame
from fewseconds.plan import Plan, plan
from sim import engines

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fewseconds.scenario import Scenario

    Tiny = Callable[..., Scenario]
    Starting = Callable[..., Plan]

SOURCE = {"source": "made up"}
TILL_MS, TRIES, WAITS_MS = 50, 5, (1000, 5000)


def by_hand(
    arrivals_ms: Sequence[int], per_s: float, burst: int
) -> dict[tuple[int, int], tuple[int, bool]]:
    """When each attempt of each message comes, and whether it is taken: tokens in fractions."""
    due = [(moment, number, 1) for number, moment in enumerate(arrivals_ms)]
    heapq.heapify(due)
    tokens, counted_ms, seen = Fraction(burst), 0, {}
    while due:
        now_ms, number, attempt = heapq.heappop(due)
        grown = tokens + Fraction(per_s) * (now_ms - counted_ms) / 1000
        tokens, counted_ms = min(Fraction(burst), grown), now_ms
        taken = tokens >= 1
        tokens -= int(taken)
        seen[number, attempt] = now_ms, taken
        if not taken and attempt < TRIES:
            wait_ms = WAITS_MS[min(attempt, len(WAITS_MS)) - 1]
            heapq.heappush(due, (now_ms + wait_ms, number, attempt + 1))
    return seen


@pytest.mark.parametrize("engine", ["simpy", "numba"])
@pytest.mark.parametrize(("per_s", "burst"), [(2, 1), (5, 3), (0.5, 4), (8, 1)])
def test_what_the_limit_refuses_comes_again_after_the_waits(
    per_s: float, burst: int, engine: engines.Engine, tiny: Tiny, starting: Starting
) -> None:
    """Every attempt of forty messages comes and is answered as a bucket counted by hand says."""
    steps = {
        "buy": {"legs": [{"station": "till", "emits": "posted"}]},
        "tell": {
            "after": {"step": "buy", "event": "posted"},
            "marks": "message",
            "legs": [{"station": "sms_gateway"}],
            "attempts_max": TRIES,
            "retry_on": ["rejected"],
            "backoff_ms": list(WAITS_MS),
        },
    }
    limit = SOURCE | {"per_s": per_s, "burst": burst}
    gateway = {"service_time": 40, "failures": [], "rate_limit": limit}
    scenario = tiny(steps, {"till": {"service_time": TILL_MS}, "sms_gateway": gateway})
    luck = np.random.default_rng(round(10 * per_s) + burst)
    # No two fall on the same thousandth of a second, and no wait brings them there.
    starts_ms = np.sort(luck.integers(0, 4, 40) * 1000 + luck.permutation(1000)[:40]).tolist()
    rows = engines.walk(starting(scenario, starts_ms), engine).outcomes.to_pylist()
    gateway_rows = [row for row in rows if row["station"] == "sms_gateway"]
    seen = {
        (row["journey_id"], row["attempt"]): (
            row["service_start_us"] / 1000, row["outcome"] == "ok"
        )
        for row in gateway_rows
    }  # fmt: skip
    expected = by_hand([start + TILL_MS for start in starts_ms], per_s, burst)
    assert seen == expected
    assert {row["code"] for row in gateway_rows if row["outcome"] == "rejected"} == {"429"}
    assert max(attempt for _, attempt in expected) > 2


@pytest.mark.parametrize("engine", ["simpy", "numba"])
def test_a_limit_that_is_never_reached_changes_nothing(engine: engines.Engine) -> None:
    """Every value of every row is the same with such a limit and with none."""
    limit = SOURCE | {"per_s": 10_000.0, "burst": 1000}
    less: dict[str, Any] = {"consumers": 600}
    more = less | {"stations": {"sms_gateway": {"rate_limit": limit}}}
    walk = plan(scenario_file.load("smoke", less))
    limited = Plan(scenario_file.load("smoke", more), walk.seed, walk.table)
    left, right = (frame(engines.walk(one, engine).outcomes) for one in (walk, limited))
    assert len(left) > 6000
    assert left.equals(right)


def test_on_the_day_of_discounts_every_message_gets_through() -> None:
    """Some are refused by the limit of thirty a second; all are taken, and never faster."""
    whole = plan(scenario_file.load("discount_day"))
    rows = engines.walk(whole.window(*whole.busiest_window()), "numba").outcomes.to_pylist()
    gateway = [row for row in rows if row["station"] == "sms_gateway"]
    refused = Counter(row["code"] for row in gateway if row["outcome"] == "rejected")
    assert refused.keys() == {"429"}
    assert refused["429"] > 5
    taken = [row for row in gateway if row["outcome"] == "ok"]
    assert {row["journey_id"] for row in taken} == {row["journey_id"] for row in gateway}
    moments_s = np.sort([row["service_start_us"] / 1e6 for row in taken])
    # Whatever the stretch of time: no more than the burst and what has grown within it.
    for first in range(len(moments_s)):
        most = 3 + 30 * (moments_s[first:] - moments_s[first])
        assert (np.arange(1, len(most) + 1) <= most + 1e-6).all()
